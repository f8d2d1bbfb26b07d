"""The contracts that the library offers, kept by its own kinds and by a user's; and that they can fail."""

import pytest
import torch
from prior_on_flows import MixtureWithPrior
from pyro.distributions import Independent, Laplace, Normal, TransformedDistribution
from pyro.distributions.transforms import ExpTransform, affine_coupling
from torch.distributions.transforms import PowerTransform

from pyro_vmonf.components import MAF, NSF, FlowList, RealNVP
from pyro_vmonf.components.base import Components
from pyro_vmonf.guides import DirichletPosterior, SoftmaxEncoder, StickBreakingPosterior, mlp
from pyro_vmonf.models import DirichletWeights, FlowMixture, Labels, StickBreakingWeights
from pyro_vmonf.testing import ComponentsContract, PairContract

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


class LaplaceClouds(Components):
    """K Laplace distributions with learned locations and scales: a user's own components."""

    def __init__(self, features, n_components):
        super().__init__()
        self.n_components, self.event_shape = n_components, torch.Size([features])
        self.loc = torch.nn.Parameter(torch.randn(n_components, features))
        self.log_scale = torch.nn.Parameter(torch.zeros(n_components, features))

    def _log_prob(self, x):
        return Laplace(self.loc[:, None], self.log_scale.exp()[:, None]).to_event(1).log_prob(x)

    def component(self, k):
        return Laplace(self.loc[k], self.log_scale[k].exp()).to_event(1)


class TestUsersOwn(ComponentsContract):
    def make(self):
        return LaplaceClouds(2, 3)


class TestRealNVP(ComponentsContract):
    def make(self):
        return RealNVP(2, 3, transforms=2)


class TestMAF(ComponentsContract):
    def make(self):
        return MAF(3, 2, transforms=2, hidden_features=(8,))


class TestNSF(ComponentsContract):
    def make(self):
        return NSF(3, 2)


class TestAutoregressiveNSF(ComponentsContract):
    def make(self):
        return NSF(2, 2, autoregressive=True)


class TestNSFOfOneFeature(ComponentsContract):
    def make(self):
        return NSF(1, 2)


class TestFlowList(ComponentsContract):
    def make(self):
        base = Normal(torch.zeros(2), torch.ones(2)).to_event(1)
        coupling = TransformedDistribution(base, [affine_coupling(2, [8])])
        return FlowList([RealNVP(2, 2, transforms=2), coupling, Normal(torch.zeros(2), torch.ones(2)).to_event(1)])


class TestPair(PairContract):
    def make(self):
        return FlowMixture(RealNVP(2, 3, transforms=2), "learned"), SoftmaxEncoder(mlp(2, 3), 3)


class TestPairWithAUsersComponents(PairContract):
    def make(self):
        return FlowMixture(LaplaceClouds(2, 3), [0.5, 0.3, 0.2]), SoftmaxEncoder(mlp(2, 3), 3)


class TestPairWithAPrior(PairContract):
    def make(self):
        guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3))
        return FlowMixture(RealNVP(2, 3, transforms=2), DirichletWeights(2.0, 3)), guide


class TestPairWithAPriorOnFlows(PairContract):
    def make(self):
        model = MixtureWithPrior(RealNVP(2, 3, transforms=2), "learned")
        return model, SoftmaxEncoder(mlp(2, 3), 3)


class TestPairWithSticksAndClasses(PairContract):
    def make(self):
        labels = Labels([0, 1, 1], noise=0.1)
        guide = SoftmaxEncoder(mlp(2, 3), 3, labels=labels, weights=StickBreakingPosterior(3))
        return FlowMixture(RealNVP(2, 3, transforms=2), StickBreakingWeights(3), labels), guide


class Wrong(LaplaceClouds):
    def _log_prob(self, x):
        return super()._log_prob(x) + 0.1


class NoGradient(LaplaceClouds):
    def _log_prob(self, x):
        return super()._log_prob(x).detach().requires_grad_()


class AnyComponent(LaplaceClouds):
    def sample(self, z):
        return super().sample(torch.zeros_like(z))


class WiderSamples(LaplaceClouds):
    """Samples twice as wide as the density says."""

    def component(self, k):
        flow = super().component(k)

        class Wide(Independent):
            def sample(self, sample_shape=()):
                return 2 * super().sample(sample_shape)

        return Wide(flow.base_dist, 1)


class NoInverse(PowerTransform):
    """Goes to the square of what its inverse goes from."""

    bijective = True

    def _call(self, x):
        return super()._call(x) ** 2


class Mismatched(LaplaceClouds):
    """In five dimensions: a transform that its inverse does not undo."""

    def __init__(self, features, n_components):
        super().__init__(5, n_components)

    def component(self, k):
        return TransformedDistribution(super().component(k), [ExpTransform(), NoInverse(torch.tensor(1.5))])


class Forgetful(LaplaceClouds):
    def __init__(self, features, n_components):
        super().__init__(features, n_components)
        self.moved = torch.randn(features)

    def _log_prob(self, x):
        return super()._log_prob(x - self.moved)

    def component(self, k):
        return Laplace(self.loc[k] + self.moved, self.log_scale[k].exp()).to_event(1)


class NoLabels(FlowMixture):
    def forward(self, x=None, y=None, size=None, weight=None):
        return super().forward(x, None, size, weight)


class WrongMean(DirichletWeights):
    def mean(self):
        return super().mean().flip(0)


class NoSize(SoftmaxEncoder):
    def forward(self, x, y=None, size=None, weight=None):
        return super().forward(x, y, None, weight)


class NoWeight(FlowMixture):
    def forward(self, x=None, y=None, size=None, weight=None):
        return super().forward(x, y, size)


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Wrong, "test_the_table_is_each_component_alone"),
        (Wrong, "test_densities_integrate_to_one"),
        (NoGradient, "test_gradients_are_finite_and_reach_every_parameter"),
        (AnyComponent, "test_samples_come_from_the_component_asked_for"),
        (WiderSamples, "test_samples_have_the_density"),
        (Mismatched, "test_samples_have_the_density"),
        (Forgetful, "test_a_state_dict_brings_it_back"),
    ],
)
def test_the_contract_can_fail(kind, law):
    contract = ComponentsContract()
    contract.make = lambda: kind(2, 3)
    with pytest.raises(AssertionError):
        getattr(contract, law)()


def test_the_contract_of_pairs_reads_weights_as_they_are_drawn():
    contract = PairContract()
    guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3))
    contract.make = lambda: (FlowMixture(LaplaceClouds(2, 3), WrongMean([1.0, 2.0, 3.0])), guide)
    with pytest.raises(AssertionError, match="WrongMean"):
        contract.test_means_are_those_of_draws()


@pytest.mark.parametrize(
    ("model", "guide", "law"),
    [
        (NoLabels, SoftmaxEncoder, "test_labels_are_observed"),
        (FlowMixture, NoSize, "test_the_plate_scales_a_batch"),
        (NoWeight, SoftmaxEncoder, "test_weight_two_counts_as_two_points"),
    ],
)
def test_the_contract_of_pairs_can_fail(model, guide, law):
    labels = Labels([0, 0, 1], noise=0.2)
    contract = PairContract()
    contract.make = lambda: (model(LaplaceClouds(2, 3), labels=labels), guide(mlp(2, 3), 3, labels=labels))
    with pytest.raises(AssertionError):
        getattr(contract, law)()
