"""The laws of a step."""

import math
from typing import Any

import torch
from torch import Tensor

from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Elbo, Objective
from pyro_vmonf.steps.base import Step, StepFactory
from pyro_vmonf.testing.base import Contract

__all__ = ["StepContract"]


class StepContract(Contract):
    """Laws of a step, whatever it is made of: ``factory`` makes it."""

    factory: StepFactory
    tolerance = 0.0
    """Of parameters, absolute and relative, beside those that plain autograd gives."""

    def make(self) -> tuple[FlowMixture, SoftmaxEncoder]:
        """A new model and guide, whose parameters are drawn from the random state; to override."""
        raise NotImplementedError

    def objective(self) -> Objective:
        """The loss; the ELBO unless overridden."""
        return Elbo()

    def points(self, model: FlowMixture, count: int = 32) -> Tensor:
        """Points to train on: samples of the components, in equal parts, unless overridden."""
        return model.components.sample(torch.arange(count) % model.n_components)

    def begun(self) -> tuple[FlowMixture, SoftmaxEncoder, torch.optim.Optimizer, Step, Tensor]:
        """A pair with its optimizer, its step and points."""
        torch.manual_seed(0)
        model, guide = self.make()
        x = self.points(model)
        parameters = [*model.parameters(), *guide.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=1e-2, fused=True)
        model.train()
        guide.train()
        return model, guide, optimizer, self.factory(model, guide, self.objective(), optimizer, 1.0), x

    def test_it_updates_as_autograd_does(self) -> None:
        """Three steps give the parameters of three plain ones: loss, backward, clip, Adam."""
        model, guide, _, step, x = self.begun()
        torch.manual_seed(7)
        for _ in range(3):
            step(Batch(x, len(x)))
        other, encoder, optimizer, _, x = self.begun()
        parameters = [*other.parameters(), *encoder.parameters()]
        torch.manual_seed(7)
        for _ in range(3):
            optimizer.zero_grad()
            self.objective()(other, encoder, Batch(x, len(x))).value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        for mine, plain in zip([*model.parameters(), *guide.parameters()], parameters, strict=True):
            torch.testing.assert_close(mine, plain, atol=self.tolerance, rtol=self.tolerance)

    def test_it_returns_numbers_and_a_flag(self) -> None:
        _, _, _, step, x = self.begun()
        metrics = step(Batch(x, len(x)))
        assert float(metrics["non_finite"]) == 0
        assert all(tensor.shape == () and not tensor.requires_grad for tensor in metrics.values())

    def test_a_step_that_is_not_finite_changes_nothing(self) -> None:
        """Parameters, buffers and Adam's state stay as they were, from that step on."""
        model, guide, optimizer, step, x = self.begun()
        step(Batch(x, len(x)))
        tensors = [*model.state_dict().values(), *guide.state_dict().values()]
        tensors += [t for state in optimizer.state.values() for t in state.values()]
        before = [tensor.clone() for tensor in tensors]
        assert float(step(Batch(x * math.nan, len(x)))["non_finite"]) == 1
        assert float(step(Batch(x, len(x)))["non_finite"]) == 1
        assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))

    def test_it_reads_nothing_back_to_the_host(self) -> None:
        """Only Pyro's own question ``mask.all()`` may wait for a device."""
        _, _, _, step, x = self.begun()
        step(Batch(x, len(x)))
        reads: list[str] = []

        class Watch(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if getattr(func, "__name__", "") in {"item", "tolist", "cpu", "numpy", "__float__", "__int__"}:
                    reads.append(func.__name__)
                return func(*args, **(kwargs or {}))

        with Watch():
            step(Batch(x, len(x)))
        assert not reads
