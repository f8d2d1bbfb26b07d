"""Each benchmark runs; what it measures is in README, and never asserted here."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
COMMANDS = {
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
    "step": ["--rounds", "1", "--repeats", "1", "--sizes", "1"],
    "seeds": ["pinwheel", "--seeds", "2", "--epochs", "1", "--out", "seeds"],
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_benchmark_runs(name, tmp_path):
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
