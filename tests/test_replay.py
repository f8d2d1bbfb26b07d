"""A function whose operations are captured and repeated, and the step and the fits that are made of it."""

import copy
import gc
import logging
import math
import weakref

import pytest
import torch
from torch import nn

from pyro_vmonf.components import MAF, NSF, FlowList, RealNVP
from pyro_vmonf.data import Noise, pinwheel
from pyro_vmonf.guides import DirichletPosterior, SoftmaxEncoder, convnet, mlp
from pyro_vmonf.labels import Labels
from pyro_vmonf.models import DirichletWeights, FlowMixture
from pyro_vmonf.objectives import Batch, Consistency, Elbo, ExpectationMaximization, LabelTerm
from pyro_vmonf.steps import AutoStep, CaptureError, EagerStep, ReplayStep
from pyro_vmonf.steps.flat import FlatAdam
from pyro_vmonf.steps.replay import Replay
from pyro_vmonf.training import Temperature, TrainingConfig, fit

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


def pair(components=None, hidden=(8,), **kwargs):
    components = components or RealNVP(2, 3, transforms=2)
    return FlowMixture(components, "learned"), SoftmaxEncoder(mlp(2, 3, hidden), 3)


def unsafe_view(x):
    return [torch.ops.aten._unsafe_view(x + 1, [6]).mul_(2), x * 3, (x * 5).sin() + (x * 7).cos()]


def written_zeros(x):
    zeros = x.new_zeros(2, 5)
    return [zeros.scatter_(1, torch.tensor([[0, 1, 2], [2, 3, 4]]), x), zeros + 1]


def constants(x):
    table = torch.arange(3, dtype=x.dtype).cumsum(0)
    return [x * table, torch.eye(3, dtype=x.dtype) @ x.T]


def mutated(x):
    y = x.clone()
    y[0] += 1
    y.t()[1] *= 2
    return [y, y.exp()]


def gradient(x):
    y = x.detach().requires_grad_()
    loss = (y.tanh().cumsum(-1) @ y.T).logsumexp(0).sum() + (y[1] ** 3).sum()
    return [loss.detach(), *torch.autograd.grad(loss, [y])]


def split_and_joined(x):
    a, b = x.split([1, 2], dim=-1)
    return [torch.cat([b.flip(0), a.expand(2, 3)], -1), x.max(dim=-1).values, x.max(dim=-1).indices]


def empty(x):
    return [x[:, :0].sum(-1), torch.cat([x[:, :0], x], -1)]


@pytest.mark.parametrize(
    "function",
    [unsafe_view, written_zeros, constants, mutated, gradient, split_and_joined, empty],
    ids=lambda f: f.__name__,
)
def test_a_replay_gives_what_the_function_gives(function):
    x = torch.randn(2, 3)
    replay = Replay(function, [x])
    for _ in range(3):
        x.copy_(torch.randn(2, 3))
        for found, expected in zip(replay(), function(x), strict=True):
            assert torch.equal(found, expected)


def test_what_depends_on_shapes_is_computed_once():
    assert len(Replay(lambda x: [torch.arange(3.0).cumsum(0) + torch.eye(3).sum(0), x + 1], [torch.ones(3)]).calls) == 1


def test_operations_of_no_use_are_left_out():
    assert len(Replay(lambda x: [x.exp(), (x > 0).all()][:1], [torch.ones(3)]).calls) == 1


def test_memory_is_used_again():
    """A chain of operations needs the memory of two tensors, its result, and no more."""

    def chain(x):
        for _ in range(20):
            x = x.sin()
        return [x]

    replay = Replay(chain, [torch.randn(1000)])
    written = {kwargs["out"].untyped_storage().data_ptr() for _, _, kwargs in replay.calls if "out" in kwargs}
    assert len(replay.calls) == 20
    assert len(written) <= 3


def test_randomness_is_drawn_anew():
    x = torch.zeros(5)
    replay = Replay(lambda x: [x + torch.randn_like(x), nn.functional.dropout(x + 1)], [x])
    torch.manual_seed(3)
    found = [[t.clone() for t in replay()] for _ in range(3)]
    torch.manual_seed(3)
    for step in found:
        assert torch.equal(step[0], x + torch.randn_like(x))
        assert torch.equal(step[1], nn.functional.dropout(x + 1))


