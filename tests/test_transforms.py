"""Laws every transform keeps, over a registry of all of them: a new transform is one line here."""

import copy

import pytest
import torch
from torch.autograd.functional import jacobian

from pyro_vmonf.components import StackedFlow, StandardNormal
from pyro_vmonf.transforms import (
    MADE,
    ActNorm,
    BatchNorm,
    ConditionerMLP,
    Inverse,
    MarginalSpline,
    Permutation,
    PLUAffine,
    PReLU,
    Reverse,
    Standardize,
    Whitening,
    affine_autoregressive,
    affine_coupling,
    clear_caches,
    coupling_transform,
    masked_autoregressive_transform,
    select,
    spline_autoregressive,
    spline_coupling,
)
from pyro_vmonf.transforms.affine import BoundedLogScale
from pyro_vmonf.transforms.base import VectorTransform

D, K, N = 5, 3, 7
SLOPES = [(), (2,)]  # a shift, and a log-slope on either side of it


def log_slopes(u, raw):
    """Of a map with one slope where u is negative and another elsewhere."""
    return torch.where(u < 0, *raw.tanh().unbind(-1))


class SlopeCoupling(VectorTransform):
    """A user's univariate map in a coupling."""

    def __init__(self, half, network):
        super().__init__()
        self.half, self.network = half, network

    def parameters_at(self, x):
        return x[..., : self.half], x[..., self.half :], *self.network(x[..., : self.half])

    def _call(self, x):
        first, rest, shift, raw = self.parameters_at(x)
        return torch.cat([first, shift + rest * log_slopes(rest, raw).exp()], -1)

    def _inverse(self, y):
        first, rest, shift, raw = self.parameters_at(y)
        return torch.cat([first, (rest - shift) * (-log_slopes(rest - shift, raw)).exp()], -1)

    def log_abs_det_jacobian(self, x, y):
        _, rest, _, raw = self.parameters_at(x)
        return log_slopes(rest, raw).sum(-1)


