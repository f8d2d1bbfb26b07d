"""Fitting: what it reaches, that it can be broken off and repeated, and what it refuses."""

import copy
import dataclasses
import importlib

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko

from pyro_vmonf import plots
from pyro_vmonf.components import MAF, FlowList, RealNVP, StackedFlow, StandardNormal
from pyro_vmonf.data import pinwheel, two_circles
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.inference import History, NonFiniteError, Temperature, fit
from pyro_vmonf.inference import checkpoint as checkpoints
from pyro_vmonf.inference.options import Options
from pyro_vmonf.inference.run import Run
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.transforms import PLUAffine
from pyro_vmonf.transforms.networks import MaskedLinear

torch.distributions.Distribution.set_default_validate_args(True)  # importing zuko switched it off
fit_module = importlib.import_module("pyro_vmonf.inference.fit")


def pair(components=None, weights="uniform", hidden=(8,)):
    components = components or RealNVP(2, 3, transforms=3)
    k = components.n_components
    return FlowMixture(components, weights), SoftmaxEncoder(mlp(2, k, hidden), k)


def state(*modules):
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# The thesis's way, and three epochs, in which components may die.
QUICK = {"epochs": 3, "batch_size": 32, "init": None, "schedule": "constant", "learning_rate": 1e-3, "progress": False}
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.DeadComponentWarning")


def quick(model, guide, x, y=None, **settings):
    return fit(model, guide, x, y, **QUICK | settings)


def test_history_has_a_row_an_epoch():
    model, guide = pair()
    x, _ = pinwheel(40, wings=3)
    history = quick(model, guide, x, validation=x[:20], temperature=Temperature(4.0, 0.5))
    assert [row["temperature"] for row in history.rows] == [4.0, 2.0, 1.0]
    assert history.column("elbo")[0] == [0, 1, 2]
    assert {"validation_elbo", "validation_evidence", "seconds"} <= set(history.rows[0])
    assert history.rows[-1]["validation_evidence"] >= history.rows[-1]["validation_elbo"]
    plots.history({name: history.column(name) for name in ("elbo", "temperature", "labelled")})


def test_objective_is_the_mean_elbo_per_observation():
    model, guide = pair()
    x, _ = pinwheel(40, wings=3)
    expected = float(evaluate(model, guide, x).elbo.mean())
    history = quick(model, guide, x, epochs=1, batch_size=1000)
    assert history.rows[0]["elbo"] == pytest.approx(expected, abs=1e-10)


def test_labelled_objective_is_log_joint_plus_log_encoder():
    model, guide = pair()
    x, y = pinwheel(10, wings=3)
    evaluation = evaluate(model, guide, x)
    indices = torch.arange(30)
    expected = [float(table[indices, y].mean()) for table in (evaluation.log_joint, evaluation.log_q)]
    history = quick(model, guide, x, y, epochs=1, batch_size=1000, interleave=True)
    assert [history.rows[0][name] for name in ("labelled", "labels")] == pytest.approx(expected, abs=1e-10)
    assert "elbo" not in history.rows[0]


def test_same_seed_same_result_and_no_trace_left_behind():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    twins = copy.deepcopy((model, guide))
    others = copy.deepcopy((model, guide))
    random = torch.get_rng_state()
    quick(model, guide, x, seed=3)
    assert torch.equal(random, torch.get_rng_state())
    assert not pyro.get_param_store().keys()
    quick(*twins, x, seed=3)
    quick(*others, x, seed=4)
    assert same(state(model, guide), state(*twins))
    assert not same(state(model, guide), state(*others))
    assert not model.training
    assert not guide.training