def test_buffers_change_as_they_do_in_the_function():
    norm, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    x = torch.randn(4, 3)
    replay = Replay(lambda x: [norm(x)], [x])
    norm.load_state_dict(other.state_dict())
    for _ in range(3):
        x.copy_(torch.randn(4, 3))
        assert torch.equal(replay()[0], other(x))
    for name, value in other.state_dict().items():
        assert torch.equal(norm.state_dict()[name], value), name


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x * float(x.sum())],
        lambda x: [x * x.tolist()[0]],
        lambda x: [x if x.sum() > 0 else -x],
        lambda x: [x[x > 0]],
        lambda x: [x.nonzero()],
        lambda x: [x + torch.from_numpy(x.numpy())],
    ],
    ids=["float", "tolist", "branch", "mask", "nonzero", "numpy"],
)
def test_what_depends_on_values_is_refused(function):
    with pytest.raises(CaptureError):
        Replay(function, [torch.ones(4)])


CASES = {
    "noise": lambda: (pair(), Elbo() + Consistency(1.0, Noise(0.1))),
    "em": lambda: (pair(), ExpectationMaximization()),
    "dropout, convolution, batch norm": lambda: (
        (
            FlowMixture(MAF(16, 3, transforms=2, hidden_features=(12,))),
            SoftmaxEncoder(
                nn.Sequential(nn.Dropout(0.2), nn.Unflatten(1, (4, 4)), convnet(4, 4, 3, channels=(2, 3))), 3
            ),
        ),
        Elbo(),
    ),
    "normalised by batch": lambda: (pair(RealNVP(2, 3, transforms=2, normalization="batch")), Elbo()),
    "list": lambda: (pair(FlowList([RealNVP(2, 2, transforms=2), MAF(2, 1, transforms=2)])), Elbo()),
    "splines": lambda: (pair(NSF(2, 3)), Elbo()),
    "prior": lambda: (
        (
            FlowMixture(RealNVP(2, 3, transforms=2), DirichletWeights(2.0, 3)),
            SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3, initial=5.0)),
        ),
        Elbo(),
    ),
}


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, torch.float32) for case in CASES), ("noise", torch.float64), ("splines", torch.float64)],
)
def test_the_gradient_is_that_of_autograd_bit_by_bit(case, dtype):
    """Two hundred steps; the eager gradient is taken at the same parameters, buffers and random state."""
    torch.set_default_dtype(dtype)
    (model, guide), objective = CASES[case]()
    modules = nn.ModuleList([model.train(), guide.train()])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-2, weight_decay=1e-3, fused=True)
    step = ReplayStep(model, guide, objective, optimizer)
    for i in range(200):
        batch = Batch(torch.randn(24 + i % 2, *model.components.event_shape), 100)
        before = [buffer.clone() for buffer in modules.buffers()]
        random = torch.get_rng_state()
        loss = objective(model, guide, batch).value
        expected = torch.autograd.grad(loss, step.program.laid_out.parameters) if i else []
        after = [buffer.clone() for buffer in modules.buffers()]
        for buffer, value in zip(modules.buffers(), before, strict=True):
            buffer.data.copy_(value)
        torch.set_rng_state(random)
        step(batch)
        assert all(torch.equal(a, b) for a, b in zip(modules.buffers(), after, strict=True))
        if i:
            assert all(torch.equal(a, b) for a, b in zip(step.program.laid_out.gradients, expected, strict=True))
    assert len(step.program.graphs) == 2


def trained(step, x, y=None, *, components=None, freeze=False, **settings):
    torch.manual_seed(0)
    model = FlowMixture(
        components() if components else RealNVP(2, 3, transforms=2), "learned", settings.pop("labels", lambda: None)()
    )
    guide = SoftmaxEncoder(mlp(2, 3), 3, labels=model.labels)
    if freeze:
        model.weights.requires_grad_(False)
    numbers = {"epochs": 30, "batch_size": 32, "schedule": "cosine"} | settings.pop("config", {})
    history = fit(model, guide, x, y, step=step, config=TrainingConfig(**numbers), progress=False, **settings)
    return model, guide, history


