"""Scores of clusterings, and pictures."""

import io

import numpy as np
import pytest
import torch

from pyro_vmonf import plots
from pyro_vmonf.evaluation import metrics

Y = [0, 0, 0, 1, 1, 2]
Z = [2, 2, 0, 0, 0, 1]


def test_contingency_counts():
    assert metrics.contingency(Y, Z).tolist() == [[1, 0, 2], [2, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(metrics.contingency(Y, Z, normalized=True).sum(1), 1)


def test_accuracy_is_the_best_matching():
    assert metrics.accuracy(Y, Z) == pytest.approx(5 / 6)
    assert metrics.matching(Y, Z) == {2: 0, 0: 1, 1: 2}
    assert metrics.accuracy(torch.tensor(Y), torch.tensor([5, 5, 5, 3, 3, 0])) == 1.0


def test_more_clusters_than_classes_lose_points():
    assert metrics.accuracy([0, 0, 0, 0], [0, 0, 1, 2]) == 0.5


def test_indices_are_invariant_to_names():
    assert metrics.normalized_mutual_information(Y, [2 - y for y in Y]) == pytest.approx(1)
    assert metrics.adjusted_rand(Y, [2 - y for y in Y]) == pytest.approx(1)
    assert metrics.adjusted_rand([0, 1] * 500, [0, 0, 1, 1] * 250) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("y", "z", "message"),
    [
        ([], [], "y: expected integers"),
        ([0, 1], [0], "z: expected 2 labels"),
        ([0, -1], [0, 0], "y: expected integers from 0"),
        ([0, 1], [0.5, 1.0], "z: expected integers"),
    ],
)
def test_bad_labels_are_named(y, z, message):
    with pytest.raises(ValueError, match=message):
        metrics.accuracy(y, z)


def pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, format="raw")
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: plots.assignments(
            [("data", torch.randn(50, 2), torch.arange(50) % 3), ("samples", torch.randn(9, 2), torch.arange(9) % 3)],
            lambda points: (points[:, 0] > 0).long(),
            3,
            marked=torch.randn(4, 2),
        ),
        lambda: plots.assignments(
            [("one", torch.randn(50, 2), torch.arange(50) % 12)], lambda p: p[:, 0].long() * 0, 12
        ),
        lambda: plots.image_rows(torch.rand(3, 4, 8, 8), "samples"),
        lambda: plots.history({"elbo": ([0, 1, 2], [-9.0, -2.0, -1.0]), "temperature": ([0, 1, 2], [5.0, 2.0, 1.0])}),
        lambda: plots.history({"elbo": ([], [])}),
        lambda: plots.contingency([[0.9, 0.1], [0.2, 0.8]], ["0", "1"]),
    ],
)
def test_figures_are_drawn(make):
    assert len(np.unique(pixels(make()))) > 5
