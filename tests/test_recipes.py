"""The thesis's ways to train, as lists of phases."""

from dataclasses import replace

import pytest
import torch

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel, two_circles
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import Elbo, LabelTerm
from pyro_vmonf.reproduce.recipes import Recipe, alternating_batches, labelled_batches, train_by_recipe
from pyro_vmonf.steps import EagerStep
from pyro_vmonf.training import ConstantRate, Phase, Temperature, Trainer, TrainingConfig, TrainingData

# While the encoder waits its parameters are frozen, which Pyro tells in training mode.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning"),
    pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning"),
]
CONFIG = TrainingConfig(epochs=3, batch_size=32, schedule="constant", learning_rate=1e-3)


def pair(components=None, hidden=(8,)):
    components = components or RealNVP(2, 3, transforms=3)
    k = components.n_components
    return FlowMixture(components), SoftmaxEncoder(mlp(2, k, hidden), k)


def few(y, count=4):
    return torch.where(torch.arange(len(y)) < count, y, -1)


def state(module):
    return [tensor.clone() for tensor in module.state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Unlabelled(LabelTerm):
    """A label term that teaches nothing: what moves the encoder now is the ELBO."""

    def __call__(self, model, guide, batch):
        loss = super().__call__(model, guide, batch)
        return loss._replace(value=0 * loss.value)


def test_the_encoder_is_held_during_its_delay():
    x, y = pinwheel(40, wings=3)
    y = few(y)
    model, guide = pair()
    _, delay, main = Recipe(CONFIG, encoder_delay=1, alternate=True).phases(labelled=True)
    assert (delay.epochs, main.epochs) == (1, 2)
    trainer = Trainer(model, guide, TrainingData(x, y), CONFIG, step=EagerStep)
    others = lambda data: iter([data.unlabelled])  # noqa: E731
    held = replace(delay, objective=delay.objective.terms()[0] + Unlabelled(), batches=others, epochs=1)
    before = state(guide), state(model)
    trainer.run([held])
    assert same(before[0], state(guide))
    assert not same(before[1], state(model))
    trainer.run([held, replace(main, objective=Elbo() + Unlabelled(), batches=others, epochs=1)])
    assert not same(before[0], state(guide))


def test_every_step_teaches_the_encoder_its_labels():
    x, y = pinwheel(40, wings=3)
    y = torch.where(torch.arange(len(y)) % 10 == 0, y, -1)
    model, guide = pair(hidden=(32,))
    config = replace(CONFIG, epochs=30, learning_rate=1e-2)
    trainer = Trainer(model, guide, TrainingData(x, y), config, step=EagerStep)
    delay = Recipe(config, encoder_delay=30).phases(labelled=True)[1]
    trainer.run([replace(delay, batches=lambda data: iter(data.unlabelled.split(32)))])
    assert torch.equal(guide.probs(x[y >= 0]).argmax(-1), y[y >= 0])


def test_the_labelled_objective_is_log_joint_plus_log_encoder():
    model, guide = pair()
    x, y = pinwheel(10, wings=3)
    evaluation = evaluate(model, guide, x)
    indices = torch.arange(30)
    expected = [float(table[indices, y].mean()) for table in (evaluation.log_joint, evaluation.log_q)]
    recipe = Recipe(replace(CONFIG, epochs=1, batch_size=1000), alternate=True)
    history = train_by_recipe(model, guide, x, y, recipe=recipe, progress=False)
    assert [history.rows[0][name] for name in ("labelled_elbo", "label_log_prob")] == pytest.approx(expected, abs=1e-10)
    assert "elbo" not in history.rows[0]


def test_labels_guide_the_components():
    x, y = two_circles(100, std=0.02)
    seen = torch.where(torch.arange(200) % 10 == 0, y, -1)
    model, guide = pair(RealNVP(2, 2, transforms=2), hidden=(32,))
    recipe = Recipe(replace(CONFIG, epochs=30, learning_rate=1e-2), pretrain_epochs=60, encoder_delay=30)
    train_by_recipe(model, guide, x, seen, recipe=recipe, progress=False)
    assert float((evaluate(model, guide, x).encoder_probs.argmax(-1) == y).double().mean()) > 0.95


def test_phases_rates_and_temperatures():
    temperature = Temperature(8.0, 0.5)
    config = TrainingConfig(epochs=4, learning_rate=1.0, temperature=temperature, batch_size=32)
    x, y = pinwheel(40, wings=3)
    model, guide = pair()
    recipe = Recipe(replace(config, learning_rate=1e-3), pretrain_epochs=2, encoder_delay=3)
    history = train_by_recipe(model, guide, x, few(y, 30), recipe=recipe, validation=x[:20], progress=False)
    assert [row["phase"] for row in history.rows] == [0, 0, 1, 1, 1, 2]
    assert [row["temperature"] for row in history.rows] == [8.0, 8.0, 8.0, 4.0, 2.0, 1.0]
    assert [row["steps"] for row in history.rows] == [1, 1, 4, 4, 4, 4]
    assert all({"validation_elbo", "label_log_prob"} <= set(row) for row in history.rows)
    phases = Recipe(config, pretrain_epochs=2, encoder_delay=3).phases(labelled=True)
    rates = [phase.learning_rate(e) for phase in phases for e in range(phase.epochs)]
    assert rates == pytest.approx([1.0, 1.0, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    longer = Recipe(config, encoder_delay=9).phases(labelled=True)
    assert [phase.epochs for phase in longer] == [0, 4, 0]
    assert Recipe(config, pretrain_epochs=8).shortened(2) == Recipe(replace(config, epochs=2), pretrain_epochs=4)


def test_passes_over_labelled_and_other_points_take_turns():
    x, y = torch.randn(100, 2), torch.where(torch.arange(100) % 5 == 0, 0, -1)
    data = TrainingData(x, y)
    parts = list(alternating_batches(16)(data))
    assert [bool((y[part] >= 0).all()) for part in parts] == [True] * 2 + [False] * 5
    assert not bool((y[torch.cat(parts[2:])] >= 0).any())
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(100))
    only = torch.cat(list(labelled_batches(16)(data)))
    assert torch.equal(only.sort().values, data.labelled)


@pytest.mark.parametrize("settings", [{"pretrain_epochs": 3}, {"encoder_delay": 3}, {"alternate": True}])
def test_a_recipe_with_labels_needs_them(settings):
    x, _ = pinwheel(20, wings=3)
    with pytest.raises(ValueError, match="recipe: expected labels in y to train on, got none"):
        train_by_recipe(*pair(), x, recipe=Recipe(CONFIG, **settings), progress=False)


def test_without_labels_a_recipe_is_the_elbo_alone():
    phase = Recipe(CONFIG).phases(labelled=False)[-1]
    assert isinstance(phase, Phase)
    assert phase.objective == Elbo()
    assert phase.learning_rate == ConstantRate(1e-3) or phase.learning_rate(2) == 1e-3
