"""Checkpoints: a fit that was broken off goes on to the same parameters, and what else is in its file is refused."""

import copy
import importlib

import numpy as np
import pytest
import torch
from torch import nn

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import Noise, pinwheel
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.objectives import Elbo, LabelTerm
from pyro_vmonf.reproduce.recipes import Recipe, train_by_recipe
from pyro_vmonf.training import (
    Checkpointer,
    CheckpointError,
    CheckpointWarning,
    Temperature,
    Trainer,
    TrainingConfig,
    fit,
)

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
X, Y = pinwheel(40, wings=3)
QUICK = {"epochs": 3, "batch_size": 32, "schedule": "constant", "learning_rate": 1e-3}


def pair(components=None, labels=None):
    components = components or RealNVP(2, 3, transforms=3)
    k = components.n_components
    return FlowMixture(components, labels=labels), SoftmaxEncoder(mlp(2, k, (8,)), k, labels=labels)


def quick(model, guide, x=X, y=None, *, checkpoint=None, initializer=None, on_epoch=None, seed=0, **numbers):
    settings = {"initializer": initializer, "checkpoint": checkpoint, "on_epoch": on_epoch, "seed": seed}
    return fit(model, guide, x, y, config=TrainingConfig(**QUICK | numbers), progress=False, **settings)


def same(pair, other):
    tensors = ([t for module in modules for t in module.state_dict().values()] for modules in (pair, other))
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


def timeless(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


def by_recipe(model, guide, y, checkpoint=None):
    config = TrainingConfig(
        **QUICK | {"epochs": 6}, temperature=Temperature(3.0, 0.8), weight_decay=1e-3, max_grad_norm=1.0
    )
    recipe = Recipe(config, pretrain_epochs=2, encoder_delay=1)
    return train_by_recipe(model, guide, X, y, recipe=recipe, checkpoint=checkpoint, seed=5, progress=False)


def by_fit(model, guide, y, checkpoint=None):
    settings = {"temperature": Temperature(3.0, 0.8), "weight_decay": 1e-3, "max_grad_norm": 1.0, "epochs": 6}
    settings |= {"schedule": "cosine", "initializer": Initializer("kmeans", warmup_epochs=2), "seed": 5}
    return quick(model, guide, y=y, checkpoint=checkpoint, **settings)


@pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning")
@pytest.mark.filterwarnings("ignore::pyro_vmonf.initialization.GaussianStartWarning")
@pytest.mark.parametrize(
    ("train", "labels"), [(by_fit, False), (by_fit, True), (by_recipe, True)], ids=["plain", "labels", "recipe"]
)
def test_a_broken_fit_goes_on_to_the_same_parameters(tmp_path, monkeypatch, train, labels):
    y = torch.where(torch.arange(len(Y)) % 4 == 0, Y, -1) if labels else None
    model, guide = pair(RealNVP(2, 3, transforms=2, normalization="batch"))
    guide.network.insert(1, nn.Dropout(0.2))
    guide.network.insert(2, nn.BatchNorm1d(8))
    twins = copy.deepcopy((model, guide))
    fresh = copy.deepcopy((model, guide))
    whole = train(model, guide, y)
    path, epoch, save = tmp_path / "fit.safetensors", Trainer.epoch, Checkpointer.save

    def broken(self, phase, number):
        if len(self.history.rows) == 4:
            raise KeyboardInterrupt
        return epoch(self, phase, number)

    monkeypatch.setattr(Trainer, "epoch", broken)
    monkeypatch.setattr(Checkpointer, "save", lambda self, state, *, now=False: save(self, state, now=True))
    with pytest.raises(KeyboardInterrupt):
        train(*twins, y, path)
    monkeypatch.undo()
    rest = train(*fresh, y, path)
    assert same((model, guide), fresh)
    assert timeless(whole) == timeless(rest)
    assert (whole.stopped, rest.stopped) == ("epochs", "epochs")
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"], "no temporary file is left"


def test_a_checkpoint_changes_nothing_and_the_fitted_pair_may_come_again(tmp_path):
    """Running averages, which a description of the architecture must not read nor move."""
    model, guide = pair(RealNVP(2, 3, transforms=2, normalization="batch"))
    guide.network.insert(1, nn.BatchNorm1d(8))
    twins = copy.deepcopy((model, guide))
    quick(model, guide)
    quick(*twins, checkpoint=tmp_path / "fit.safetensors")
    assert same((model, guide), twins)
    history = quick(*twins, checkpoint=tmp_path / "fit.safetensors", epochs=5)
    assert len(history.rows) == 5
    quick(*twins, checkpoint=tmp_path / "fit.safetensors", epochs=5)
    whole = copy.deepcopy((model, guide))
    quick(*whole, checkpoint=tmp_path / "fit.safetensors", epochs=5)
    assert same(whole, twins)


def test_minutes_between_two_saves(tmp_path):
    path, written = tmp_path / "fit.safetensors", []
    each = Checkpointer(path, minutes=1e-9)
    quick(*pair(), checkpoint=each, on_epoch=lambda state: written.append(path.exists()))
    assert written == [False, True, True]
    path.unlink()
    written.clear()
    quick(*pair(), checkpoint=str(path), on_epoch=lambda state: written.append(path.exists()))
    assert written == [False] * 3
    assert path.exists()
    with pytest.raises(ValueError, match="minutes: expected a finite number above 0"):
        Checkpointer(path, minutes=0)


def test_a_fit_stopped_by_a_function_is_returned_as_it_is(tmp_path):
    path = tmp_path / "fit.safetensors"
    model, guide = pair()
    fresh = copy.deepcopy((model, guide))
    history = quick(model, guide, checkpoint=path, on_epoch=lambda state: state.row["epoch"] == 1)
    assert (history.stopped, len(history.rows)) == ("on_epoch", 2)
    calls = []
    again = quick(*fresh, checkpoint=path, on_epoch=calls.append)
    assert (again.stopped, timeless(again)) == ("on_epoch", timeless(history))
    assert not calls
    assert same((model, guide), fresh)
    assert not fresh[0].training


def test_a_finished_fit_goes_on_where_the_learning_rate_does_not_depend_on_its_end(tmp_path):
    path = tmp_path / "fit.safetensors"
    model, guide = pair()
    twins, whole = copy.deepcopy((model, guide)), copy.deepcopy((model, guide))
    quick(model, guide, checkpoint=path)
    history = quick(*twins, checkpoint=path, epochs=5)
    assert [row["epoch"] for row in history.rows] == [0, 1, 2, 3, 4]
    quick(*whole, epochs=5)
    assert same(twins, whole)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit.safetensors"
    quick(*pair(), checkpoint=path)
    before = path.read_bytes()
    refusals = [
        ({"learning_rate": 0.01}, r"config\.learning_rate: .* with 0\.001, this fit has 0\.01"),
        ({"x": X + 1}, r"data\.x"),
        ({"epochs": 1}, r"epochs: expected at most the 1 .* of this fit, got 3"),
        ({"schedule": "cosine"}, r"config\.schedule: .* with 'constant', this fit has 'cosine'"),
        ({"seed": 1}, "seed: .* with 0, this fit has 1"),
    ]
    for settings, message in refusals:
        with pytest.raises(CheckpointError, match=message) as caught:
            quick(*pair(), checkpoint=path, **settings)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, ValueError)
    settings = {"config": TrainingConfig(**QUICK), "initializer": None, "progress": False, "checkpoint": path}
    with pytest.raises(CheckpointError, match=r"data\.sample_weight"):
        fit(*pair(), X, sample_weight=torch.ones(120), **settings)
    with pytest.raises(CheckpointError, match="objective"):
        fit(*pair(), X, objective=Elbo() + LabelTerm(), **settings)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_start_is_refused(tmp_path):
    path, labels, rate = tmp_path / "fit.safetensors", Y.numpy(), np.float64(1e-3)

    def again(initializer=labels, std=0.1):
        start = Initializer(initializer, warmup_epochs=1)
        quick(*pair(), initializer=start, augment=Noise(std), checkpoint=path, learning_rate=rate, epochs=1)

    again()
    again()
    with pytest.raises(CheckpointError, match=r"config\.augment.*std"):
        again(std=0.2)
    with pytest.raises(CheckpointError, match=r"restarts\.initializers"):
        again((labels + 1) % 3)