class SlopeAutoregressive(VectorTransform):
    """The same map, autoregressive."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def _call(self, x):
        shift, raw = self.network(x)
        return shift + x * log_slopes(x, raw).exp()

    def _inverse(self, y):
        x = torch.zeros_like(y)
        for _ in range(y.shape[-1]):
            shift, raw = self.network(x)
            x = (y - shift) * (-log_slopes(y - shift, raw)).exp()
        return x

    def log_abs_det_jacobian(self, x, y):
        return log_slopes(x, self.network(x)[1]).sum(-1)


REGISTRY = {
    "plu": lambda k: PLUAffine(D, components=k),
    "plu-permuted": lambda k: PLUAffine(D, components=k, order=torch.tensor([2, 0, 4, 1, 3])),
    "prelu": lambda k: PReLU(D, components=k),
    "actnorm": lambda k: ActNorm(D, components=k),
    "batchnorm": lambda k: BatchNorm(D, components=k),
    "coupling": lambda k: affine_coupling(D, (6,), components=k),
    "coupling-deep": lambda k: affine_coupling(D, (6, 4), components=k),
    "maf": lambda k: affine_autoregressive(D, (9,), components=k),
    "maf-narrow": lambda k: affine_autoregressive(D, (2,), components=k),
    "maf-deep": lambda k: affine_autoregressive(D, (9, 8), components=k),
    "iaf": lambda k: Inverse(affine_autoregressive(D, (9,), components=k)),
    "spline-coupling": lambda k: spline_coupling(D, (6,), components=k, bins=5, bound=2.0),
    "spline-maf": lambda k: spline_autoregressive(D, (9,), components=k, bins=5, bound=2.0),
    "marginal-spline": lambda k: MarginalSpline(D, components=k, bins=5),
    "slope-coupling": lambda k: coupling_transform(D, (6,), SlopeCoupling, SLOPES, components=k),
    "slope-maf": lambda k: masked_autoregressive_transform(D, (9,), SlopeAutoregressive, SLOPES, components=k),
    "permutation": lambda k: Permutation(torch.tensor([2, 0, 4, 1, 3])),
    "reversal": lambda k: Reverse(),
    "whitening": lambda k: Whitening(D, components=k),
    "standardize": lambda k: Standardize(torch.linspace(-2, 3, D), torch.linspace(0.1, 9, D)),
}
PRIVATE = sorted(set(REGISTRY) - {"permutation", "reversal", "standardize"})


def made(name, k=None):
    """The transform in evaluation mode, its parameters moved away from where they start."""
    transform = REGISTRY[name](k).eval()
    for parameter in transform.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return transform


every = pytest.mark.parametrize("name", sorted(REGISTRY))
private = pytest.mark.parametrize("name", PRIVATE)
axes = pytest.mark.parametrize(("k", "shape"), [(None, (N, D)), (None, (K, N, D)), (K, (K, N, D)), (1, (1, N, D))])


@every
@axes
def test_inverse_both_ways(name, k, shape):
    transform = made(name, k)
    x = torch.randn(shape)
    y = transform(x)
    assert y.shape == x.shape
    clear_caches(transform)
    torch.testing.assert_close(transform.inv(y), x, atol=1e-9, rtol=1e-9)
    clear_caches(transform)
    torch.testing.assert_close(transform(transform.inv(x.clone())), x, atol=1e-9, rtol=1e-9)


@every
@axes
def test_log_det_equals_autograd(name, k, shape):
    transform = made(name, k)
    x = torch.randn(shape)
    log_det = transform.log_abs_det_jacobian(x, transform(x))
    assert log_det.shape == x.shape[:-1]
    single = [select(transform, i) for i in range(k)] if k else None
    for index in torch.cartesian_prod(*(torch.arange(n) for n in shape[:-1])).reshape(-1, len(shape) - 1).tolist():
        one = single[index[0]] if single else transform
        clear_caches(one)
        row = x[tuple(index)].unsqueeze(0)
        matrix = jacobian(lambda r, one=one: one(r), row).squeeze(2).squeeze(0)
        torch.testing.assert_close(torch.linalg.slogdet(matrix).logabsdet, log_det[tuple(index)], atol=1e-9, rtol=1e-9)


@every
def test_batch_equals_loop_over_single_points(name):
    transform = made(name)
    x = torch.randn(N, D)
    rows = []
    for row in x:
        clear_caches(transform)
        rows.append(transform(row.unsqueeze(0)))
    clear_caches(transform)
    torch.testing.assert_close(transform(x), torch.cat(rows))


@private
def test_stack_equals_its_components(name):
    transform = made(name, K)
    x = torch.randn(K, N, D)
    whole = transform(x)
    for k in range(K):
        torch.testing.assert_close(whole[k], select(transform, k)(x[k]))


@private
def test_components_differ(name):
    transform = made(name, K)
    y = transform(torch.randn(1, N, D).expand(K, N, D))
    assert not torch.allclose(y[0], y[1])


@private
@pytest.mark.parametrize("k", [None, K])
def test_gradients_reach_every_parameter(name, k):
    transform = made(name, k)
    flow = StackedFlow(StandardNormal(D), [transform])
    flow.log_prob(torch.randn(50, D)).sum().backward()
    for parameter_name, parameter in flow.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(parameter.grad.abs().sum() > 0), parameter_name


@private
def test_scores_after_a_step_are_new(name):
    """Pyro's caches compare tensors by identity: the same x must not be scored with old parameters."""
    flow = StackedFlow(StandardNormal(D), [made(name, K)])
    x = torch.randn(N, D)
    before = flow.log_prob(x)
    before.sum().backward()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter -= 0.1 * parameter.grad.sign()
        after = flow.log_prob(x)
        fresh = flow.log_prob(x.clone())
    torch.testing.assert_close(after, fresh, atol=0, rtol=0)
    assert not torch.allclose(before, after)
    flow.log_prob(x).sum().backward()  # not "backward through the graph a second time"


@private
def test_still_exact_after_training(name):
    flow = StackedFlow(StandardNormal(D), [made(name, K)]).train()
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    x = 2 * torch.randn(64, D) + 1
    first = float(flow.log_prob(x).mean().detach())
    for _ in range(30):
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    assert float(flow.log_prob(x).mean().detach()) > first
    flow.eval()
    y = torch.randn(K, N, D)
    transform = flow.transforms[0]
    torch.testing.assert_close(transform(transform.inv(y).clone()), y, atol=1e-8, rtol=1e-8)


