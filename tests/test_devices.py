"""Nothing is made on the wrong device: fake tensors refuse to mix devices, on a machine that has none but the CPU.

Values are evaluated and sampled on a fake ``cuda``. Gradients need ``meta``, the one other device whose autograd works
without a driver. Two things stop by Pyro's and torch's own doing, and have tests that say so: Pyro's ELBO asks
``mask.all()``, which reads an answer back to the host, and torch's sampler of Dirichlet distributions knows no fake
tensors. What a fit does on the host by design is left out: clusterings, and ``Components.sample``, which looks which
components z names.
"""

import pyro
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pyro_vmonf import MAF, NSF, FlowList, FlowMixture, Labels, RealNVP, SoftmaxEncoder, convnet, mlp
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.values import elbos, objective
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.data import Noise, RandomAffineElastic
from pyro_vmonf.guides import DirichletPosterior, MAPWeights, StickBreakingPosterior
from pyro_vmonf.models import DirichletWeights, SparseDirichletWeights, StickBreakingWeights
from pyro_vmonf.objectives import (
    Batch,
    Consistency,
    Elbo,
    ExpectationMaximization,
    LabelTerm,
    MatchResponsibilities,
)
from pyro_vmonf.steps import EagerStep
from pyro_vmonf.transforms import (
    ActNorm,
    BatchNorm,
    MarginalSpline,
    Permutation,
    PLUAffine,
    PReLU,
    Reverse,
    affine_autoregressive,
    affine_coupling,
    spline_autoregressive,
    spline_coupling,
)

if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14):
    pytest.skip("fake tensors of torch 2.4 crash here; seen to work with 2.14", allow_module_level=True)

K, D, N = 3, 4, 6
TRANSFORMS = {
    "affine_coupling": lambda k: affine_coupling(D, (5,), components=k),
    "affine_autoregressive": lambda k: affine_autoregressive(D, (5,), components=k),
    "spline_coupling": lambda k: spline_coupling(D, (5,), components=k),
    "spline_autoregressive": lambda k: spline_autoregressive(D, (5,), components=k),
    "MarginalSpline": lambda k: MarginalSpline(D, components=k),
    "PLUAffine": lambda k: PLUAffine(D, components=k, order=torch.arange(D).flip(0)),
    "ActNorm": lambda k: ActNorm(D, components=k),
    "BatchNorm": lambda k: BatchNorm(D, components=k),
    "PReLU": lambda k: PReLU(D, components=k),
    "Reverse": lambda k: Reverse(),
    "Permutation": lambda k: Permutation(torch.tensor([2, 0, 3, 1])),
}
COMPONENTS = {
    "RealNVP": lambda: RealNVP(D, K, transforms=2, shared=1, normalization="act"),
    "MAF": lambda: MAF(D, K, transforms=2, normalization="batch"),
    "NSF": lambda: NSF(D, K, shared=1, normalization="act"),
    "NSF, autoregressive": lambda: NSF(D, K, autoregressive=True),
    "FlowList": lambda: FlowList([RealNVP(D, 2), MAF(D, 1)]),
}
PRIORS = {
    "DirichletWeights": (lambda: DirichletWeights(1.0, K), lambda: DirichletPosterior(K)),
    "SparseDirichletWeights": (lambda: SparseDirichletWeights(K), lambda: DirichletPosterior(K)),
    "StickBreakingWeights": (lambda: StickBreakingWeights(K), lambda: StickBreakingPosterior(K)),
    "MAPWeights": (lambda: DirichletWeights(2.0, K), lambda: MAPWeights(K)),
}
EM = ExpectationMaximization
OBJECTIVES = {
    "ExpectationMaximization": EM(),
    "with labels": EM() + LabelTerm(),
    "MatchResponsibilities": MatchResponsibilities(),
    "Consistency": EM() + Consistency(1.0, Noise(0.1)),
    "Consistency, exact": EM() + Consistency(1.0, Noise(0.1), target="exact"),
    "Consistency, initializer": MatchResponsibilities() + Consistency(1.0, Noise(0.1), target="initializer"),
}


@pytest.fixture(params=["cuda", "meta"])
def where(request):
    """A device, on which every tensor inside is fake; an operation on two devices fails."""
    pyro.enable_validation(False)  # it reads back; data are checked where they enter
    yield torch.device(request.param, 0) if request.param == "cuda" else torch.device("meta")
    pyro.enable_validation(True)


def placed(module, where):
    """The module with parameters and buffers that are fake tensors on a device, as ``.to`` would place them."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    moved = torch.empty_like(tensor, device=where)
                    tensors[name] = torch.nn.Parameter(moved) if isinstance(tensor, torch.nn.Parameter) else moved
    return module


def fake():
    """Fake tensors; modules are built outside, since their arguments are checked by value."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def pair(where, weights="learned", labels=None, components=None):
    model = FlowMixture(components or RealNVP(D, K, transforms=2), weights, labels)
    guide = SoftmaxEncoder(mlp(D, K), K, labels=labels)
    with fake():
        return placed(model, where), placed(guide, where)