@pytest.mark.parametrize("labels", [False, True])
def test_a_broken_fit_goes_on_to_the_same_parameters(tmp_path, monkeypatch, labels):
    x, y = pinwheel(40, wings=3)
    y = torch.where(torch.arange(len(y)) % 4 == 0, y, -1) if labels else None
    settings = {"temperature": Temperature(3.0, 0.8), "seed": 5, "weight_decay": 1e-3, "clip_norm": 1.0}
    settings |= {"pretrain_epochs": 2, "encoder_delay": 1} if labels else {}
    networks = RealNVP(2, 3, transforms=2, normalization="batch")
    model, guide = pair(networks)
    guide.network.insert(1, torch.nn.Dropout(0.2))
    twins = copy.deepcopy((model, guide))
    fresh = copy.deepcopy((model, guide))
    whole = quick(model, guide, x, y, epochs=6, **settings)
    path = tmp_path / "checkpoint.pt"

    def broken(run, epoch, validation, whole_epoch=fit_module.one_epoch):
        if epoch == 4:
            raise KeyboardInterrupt
        return whole_epoch(run, epoch, validation)

    monkeypatch.setattr(fit_module, "one_epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        quick(*twins, x, y, epochs=6, checkpoint=path, checkpoint_minutes=1e-9, **settings)
    monkeypatch.undo()
    rest = quick(*fresh, x, y, epochs=6, checkpoint=path, **settings)
    assert same(state(model, guide), state(*fresh))
    strip = [[{k: v for k, v in row.items() if k != "seconds"} for row in h.rows] for h in (whole, rest)]
    assert strip[0] == strip[1]
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"], "no temporary file is left"


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    x, _ = pinwheel(40, wings=3)
    path = tmp_path / "checkpoint.pt"
    quick(*pair(), x, checkpoint=path)
    with pytest.raises(ValueError, match=r"learning_rate = 0\.001, this fit has 0\.01"):
        quick(*pair(), x, checkpoint=path, learning_rate=0.01)
    with pytest.raises(ValueError, match="checksum of x"):
        quick(*pair(), x + 1, checkpoint=path)
    with pytest.raises(ValueError, match=r"epochs: expected at least the 3 .* got 1"):
        quick(*pair(), x, checkpoint=path, epochs=1)


def test_a_checkpoint_cannot_run_code(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": Temperature}, path)
    with pytest.raises(ValueError, match=r"expected the state of a fit .* Weights only load failed"):
        checkpoints.load(path, {})


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint: expected the state of a fit in"):
        quick(*pair(), X, checkpoint=path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    x, _ = pinwheel(40, wings=3)
    path = tmp_path / "checkpoint.pt"
    quick(*pair(), x, checkpoint=path)
    before = path.read_bytes()
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        quick(*pair(), x, checkpoint=path, epochs=4)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


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
    quick(*pair(), x, clip_norm=0.01)
    assert max(norms) <= 0.01 + 1e-9


class Breaks(torch.nn.Module):
    """A network whose output turns NaN after some calls."""

    def __init__(self, good_calls):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.left = good_calls

    def forward(self, x):
        self.left -= 1
        return self.linear(x) * (1.0 if self.left >= 0 else float("nan"))


def test_a_non_finite_loss_stops_and_leaves_good_parameters():
    x, _ = pinwheel(40, wings=3)
    model = FlowMixture(RealNVP(2, 3, transforms=3))
    guide = SoftmaxEncoder(Breaks(good_calls=7), 3)
    with pytest.raises(NonFiniteError, match=r"expected a finite number, got nan in step 5 of this fit"):
        quick(model, guide, x, epochs=5)
    guide.network.left = 10**9
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state(model, guide))
    assert bool(torch.isfinite(evaluate(model, guide, x).elbo).all())


def test_the_last_good_parameters_come_back_after_a_leap():
    """One batch an epoch, and a learning rate that throws the parameters out of the world."""
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    before = state(model, guide)
    with pytest.raises(NonFiniteError, match="step 1"):
        quick(model, guide, x, epochs=50, batch_size=1000, learning_rate=1e200)
    assert same(before, state(model, guide))
    assert bool(torch.isfinite(evaluate(model, guide, x).elbo).all())
    assert not model.training


def test_weight_decay_decays():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    twins = copy.deepcopy((model, guide))
    quick(model, guide, x)
    quick(*twins, x, weight_decay=10.0)
    norms = [sum(float(p.detach().square().sum()) for p in m.parameters()) for m in (model, twins[0])]
    assert norms[1] < norms[0]


def test_masked_weights_stay_zero():
    """Dwindling to denormal numbers instead, they would make every product several times slower."""
    x, _ = pinwheel(40, wings=3)
    model, guide = pair(MAF(2, 3, transforms=2, hidden_features=(8,)))
    quick(model, guide, x, weight_decay=1e-2)
    layers = [m for m in model.modules() if isinstance(m, MaskedLinear)]
    assert layers
    for layer in layers:
        assert bool((layer.weight[(layer.mask == 0).expand_as(layer.weight)] == 0).all())


def test_a_last_batch_of_one_does_not_happen():
    x, _ = pinwheel(11, wings=3)
    quick(*pair(RealNVP(2, 3, transforms=2, normalization="batch")), x, batch_size=32)


def test_read_takes_what_fit_takes_and_leaves_modes_alone():
    model, guide = pair()
    model.float()
    guide.float()
    model.train()
    model.components.transforms[0].eval()
    evaluate(model, guide, X)
    assert model.training
    assert not model.components.transforms[0].training
    for bad, message in ((X[0], "N, 2"), (X[:0], "N ≥ 1"), (X / 0, "finite")):
        with pytest.raises(ValueError, match=message):
            evaluate(model, guide, bad)


def test_a_history_with_infinite_values_is_saved(tmp_path):
    History([{"epoch": 0, "validation_evidence": float("-inf")}]).save(str(tmp_path / "history.json"))
    assert '"validation_evidence": null' in (tmp_path / "history.json").read_text()


def test_a_non_finite_gradient_stops_before_it_is_used():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    model.components.transforms[0].nn.layers[0].weight.register_hook(lambda g: g * float("inf"))
    before = state(model, guide)
    with pytest.raises(NonFiniteError, match=r"gradient: expected a finite number, got (nan|inf) in step 0"):
        quick(model, guide, x)
    assert same(before, state(model, guide))


def test_the_encoder_is_held_during_its_delay():
    x, y = pinwheel(40, wings=3)
    y = torch.where(torch.arange(len(y)) < 4, y, -1)
    model, guide = pair()
    options = Options(batch_size=32)
    run = Run(model, guide, x, y, options, torch.device("cpu"))
    before = state(guide), state(model)
    run.label_loss = lambda x, y: 0 * guide.log_probs(x).sum()  # what moves the encoder now is the ELBO
    run.held = True
    run.sweep(run.in_batches(run.unlabelled))
    assert same(before[0], state(guide))
    assert not same(before[1], state(model))
    run.held = False
    run.sweep(run.in_batches(run.unlabelled))
    assert not same(before[0], state(guide))


def test_every_step_teaches_the_encoder_its_labels():
    x, y = pinwheel(40, wings=3)
    y = torch.where(torch.arange(len(y)) % 10 == 0, y, -1)
    model, guide = pair(hidden=(32,))
    run = Run(
        model,
        guide,
        x,
        y,
        Options(
            batch_size=32,
            learning_rate=1e-2,
        ),
        torch.device("cpu"),
    )
    run.held = True
    for _ in range(30):
        run.sweep(run.in_batches(run.unlabelled))
    assert torch.equal(guide.probs(x[y >= 0]).argmax(-1), y[y >= 0])


def test_learned_weights_are_recovered():
    sizes = torch.tensor([500, 300, 200])
    z = torch.arange(3).repeat_interleave(sizes)
    centres = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
    x = centres[z] + torch.randn(1000, 2)
    components = StackedFlow(StandardNormal(2), [PLUAffine(2, components=3)])
    components.initialize(x, torch.nn.functional.one_hot(z, 3) + 0.2)
    model, guide = pair(components, "learned", (16,))
    fit(model, guide, x, epochs=150, batch_size=250, learning_rate=1e-2, progress=False)
    found = model.weights().exp().detach().sort(descending=True).values
    torch.testing.assert_close(found, sizes / 1000, atol=0.03, rtol=0)
    evaluation = evaluate(model, guide, x)
    assert float(evaluation.inference_gap.mean()) < 0.05


def test_a_fitted_density_integrates_to_one():
    x, _ = pinwheel(100, wings=3)
    model, guide = pair(RealNVP(2, 3, transforms=4))
    quick(model, guide, x, epochs=40, batch_size=100)
    side = torch.linspace(-12, 12, 1200)
    grid = torch.cartesian_prod(side, side)
    area = float((side[1] - side[0]) ** 2)
    with torch.no_grad():
        assert float(model.evidence(grid).exp().sum()) * area == pytest.approx(1, abs=1e-3)
        for k in range(3):
            mass = float(model.components.component(k).log_prob(grid).exp().sum()) * area
            assert mass == pytest.approx(1, abs=1e-3)


def test_components_of_different_kinds_train_together():
    components = FlowList(
        [
            RealNVP(2, 1, transforms=2),
            MAF(2, 1, transforms=2),
            dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1),
            zuko.flows.NSF(2, transforms=1, hidden_features=(8,)),
        ]
    )
    torch.distributions.Distribution.set_default_validate_args(True)
    model, guide = pair(components, "learned")
    x, _ = pinwheel(50, wings=4)
    history = quick(model, guide, x, epochs=25, learning_rate=5e-3)
    assert history.rows[-1]["elbo"] > history.rows[0]["elbo"] + 0.3


def test_labels_guide_the_components():
    x, y = two_circles(100, std=0.02)
    seen = torch.where(torch.arange(200) % 10 == 0, y, -1)
    model, guide = pair(RealNVP(2, 2, transforms=2), hidden=(32,))
    quick(model, guide, x, seen, epochs=30, pretrain_epochs=60, encoder_delay=30, learning_rate=1e-2)
    assert float((evaluate(model, guide, x).encoder_probs.argmax(-1) == y).double().mean()) > 0.95


def test_float32_models_take_float64_data():
    model, guide = pair()
    model.float()
    guide.float()
    x, _ = pinwheel(40, wings=3)
    quick(model, guide, x, validation=x)
    assert next(model.parameters()).dtype == torch.float32


def test_trains_on_a_device(device):
    x, y = pinwheel(40, wings=3)
    model, guide = pair()
    quick(model, guide, x, torch.where(y == 0, y, -1), device=device, validation=x)
    assert {p.device.type for p in [*model.parameters(), *guide.parameters()]} == {device}


def test_options_refuse_to_change():
    options = Options()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.epochs = 2


X, Y = torch.randn(20, 2, dtype=torch.float64), torch.zeros(20).long()


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        ((torch.where(X > 2, torch.nan, X).index_fill(0, torch.tensor([0]), torch.nan),), {}, ValueError, "x: .* NaN"),
        ((X / 0,), {}, ValueError, "x: expected finite values"),
        ((torch.randn(20, 3),), {}, ValueError, r"x: expected shape \(\*batch, 2\), got \(20, 3\)"),
        ((torch.ones(20, 2).long(),), {}, TypeError, "x: expected a floating-point tensor, got torch.int64"),
        (([[0.0, 1.0]],), {}, TypeError, "x: expected a floating-point tensor, got list"),
        ((torch.empty(0, 2),), {}, ValueError, r"x: expected shape \(N, 2\) with N ≥ 1, got \(0, 2\)"),
        ((X[0],), {}, ValueError, r"x: expected shape \(N, 2\)"),
        ((X[:2],), {}, ValueError, "x: expected at least 3 distinct points, one for each component, got 2"),
        ((X, Y[:5]), {}, ValueError, r"y: expected shape \(20,\)"),
        ((X, Y + 3), {}, ValueError, "y: expected labels from -1 .* to 2, got 3 to 3"),
        ((X, Y - 2), {}, ValueError, "y: expected labels from -1 .* to 2, got -2 to -2"),
        ((X, Y.double()), {}, TypeError, "y: expected integer labels, got torch.float64"),
        ((X,), {"epochs": -1}, ValueError, "epochs: expected an integer of at least 0"),
        ((X,), {"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1"),
        ((X,), {"learning_rate": 0.0}, ValueError, "learning_rate: expected a finite number above 0"),
        ((X,), {"weight_decay": -1.0}, ValueError, "weight_decay: expected a finite number above 0"),
        ((X,), {"learning_rate": "fast"}, ValueError, "learning_rate: expected a finite number above 0, got 'fast'"),
        ((X,), {"temperature": 5.0}, TypeError, "temperature: expected a Temperature or None, got 5.0"),
        ((X,), {"clip_norm": -1.0}, ValueError, "clip_norm: expected a finite number above 0"),
        ((X,), {"pretrain_epochs": 3}, ValueError, "expected labels in y to train on, got none"),
        ((X,), {"encoder_delay": 3}, ValueError, "expected labels in y to train on, got none"),
        ((X,), {"validation": X.log()}, ValueError, "validation: expected finite values"),
        ((X,), {"checkpoint": "/proc/nowhere/checkpoint.pt"}, OSError, "checkpoint: expected a folder to write in"),
        ((X,), {"checkpoint_minutes": 0}, ValueError, "checkpoint_minutes: expected a finite number above 0"),
    ],
)
def test_bad_input_is_named_before_any_work(arguments, settings, error, message):
    model, guide = pair()
    before = state(model, guide)
    with pytest.raises(error, match=message):
        quick(model, guide, *arguments, **settings)
    assert same(before, state(model, guide))


def test_a_guide_of_another_size_is_refused():
    model, _ = pair()
    with pytest.raises(ValueError, match="guide: expected 3 components, as the model has, got 2"):
        quick(model, SoftmaxEncoder(mlp(2, 2), 2), X)
    with pytest.raises(ValueError, match="guide: expected a network for x of shape"):
        quick(model, SoftmaxEncoder(mlp(5, 3), 3), X)
    with pytest.raises(TypeError, match="model: expected a FlowMixture, got SoftmaxEncoder"):
        quick(*reversed(pair()), X)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 0.0}, "start: expected a finite number above 0"),
        ({"floor": -1.0}, "floor: expected a finite number above 0"),
        ({"decay": 1.5}, "decay: expected a number above 0 and at most 1"),
        ({"decay": 0.0}, "decay: expected a number above 0 and at most 1"),
    ],
)
def test_bad_temperatures_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Temperature(**settings)


def test_temperature_decays_exponentially_to_its_floor():
    schedule = Temperature(8.0, 0.5)
    assert [schedule(e) for e in range(5)] == [8.0, 4.0, 2.0, 1.0, 1.0]
