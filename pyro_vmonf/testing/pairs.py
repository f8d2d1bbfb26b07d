"""The laws of a model and its guide."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.infer import Predictive, TraceEnum_ELBO
from torch import Tensor

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf.evaluation.evaluating import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.simplex import RandomWeights
from pyro_vmonf.testing.base import Contract
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.fitting import fit

__all__ = ["PairContract"]


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
        assert traces[0].nodes["x"].get("scale") == 10
        assert [trace.nodes["z"].get("scale") for trace in traces] == [10, 10]

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
        config = TrainingConfig(epochs=2, batch_size=20)
        fit(model, guide, self.points(model, 60), initializer=None, config=config, progress=False)

    def test_weight_two_counts_as_two_points(self) -> None:
        """The loss of a batch in which points have weight 2 is that of one in which they stand twice."""
        model, guide = self.make()
        x = self.points(model, 12)
        weight = 1 + (torch.arange(len(x), device=x.device) % 3 == 0).to(x)
        twice = torch.cat([x, x[weight == 2]])
        with torch.no_grad(), evaluation_mode(model), evaluation_mode(guide):
            elbo = TraceEnum_ELBO(max_plate_nesting=1)
            found = self.seeded(lambda: elbo.loss(model, guide, x, None, float(weight.sum()), weight))
            expected = self.seeded(lambda: elbo.loss(model, guide, twice))
        self.close(torch.tensor(found / len(twice)), torch.tensor(expected / len(twice)))

    def seeded(self, call: Callable[[], float]) -> float:
        """Returns what ``call()`` does from the same random state each time: a prior's draw is then the same."""
        torch.manual_seed(1)
        return call()
