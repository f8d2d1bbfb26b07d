"""The arguments of a fit: what it takes, and what it refuses before any work."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from pyro_vmonf.components import RealNVP
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import Consistency, LabelTerm
from pyro_vmonf.training import ConstantRate, CosineRate, Temperature, TrainingConfig, TrainingData, fit

QUICK = {"epochs": 3, "batch_size": 32, "schedule": "constant", "learning_rate": 1e-3}
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.zeros(20).long()


def pair():
    return FlowMixture(RealNVP(2, 3, transforms=3)), SoftmaxEncoder(mlp(2, 3, (8,)), 3)


def state(*modules):
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def quick(model, guide, x, y=None, augment=None, **settings):
    config = TrainingConfig(**QUICK, augment=augment)
    return fit(model, guide, x, y, **{"initializer": None, "config": config, "progress": False} | settings)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        ((torch.where(X > 2, torch.nan, X).index_fill(0, torch.tensor([0]), torch.nan),), {}, ValueError, "x: .* NaN"),
        ((X / 0,), {}, ValueError, "x: expected finite values"),
        ((torch.randn(20, 3),), {}, ValueError, r"x: expected shape \(\*batch, 2\), got \(20, 3\)"),
        ((X > 0,), {}, TypeError, r"x: expected real numbers, got torch\.bool"),
        (([["a", "b"]],), {}, TypeError, "x: expected real numbers, got .*U1 in list"),
        (({"a": 1},), {}, TypeError, "x: expected a tensor, an array, a frame or rows, got dict"),
        (([[0.0, 1.0]],), {}, ValueError, "x: expected at least 3 distinct points, one for each component, got 1"),
        ((torch.empty(0, 2),), {}, ValueError, r"x: expected shape \(N, 2\) with N ≥ 1, got \(0, 2\)"),
        ((X[0],), {}, ValueError, r"x: expected shape \(N, 2\)"),
        ((X[:2],), {}, ValueError, "x: expected at least 3 distinct points, one for each component, got 2"),
        ((X, Y[:5]), {}, ValueError, r"y: expected shape \(20,\)"),
        ((X, Y + 3), {}, ValueError, "y: expected labels from -1 .* to 2, got 3 to 3"),
        ((X, Y - 2), {}, ValueError, "y: expected labels from -1 .* to 2, got -2 to -2"),
        ((X, Y.double()), {}, TypeError, "y: expected integer labels, got torch.float64"),
        ((X,), {"validation": X.log()}, ValueError, "validation: expected finite values"),
        ((X,), {"validation": 1.0}, ValueError, "validation: expected a number between 0 and 1, got 1.0"),
        ((X,), {"validation": X[:, :1]}, ValueError, r"validation: expected shape \(\*batch, 2\), got \(20, 1\)"),
        ((X,), {"checkpoint": "/proc/nowhere/fit.safetensors"}, OSError, "checkpoint: expected a folder to write in"),
        ((X,), {"seed": -1}, ValueError, "seed: expected an integer of at least 0, got -1"),
        ((X,), {"objective": "elbo"}, TypeError, r"objective: expected an Objective such as Elbo\(\), got 'elbo'"),
        ((X,), {"augment": lambda x: x[:1]}, ValueError, "augment: expected a function that keeps the batch's shape"),
    ],
)
def test_bad_input_is_named_before_any_work(arguments, settings, error, message):
    model, guide = pair()
    before = state(model, guide)
    with pytest.raises(error, match=message):
        quick(model, guide, *arguments, **settings)
    assert same(before, state(model, guide))


@pytest.mark.parametrize("given", [X.numpy(), X.tolist(), (10 * X).long(), X.float(), np.asarray(X, ">f8")])
def test_points_of_any_kind_will_do(given):
    model, guide = pair()
    quick(model, guide, given)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs: expected an integer of at least 0"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: expected a finite number above 0"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate: expected a finite number above 0, got 'fast'"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay: expected a finite number of at least 0"),
        ({"temperature": 5.0}, TypeError, "temperature: expected a function of an epoch or None, got 5.0"),
        ({"max_grad_norm": -1.0}, ValueError, "max_grad_norm: expected a finite number above 0"),
        ({"schedule": "linear"}, ValueError, "schedule: expected one of"),
        ({"augment": 3}, TypeError, "augment: expected a function of a batch or None, got 3"),
        ({"labelled_fraction": 1.0}, ValueError, "labelled_fraction: expected a number between 0 and 1, got 1.0"),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        TrainingConfig(**settings)


def test_a_model_of_half_precision_is_refused():
    model, guide = pair()
    with pytest.raises(TypeError, match=r"model: expected parameters of type float32 or float64, got torch\.float16"):
        quick(model.half(), guide, X)
    with pytest.raises(TypeError, match=r"guide: expected parameters of type float32 or float64, got torch\.bfloat16"):
        quick(pair()[0], guide.bfloat16(), X)


def test_points_that_the_models_type_does_not_hold_are_refused():
    model, guide = pair()
    model.float()
    guide.float()
    before = state(model, guide)
    with pytest.raises(ValueError, match=r"x in the model's type torch\.float32: expected finite values, got 1 NaN or"):
        quick(model, guide, torch.where(torch.arange(40).reshape(20, 2) == 3, 1e300, X))
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


def test_evaluate_takes_what_fit_takes_and_leaves_modes_alone():
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


def test_settings_do_not_change():
    config = TrainingConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 2
    with pytest.raises(TypeError):
        TrainingConfig(10)


def test_learning_rates():
    rates = [TrainingConfig(epochs=20, learning_rate=1.0).rate()(e) for e in range(20)]
    assert rates[0] == 1.0
    assert rates[10] == pytest.approx(0.5)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.01
    assert TrainingConfig(epochs=10, schedule="constant").rate() == ConstantRate(5e-3)
    assert TrainingConfig(epochs=10).rate() == CosineRate(5e-3, 10)


def test_temperature_decays_exponentially_to_its_floor():
    schedule = Temperature(8.0, 0.5)
    assert [schedule(e) for e in range(5)] == [8.0, 4.0, 2.0, 1.0, 1.0]


def test_objects_of_another_kind_are_named():
    model, guide = pair()
    for settings, message in (
        ({"config": {"epochs": 5}}, "config: expected a TrainingConfig, such as"),
        ({"on_epoch": 5}, "on_epoch: expected a function"),
        ({"objective": "elbo"}, "objective: expected an Objective"),
    ):
        with pytest.raises(TypeError, match=message):
            fit(model, guide, X, progress=False, **settings)
    for objective in (LabelTerm(), Consistency(), LabelTerm() + Consistency()):
        with pytest.raises(ValueError, match="objective: expected a term that trains the flows"):
            fit(model, guide, X, objective=objective, progress=False)
    with pytest.raises(TypeError, match="model: expected a FlowMixture, got SoftmaxEncoder"):
        evaluate(guide, model, X)
    with pytest.raises(ValueError, match="validation: expected a number between 0 and 1, got 20"):
        fit(model, guide, X, validation=20, progress=False)
    with pytest.raises(ValueError, match="labelled_fraction: expected labels in y"):
        fit(model, guide, X, config=TrainingConfig(labelled_fraction=0.1), progress=False)


@pytest.mark.parametrize("used", [True, False])
def test_the_only_label_must_not_be_held_out(used):
    """Which points are held out depends on the seed alone; the rest have the label, or it is an error."""
    rows = TrainingData(X).split(0.5, seed=0)[0 if used else 1].rows
    y = torch.full((len(X),), -1).index_fill(0, rows[:1], 0)
    settings = {"validation": 0.5, "config": TrainingConfig(epochs=0), "progress": False}
    with nullcontext() if used else pytest.raises(ValueError, match="y: expected a label at least of the points to"):
        fit(*pair(), X, y, **settings)
