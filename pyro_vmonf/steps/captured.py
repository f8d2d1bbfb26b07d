"""The step that captures the objective and its gradient once, and repeats the operations without Python or autograd."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from pyro import util
from pyro.infer import util as infer_util
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Objective
from pyro_vmonf.steps.eager import check_optimizer
from pyro_vmonf.steps.flat import FlatAdam
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["Program", "ReplayStep"]

ANSWERS = {infer_util.__file__: True, util.__file__: False}
"""Pyro asks whether every probability of z is above 0, and whether a loss is NaN.

What a label excludes has the probability 0 and a finite cost (see ``Labels``), so that the first answer is right to
rounding; the step itself finds what is not finite.
"""


@dataclass(frozen=True)
class Graph:
    """The operations for one shape of a batch, the inputs that they read, and the names of the metrics."""

    inputs: list[Tensor]
    replay: Replay
    metrics: list[str]


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
        self.graphs: dict[Hashable, Graph] = {}
        self.flat: FlatAdam | None = None
        self.changed: list[Tensor] = []
        self.surroundings: Hashable = None
        self.refused: CaptureError | None = None
        self.non_finite = torch.zeros((), dtype=torch.float32, device=guide.temperature.device)

    def gradients(self, batch: Batch, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, list[str], list[Any]]:
        """Returns the loss and its metrics in one tensor, the names of these, and the gradients, by autograd."""
        loss = self.objective(self.model, self.guide, batch)
        gradients = torch.autograd.grad(loss.value, parameters, allow_unused=True)
        numbers = torch.stack([loss.value.detach(), *loss.metrics.values()])
        return numbers, list(loss.metrics), list(gradients)

    def graph_for(self, batch: Batch, optimizer: Optimizer) -> Graph:
        """Returns the graph for batches of this shape, which is captured if there is none.

        Raises:
            CaptureError: If it cannot be captured; then parameters, buffers and random state are what they were.
        """
        if self.flat is not None:
            if not all(p.requires_grad for p in self.flat.parameters):
                raise CaptureError("a parameter does not require a gradient any more")
            if not self.flat.is_attached(optimizer):
                self.flat.attach(optimizer)
        key = signature(batch)
        if key not in self.graphs:
            self.graphs[key] = self.add(batch, optimizer)
        return self.graphs[key]

    def refresh(self) -> None:
        """Forgets the graphs if a number in a module or in the objective is another, or a buffer lies elsewhere."""
        if (now := surroundings(self.model, self.guide, self.objective)) != self.surroundings:
            self.graphs.clear()
            self.surroundings = now

    def add(self, batch: Batch, optimizer: Optimizer) -> Graph:
        """Captures a graph, and compares what it gives with autograd; draws and changes of buffers are undone."""
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        buffers = all_buffers(self.model, self.guide)
        before, around = [buffer.clone() for buffer in buffers], surroundings(self.model, self.guide, self.objective)
        with undone(self.model, self.guide, self.objective):
            _, names, gradients = self.gradients(batch, trained)
            self.changed = [now for now, was in zip(buffers, before, strict=True) if not torch.equal(now, was)]
            if surroundings(self.model, self.guide, self.objective) != around:
                raise CaptureError("a module or the objective changes its own numbers, or replaces a buffer")
        used = [p for p, gradient in zip(trained, gradients, strict=True) if gradient is not None]
        try:
            flat = self.lay_out(used, optimizer)
            with undone(self.model, self.guide, self.objective, self.non_finite):
                graph = self.capture(batch, names)
            # Other points in another order show what was taken for constant and is not.
            other = with_tensors(batch, (tensor.flip(0) for tensor in tensors_of(batch)))
            for some in (batch, replace(other, x=0.5 * other.x)):
                with undone(self.model, self.guide, self.objective):
                    numbers, _, gradients = self.gradients(some, flat.parameters)
                with undone(self.model, self.guide, self.objective, self.non_finite):
                    self.compare(graph, some, numbers, gradients)
        except CaptureError:
            raise
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise CaptureError(str(error)) from error
        clear_caches(self.model)
        return graph

    @property
    def laid_out(self) -> FlatAdam:
        """The parameters that have a gradient, in one vector."""
        if self.flat is None:
            raise CaptureError("no batch has been captured yet")
        return self.flat

    def lay_out(self, used: list[nn.Parameter], optimizer: Optimizer) -> FlatAdam:
        """Puts the parameters that have a gradient into a vector, or finds them there."""
        if not used:
            raise CaptureError("no parameter has a gradient")
        if self.flat is None:
            self.flat = FlatAdam(used)
            self.flat.attach(optimizer)
        elif {id(p) for p in used} != {id(p) for p in self.flat.parameters}:
            raise CaptureError("batches of different shapes train different parameters")
        return self.flat

    def capture(self, batch: Batch, metrics: list[str]) -> Graph:
        """Captures the loss, its metrics and the gradient, which is clipped; the flag of what is not finite too."""
        flat = self.laid_out
        inputs = [tensor.clone() for tensor in tensors_of(batch)]

        def work(*given: Tensor) -> list[Tensor]:
            numbers, _, gradients = self.gradients(with_tensors(batch, iter(given)), flat.parameters)
            torch.ops.aten._foreach_copy_.default(flat.gradients, gradients)
            norm = torch.linalg.vector_norm(flat.gradient)
            if self.max_grad_norm is not None:
                flat.gradient.mul_((self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
            self.non_finite.masked_fill_(numbers[0] * 0 + norm * 0 != 0, 1.0)  # 0 times NaN or infinity is NaN
            return [numbers]

        return Graph(inputs, Replay(work, inputs, ANSWERS), metrics)

    def compare(self, graph: Graph, batch: Batch, numbers: Tensor, gradients: Sequence[Tensor]) -> None:
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

    def run(self, graph: Graph, batch: Batch) -> list[Tensor]:
        """Gives a batch to a graph, and repeats its operations."""
        with torch.no_grad():
            for own, given in zip(graph.inputs, tensors_of(batch), strict=True):
                own.copy_(given)
        return graph.replay()


class ReplayStep:
    """Repeats the operations of the objective and its gradient, captured at the first batch of each shape.

    Its gradients are those of :class:`EagerStep` bit by bit, but to rounding with labels that exclude components;
    clipping and Adam, on one vector, differ in the last digit. A capture takes as long as some ten to thirty eager
    steps, and a step from half of an eager one to a fifth. While it trains, parameters and the optimizer's moments are
    views of one vector, until :meth:`close`.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x).
        objective: The loss. It must do the same operations for every batch of the same shape.
        optimizer: ``torch.optim.Adam(fused=True)`` with one group of parameters.
        max_grad_norm: The greatest Euclidean norm of the gradient, or None to leave it as it is.
        program: Graphs captured before, for the same modules and objective.

    Raises:
        CaptureError: At the first batch of a shape, if its step cannot be captured; then parameters, buffers and the
            random state are what they were.
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
        check_optimizer(optimizer)
        self.program = Program(model, guide, objective, max_grad_norm) if program is None else program
        self.program.non_finite.zero_()
        self.optimizer = optimizer

    def begin_epoch(self) -> None:
        """Captures anew where a caller has changed a number in a module or in the objective since the last epoch."""
        self.program.refresh()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        program = self.program
        try:
            graph = program.graph_for(batch, self.optimizer)
        except BaseException:
            self.close()
            raise
        before = [buffer.clone() for buffer in program.changed]
        numbers = program.run(graph, batch)[0].clone()
        program.laid_out.step(program.non_finite)
        for buffer, was in zip(program.changed, before, strict=True):
            buffer.data.copy_(torch.where(program.non_finite > 0, was, buffer))
        metrics = dict(zip(graph.metrics, numbers[1:].unbind(), strict=True))
        return metrics | {"non_finite": program.non_finite.clone()}

    def close(self) -> None:
        """Gives each parameter memory of its own again."""
        if self.program.flat is not None:
            self.program.flat.detach()


