"""Fitting: what it reaches, that it can be repeated, what it tells after each epoch, and what it refuses."""

import copy
import dataclasses

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko

from pyro_vmonf import plots
from pyro_vmonf.components import MAF, FlowList, RealNVP, StackedFlow, StandardNormal
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import Consistency, Elbo, ExpectationMaximization, LabelTerm
from pyro_vmonf.training import DivergenceWarning, History, Restarts, Temperature, TrainingConfig, fit
from pyro_vmonf.transforms import PLUAffine
from pyro_vmonf.transforms.networks import MaskedLinear

torch.distributions.Distribution.set_default_validate_args(True)  # importing zuko switched it off
QUICK = {"epochs": 3, "batch_size": 32, "schedule": "constant", "learning_rate": 1e-3}
# Three epochs from parameters as they are, in which components may die.
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


def pair(components=None, weights="uniform", hidden=(8,)):
    components = components or RealNVP(2, 3, transforms=3)
    k = components.n_components
    return FlowMixture(components, weights), SoftmaxEncoder(mlp(2, k, hidden), k)


def state(*modules):
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


NUMBERS = {one.name for one in dataclasses.fields(TrainingConfig)}


def quick(model, guide, x, y=None, **settings):
    config = TrainingConfig(**QUICK | {name: settings.pop(name) for name in NUMBERS & set(settings)})
    return fit(model, guide, x, y, **{"initializer": None, "config": config, "progress": False} | settings)


def test_history_has_a_row_an_epoch():
    model, guide = pair()
    x, _ = pinwheel(40, wings=3)
    history = quick(model, guide, x, validation=x[:20], temperature=Temperature(4.0, 0.5))
    assert [row["temperature"] for row in history.rows] == [4.0, 2.0, 1.0]
    assert [(row["phase"], row["steps"]) for row in history.rows] == [(1, 4)] * 3
    assert history.column("elbo")[0] == [0, 1, 2]
    assert {"validation_elbo", "validation_evidence", "seconds"} <= set(history.rows[0])
    assert history.rows[-1]["validation_evidence"] >= history.rows[-1]["validation_elbo"]
    assert ["initial" in row for row in history.rows] == [True, False, False]
    assert history.stopped == "epochs"
    plots.history({name: history.column(name) for name in ("elbo", "temperature", "labelled_elbo")})


def test_a_warm_up_is_a_phase_at_the_last_temperature():
    x, _ = pinwheel(40, wings=3)
    start, temperature = Initializer("kmeans", warmup_epochs=2), Temperature(4.0, 0.5)
    history = quick(*pair(), x, initializer=start, temperature=temperature)
    assert [row["phase"] for row in history.rows] == [0, 0, 1, 1, 1]
    assert [row["temperature"] for row in history.rows] == [1.0, 1.0, 4.0, 2.0, 1.0]


def test_the_objective_is_the_mean_elbo_per_observation():
    model, guide = pair()
    x, _ = pinwheel(40, wings=3)
    expected = float(evaluate(model, guide, x).elbo.mean())
    history = quick(model, guide, x, epochs=1, batch_size=1000)
    assert history.rows[0]["elbo"] == pytest.approx(expected, abs=1e-10)
    assert history.rows[0]["initial"] == history.rows[0]["elbo"]


def test_the_labelled_objective_is_log_joint_plus_log_encoder():
    model, guide = pair()
    x, y = pinwheel(10, wings=3)
    evaluation = evaluate(model, guide, x)
    indices = torch.arange(30)
    expected = [float(table[indices, y].mean()) for table in (evaluation.log_joint, evaluation.log_q)]
    history = quick(model, guide, x, y, epochs=1, batch_size=1000)
    assert [history.rows[0][name] for name in ("labelled_elbo", "label_log_prob")] == pytest.approx(expected, abs=1e-10)
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


def test_a_history_with_infinite_values_is_saved(tmp_path):
    History([{"epoch": 0, "validation_evidence": float("-inf")}]).save(str(tmp_path / "history.json"))
    assert '"validation_evidence": null' in (tmp_path / "history.json").read_text()


def test_learned_weights_are_recovered():
    sizes = torch.tensor([500, 300, 200])
    z = torch.arange(3).repeat_interleave(sizes)
    centres = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
    x = centres[z] + torch.randn(1000, 2)
    components = StackedFlow(StandardNormal(2), [PLUAffine(2, components=3)])
    components.initialize(x, torch.nn.functional.one_hot(z, 3) + 0.2)
    model, guide = pair(components, "learned", (16,))
    config = TrainingConfig(epochs=150, batch_size=250, learning_rate=1e-2)
    fit(model, guide, x, config=config, progress=False)
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


def test_float32_models_take_float64_data():
    model, guide = pair()
    model.float()
    guide.float()
    x, _ = pinwheel(40, wings=3)
    quick(model, guide, x, validation=x)
    assert next(model.parameters()).dtype == torch.float32


