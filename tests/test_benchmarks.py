"""Each benchmark runs; what it measures is in README, and never asserted here."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
COMMANDS = {
    "choosing_k": ["--smoke", "--out", "choosing-k"],
    "clustering": [
        "pinwheel-5",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--methods",
        "k-means",
        "ours",
        "--out",
        "clustering",
    ],
    "labels": [
        "digits-10",
        "digits-20",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--methods",
        "labels-alone",
        "spreading",
        "--out",
        "labels",
    ],
    "default_call": [
        *("--sets", "few-clouds", "--methods", "gmm", "ward", "--splits", "1"),
        *("--out", "default-call"),
    ],
    "default_labels": [
        *("--sets", "few-clouds", "--methods", "spreading", "discriminant", "--labels", "5", "--splits", "1"),
        *("--out", "default-labels"),
    ],
    "equal": ["--only", "start"],
    "hostile": ["--kills", "5", "--kinds", "start"],
    "hostile_tables": ["--cases", "50", "--wide", "1"],
    "size": [],
    "speed": [
        *("step", "fit", "shorter", "scoring", "sampling", "memory", "growth"),
        *("--rows", "affine-5-2", "moons", "60", "1e4", "realnvp-784", "K"),
        *("--contenders", "eager", "replayed", "auto", "pyro", "zuko", "default", "ours"),
        *("--smoke", "--rounds", "1", "--seconds", "0.01", "--out", "speed"),
    ],
    "seeds": ["pinwheel", "--seeds", "2", "--epochs", "1", "--out", "seeds"],
}


def has_commit(revision):
    """Whether the checkout has a commit."""
    git = ["git", "-C", FOLDER, "cat-file", "-e", f"{revision}^{{commit}}"]
    return subprocess.run(git, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_benchmark_runs(name, tmp_path):
    if name == "equal" and not has_commit("0fc8b65"):
        pytest.skip("commit 0fc8b65 is not there: no git checkout, or a shallow clone")
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *COMMANDS[name]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "|" in done.stdout


def test_every_benchmark_has_a_smoke_test():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(COMMANDS)
