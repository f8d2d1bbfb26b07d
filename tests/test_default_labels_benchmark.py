"""The parts of benchmarks/default_labels.py; none needs a network."""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import default_labels  # noqa: E402
from default_parts import labelled, sets  # noqa: E402


@pytest.fixture
def split():
    """A small split."""
    return labelled.labelled_split(sets.load("few-clouds"), 0, 5)


def test_labels_are_those_of_training_points(split):
    points = sets.load("few-clouds")
    plain = sets.split(points, 0)
    np.testing.assert_array_equal(split.x, plain.x)
    np.testing.assert_array_equal(split.y_test, plain.y_test)
    truth = points.y[sets.parts(points, 0)[0]]
    shown = split.y >= 0
    np.testing.assert_array_equal(split.y[shown], truth[shown])
    assert np.bincount(split.y[shown]).tolist() == [5] * split.k


@pytest.mark.parametrize("method", sorted(set(labelled.METHODS) - {"ours"}))
def test_rival_says_classes(method, split):
    row = labelled.measured(split, labelled.METHODS[method], 0)
    assert "error" not in row
    assert row["accuracy"] > 0.6
    assert row["labels"] == 5 * split.k


def test_points_of_noise_do_not_count():
    assert labelled.accuracy([0, 1, 1], np.array([0, 0, -1])) == 0.5


def test_failure_is_a_result(split):
    def fails(split, seed):
        raise ValueError("no")

    assert labelled.measured(split, fails, 0)["error"] == "ValueError: no"


def test_report_ranks_methods():
    def row(accuracy):
        return {"accuracy": accuracy, "seconds": 1.0, "n_train": 70, "n_test": 30}

    found = {
        "few-clouds": {"ours": {0: row(0.9), 1: row(0.9)}, "spreading": {0: row(0.5), 1: {**row(0.0), "error": "E"}}},
        "iris": {"ours": {0: row(0.9)}},
    }
    said = default_labels.report(found, 5, ["ours", "spreading", "quadratic"])
    assert "| few-clouds | 2 | **0.900** | 0.250 |" in said
    assert "| spreading | 1 / 0 / 0 |" in said
    assert "Mean ranks, 1 sets: ours 1.00, spreading 2.00" in said
    assert "few-clouds, spreading: E" in said
