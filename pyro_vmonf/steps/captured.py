"""The step that captures the objective and its gradient once, and repeats the operations without Python or autograd."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Objective
from pyro_vmonf.steps.buffers import all_buffers, changed_buffers, restore
from pyro_vmonf.steps.eager import EagerStep
from pyro_vmonf.steps.flat import FlatAdam
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["Program", "ReplayStep"]

ANSWERS = {pyro.infer.util.__file__: True, pyro.util.__file__: False}
"""Pyro asks whether every probability of z is above 0, and whether a loss is NaN.

What a label excludes has the probability 0 and a finite cost (see ``Labels``), so that the first answer is right to
rounding; the step itself finds what is not finite.
"""


@dataclass(frozen=True)
class Captured:
    """One graph: the inputs it reads, and the operations."""

    inputs: list[Tensor]
    replay: Replay


class Program:
    """The captured graphs of one objective, one for each shape of a batch, and the parameters in one vector.

    A fit with several trials captures each graph once, since the trials train the same parameters.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x).
        objective: The loss.
        max_grad_norm: The greatest Euclidean norm of the gradient, or None.
    """

    def __init__(
        self, model: FlowMixture, guide: SoftmaxEncoder, objective: Objective, max_grad_norm: float | None
    ) -> None:
        self.model, self.guide, self.objective, self.max_grad_norm = model, guide, objective, max_grad_norm
        self.graphs: dict[Hashable, Captured] = {}
        self.flat: FlatAdam | None = None
        self.metrics: list[str] = []
        self.changed: list[Tensor] = []
        self.refused: CaptureError | None = None
        self.non_finite = torch.zeros((), dtype=torch.float32, device=guide.temperature.device)

    def gradients(self, batch: Batch, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, list[str], list[Any]]:
        """Returns the loss and its metrics in one tensor, the names of these, and the gradients, by autograd."""
        loss = self.objective(self.model, self.guide, batch)
        gradients = torch.autograd.grad(loss.value, parameters, allow_unused=True)
        numbers = torch.stack([loss.value.detach(), *loss.metrics.values()])
        return numbers, list(loss.metrics), list(gradients)

    def captured(self, batch: Batch, optimizer: Optimizer) -> Captured:
        """Returns the graph for batches of this shape, which is captured if there is none.

        Raises:
            CaptureError: If it cannot be captured; then nothing has changed.
        """
        if self.flat is not None and not all(p.requires_grad for p in self.flat.parameters):
            raise CaptureError("a parameter does not require a gradient any more")
        key = signature(batch)
        if key not in self.graphs:
            self.graphs[key] = self.add(batch, optimizer)
        return self.graphs[key]

    def add(self, batch: Batch, optimizer: Optimizer) -> Captured:
        """Captures a graph, and compares what it gives with autograd; draws and changes of buffers are undone."""
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        buffers = all_buffers(self.model, self.guide)
        before = [buffer.clone() for buffer in buffers]
        with undone(buffers):
            _, names, gradients = self.gradients(batch, trained)
            self.changed = changed_buffers(buffers, before)
        used = [p for p, gradient in zip(trained, gradients, strict=True) if gradient is not None]
        self.lay_out(used, names, optimizer)
        with undone([*buffers, self.non_finite]):
            graph = self.capture(batch)
        for scale in (1.0, 0.5):  # other points show what was taken for constant and is not
            some = replace(batch, x=scale * batch.x)
            with undone(buffers):
                numbers, _, gradients = self.gradients(some, used)
            with undone([*buffers, self.non_finite]):
                self.compare(graph, some, numbers, gradients)
        clear_caches(self.model)
        return graph

    @property
    def laid_out(self) -> FlatAdam:
        """The parameters that have a gradient, in one vector."""
        if self.flat is None:
            raise CaptureError("no batch has been captured yet")
        return self.flat

    def lay_out(self, used: list[nn.Parameter], names: list[str], optimizer: Optimizer) -> None:
        """Puts the parameters that have a gradient into a vector, or finds them there."""
        if self.flat is None:
            self.flat, self.metrics = FlatAdam(used), names
        elif {id(p) for p in used} != {id(p) for p in self.flat.parameters} or names != self.metrics:
            raise CaptureError("batches of different shapes train different parameters")
        if self.flat.optimizer is None:
            self.flat.attach(optimizer)

    def capture(self, batch: Batch) -> Captured:
        """Captures the loss, its metrics and the gradient, which is clipped; the flag of what is not finite too."""
        flat = self.laid_out
        inputs = [tensor.clone() for tensor in tensors_of(batch)]

        def work(*given: Tensor) -> list[Tensor]:
            numbers, _, gradients = self.gradients(put(batch, iter(given)), flat.parameters)
            torch._foreach_copy_(flat.gradients, gradients)
            norm = torch.linalg.vector_norm(flat.gradient)
            if self.max_grad_norm is not None:
                flat.gradient.mul_((self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
            self.non_finite.masked_fill_(numbers[0] * 0 + norm * 0 != 0, 1.0)  # 0 times NaN or infinity is NaN
            return [numbers]

        try:
            return Captured(inputs, Replay(work, inputs, ANSWERS))
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise error if isinstance(error, CaptureError) else CaptureError(str(error)) from error

    def compare(self, graph: Captured, batch: Batch, numbers: Tensor, gradients: Sequence[Tensor]) -> None:
        """Raises :class:`CaptureError` if a graph does not give the loss, the metrics and the gradient of autograd."""
        found = self.run(graph, batch)[0]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        factor = 1.0 if self.max_grad_norm is None else (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        tolerance = torch.finfo(numbers.dtype).eps ** 0.6
        same = torch.allclose(found, numbers, rtol=tolerance, atol=tolerance, equal_nan=True)
        for mine, theirs in zip(self.laid_out.gradients, gradients, strict=True):
            near = (mine - factor * theirs).abs() <= tolerance * (factor * (theirs.abs() + norm))
            same = same and torch.equal(near | theirs.isnan(), torch.ones_like(near))
        if not same:
            raise CaptureError("the operations do not give the same loss and gradient when they are repeated")

    def run(self, graph: Captured, batch: Batch) -> list[Tensor]:
        """Gives a batch to a graph, and repeats its operations."""
        with torch.no_grad():
            for own, given in zip(graph.inputs, tensors_of(batch), strict=True):
                own.copy_(given)
        return graph.replay()


class ReplayStep:
    """Repeats the operations of the objective and its gradient, captured at the first batch of each shape.

    It gives what :class:`EagerStep` gives, to rounding with labels that exclude components and bit by bit elsewhere.
    A capture takes as long as some ten to thirty eager steps, and a step from half of an eager one to a fifth. While
    it trains, parameters and the optimizer's moments are views of one vector, until :meth:`close`.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x).
        objective: The loss. It must do the same operations for every batch of the same shape.
        optimizer: ``torch.optim.Adam(fused=True)`` with one group of parameters.
        max_grad_norm: The greatest Euclidean norm of the gradient, or None to leave it as it is.
        program: Graphs captured before, for the same modules and objective.

    Raises:
        CaptureError: At the first batch of a shape, if its step cannot be captured; then nothing has changed.
        TypeError: If the optimizer cannot skip a step.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> from pyro_vmonf.objectives import Batch, Elbo
        >>> from pyro_vmonf.steps import ReplayStep
        >>> optimizer = torch.optim.Adam([*model.parameters(), *guide.parameters()], fused=True)
        >>> step = ReplayStep(model, guide, Elbo(), optimizer)
        >>> sorted(step(Batch(torch.randn(8, 2), size=8)))
        ['elbo', 'non_finite']
        >>> step.close()
    """

    def __init__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        objective: Objective,
        optimizer: Optimizer,
        max_grad_norm: float | None = None,
        *,
        program: Program | None = None,
    ) -> None:
        EagerStep(model, guide, objective, optimizer, max_grad_norm)  # checks the optimizer
        self.program = Program(model, guide, objective, max_grad_norm) if program is None else program
        self.program.non_finite.zero_()
        self.optimizer = optimizer

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        program = self.program
        try:
            graph = program.captured(batch, self.optimizer)
        except CaptureError:
            self.close()
            raise
        flat = program.laid_out
        if not flat.is_attached:
            flat.attach(self.optimizer)
        before = [buffer.clone() for buffer in program.changed]
        numbers = program.run(graph, batch)[0].clone()
        flat.step(self.optimizer.param_groups[0]["lr"], program.non_finite)
        restore(program.changed, before, program.non_finite)
        metrics = dict(zip(program.metrics, numbers[1:].unbind(), strict=True))
        return metrics | {"non_finite": program.non_finite.clone()}

    def close(self) -> None:
        """Gives each parameter memory of its own again."""
        if self.program.flat is not None:
            self.program.flat.detach()


@contextmanager
def undone(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Puts tensors and the random generators back to what they were before."""
    before = [tensor.clone() for tensor in tensors]
    with isolated_random_state():
        try:
            yield
        finally:
            for tensor, was in zip(tensors, before, strict=True):
                tensor.data.copy_(was)


def tensors_of(batch: Batch) -> list[Tensor]:
    """Returns the tensors of a batch, those of its labelled part last."""
    own = [value for one in fields(batch) if isinstance(value := getattr(batch, one.name), Tensor)]
    return own + ([] if batch.labelled is None else tensors_of(batch.labelled))


def put(batch: Batch, tensors: Any) -> Batch:
    """Returns the batch with other tensors, taken from an iterator in the order of :func:`tensors_of`."""
    names = [one.name for one in fields(batch) if isinstance(getattr(batch, one.name), Tensor)]
    own = replace(batch, **{name: next(tensors) for name in names})
    return own if own.labelled is None else replace(own, labelled=put(own.labelled, tensors))


def signature(batch: Batch | None) -> Hashable:
    """Returns what a captured graph depends on: shapes and types, the size of the data, which labels there are."""
    if batch is None:
        return None
    tensors = [
        (one.name, value.shape, value.dtype)
        for one in fields(batch)
        if isinstance(value := getattr(batch, one.name), Tensor)
    ]
    return tuple(tensors), batch.size, batch.all_labelled, signature(batch.labelled)
