"""Steps: the contract, what breaks it, and what a fit does where a step is not finite."""

import copy

import pytest
import torch
from torch import nn

from pyro_vmonf.components import MAF, RealNVP
from pyro_vmonf.data import Noise, pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import DirichletPosterior, SoftmaxEncoder, convnet, mlp
from pyro_vmonf.models import DirichletWeights, FlowMixture
from pyro_vmonf.objectives import Batch, Consistency, Elbo, ExpectationMaximization, LabelTerm
from pyro_vmonf.steps import EagerStep, ReplayStep
from pyro_vmonf.testing import StepContract
from pyro_vmonf.training import ConstantRate, NonFiniteError, Phase, Trainer, TrainingConfig, TrainingData, fit
from pyro_vmonf.training.batches import batches_of

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


def pair(components=None, hidden=(8,)):
    components = components or RealNVP(2, 3, transforms=3)
    k = components.n_components
    return FlowMixture(components, "learned"), SoftmaxEncoder(mlp(2, k, hidden), k)


def quick(model, guide, x, step="auto", **numbers):
    base = {"epochs": 3, "batch_size": 32, "schedule": "constant", "learning_rate": 1e-3}
    return fit(model, guide, x, initializer=None, config=TrainingConfig(**base | numbers), step=step, progress=False)


def state(*modules):
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class TestEager(StepContract):
    factory = EagerStep

    def make(self):
        return pair(RealNVP(2, 3, transforms=2))


class TestEagerEM(TestEager):
    def objective(self):
        return ExpectationMaximization()


class TestEagerWithConsistency(TestEager):
    def objective(self):
        return Elbo() + Consistency(1.0, Noise(0.1))


class TestEagerWithAveragesInTheFlows(StepContract):
    factory = EagerStep

    def make(self):
        return pair(RealNVP(2, 3, transforms=2, normalization="batch"))

    def points(self, model, count=32):
        return pinwheel(11, wings=3)[0][:count]


class TestEagerOnImages(StepContract):
    """Batch normalization, whose averages torch changes without a new version, and dropout."""

    factory = EagerStep

    def make(self):
        network = nn.Sequential(nn.Dropout(0.2), convnet(5, 4, 3, channels=(4, 6)))
        components = MAF(20, 3, transforms=2, hidden_features=(12,))
        return FlowMixture(components), SoftmaxEncoder(network, 3)


class TestEagerWithAPrior(StepContract):
    factory = EagerStep

    def make(self):
        guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3, initial=5.0))
        return FlowMixture(RealNVP(2, 3, transforms=2), DirichletWeights(2.0, 3)), guide


class Labelled(Elbo):
    """ELBO and label term of points whose labels are known by their signs."""

    def __call__(self, model, guide, batch):
        y = torch.where(batch.x[:, 0] > 0, (batch.x[:, 1] > 0).long(), -1)
        shown = Batch(batch.x.abs(), len(batch.x), (batch.x[:, 1] > 0).long(), all_labelled=True)
        given = Batch(batch.x, batch.size, y, labelled=shown)
        return (Elbo() + LabelTerm(0.5))(model, guide, given)


class TestEagerWithLabels(TestEager):
    def objective(self):
        return Labelled()


class TestReplay(TestEager):
    factory = ReplayStep
    tolerance = 1e-13  # Adam on one vector rounds the last numbers of a parameter otherwise


class TestReplayOnImages(TestEagerOnImages):
    factory = ReplayStep
    tolerance = 1e-9  # Adam on one vector rounds the last numbers of a parameter otherwise


class TestReplayWithAPrior(TestEagerWithAPrior):
    factory = ReplayStep
    tolerance = 1e-13  # Adam on one vector rounds the last numbers of a parameter otherwise


class TestReplayWithLabels(TestEagerWithLabels):
    factory = ReplayStep
    tolerance = 1e-12


class OwnRate(EagerStep):
    """Clips at another norm than it was told."""

    def __init__(self, *args):
        super().__init__(*args)
        self.max_grad_norm = 1e-3


class Careless(EagerStep):
    """Updates whatever came."""

    def __call__(self, batch):
        self.optimizer.zero_grad()
        loss = self.objective(self.model, self.guide, batch)
        loss.value.backward()
        self.optimizer.step()
        return loss.metrics | {"non_finite": (~torch.isfinite(loss.value)).float()}


class ForgetsBuffers(EagerStep):
    def __call__(self, batch):
        self.buffers = []
        return super().__call__(batch)


class Forgives(EagerStep):
    """Goes on after a step that was not finite."""

    def __call__(self, batch):
        self.non_finite = torch.zeros_like(self.non_finite)
        return super().__call__(batch)


class ReadsBack(EagerStep):
    def __call__(self, batch):
        metrics = super().__call__(batch)
        if metrics["non_finite"].item():
            raise NonFiniteError
        return metrics


class KeepsGraphs(EagerStep):
    def __call__(self, batch):
        return super().__call__(batch) | {"loss": self.objective(self.model, self.guide, batch).value}


@pytest.mark.parametrize(
    ("factory", "law"),
    [
        (OwnRate, "test_it_updates_as_autograd_does"),
        (Careless, "test_a_step_that_is_not_finite_changes_nothing"),
        (ForgetsBuffers, "test_a_step_that_is_not_finite_changes_nothing"),
        (Forgives, "test_a_step_that_is_not_finite_changes_nothing"),
        (ReadsBack, "test_it_reads_nothing_back_to_the_host"),
        (KeepsGraphs, "test_it_returns_numbers_and_a_flag"),
    ],
)
def test_the_contract_can_fail(factory, law):
    contract = TestEagerOnImages()
    contract.factory = factory
    with pytest.raises(AssertionError):
        getattr(contract, law)()