FITS = {
    "default": {},
    "clip, decay, temperature": {
        "config": {"max_grad_norm": 0.5, "weight_decay": 1e-3, "temperature": Temperature(3.0, 0.9)}
    },
    "frozen": {"freeze": True, "initializer": None},
    "weights": {"sample_weight": torch.linspace(0.5, 2.0, 150)},
    "augmented": {"config": {"augment": Noise(0.05)}},
    "labels": {"y": torch.where(torch.arange(150) % 3 == 0, torch.arange(150) // 50, -1)},
    "noisy labels": {
        "y": torch.where(torch.arange(150) % 3 == 0, torch.arange(150) // 50, -1),
        "labels": lambda: Labels([0, 1, 2], noise=0.1),
    },
    "exact posterior": {"objective": ExpectationMaximization()},
}


@pytest.mark.parametrize("case", FITS)
def test_a_fit_that_replays_ends_as_an_eager_one(case):
    """A hundred and fifty steps in batches of two sizes; beyond, rounding in Adam's last digits grows."""
    x = pinwheel(50, wings=3)[0]
    settings = {} if case == "default" else {"initializer": "gmm"}  # by default two starts compete
    eager, auto = (trained(step, x, **settings | FITS[case]) for step in ("eager", "auto"))
    for a, b in zip(
        [*auto[0].parameters(), *auto[1].parameters()], [*eager[0].parameters(), *eager[1].parameters()], strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)
    for mine, theirs in zip(auto[2].rows, eager[2].rows, strict=True):
        assert {k: v for k, v in mine.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in theirs.items() if k != "seconds"}, rel=1e-6, abs=1e-6
        )


def test_auto_replays_where_a_fit_has_many_steps(caplog):
    x = pinwheel(50, wings=3)[0]
    with caplog.at_level(logging.INFO, "pyro_vmonf"):
        trained("auto", x)
        assert "Elbo(): 900 steps repeat captured operations" in caplog.text  # five trials and the fit
        caplog.clear()
        trained("auto", x, config={"epochs": 2}, initializer=None)
        assert "Elbo(): eager steps, since 10 do not repay a capture" in caplog.text


class Host(Elbo):
    """Reads a value back, as an objective must not."""

    def __call__(self, model, guide, batch):
        loss = super().__call__(model, guide, batch)
        return loss._replace(value=loss.value * (1 if float(batch.x.sum()) > -math.inf else 0))


def test_what_cannot_be_captured_is_eager(caplog):
    x = pinwheel(50, wings=3)[0]
    plain, _, _ = trained("eager", x, initializer=None)
    model, _, _ = trained("auto", x, initializer=None, objective=Host())
    assert "eager steps, since" in caplog.text
    assert "reads a value back to the host" in caplog.text
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    model, guide = pair()
    optimizer = torch.optim.Adam([*model.parameters(), *guide.parameters()], fused=True)
    before = [p.data_ptr() for p in model.parameters()], torch.get_rng_state()
    with pytest.raises(CaptureError, match="reads a value back"):
        ReplayStep(model, guide, Host(), optimizer)(Batch(x, len(x)))
    assert len({p.untyped_storage().data_ptr() for p in model.parameters()}) == len(list(model.parameters()))
    assert torch.equal(before[1], torch.get_rng_state())


def owners(*modules):
    return {p.untyped_storage().data_ptr() for m in modules for p in m.parameters()}


def test_parameters_have_memory_of_their_own_after_a_fit_even_one_that_is_broken_off():
    x = pinwheel(50, wings=3)[0]
    model, guide, _ = trained("auto", x)
    assert len(owners(model, guide)) == len([*model.parameters(), *guide.parameters()])
    reference = next(model.parameters())

    def stop(state):
        assert len(owners(model, guide)) < 5  # in one vector while it trains
        copy.deepcopy(model).double()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, guide, x, config=TrainingConfig(epochs=30, batch_size=32), on_epoch=stop, progress=False)
    assert len(owners(model, guide)) == len([*model.parameters(), *guide.parameters()])
    assert next(model.parameters()) is reference


def test_a_fit_leaves_no_graph_behind():
    x = pinwheel(50, wings=3)[0]
    model, guide = pair()
    step = AutoStep({Elbo(): 1000})
    made = step(model, guide, Elbo(), torch.optim.Adam([*model.parameters(), *guide.parameters()], fused=True), None)
    made(Batch(x, len(x)))
    made.close()
    alive = weakref.ref(next(iter(step.programs.values())))
    del step, made
    gc.collect()
    assert alive() is None


def test_parameters_that_took_other_numbers_of_steps_keep_them():
    """A prior's posterior has no gradient in a warm-up, so its moments begin later."""
    parameters = [nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(()))]
    plain = copy.deepcopy(parameters)
    adam, other = (torch.optim.Adam(p, lr=0.1, fused=True) for p in (parameters, plain))
    flat = FlatAdam(parameters[::2])
    both = FlatAdam(parameters)
    for i in range(6):
        now, used = (flat, parameters[::2]) if i < 3 else (both, parameters)
        if i in (0, 3):
            now.attach(adam)
        gradients = [torch.randn_like(p) for p in used]
        for own, mine, given in zip(plain[::2] if i < 3 else plain, now.gradients, gradients, strict=True):
            own.grad = given
            mine.copy_(given)
        now.step(torch.zeros((), dtype=torch.float32))
        other.step()
        if i in (2, 5):
            now.detach()
        for p, q in zip(parameters, plain, strict=True):
            torch.testing.assert_close(p, q, atol=1e-14, rtol=1e-14)
    assert [float(adam.state[p]["step"]) for p in parameters] == [6, 3, 6]
    with pytest.raises(CaptureError, match="not Adam"):
        both.attach(torch.optim.SGD(parameters, lr=0.1))
    with pytest.raises(CaptureError, match="different types"):
        FlatAdam([parameters[0], nn.Parameter(torch.zeros(1, dtype=torch.float32))])