def all_buffers(*modules: nn.Module) -> list[Tensor]:
    """Returns the buffers of modules, each once."""
    return list(dict.fromkeys(buffer for module in modules for buffer in module.buffers()))


def numbers_of(owner: object) -> dict[str, Any]:
    """Returns the attributes of an object that are numbers or text."""
    own = getattr(owner, "__dict__", {})
    return {name: value for name, value in own.items() if isinstance(value, bool | int | float | str)}


def owners(model: nn.Module, guide: nn.Module, objective: Objective) -> list[object]:
    """Returns the objects whose attributes a captured graph takes for constant."""
    return [*model.modules(), *guide.modules(), objective, *objective.terms()]


def surroundings(model: nn.Module, guide: nn.Module, objective: Objective) -> Hashable:
    """Returns the numbers in modules and objective, and where buffers lie, all of which a graph takes for constant."""
    numbers = tuple(tuple(numbers_of(owner).items()) for owner in owners(model, guide, objective))
    return numbers, tuple((id(buffer), buffer.data_ptr()) for buffer in all_buffers(model, guide))


@contextmanager
def undone(model: nn.Module, guide: nn.Module, objective: Objective, *tensors: Tensor) -> Iterator[None]:
    """Puts buffers, tensors, numbers in modules and objective, and random generators back to what they were before."""
    parts = [*model.modules(), *guide.modules()]
    held = [(part._buffers, dict(part._buffers)) for part in parts]
    before = [(tensor, tensor.clone()) for tensor in [*all_buffers(model, guide), *tensors]]
    numbers = [(owner, numbers_of(owner)) for owner in owners(model, guide, objective)]
    with isolated_random_state():
        try:
            yield
        finally:
            for own, kept in held:
                own.update(kept)
            for tensor, was in before:
                tensor.data.copy_(was)
            for owner, values in numbers:
                getattr(owner, "__dict__", {}).update(values)


def tensors_of(batch: Batch) -> list[Tensor]:
    """Returns the tensors of a batch, those of its labelled part last."""
    own = [value for one in fields(batch) if isinstance(value := getattr(batch, one.name), Tensor)]
    return own + ([] if batch.labelled is None else tensors_of(batch.labelled))


def with_tensors(batch: Batch, tensors: Iterator[Tensor]) -> Batch:
    """Returns the batch with other tensors, taken from an iterator in the order of :func:`tensors_of`."""
    names = [one.name for one in fields(batch) if isinstance(getattr(batch, one.name), Tensor)]
    given: dict[str, Any] = {name: next(tensors) for name in names}
    own = replace(batch, **given)
    return own if own.labelled is None else replace(own, labelled=with_tensors(own.labelled, tensors))


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
