"""The seam: one (K, N) table, sampling by component, and K flows of any kind."""

import copy
from functools import partial

import pyro.distributions as dist
import pytest
import torch
import zuko
from torch import nn
from torch.nn.functional import pad

from pyro_vmonf.components import MAF, NSF, Components, FlowList, RealNVP, StackedFlow, StandardNormal
from pyro_vmonf.components.recipes import AlternatingFlow
from pyro_vmonf.transforms import PLUAffine, Stacked, affine_coupling, coupling_transform
from pyro_vmonf.transforms.base import VectorTransform


@pytest.fixture(autouse=True)
def zuko_leaves_validation_alone():
    """Importing zuko switches validation off for the whole process."""
    torch.distributions.Distribution.set_default_validate_args(True)


def moved(module, by=0.3):
    for parameter in module.parameters():
        parameter.data += by * torch.randn_like(parameter)
    return module.eval()


def pyro_flow():
    return dist.TransformedDistribution(
        dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1),
        [dist.transforms.affine_coupling(2, [8]), affine_coupling(2)],
    )


class AdditiveCoupling(VectorTransform):
    def __init__(self, half, network):
        super().__init__()
        self.half, self.network = half, network

    def shift(self, x):
        return pad(self.network(x[..., : self.half])[0], (self.half, 0))

    def _call(self, x):
        return x + self.shift(x)

    def _inverse(self, y):
        return y - self.shift(y)

    def log_abs_det_jacobian(self, x, y):
        return x.new_zeros(x.shape[:-1])


class NICE(AlternatingFlow):
    """A user's recipe: another univariate map, with one parameter in the place of two."""

    def __init__(self, features, components, **settings):
        additive = partial(coupling_transform, univariate=AdditiveCoupling, shapes=[()])
        super().__init__(features, components, additive, hidden_features=(8,), **settings)


CONTRACT = {
    "realnvp": lambda: RealNVP(2, 3, transforms=4),
    "realnvp-shared": lambda: RealNVP(2, 3, transforms=4, shared=2),
    "realnvp-actnorm": lambda: RealNVP(2, 3, transforms=2, normalization="act"),
    "realnvp-batchnorm": lambda: RealNVP(2, 3, transforms=2, normalization="batch"),
    "maf": lambda: MAF(2, 3, transforms=2, hidden_features=(8,)),
    "nsf": lambda: NSF(2, 3, hidden_features=(8,)),
    "nsf-autoregressive": lambda: NSF(2, 3, hidden_features=(8,), autoregressive=True, shared=1),
    "nice": lambda: NICE(2, 3, transforms=3, shared=1),
    "gaussians": lambda: StackedFlow(StandardNormal(2), [PLUAffine(2, components=3)]),
    "list": lambda: FlowList(
        [RealNVP(2, 1, transforms=2), MAF(2, 1, transforms=2), dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)]
    ),
    "list-of-stacks": lambda: FlowList([RealNVP(2, 2, transforms=2), MAF(2, 1, transforms=2)]),
    "list-pyro-zuko": lambda: FlowList(
        [pyro_flow(), zuko.flows.NSF(2, transforms=1, hidden_features=(8,)), pyro_flow()]
    ),
}
contract = pytest.mark.parametrize("name", sorted(CONTRACT))


@contract
def test_table_equals_each_component_alone(name):
    components = moved(CONTRACT[name]())
    x = torch.randn(4, 5, 2)
    table = components.log_prob(x)
    assert table.shape == (3, 4, 5)
    for k in range(3):
        alone = components.component(k)
        assert (alone.batch_shape, alone.event_shape) == ((), (2,))
        torch.testing.assert_close(alone.log_prob(x), table[k])


@contract
def test_samples_follow_their_component(name):
    components = moved(CONTRACT[name]())
    z = torch.tensor([[0, 2, 2], [1, 0, 2]])
    assert components.sample(z).shape == (2, 3, 2)
    many = components.sample(torch.arange(3).repeat(20_000)).reshape(-1, 3, 2)
    for k in range(3):
        expected = components.component(k).sample((20_000,))
        scale = expected.std(0)
        torch.testing.assert_close(many[:, k].mean(0) / scale, expected.mean(0) / scale, atol=0.05, rtol=0)
        torch.testing.assert_close(many[:, k].quantile(0.75, 0), expected.quantile(0.75, 0), atol=0.1, rtol=0.1)


@contract
def test_sampling_runs_a_component_only_where_z_is_it(name, monkeypatch):
    components = CONTRACT[name]()
    asked = []
    original = type(components).component

    def counted(self, k):
        asked.append(k)
        return original(self, k)

    monkeypatch.setattr(type(components), "component", counted)
    components.sample(torch.tensor([2, 0, 2]))
    assert sorted(asked) == [0, 2]


@contract
def test_draws_in_one_pass_are_those_of_each_component(name):
    """The same random numbers give the same points, whether components are sampled together or one by one."""
    components = moved(CONTRACT[name]())
    z = torch.tensor([[2, 0, 1, 1], [0, 2, 2, 0]])
    torch.manual_seed(1)
    together = components.sample(z)
    torch.manual_seed(1)
    one_by_one = Components.sample(components, z)
    torch.testing.assert_close(together, one_by_one)