def batch(where, soft=False, weighted=False):
    x = torch.randn(N, D, device=where)
    y = torch.rand(N, K, device=where) if soft else torch.zeros(N, dtype=torch.long, device=where)
    target = torch.rand(N, K, device=where).softmax(-1)
    return Batch(x, N, y, torch.ones(N, device=where) if weighted else None, target, all_labelled=True)


def differentiated(value, *modules, also=()):
    """The value is on the device of the modules, and so are its gradients where autograd runs."""
    parameters = [*also, *(p for module in modules for p in module.parameters())]
    assert {value.device} == {p.device for p in parameters}
    if value.device.type == "meta":
        value.sum().backward()
        gradients = [p.grad for p in parameters if p.grad is not None]
        assert gradients
        assert {gradient.device for gradient in gradients} == {value.device}


def test_mixing_devices_is_refused(where):
    """The law can fail."""
    with fake(), pytest.raises(RuntimeError, match="on the same device"):
        torch.ones(3, device=where) + torch.ones(3)


@pytest.mark.parametrize("components", [None, K], ids=["one", "stacked"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, components, where):
    transform = TRANSFORMS[name](components)
    with fake():
        placed(transform, where)
        x = torch.randn(*([] if components is None else [K]), N, D, device=where, requires_grad=True)
        y = transform(x)
        before = transform.inv(y.detach())
        log_det = transform.log_abs_det_jacobian(x, y)
        differentiated(y.sum() + before.sum() + log_det.sum(), transform, also=[x])


@pytest.mark.parametrize("name", COMPONENTS)
def test_components(name, where):
    components = COMPONENTS[name]()
    with fake():
        placed(components, where)
        x = torch.randn(N, D, device=where)
        differentiated(components.log_prob(x), components)
        components.eval()
        for k in range(components.n_components):
            flow = components.component(k)
            assert flow.sample((N,)).device == where
            assert flow.log_prob(x).device == where


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives(name, soft, weighted, where):
    model, guide = pair(where, labels=Labels([0, 1, 2], noise=0.1))
    with fake():
        differentiated(OBJECTIVES[name](model, guide, batch(where, soft, weighted)).value, model, guide)


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name, where):
    prior, posterior = (make() for make in PRIORS[name])
    with fake():
        placed(prior, where)
        placed(posterior, where)
        for part in (prior, posterior):
            assert part.mean().device == where
            assert part.log_mean().device == where
            assert part.distribution().log_prob(part.mean().clone()).device == where
        posterior.initialize(torch.ones(K, device=where), prior)
        differentiated(posterior.distribution().log_prob(prior.mean()).sum() + posterior.mean().sum(), posterior)


class Skipping(torch.optim.SGD):
    """Gradient descent that skips a step as fused optimizers do, which are for real devices."""

    _step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter -= (1 - self.found_inf) * parameter.grad


def test_step():
    """One update, in which nothing is read back."""
    where = torch.device("meta")
    model, guide = pair(where, components=RealNVP(D, K, transforms=2, normalization="batch"))
    with fake():
        optimizer = Skipping([*model.parameters(), *guide.parameters()], lr=0.1)
        metrics = EagerStep(model, guide, EM(), optimizer, 1.0)(batch(where))
        assert {tensor.device for tensor in metrics.values()} == {where}


def test_images(where):
    network = convnet(8, 8, K)
    with fake():
        x = torch.randn(N, 64, device=where)
        assert placed(network, where)(x).device == where
        assert RandomAffineElastic(8, 8, elastic=1.0)(x).device == where


def test_what_pyro_stops(where):
    """Its ELBO reads ``mask.all()`` back to the host."""
    model, guide = pair(where)
    with fake(), pytest.raises(torch._subclasses.fake_tensor.DataDependentOutputException):
        Elbo()(model, guide, batch(where))


def test_what_torch_stops():
    """Its sampler of Dirichlet distributions has no fake form."""
    posterior = DirichletPosterior(K)
    with fake(), pytest.raises((NotImplementedError, RuntimeError)):
        placed(posterior, torch.device("cuda", 0)).distribution().rsample()


@pytest.mark.parametrize("has_labels", [False, True])
@pytest.mark.parametrize("warp", WARPS)
def test_ensembles(warp, has_labels, where):
    ensemble = Ensemble(D, K, WARPS[warp], 2)
    with fake():
        placed(ensemble, where)
        x, target = torch.randn(2, N, D, device=where), torch.rand(2, N, K, device=where).softmax(-1)
        labels = target if has_labels else None
        value = objective(ensemble, x, target, torch.ones(2, N, device=where), torch.zeros((), device=where), labels)
        assert elbos(ensemble, x).device == value.device
        differentiated(value, ensemble)
