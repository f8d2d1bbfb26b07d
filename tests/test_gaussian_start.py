"""Epoch 0: a model begins with exactly the density of its start's Gaussians."""

import pyro.distributions as dist
import pytest
import torch
from sklearn.mixture import GaussianMixture

from pyro_vmonf.components import MAF, NSF, FlowList, RealNVP, StackedFlow, StandardNormal
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import DiscriminantNetwork, SoftmaxEncoder, mlp
from pyro_vmonf.initialization import GaussianStartWarning, Initializer
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture, log_joint
from pyro_vmonf.initialization.gaussians import cluster_gaussians, covariance_type_of
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.training import TrainingConfig, fit
from pyro_vmonf.transforms import ActNorm, Permutation, PLUAffine, PReLU, Reverse, Whitening, affine_coupling

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
K = 3
RECIPES = {"RealNVP": RealNVP, "MAF": MAF, "NSF": NSF}
# Transforms that each component has alone; some that all share next to the base; some next to the data.
SHARING = {"private": {}, "shared": {"transforms": 3, "shared": 2}, "warp": {"transforms": 0, "warp": 3}}
METHODS = {"full": "gmm", "tied": "gmm-tied", "diag": "gmm-diag"}


def points(features, n=150, seed=0):
    """Three correlated clouds that touch."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(K, features, features, generator=generator, dtype=torch.float64)
    centres = 3 * torch.randn(K, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, features, generator=generator, dtype=torch.float64)
    z = torch.arange(n) % K
    return centres[z] + (mix[z] @ noise.unsqueeze(-1)).squeeze(-1), z


def started(components, x, initializer, network=None, **config):
    """The model and the guide as they are before the first step."""
    d, k = x.shape[1], components.n_components
    model = FlowMixture(components, "learned")
    guide = SoftmaxEncoder(mlp(d, k) if network is None else network, k)
    start = Initializer(initializer, warmup_epochs=0)
    fit(model, guide, x, initializer=start, config=TrainingConfig(epochs=0, **config), progress=False)
    return model, guide


@pytest.mark.parametrize(
    ("recipe", "features"), [(r, d) for r in RECIPES for d in (1, 2, 5) if (r, d) != ("RealNVP", 1)]
)
@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("sharing", SHARING)
def test_epoch_0_is_the_gaussian_mixture(recipe, sharing, kind, features):
    x, _ = points(features)
    model, guide = started(RECIPES[recipe](features, K, **SHARING[sharing]), x, METHODS[kind])
    own = fit_gaussian_mixture(x, K, covariance_type=kind)
    assert features == 1 or covariance_type_of(own.covariances) == kind
    far = torch.cat([x, 5 * x, -20 * x])
    expected = log_joint(far, own.weights, own.means, own.covariances)
    torch.testing.assert_close(evaluate(model, guide, far).log_joint.mT, expected, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_epoch_0_is_a_mixture_of_scikit_learn(covariance_type):
    x, _ = points(2)
    method = GaussianMixture(K, covariance_type=covariance_type, random_state=0)
    model, guide = started(MAF(2, K), x, method)
    evidence = torch.as_tensor(method.fit(x.numpy()).score_samples(x.numpy()))
    torch.testing.assert_close(evaluate(model, guide, x).evidence, evidence, atol=1e-9, rtol=0)


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("recipe", RECIPES)
def test_epoch_0_of_hard_clusters_is_their_gaussians(recipe, sharing):
    x, z = points(2)
    weight = torch.rand(len(x)) + 0.5
    model, guide = FlowMixture(RECIPES[recipe](2, K, **SHARING[sharing]), "learned"), SoftmaxEncoder(mlp(2, K), K)
    start, config = Initializer(z.numpy(), warmup_epochs=0), TrainingConfig(epochs=0)
    fit(model, guide, x, sample_weight=weight, initializer=start, config=config, progress=False)
    own = cluster_gaussians(x, torch.nn.functional.one_hot(z, K), weight=weight)
    torch.testing.assert_close(evaluate(model, guide, x).log_joint.mT, log_joint(x, *own), atol=1e-9, rtol=1e-12)


def test_a_discriminant_starts_at_the_responsibilities():
    x, _ = points(2)
    model, guide = started(NSF(2, K), x, "gmm", DiscriminantNetwork(2, K))
    found, own = evaluate(model, guide, x), fit_gaussian_mixture(x, K)
    torch.testing.assert_close(found.encoder_probs, own.responsibilities, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.inference_gap, torch.zeros(len(x)), atol=1e-9, rtol=0)


def test_augmented_points_have_gaussians_of_their_own():
    """What is fitted is the density of what comes out of the augmentation; the type of the covariances is kept."""
    x, _ = points(2)
    model, guide = started(MAF(2, K), x, "gmm-diag", augment=lambda x: 2 * x)
    shares = fit_gaussian_mixture(x, K, covariance_type="diag").responsibilities
    own = cluster_gaussians(2 * x, shares, covariance_type="diag")
    torch.testing.assert_close(evaluate(model, guide, x).log_joint.mT, log_joint(x, *own), atol=1e-9, rtol=1e-12)


def test_float32_and_devices(device):
    x, _ = points(5)
    components = NSF(5, K, warp=1).float().to(device)
    own = fit_gaussian_mixture(x, K)
    assert components.set_gaussians(own.means.to(device), own.covariances.to(device)) == []
    found = components.log_prob(x.float().to(device)).double().cpu()
    torch.testing.assert_close(
        found + own.weights.log()[:, None], log_joint(x, own.weights, own.means, own.covariances), atol=1e-3, rtol=1e-3
    )


class Laplace(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("origin", torch.zeros(2))

    def forward(self):
        return dist.Laplace(self.origin, torch.ones_like(self.origin)).to_event(1)


def moved(components):
    """Components whose conditioners are no identity any more."""
    with torch.no_grad():
        for parameter in components.parameters():
            parameter.add_(0.3)
    return components


OTHERS = {
    "batch normalisation": lambda: RealNVP(2, K, transforms=2, normalization="batch"),
    "another base": lambda: StackedFlow(Laplace(), [affine_coupling(2), PLUAffine(2, components=K)]),
    "PReLU": lambda: StackedFlow(StandardNormal(2), [PReLU(2), PLUAffine(2, components=K)]),
    "trained": lambda: moved(RealNVP(2, K)),
    "diagonal": lambda: RealNVP(2, K, normalization="act", whiten=False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_a_gaussian_is_named_and_unchanged(name):
    x, _ = points(2)
    components = OTHERS[name]()
    own = fit_gaussian_mixture(x, K)
    before = {key: tensor.clone() for key, tensor in components.state_dict().items()}
    assert components.set_gaussians(own.means, own.covariances) == [0, 1, 2]
    assert all(torch.equal(before[key], tensor) for key, tensor in components.state_dict().items())
    with pytest.warns(GaussianStartWarning, match=r"components \[0, 1, 2\] do not begin as the Gaussians of the st"):
        started(components, x, "gmm")


def test_singular_covariances_are_no_gaussians():
    components = MAF(2, K)
    before = {key: tensor.clone() for key, tensor in components.state_dict().items()}
    assert components.set_gaussians(torch.zeros(K, 2), torch.ones(K, 2, 2)) == [0, 1, 2]
    assert all(torch.equal(before[key], tensor) for key, tensor in components.state_dict().items())


def test_members_of_a_list_are_gaussians_each():
    x, _ = points(2)
    plain = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
    components = FlowList([MAF(2, 1, transforms=2), plain, RealNVP(2, 1, normalization="batch")])
    own = fit_gaussian_mixture(x, K)
    assert components.covariance_type == "full"
    assert components.set_gaussians(own.means, own.covariances) == [1, 2]
    expected = log_joint(x, own.weights, own.means, own.covariances) - own.weights.log()[:, None]
    torch.testing.assert_close(components.log_prob(x)[0], expected[0], atol=1e-9, rtol=0)


FLOWS = {
    "reordered": lambda: [PLUAffine(5, components=K), Reverse(), Permutation(torch.tensor([1, 3, 0, 2, 4]))],
    "ordered": lambda: [PLUAffine(5, components=K, order=torch.tensor([1, 3, 0, 2, 4]))],
    "whitening": lambda: [ActNorm(5), Whitening(5, components=K), Reverse(), ActNorm(5)],
    "act": lambda: [PLUAffine(5), ActNorm(5, components=K)],
}


@pytest.mark.parametrize("name", FLOWS)
def test_reordered_features(name):
    x, z = points(5)
    kind = "diag" if name == "act" else "full"
    own = fit_gaussian_mixture(x, K, covariance_type=kind)
    components = StackedFlow(StandardNormal(5), FLOWS[name]())
    assert components.covariance_type == kind
    components.initialize(x, torch.nn.functional.one_hot(z, K))
    assert components.set_gaussians(own.means, own.covariances) == []
    expected = log_joint(x, own.weights, own.means, own.covariances) - own.weights.log()[:, None]
    torch.testing.assert_close(components.log_prob(x), expected, atol=1e-9, rtol=1e-12)


def test_diagonal_clusters_where_nothing_else_can_be_held():
    """An ActNorm alone holds the variances of clusters, and no warning is given."""
    x, z = points(2)
    model, guide = started(MAF(2, K, normalization="act", whiten=False), x, z.numpy())
    own = cluster_gaussians(x, torch.nn.functional.one_hot(z, K), covariance_type="diag")
    torch.testing.assert_close(evaluate(model, guide, x).log_joint.mT, log_joint(x, *own), atol=1e-9, rtol=1e-12)


def test_bad_gaussians_are_named():
    with pytest.raises(ValueError, match=r"means: expected shape \(3, 2\), got \(2, 2\)"):
        MAF(2, K).set_gaussians(torch.zeros(2, 2), torch.eye(2).expand(3, 2, 2))
    with pytest.raises(ValueError, match=r"covariances: expected shape \(3, 2, 2\), got \(3, 2\)"):
        MAF(2, K).set_gaussians(torch.zeros(3, 2), torch.ones(3, 2))


def test_transforms_none_of_which_is_private():
    flow = MAF(2, K, transforms=0, warp=2)
    assert (flow.n_components, len(flow.transforms)) == (3, 4)
    for settings in ({"transforms": 0}, {"transforms": 0, "warp": 1, "whiten": False}):
        with pytest.raises(ValueError, match="transforms: expected an integer of at least 1, got 0"):
            MAF(2, K, **settings)
