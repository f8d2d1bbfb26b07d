"""The experiments and the command, with few epochs; the whole of each is in README."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pyro_vmonf import cli
from pyro_vmonf.reproduce import EXPERIMENTS, catalogue, load
from pyro_vmonf.reproduce.experiment import Data

# A few epochs of the thesis's recipe leave components without points.
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


@pytest.fixture(autouse=True)
def single_precision():
    torch.set_default_dtype(torch.float32)


def run(*arguments):
    return cli.main(["reproduce", *map(str, arguments), "--quiet"])


def check_figures(folder, *names):
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 100
            assert len(image.convert("RGB").getcolors(10**6)) > 20


@pytest.mark.parametrize("name", ["pinwheel", "two-circles", "two-circles-labels", "digits"])
def test_an_experiment_writes_all_it_promises(name, tmp_path, capsys):
    assert run(name, "--out", tmp_path, "--epochs", 2, "--seed", 1) == 0
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert scores["experiment"] == name
    assert scores["seed"] == 1
    assert 0 <= scores["test"]["encoder"]["accuracy"] <= 1
    assert scores["test"]["evidence"] >= scores["test"]["elbo"]
    rows = json.loads((tmp_path / "history.json").read_text())["rows"]
    assert rows[-1]["validation_evidence"] == pytest.approx(scores["test"]["evidence"], abs=1e-4)
    check_figures(tmp_path, name, "history")
    assert "test accuracy" in capsys.readouterr().out
    model, guide = load(EXPERIMENTS[name], tmp_path)
    x = EXPERIMENTS[name].data(1).x_test
    assert float(model.evidence(x).mean().detach()) == pytest.approx(scores["test"]["evidence"], abs=1e-4)
    assert guide.probs(x).shape == (len(x), model.n_components)


def test_mnist_experiment_on_a_few_random_images(tmp_path, monkeypatch):
    """The real files are not needed to test the path; the real run is in README."""

    def few(train, classes):
        y = torch.arange(60 if train else 30) % 5
        return (torch.rand(len(y), 784) * 50 * (y[:, None] + 1)).long(), y

    monkeypatch.setattr(catalogue, "mnist", few)
    assert run("mnist", "--out", tmp_path, "--epochs", 1) == 0
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert "bits_per_dim" in scores["test"]
    check_figures(tmp_path, "mnist", "contingency", "history")


def test_a_run_goes_on_where_it_stopped(tmp_path):
    assert run("pinwheel", "--out", tmp_path / "a", "--epochs", 1) == 0
    assert run("pinwheel", "--out", tmp_path / "a", "--epochs", 3) == 0
    assert run("pinwheel", "--out", tmp_path / "b", "--epochs", 3) == 0
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert sorted(a) == sorted(b)
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def test_drawings(tmp_path):
    assert run("transforms", "--out", tmp_path) == 0
    check_figures(tmp_path, "affine", "prelu", "coupling")
    assert run("plate", "--out", tmp_path) == 0
    check_figures(tmp_path, "plate", "plate-labels", "plate-prior")


@pytest.mark.parametrize("name", ["pinwheel", "plate"])
def test_an_unwritable_folder_is_refused_before_training(name, monkeypatch, capsys):
    monkeypatch.setattr(Data, "__init__", lambda *_: pytest.fail("data were made"))
    assert run(name, "--out", "/proc/nowhere") == 2
    assert "--out: expected a folder to write in, got '/proc/nowhere'" in capsys.readouterr().err


def test_missing_mnist_is_said_on_the_command_line(tmp_path, monkeypatch, capsys):
    from torchvision.datasets import MNIST

    monkeypatch.setenv("PYRO_VMONF_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(MNIST, "download", lambda self: (_ for _ in ()).throw(RuntimeError("no network")))
    assert run("mnist", "--out", tmp_path / "out") == 2
    assert str(tmp_path / "data" / "MNIST" / "raw") in capsys.readouterr().err


def test_bad_epochs_are_named(tmp_path, capsys):
    assert run("pinwheel", "--out", tmp_path, "--epochs", -1) == 2
    assert "--epochs: expected an integer of at least 1, got -1" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_data_and_another_does_not():
    for name in ("pinwheel", "two-circles-labels", "digits"):
        data = EXPERIMENTS[name].data
        assert torch.equal(data(3).x, data(3).x)
        assert not torch.equal(data(3).x, data(4).x)
        assert not torch.equal(data(3).x[: len(data(3).x_test)], data(3).x_test[: len(data(3).x)])


UNTAUGHT = "ignore:the encoder and the exact posterior choose:UserWarning"  # after two epochs
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path):
    """Every example takes ``--smoke`` and then ends in seconds."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", UNTAUGHT, path, "--smoke"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_examples():
    assert EXAMPLES
