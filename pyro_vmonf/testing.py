"""Contract tests to inherit: what any ``Components``, and any pair of model and guide, must do.

    class TestMine(ComponentsContract):
        def make(self):
            return MyComponents(3)

pytest collects the subclass and runs every law on it; ``make`` returns a new object each time.
"""

import math
import unittest
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import Predictive, TraceEnum_ELBO
from torch import Tensor

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf.components.base import Components
from pyro_vmonf.evaluation.evaluate import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.networks import mlp
from pyro_vmonf.inference.fit import fit
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.simplex import RandomWeights
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["ComponentsContract", "PairContract"]


class Contract:
    """What the contracts share: each law begins from the same random state and an empty parameter store."""

    def setup_method(self) -> None:
        """Called by pytest before each law."""
        torch.manual_seed(0)
        pyro.clear_param_store()


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
        fit(model, guide, target, init=None, epochs=20, batch_size=32, learning_rate=1e-2, progress=False)
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


class PairContract(Contract):
    """Laws of a ``FlowMixture`` and a ``SoftmaxEncoder`` or your subclasses, programs ``(x, y=None, size=None)``."""

    tolerance = 1e-6
    """Of the loss, absolute per observation and relative."""

    def make(self) -> tuple[FlowMixture, SoftmaxEncoder]:
        """A new model and guide; to override."""
        raise NotImplementedError

    def points(self, model: FlowMixture, count: int = 30) -> Tensor:
        """Points to evaluate at: samples of the components, in equal parts, unless overridden."""
        return model.components.sample(torch.arange(count) % model.n_components)

    def test_both_programs_draw_the_same_sites(self) -> None:
        model, guide = self.make()
        x = self.points(model)
        drawn = [set(poutine.trace(part).get_trace(x).stochastic_nodes) for part in (model, guide)]
        assert drawn[0] == drawn[1]
        assert "z" in drawn[0]

    def test_the_loss_is_the_exact_sum(self) -> None:
        """Where π has a prior it is conditioned on, in both programs."""
        model, guide = self.make()
        self.check_loss(model, guide, self.points(model), None)

    def test_labels_are_observed(self) -> None:
        """The loss is that of q(z | x, y) ∝ q(z | x) p(y | z), for every other point."""
        model, guide = self.make()
        x = self.points(model)
        y = model.labels.classes[torch.arange(len(x)) % model.n_components].to(x.device)
        self.check_loss(model, guide, x, torch.where(torch.arange(len(x)).to(x.device) % 2 == 0, y, -1))

    def check_loss(self, model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, y: Tensor | None) -> None:
        """Asserts that Pyro's loss is minus Σ_n Σ_z q(z | x, y) [log p(x, z) + log p(y | z) − log q(z | x, y)].

        What else the model observes, such as a prior on parameters, is added to both.
        """
        programs: tuple[Any, Any] = (model, guide)
        with evaluation_mode(model), evaluation_mode(guide):
            log_weights = guide.log_weights()
            if log_weights is not None:
                given = {"weights": log_weights.exp()}
                programs = poutine.condition(model, given), poutine.block(guide, hide=["weights"])
            loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(*programs, x, y)
            trace = poutine.trace(programs[0]).get_trace(x)
            trace.compute_log_prob(lambda name, site: name not in ("x", "y", "z") and site["is_observed"])
            loss = loss + sum(site.get("log_prob_sum", 0.0) for site in trace.nodes.values())
            log_q = model.labels.posterior(guide.log_probs(x), y)
            joint = model.log_joint(x, log_weights).T
            joint = joint if y is None else joint + model.labels.log_likelihood(y).to(joint)
            terms = torch.where(log_q.exp() > 0, log_q.exp() * (joint - log_q), 0.0)
        self.close(-loss / len(x), terms.sum() / len(x))

    def close(self, found: Tensor, expected: Tensor) -> None:
        """Asserts that two numbers agree."""
        torch.testing.assert_close(found.detach(), expected.detach(), atol=self.tolerance, rtol=self.tolerance)

    def test_the_evidence_bounds_the_elbo(self) -> None:
        model, guide = self.make()
        assert bool((evaluate(model, guide, self.points(model)).inference_gap >= -self.tolerance).all())

    def test_the_plate_scales_a_batch(self) -> None:
        model, guide = self.make()
        x = self.points(model)
        with torch.no_grad(), evaluation_mode(model), evaluation_mode(guide):
            traces = [poutine.trace(part).get_trace(x, None, 10 * len(x)) for part in (model, guide)]
        assert traces[0].nodes["x"]["scale"] == 10
        assert [trace.nodes["z"]["scale"] for trace in traces] == [10, 10]

    def test_particles_can_be_vectorized(self) -> None:
        """Two particles at once, which where nothing but z is latent give the loss of one."""
        model, guide = self.make()
        x = self.points(model)
        with torch.no_grad(), evaluation_mode(model), evaluation_mode(guide):
            pair = TraceEnum_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1).loss(model, guide, x)
            if guide.log_weights() is None:
                one = TraceEnum_ELBO(max_plate_nesting=1).loss(model, guide, x)
                self.close(torch.tensor(pair / len(x)), torch.tensor(one / len(x)))
        assert math.isfinite(pair)

    def test_means_are_those_of_draws(self) -> None:
        """``mean()`` of a prior or posterior of the weights, by which mixtures are read."""
        model, guide = self.make()
        for part in (model.weights, guide.weights):
            if isinstance(part, RandomWeights):
                with torch.no_grad():
                    drawn = part.distribution().sample((10_000,))
                error = 6 * drawn.std(0) / 100 + 1e-6
                assert bool(((drawn.mean(0) - part.mean()).abs() < error).all()), type(part).__name__

    def test_predictive_samples(self) -> None:
        model, guide = self.make()
        drawn = Predictive(model, guide=guide, num_samples=3)(size=5)
        assert drawn["x"].reshape(3, 5, *model.components.event_shape).isfinite().all()
        assert 0 <= int(drawn["z"].min()) <= int(drawn["z"].max()) < model.n_components

    def test_it_fits(self) -> None:
        model, guide = self.make()
        fit(model, guide, self.points(model, 60), init=None, epochs=2, batch_size=20, progress=False)