def test_an_optimizer_that_cannot_skip_is_refused():
    model, guide = pair()
    with pytest.raises(TypeError, match="optimizer: expected one with a fused step, got SGD"):
        EagerStep(model, guide, Elbo(), torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_step_of_ones_own_is_used():
    x, _ = pinwheel(20, wings=3)
    seen = []

    class Counting(EagerStep):
        def __call__(self, batch):
            seen.append(len(batch.x))
            return super().__call__(batch)

    model, guide = pair()
    twins = copy.deepcopy((model, guide))
    config = TrainingConfig(epochs=2, batch_size=20)
    for (m, g), step in (((model, guide), Counting), (twins, "eager")):
        fit(m, g, x, initializer=None, config=config, step=step, progress=False)
    assert seen == [20] * 6
    assert same(state(model, guide), state(*twins))
    with pytest.raises(ValueError, match=r"step: expected one of \('auto', 'eager'\), got 'fast'"):
        fit(model, guide, x, initializer=None, config=config, step="fast", progress=False)


def test_clipping_clips(monkeypatch):
    x, _ = pinwheel(40, wings=3)
    norms = []
    original = torch.optim.Adam.step

    def watched(self, *args):
        squares = [p.grad.square().sum() for g in self.param_groups for p in g["params"]]
        norms.append(float(torch.stack(squares).sum().sqrt()))
        return original(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    quick(*pair(), x)
    assert max(norms) > 0.01
    norms.clear()
    quick(*pair(), x, max_grad_norm=0.01)
    assert max(norms) <= 0.01 + 1e-9


class Breaks(nn.Module):
    """A network whose output turns NaN after some calls in training, or for good."""

    def __init__(self, good_calls):
        super().__init__()
        self.normalize = nn.BatchNorm1d(2)
        self.linear = nn.Linear(2, 3)
        self.left = good_calls

    def forward(self, x):
        self.left -= self.training
        return self.linear(self.normalize(x)) * (1.0 if self.left >= 0 else float("nan"))


@pytest.mark.parametrize("good", [0, 1, 5, 7])
def test_a_non_finite_step_is_named_and_the_parameters_before_it_stay(good):
    """Four steps an epoch: the model holds what it held before the step, not what the epoch began with."""
    x, _ = pinwheel(40, wings=3)
    model = FlowMixture(RealNVP(2, 3, transforms=3, normalization="batch"))
    guide = SoftmaxEncoder(Breaks(good), 3)
    twins = copy.deepcopy((model, guide))
    random = torch.get_rng_state()
    with pytest.raises(NonFiniteError, match=rf"expected a finite loss .* NaN or infinity in step {good} of this fit"):
        quick(model, guide, x, epochs=5)
    assert not model.training
    assert not guide.training
    assert torch.equal(random, torch.get_rng_state())

    class Stops(EagerStep):
        """The same steps, of which the fit makes the good ones alone."""

        def __call__(self, batch):
            return super().__call__(batch) if self.guide.network.left > 0 else {"non_finite": torch.ones(())}

    with pytest.raises(NonFiniteError):
        quick(*twins, x, Stops, epochs=5)
    assert same(state(model, guide), state(*twins))
    guide.network.left = 10**9
    assert bool(torch.isfinite(evaluate(model, guide, x).elbo).all())


def test_a_step_in_a_later_epoch_is_counted_from_the_begin_of_the_fit():
    x, _ = pinwheel(40, wings=3)
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(Breaks(13), 3)
    with pytest.raises(NonFiniteError, match="in step 13 of this fit; model and guide hold the parameters before it"):
        quick(model, guide, x, epochs=9)


def test_the_last_good_parameters_come_back_after_a_leap():
    """One batch an epoch, and a learning rate that throws the parameters out of the world.

    What comes back are the parameters before the step that failed, so those that the leap led to; the step before it
    was finite.
    """
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    before = state(model, guide)
    with pytest.raises(NonFiniteError, match="step 1"):
        quick(model, guide, x, epochs=50, batch_size=1000, learning_rate=1e200)
    assert not same(before, state(model, guide))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state(model, guide))
    assert not model.training


def test_a_non_finite_gradient_stops_before_it_is_used():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    next(model.parameters()).register_hook(lambda g: g * float("inf"))
    before = state(model, guide)
    with pytest.raises(NonFiniteError, match="finite loss and gradient, got NaN or infinity in step 0"):
        quick(model, guide, x)
    assert same(before, state(model, guide))


def test_nothing_moves_in_the_optimizer_of_a_fit_that_breaks():
    x, _ = pinwheel(40, wings=3)
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(Breaks(6), 3)
    config = TrainingConfig(epochs=5, batch_size=32)
    trainer = Trainer(model, guide, TrainingData(x), config, step=EagerStep)
    with pytest.raises(NonFiniteError, match="step 6"):
        trainer.run([Phase("main", 5, Elbo(), batches_of(config), ConstantRate(1e-3))])
    steps = {float(one["step"]) for one in trainer.optimizer.state.values()}
    assert steps == {6.0}
    assert all(bool(torch.isfinite(t).all()) for one in trainer.optimizer.state.values() for t in one.values())
    assert len(trainer.history.rows) == 1