def test_labels_are_part_of_what_is_compared(tmp_path):
    saved, other = Labels([0, 0, 1], 0.1), Labels([0, 1, 1])
    other.load_state_dict(saved.state_dict())
    assert str(other) == str(saved)
    torch.testing.assert_close(other(), saved())
    y, path = torch.where(torch.arange(120) < 3, 0, -1), tmp_path / "fit.safetensors"
    quick(*pair(labels=saved), y=y, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"labels.*buffers\.classes"):
        quick(*pair(labels=Labels([0, 1, 1])), y=y, checkpoint=path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    path, ran = tmp_path / "fit.safetensors", tmp_path / "ran"

    class Harm:
        def __reduce__(self):
            return ran.touch, ()

    torch.save({"model": Harm()}, path)
    with pytest.raises(CheckpointError, match="file: expected the state of a fit, got: a damaged file or none of"):
        quick(*pair(), checkpoint=path)
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "fit.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint .*, file: expected the state of a fit"):
        quick(*pair(), checkpoint=path)


def test_a_failed_write_leaves_the_old_file_and_the_fit_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "fit.safetensors"
    quick(*pair(), checkpoint=path)
    before = path.read_bytes()
    model, guide = pair()
    torch.manual_seed(1)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(importlib.import_module(Checkpointer.__module__), "write_tensors", full)
    with pytest.warns(CheckpointWarning, match=r"could not be written \(disk full\); the fit goes on and tries again"):
        history = quick(model, guide, checkpoint=path, epochs=4)
    assert len(history.rows) == 4
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"]
    monkeypatch.undo()
    rest = pair()
    quick(*rest, checkpoint=path, epochs=4)
    assert same((model, guide), rest)
    assert path.read_bytes() != before