def test_unequal_numbers_of_draws_are_not_padded(monkeypatch):
    """One pass for all components would cost K times as much where z names one of them."""
    components = RealNVP(2, 3, transforms=2)
    asked = []
    original = RealNVP.component
    monkeypatch.setattr(RealNVP, "component", lambda self, k: (asked.append(k), original(self, k))[1])
    components.sample(torch.tensor([0, 1, 2]))
    assert asked == []
    components.sample(torch.tensor([0, 1] + 8 * [2]))
    assert asked == [0, 1, 2]
    assert components.sample(torch.empty(0, 4, dtype=torch.long)).shape == (0, 4, 2)


@contract
def test_each_component_integrates_to_one(name):
    components = moved(CONTRACT[name](), 0.1)
    side = torch.linspace(-16, 16, 500)
    table = components.log_prob(torch.cartesian_prod(side, side)).detach()
    area = (side[1] - side[0]) ** 2
    torch.testing.assert_close(table.exp().sum(1) * area, torch.ones(3), atol=1e-3, rtol=0)


@contract
def test_given_matches_the_table(name):
    components = moved(CONTRACT[name]())
    x = torch.randn(6, 2)
    table = components.log_prob(x)
    z = torch.tensor([0, 1, 2, 2, 1, 0])
    torch.testing.assert_close(components.conditional(z).log_prob(x), table[z, torch.arange(6)])
    enumerated = torch.arange(3).unsqueeze(-1)
    torch.testing.assert_close(components.conditional(enumerated).expand((3, 6)).log_prob(x), table)
    torch.testing.assert_close(components.conditional(enumerated.unsqueeze(1)).log_prob(x), table.unsqueeze(1))
    assert components.conditional(z).sample().shape == (6, 2)
    assert components.conditional(z).sample((4,)).shape == (4, 6, 2)


@contract
def test_device_dtype_and_state(name, device):
    components = CONTRACT[name]().to(device=device, dtype=torch.float32)
    x = torch.randn(4, 2, device=device, dtype=torch.float32)
    table = components.log_prob(x)
    assert (table.device.type, table.dtype) == (device, torch.float32)
    sample = components.sample(torch.tensor([0, 1, 2], device=device))
    assert (sample.device.type, sample.dtype) == (device, torch.float32)
    other = moved(CONTRACT[name]()).to(device=device, dtype=torch.float32)
    assert not torch.allclose(other.log_prob(x), table)
    other.load_state_dict(components.state_dict())
    other.train(components.training)
    torch.testing.assert_close(other.log_prob(x), table)
    torch.testing.assert_close(copy.deepcopy(components).log_prob(x), table)


@contract
def test_every_parameter_is_found(name):
    components = moved(CONTRACT[name]())
    components.log_prob(torch.randn(50, 2)).sum().backward()
    parameters = dict(components.named_parameters())
    assert parameters
    for parameter_name, parameter in parameters.items():
        assert parameter.grad is not None, parameter_name


def test_one_pass_without_a_loop_over_components():
    """A stacked flow calls each transform once, whatever K."""
    components = RealNVP(2, 20, transforms=4)
    calls = []
    networks = [m for m in components.modules() if type(m).__name__ == "ConditionerMLP"]
    for network in networks:
        network.register_forward_hook(lambda *_: calls.append("network"))
    components.log_prob(torch.randn(10, 2))
    assert calls.count("network") == len(networks) == 4


def test_shared_transforms_have_one_set_of_weights():
    components = RealNVP(2, 3, transforms=4, shared=2)
    stacks = {m.components for t in components.transforms[:3] for m in t.modules() if isinstance(m, Stacked)}
    private = {m.components for t in components.transforms[4:] for m in t.modules() if isinstance(m, Stacked)}
    assert (stacks, private) == ({None}, {3})


def test_component_shares_memory_and_gradients():
    components = RealNVP(2, 3, transforms=2)
    for parameter in components.parameters():  # the last layers begin at zero
        torch.nn.init.normal_(parameter)
    components.component(1).log_prob(torch.randn(9, 2)).sum().backward()
    for name, parameter in components.named_parameters():
        assert bool(parameter.grad[1].abs().sum() > 0), name
        assert bool((parameter.grad[[0, 2]] == 0).all()), name


def nested_flow():
    chain = dist.transforms.ComposeTransform([dist.transforms.affine_coupling(2, [8]), affine_coupling(2).inv])
    inner = dist.TransformedDistribution(dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1), [chain])
    return dist.TransformedDistribution(
        inner, [affine_coupling(2), dist.transforms.AffineTransform(torch.ones(2), 2.0, 1)]
    )


def test_transforms_are_found_however_deep():
    components = FlowList([nested_flow(), RealNVP(2, 1, transforms=2)]).double()
    components.log_prob(torch.randn(9, 2)).sum().backward()
    parameters = dict(components.members[0].named_parameters())
    assert len(parameters) == 4 + 4 + 4
    assert all(p.grad is not None for p in parameters.values())
    copy.deepcopy(components)
    components.float()
    assert components.log_prob(torch.randn(9, 2, dtype=torch.float32)).dtype == torch.float32