def test_a_replayed_fit_that_is_resumed_ends_as_an_unbroken_one(tmp_path):
    x = pinwheel(50, wings=3)[0]
    y = torch.where(torch.arange(150) % 3 == 0, torch.arange(150) // 50, -1)
    whole = trained("auto", x, y)
    with pytest.raises(KeyboardInterrupt):
        trained("auto", x, y, checkpoint=tmp_path / "fit.safetensors", on_epoch=Breaks(7))
    broken = trained("auto", x, y, checkpoint=tmp_path / "fit.safetensors")
    for a, b in zip(
        [*whole[0].parameters(), *whole[1].parameters()],
        [*broken[0].parameters(), *broken[1].parameters()],
        strict=True,
    ):
        assert torch.equal(a, b)


class Breaks:
    """Interrupts a fit after some epochs."""

    def __init__(self, epochs):
        self.left = epochs

    def __call__(self, state):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_eager_and_replayed_steps_check_the_optimizer_alike():
    model, guide = pair()
    for step in (EagerStep, ReplayStep):
        with pytest.raises(TypeError, match="optimizer: expected one with a fused step"):
            step(model, guide, Elbo() + LabelTerm(), torch.optim.SGD(model.parameters(), lr=0.1))


def test_what_a_caller_does_to_parameters_between_epochs_counts():
    """New values in place, other memory, and freezing: the fit goes on as an eager one does."""
    x = pinwheel(50, wings=3)[0]

    def meddle(state):
        first, second, *_ = state.model.components.parameters()
        epoch = state.row["epoch"]
        if epoch == 3:
            first.data.mul_(0.5)
        if epoch == 5:
            second.data = second.data + 0.1
        if epoch == 8:
            first.requires_grad_(False)

    eager, auto = (trained(step, x, initializer=None, on_epoch=meddle) for step in ("eager", "auto"))
    for a, b in zip(auto[0].parameters(), eager[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


class Counts(nn.Module):
    """Changes a number of its own in each call."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(2, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * min(1.0, self.calls / 100)


class Replaces(nn.Module):
    """Gives its buffer other memory in each call."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.register_buffer("average", torch.zeros(2))

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.detach().mean(0)
        return self.layer(x - x.mean(0))


@pytest.mark.parametrize("network", [Counts, Replaces], ids=["number", "buffer"])
def test_a_network_that_changes_itself_in_python_is_trained_eagerly(network, caplog):
    x = pinwheel(50, wings=3)[0]
    ends = []
    for step in ("eager", "auto"):
        torch.manual_seed(0)
        model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(network(), 3)
        config = TrainingConfig(epochs=25, batch_size=32)
        fit(model, guide, x, initializer=None, step=step, config=config, progress=False)
        ends.append([*model.parameters(), *guide.state_dict().values()])
    assert "eager steps, since a module or the objective changes its own numbers, or replaces a buffer" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_numbers_and_buffers_that_a_caller_changes_between_epochs_count():
    x = pinwheel(50, wings=3)[0]
    ends = []
    for step in ("eager", "auto"):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 3))
        model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(network, 3)

        def meddle(state, guide=guide, network=network):
            network[0].p = 0.0 if state.row["epoch"] > 4 else 0.5
            guide.float()
            guide.double()

        config = TrainingConfig(epochs=25, batch_size=32, temperature=Temperature(5.0, 0.9))
        fit(model, guide, x, initializer=None, step=step, on_epoch=meddle, config=config, progress=False)
        ends.append([*model.parameters(), *guide.state_dict().values()])
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)  # parameters pass through float32


def test_a_batch_of_another_shape_after_a_caller_gave_parameters_other_memory():
    x = pinwheel(50, wings=3)[0]
    model, guide = pair()
    parameters = [*model.parameters(), *guide.parameters()]
    step = ReplayStep(model, guide, Elbo(), torch.optim.Adam(parameters, lr=1e-2, fused=True))
    step(Batch(x[:20], 150))
    for parameter in parameters:
        parameter.data = parameter.data.clone()
    elbos = [float(step(Batch(x[:30], 150))["elbo"]) for _ in range(10)]
    assert elbos[-1] > elbos[0]


def test_batches_with_all_labels_and_with_some_both_replay(caplog):
    x = pinwheel(50, wings=3)[0]
    y = torch.where(torch.arange(150) % 5 > 0, torch.arange(150) // 50, -1)
    eager, auto = (trained(step, x, y, initializer=None, config={"batch_size": 8}) for step in ("eager", "auto"))
    assert "eager steps" not in caplog.text
    for a, b in zip(auto[0].parameters(), eager[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
