"""The laws of ``Components``."""

import math
import unittest
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf.components.base import Components
from pyro_vmonf.evaluation.evaluating import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.networks import mlp
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.testing.base import Contract
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.fitting import fit
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["ComponentsContract"]


class ComponentsContract(Contract):
    """Laws of p(x | z)."""

    tolerance = 1e-5
    """Of densities, absolute and relative."""

    def make(self) -> Components:
        """New components; to override."""
        raise NotImplementedError

    def points(self, components: Components, count: int = 40) -> Tensor:
        """Points to evaluate at: the components' own samples, in equal parts, unless overridden."""
        return components.sample(torch.arange(count) % components.n_components)

    def test_declares_its_shape(self) -> None:
        components = self.make()
        assert components.n_components >= 1
        assert components.component(0).event_shape == components.event_shape
        assert components.component(0).batch_shape == ()

    def test_the_table_is_each_component_alone(self) -> None:
        components = self.make()
        x = self.points(components)
        with torch.no_grad(), evaluation_mode(components):
            each = [components.component(k).log_prob(x) for k in range(components.n_components)]
            self.close(components.log_prob(x), torch.stack(each))

    def test_batches_of_any_shape(self) -> None:
        components = self.make()
        x = self.points(components, 6)
        with torch.no_grad(), evaluation_mode(components):
            table = components.log_prob(x)
            assert table.shape == (components.n_components, 6)
            self.close(components.log_prob(x[0]), table[:, 0])
            self.close(components.log_prob(x.reshape(2, 3, *x.shape[1:])), table.reshape(-1, 2, 3))

    def test_samples_come_from_the_component_asked_for(self) -> None:
        components = self.make()
        z = torch.arange(12).reshape(3, 4) % components.n_components
        assert components.sample(z).shape == (3, 4, *components.event_shape)
        for k in range(components.n_components):
            with torch.no_grad(), evaluation_mode(components):
                flow = components.component(k)
                scores = [flow.log_prob(x) for x in (components.sample(torch.full((500,), k)), flow.sample((500,)))]
            error = (sum(score.var() for score in scores) / 500) ** 0.5
            assert abs(scores[0].mean() - scores[1].mean()) < 6 * error + 1e-6, f"component {k}"

    def test_samples_have_the_density(self) -> None:
        """The mean of log p over samples is ∫ p log p; where a grid would not fit, transforms undo themselves."""
        components = self.make()
        for k in range(components.n_components):
            flow: Any = components.component(k)
            with torch.no_grad(), evaluation_mode(components):
                x = flow.sample((4000,))
                if math.prod(components.event_shape) <= 2:
                    scores = components.log_prob(x)[k]
                    expected = self.integral(components, k, lambda log_p: log_p.exp() * log_p.clamp(min=-1e9))
                    error = 6 * float(scores.std()) / len(x) ** 0.5 + 0.03
                    assert abs(float(scores.mean()) - expected) < error, f"component {k}"
                for transform in reversed(getattr(flow, "transforms", [])):
                    before = transform.inv(x)
                    clear_caches(components)
                    self.close(transform(before), x)
                    x = before

    def test_conditional_picks_from_the_table(self) -> None:
        components = self.make()
        x = self.points(components)
        z = torch.arange(len(x)) % components.n_components
        with torch.no_grad(), evaluation_mode(components):
            self.close(components.conditional(z).log_prob(x), components.log_prob(x)[z, torch.arange(len(x))])

    def test_densities_integrate_to_one(self) -> None:
        components = self.make()
        if math.prod(components.event_shape) > 2:
            raise unittest.SkipTest("a grid would not fit")
        for k in range(components.n_components):
            assert abs(self.integral(components, k, torch.exp) - 1) < 0.03, f"component {k}"

    def test_gradients_are_finite_and_reach_every_parameter(self) -> None:
        components = self.make()
        components.log_prob(self.points(components)).sum().backward()
        for name, parameter in components.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert bool(torch.isfinite(parameter.grad).all()), name

    def test_a_state_dict_brings_it_back(self) -> None:
        components, other = self.make(), self.make()
        with torch.no_grad():
            for parameter in components.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        x = self.points(components)
        other.load_state_dict(components.state_dict())
        with torch.no_grad(), evaluation_mode(components), evaluation_mode(other):
            self.close(other.log_prob(x), components.log_prob(x))

    def test_it_trains(self) -> None:
        components = self.make()
        x, k = self.points(components, 64), components.n_components
        if not any(p.requires_grad for p in components.parameters()):
            raise unittest.SkipTest("nothing to train")
        model, guide = (
            FlowMixture(components),
            SoftmaxEncoder(torch.nn.Sequential(torch.nn.Flatten(), mlp(x[0].numel(), k)), k),
        )
        target = 1.5 * x + 0.5
        before = float(evaluate(model, guide, target).elbo.mean())
        config = TrainingConfig(epochs=20, batch_size=32, learning_rate=1e-2)
        fit(model, guide, target, initializer=None, config=config, progress=False)
        assert float(evaluate(model, guide, target).elbo.mean()) > before

    def close(self, found: Tensor, expected: Tensor) -> None:
        """Asserts that two densities agree."""
        torch.testing.assert_close(found, expected, atol=self.tolerance, rtol=self.tolerance, check_dtype=False)

    def integral(
        self,
        components: Components,
        k: int,
        function: Callable[[Tensor], Tensor],
        reach: float = 9.0,
        side: int = 500,
    ) -> float:
        """∫ f(log p(x | z = k)) dx on a grid of ``side`` points a way, ``reach`` standard deviations about the mean."""
        drawn = components.sample(torch.full((2000,), k)).flatten(1)
        axes = [
            torch.linspace(-reach, reach, side).to(drawn) * s + m
            for m, s in zip(drawn.mean(0), drawn.std(0), strict=True)
        ]
        cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
        grid = torch.cartesian_prod(*axes).reshape(-1, *components.event_shape)
        with torch.no_grad(), evaluation_mode(components):
            return cell * sum(float(function(components.log_prob(part)[k]).sum()) for part in grid.split(50_000))