def test_initialize_refuses_what_it_cannot_use():
    components = RealNVP(2, 3, transforms=2, normalization="act")
    x = torch.randn(10, 2)
    for shares, message in (
        (torch.ones(3, 10), r"responsibilities: expected shape \(N ≥ 2, K\) = \(10, 3\)"),
        (torch.tensor([1.0, 1.0, 0.0]).expand(10, 3), "responsibilities: expected shares ≥ 0, some for each"),
        (-torch.ones(10, 3), "responsibilities: expected shares ≥ 0"),
    ):
        with pytest.raises(ValueError, match=message):
            components.initialize(x, shares)
    with pytest.raises(ValueError, match="N ≥ 2"):
        components.initialize(x[:1])
    with pytest.raises(ValueError, match=r"x: expected shape \(\*batch, 2\)"):
        components.initialize(torch.randn(10, 3))


def test_fixed_members_move_with_the_list(device):
    components = FlowList([dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), StackedFlow(StandardNormal(2), [])])
    components.to(device=device, dtype=torch.float32)
    x = torch.randn(4, 2, device=device, dtype=torch.float32)
    assert components.log_prob(x).dtype == torch.float32


class Untable(nn.Module):
    def forward(self):
        return "no distribution"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FlowList([]), ValueError, "members: expected at least one"),
        (lambda: FlowList([3]), TypeError, r"members\[0\]: expected a distribution"),
        (lambda: FlowList([Untable()]), TypeError, r"members\[0\]: expected a module that returns a distribution"),
        (lambda: FlowList([dist.Normal(torch.zeros(2), 1.0)]), ValueError, r"members\[0\]: expected an empty batch"),
        (lambda: FlowList([RealNVP(2, 1), RealNVP(3, 1)]), ValueError, "members: expected one event shape"),
        (lambda: RealNVP(1, 2), ValueError, "features: expected an integer of at least 2, got 1"),
        (lambda: RealNVP(2, 0), ValueError, "components: expected an integer of at least 1, got 0"),
        (lambda: RealNVP(2, 2, transforms=0), ValueError, "transforms: expected an integer of at least 1"),
        (lambda: RealNVP(2, 2, transforms=3, shared=3), ValueError, "shared: expected an integer from 0 to"),
        (lambda: MAF(2, 2, hidden_features=(0,)), ValueError, "hidden_features: expected an integer of at least 1"),
        (lambda: NSF(0, 2), ValueError, "features: expected an integer of at least 1, got 0"),
        (lambda: NSF(2, 2, bins=0), ValueError, "bins: expected an integer of at least 1, got 0"),
        (lambda: NSF(2, 2, bound=0.0), ValueError, "bound: expected a finite number above 0, got 0.0"),
        (lambda: MAF(2, 2, normalization="layer"), ValueError, "normalization: expected None or one of"),
        (lambda: RealNVP(2, 2).log_prob(torch.zeros(3, 5)), ValueError, r"x: expected shape \(\*batch, 2\), got"),
        (lambda: RealNVP(2, 2).log_prob(torch.zeros(3, 2).long()), TypeError, "x: expected a floating-point tensor"),
        (lambda: RealNVP(2, 2).sample(torch.tensor([0, 2])), ValueError, "z: expected values from 0 to 1"),
        (lambda: RealNVP(2, 2).sample(torch.tensor([0.5])), TypeError, "z: expected integers"),
        (lambda: RealNVP(2, 2).sample([0, 1]), TypeError, "z: expected a tensor of integers, got list"),
        (lambda: RealNVP(2, 2).conditional(torch.tensor([-1])), ValueError, "z: expected values from 0 to 1, got -1"),
        (lambda: RealNVP(2, 2, hidden_features=8), ValueError, r"hidden_features: expected a sequence .* \(8,\)"),
        (
            lambda: FlowList([dist.Normal(torch.nn.Parameter(torch.zeros(2)), 1.0).to_event(1)]),
            ValueError,
            r"members\[0\]: expected a distribution whose own tensors are fixed",
        ),
        (
            lambda: StackedFlow(dist.Normal(torch.zeros(2), 1.0).to_event(1), [affine_coupling(2)]),
            TypeError,
            "base: expected a module that returns a distribution",
        ),
        (lambda: RealNVP(2, 2).component(2), ValueError, "k: expected a component from 0 to 1, got 2"),
        (
            lambda: StackedFlow(
                StandardNormal(2), [affine_coupling(2, components=2), affine_coupling(2, components=3)]
            ),
            ValueError,
            "transforms: expected one number of components",
        ),
        (
            lambda: StackedFlow(StandardNormal(2), [affine_coupling(2).inv]),
            TypeError,
            r"transforms\[0\]: expected a Pyro",
        ),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_components_subclass_needs_both_hooks():
    for method, argument in (("_log_prob", torch.zeros(3, 2)), ("component", 0)):
        with pytest.raises(NotImplementedError, match=f"Components: expected a method {method}"):
            getattr(Components(), method)(argument)