@every
def test_state_dict_round_trip(name):
    transform = made(name, K)
    other = made(name, K)
    other.load_state_dict(transform.state_dict())
    x = torch.randn(K, N, D)
    torch.testing.assert_close(transform(x), other(x), atol=0, rtol=0)


@every
def test_deep_copies_are_independent(name):
    transform = made(name, K)
    flow = StackedFlow(StandardNormal(D), [transform])
    x = torch.randn(N, D)
    flow.log_prob(x)
    twin = copy.deepcopy(flow)
    torch.testing.assert_close(twin.log_prob(x), flow.log_prob(x), atol=0, rtol=0)
    for parameter in twin.parameters():
        parameter.data += 1
    if name in PRIVATE:
        assert not torch.allclose(twin.log_prob(x), flow.log_prob(x))


@every
def test_device_and_dtype(name, device):
    transform = REGISTRY[name](K).to(device=device, dtype=torch.float32).eval()
    x = torch.randn(K, N, D, device=device, dtype=torch.float32)
    y = transform(x)
    assert (y.device.type, y.dtype) == (device, torch.float32)
    clear_caches(transform)
    back = transform.inv(y)
    assert (back.device.type, back.dtype) == (device, torch.float32)
    assert transform.log_abs_det_jacobian(x, y).dtype == torch.float32


def test_made_is_autoregressive():
    made_network = MADE(D, (64, 64), [(), (2, 3)])
    for layer in made_network.outputs:  # which begin at zero
        torch.nn.init.normal_(layer.weight)
        layer.apply_mask()
    for output in range(2):
        matrix = jacobian(lambda x, o=output: made_network(x)[o].squeeze(0), torch.randn(1, D)).squeeze(-2).abs()
        for entry in matrix.reshape(D, -1, D).unbind(1):
            assert torch.equal(entry.triu(), torch.zeros(D, D))
            assert bool((entry.tril(-1) != 0).any(0)[:-1].all()), "every feature but the last is used"


def test_made_of_one_feature():
    transform = affine_autoregressive(1, (4,))
    x = torch.randn(N, 1)
    torch.testing.assert_close(transform.inv(transform(x)), x)


@pytest.mark.parametrize("make", [ConditionerMLP, MADE])
@pytest.mark.parametrize("k", [None, K])
def test_conditioners_return_one_tensor_for_each_shape(make, k):
    shapes = [(), (4,), (2, 3)]
    sizes = (D, (8,), D) if make is ConditionerMLP else (D, (8,))
    network = make(*sizes, shapes, components=k)
    x = torch.randn(N, D) if k is None else torch.randn(k, N, D)
    assert [tuple(y.shape) for y in network(x)] == [(*x.shape, *shape) for shape in shapes]


@pytest.mark.parametrize(("make", "inputs"), [(affine_coupling, 2), (affine_autoregressive, 4)])
def test_log_scales_are_bounded(make, inputs):
    transform = make(4, (8,), max_log_scale=0.5)
    for parameter in transform.parameters():
        parameter.data *= 1000
    (network,) = (part for part in transform.modules() if isinstance(part, BoundedLogScale))
    _, log_scale = network(1e3 * torch.randn(100, inputs))
    assert float(log_scale.detach().abs().max()) <= 0.5