def test_it_trains_where_the_model_lies(device):
    x, y = pinwheel(40, wings=3)
    model, guide = (part.to(device) for part in pair())
    quick(model, guide, x, torch.where(y == 0, y, -1), validation=x, sample_weight=torch.ones(120))
    assert {p.device.type for p in [*model.parameters(), *guide.parameters()]} == {device}


def test_x_may_need_a_gradient():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    twins = copy.deepcopy((model, guide))
    quick(model, guide, x.clone().requires_grad_(), validation=x.clone().requires_grad_())
    quick(*twins, x, validation=x)
    assert same(state(model, guide), state(*twins))


def test_a_fraction_of_the_points_is_held_out_by_the_seed():
    x, _ = pinwheel(40, wings=3)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(2))
    model, guide = pair()
    twins = copy.deepcopy((model, guide))
    history = quick(model, guide, x, validation=0.25, seed=2)
    other = quick(*twins, x[order[30:]], validation=x[order[:30]], seed=2)
    assert same(state(model, guide), state(*twins))
    assert [row["validation_elbo"] for row in history.rows] == [row["validation_elbo"] for row in other.rows]
    assert history.rows[0]["steps"] == 3


class TestOnEpoch:
    def test_it_is_called_after_each_epoch_and_told_of_it(self):
        x, _ = pinwheel(40, wings=3)
        model, guide = pair()
        seen = []

        def on_epoch(told):
            assert told.model is model
            assert told.guide is guide
            assert told.row is told.history.rows[-1]
            seen.append((told.phase, told.row["epoch"], len(told.history.rows)))

        start = Initializer("kmeans", warmup_epochs=1)
        history = quick(model, guide, x, initializer=start, epochs=2, on_epoch=on_epoch)
        assert seen == [("warm-up", 0, 1), ("main", 1, 2), ("main", 2, 3)]
        assert history.stopped == "epochs"

    def test_trials_are_not_told(self):
        x, _ = pinwheel(40, wings=3)
        seen = []
        restarts = Restarts([Initializer(name, warmup_epochs=1) for name in ("kmeans", "gmm")], trial_epochs=1)
        quick(*pair(), x, initializer=restarts, on_epoch=lambda told: seen.append(told.row["epoch"]))
        assert seen == [2, 3]

    def test_true_stops(self):
        x, _ = pinwheel(40, wings=3)
        model, guide = pair()
        twins = copy.deepcopy((model, guide))
        history = quick(model, guide, x, epochs=9, on_epoch=lambda told: told.row["epoch"] == 1)
        assert history.stopped == "on_epoch"
        assert len(history.rows) == 2
        assert not model.training
        quick(*twins, x, epochs=2)
        assert same(state(model, guide), state(*twins))

    def test_what_it_draws_does_not_change_the_fit(self):
        x, _ = pinwheel(40, wings=3)
        model, guide = pair()
        guide.network.insert(1, torch.nn.Dropout(0.2))
        twins = copy.deepcopy((model, guide))
        drawn = []

        def on_epoch(told):
            drawn.append(float(torch.rand(())))
            evaluate(told.model, told.guide, x)
            told.model.eval()
            told.guide.eval()

        quick(model, guide, x, on_epoch=on_epoch)
        quick(*twins, x)
        assert len(set(drawn)) == 3
        assert same(state(model, guide), state(*twins))


class TestWarnings:
    def test_an_objective_without_a_label_term(self):
        x, y = pinwheel(20, wings=3)
        for objective in (Elbo(), ExpectationMaximization() + Consistency()):
            with pytest.warns(UserWarning, match="objective: expected a label term beside labels in y, since nothing"):
                history = quick(*pair(), x, torch.where(y == 0, y, -1), objective=objective)
            assert "label_log_prob" not in history.rows[0]
        for objective in (None, Elbo() + LabelTerm(0.5)):  # warnings are errors
            history = quick(*pair(), x, torch.where(y == 0, y, -1), objective=objective)
            assert "label_log_prob" in history.rows[0]
        quick(*pair(), x, objective=Elbo())

    def test_divergence_is_told(self):
        x, _ = pinwheel(40, wings=3)
        config = TrainingConfig(epochs=10, learning_rate=10.0)
        for settings in ({"config": config}, {"config": config, "initializer": "auto"}, {"learning_rate": 10.0}):
            with pytest.warns(DivergenceWarning, match="ended at -.* nats, below the .* try a lower learning_rate"):
                quick(*pair(), x, **settings)

    def test_an_ordinary_fit_does_not_diverge(self):
        x, _ = pinwheel(40, wings=3)
        objectives = Elbo(), ExpectationMaximization()
        for objective in objectives:
            start = Initializer("gmm", warmup_epochs=2)
            quick(*pair(), x, initializer=start, objective=objective, epochs=10, temperature=Temperature(5.0, 0.5))