@pytest.mark.parametrize(
    ("transform", "settings"),
    [
        (PLUAffine(D, components=K, max_log_scale=2.0), ["components=3, max_log_scale=2.0"]),
        (PReLU(D, max_log_slope=2.0), ["features=5, max_log_slope=2.0"]),
        (BatchNorm(D, momentum=0.5), ["momentum=0.5, epsilon=1e-05, max_log_scale=5.0"]),
        (affine_coupling(D, (6,), max_log_scale=0.5), ["max_log_scale=0.5", "in_features=2, out_features=6"]),
        (affine_autoregressive(D, (6,), max_log_scale=0.5), ["max_log_scale=0.5", "in_features=5, out_features=6"]),
        (spline_coupling(D, (6,), bins=5), ["bound=4.0", "shapes=((14,),)"]),
        (spline_autoregressive(D, (6,), bound=2.0), ["bound=2.0", "shapes=((23,),)"]),
        (Permutation(torch.arange(D)), ["features=5"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_are_printed(transform, settings):
    for setting in settings:
        assert setting in repr(transform)


def test_plu_matrix_is_the_product():
    """A = P L (U + diag(e^s)), written out."""
    transform = made("plu-permuted")
    lower = transform.lower.tril(-1) + torch.eye(D)
    upper = transform.upper.triu(1) + torch.diag(transform.log_scale.exp())
    x = torch.randn(N, D)
    expected = x @ (transform.permutation @ lower @ upper).T + transform.shift
    torch.testing.assert_close(transform(x), expected)


def test_prelu_formula():
    transform = made("prelu")
    x = torch.randn(N, D)
    torch.testing.assert_close(transform(x), torch.where(x < 0, transform.log_slope(-x.abs()).exp() * x, x))


@pytest.mark.parametrize("kind", [ActNorm, PLUAffine])
@pytest.mark.parametrize("components", [None, K])
def test_data_dependent_start_standardises(kind, components):
    mixing = torch.randn(D, D)
    x = torch.randn(4000, D) @ mixing + 3
    flow = StackedFlow(StandardNormal(D), [kind(D, components=components)])
    flow.initialize(x)
    u = flow.transforms[0].inv(x.expand(flow.n_components, *x.shape))[0]
    torch.testing.assert_close(u.mean(0), torch.zeros(D), atol=1e-9, rtol=0)
    torch.testing.assert_close(u.var(0, correction=0), torch.ones(D), atol=1e-4, rtol=0)
    if kind is PLUAffine:
        torch.testing.assert_close(torch.cov(u.T, correction=0), torch.eye(D), atol=1e-4, rtol=0)


def test_data_dependent_start_follows_responsibilities():
    z = torch.arange(400) % 2
    x = torch.randn(400, D) * torch.tensor([1.0, 5.0])[z, None] + torch.tensor([-4.0, 7.0])[z, None]
    flow = StackedFlow(StandardNormal(D), [PLUAffine(D, components=2), ActNorm(D, components=2)])
    flow.initialize(x, torch.nn.functional.one_hot(z, 2).double())
    y = x.expand(2, *x.shape)
    for transform in reversed(flow.transforms):
        y = transform.inv(y)
    for k in range(2):
        torch.testing.assert_close(y[k, z == k].mean(0), torch.zeros(D), atol=1e-8, rtol=0)
        torch.testing.assert_close(y[k, z == k].var(0, correction=0), torch.ones(D), atol=1e-3, rtol=0)


def test_batch_norm_uses_each_components_batch_and_moves_its_averages():
    transform = BatchNorm(D, components=K)
    y = torch.randn(K, 200, D) * 3 + torch.arange(K).reshape(K, 1, 1)
    x = transform.inv(y)
    torch.testing.assert_close(x.mean(1), torch.zeros(K, D), atol=1e-9, rtol=0)
    torch.testing.assert_close(x.var(1, correction=0), torch.ones(K, D), atol=1e-4, rtol=0)
    torch.testing.assert_close(transform.running_mean, 0.1 * y.mean(1))
    log_det = transform.log_abs_det_jacobian(x, y)
    torch.testing.assert_close(log_det[:, 0], (y.var(1, correction=0) + 1e-5).log().sum(-1) / 2)
    transform.eval()
    torch.testing.assert_close(transform(transform.inv(y)), y)


def test_batch_norm_refuses_one_point():
    with pytest.raises(ValueError, match="at least 2 points"):
        BatchNorm(D).inv(torch.randn(1, D))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: affine_autoregressive(3, (0,)), "hidden_features: expected an integer of at least 1, got 0"),
        (lambda: affine_coupling(3, (4, -1)), "hidden_features: expected an integer of at least 1, got -1"),
        (lambda: affine_coupling(1), "features: expected an integer of at least 2, got 1"),
        (lambda: PReLU(0), "features: expected an integer of at least 1, got 0"),
        (lambda: ActNorm(2, components=0), "components: expected an integer of at least 1, got 0"),
        (lambda: Permutation(torch.tensor([0, 0, 1])), "order: expected a permutation of 0 … 2"),
        (lambda: PLUAffine(3, order=torch.tensor([0, 0, 1])), "order: expected a permutation of 0 … 2"),
        (lambda: ActNorm(2, max_log_scale=0.0), "max_log_scale: expected a finite number above 0, got 0.0"),
        (lambda: affine_coupling(4, max_log_scale=0.0), "max_log_scale: expected a finite number above 0, got 0.0"),
        (lambda: MarginalSpline(2, bins=501), "bins: expected an integer of at most 500, got 501"),
        (lambda: spline_coupling(1), "features: expected an integer of at least 2, got 1"),
        (lambda: spline_coupling(3, bins=0), "bins: expected an integer of at least 1, got 0"),
        (lambda: spline_autoregressive(3, bins=501), "bins: expected an integer of at most 500, got 501"),
        (lambda: spline_autoregressive(3, bound=-1.0), "bound: expected a finite number above 0, got -1.0"),
        (lambda: MADE(3, (4,), []), r"shapes: expected at least one shape, as in .*, got \[\]"),
        (lambda: ConditionerMLP(3, (4,), 2, 5), "shapes: expected at least one shape, as in .*, got 5"),
        (lambda: ConditionerMLP(3, (4,), 2, [(0,)]), "shapes: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("components", [None, 3])
@pytest.mark.parametrize("hidden", [(), (7,), (9, 2, 5)], ids=str)
@pytest.mark.parametrize("features", [1, 2, 6])
def test_features_found_one_after_another_are_those_of_whole_passes(features, hidden, components):
    """The inverse from units that are new at each feature equals one pass of the whole network for each feature."""
    torch.manual_seed(features)
    transform = affine_autoregressive(features, hidden, components=components).transform
    for parameter in transform.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    for layer in transform.modules():
        if hasattr(layer, "apply_mask"):
            layer.apply_mask()
    y = torch.randn(3, 5, features, requires_grad=True)
    x = y[..., :0]
    for d in range(features):
        mean, log_scale = transform.arn(torch.nn.functional.pad(x, (0, features - d)))
        x = torch.cat([x, ((y - mean) * (-log_scale).exp())[..., d : d + 1]], dim=-1)
    found = transform._inverse(y)
    torch.testing.assert_close(found, x, atol=1e-12, rtol=1e-12)
    wanted = [y, *transform.parameters()]
    for a, b in zip(
        *(torch.autograd.grad(z.sin().sum(), wanted, allow_unused=True, retain_graph=True) for z in (found, x)),
        strict=True,
    ):
        expected = torch.zeros(()) if b is None else b
        torch.testing.assert_close(torch.zeros_like(expected) if a is None else a, expected, atol=1e-12, rtol=1e-12)
    assert transform._inverse(y[:, :0]).shape == (3, 0, features)


@pytest.mark.parametrize("components", [None, 2])
def test_quantiles_become_normal(components):
    random = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 3, generator=random)
    y = torch.stack([z[:, 0].exp(), 1e6 + 1e-3 * torch.special.ndtr(z[:, 1]), (z[:, 2] > 0.5).double()], 1)
    transform = MarginalSpline(3, components=components)
    stack = (lambda t: t) if components is None else (lambda t: torch.stack([t, t]))
    transform.set_quantiles(stack(y), stack(torch.ones(2000)))
    x = transform.inv(stack(y)).detach().reshape(-1, 2000, 3)[-1]
    levels = torch.tensor([-1.5, 0.0, 1.5])
    quantiles = x[:, :2].quantile(torch.special.ndtr(levels), dim=0)
    torch.testing.assert_close(quantiles, levels.unsqueeze(-1).expand(-1, 2), atol=0.25, rtol=0)
    distance = float(x[:, 2].max() - x[:, 2].min()) * float(y[:, 2].std())
    assert distance < 4  # an atom is spread out to a slope of at most 4 per standard deviation


def test_weights_of_quantiles_count_as_copies():
    y = torch.randn(40, 2)
    weight = torch.ones(40)
    weight[:10] = 2
    a, b = MarginalSpline(2), MarginalSpline(2)
    a.set_quantiles(y, weight)
    b.set_quantiles(torch.cat([y, y[:10]]), torch.ones(50))
    for name, tensor in a.state_dict().items():
        torch.testing.assert_close(tensor, b.state_dict()[name], atol=1e-9, rtol=1e-9)
