"""Scores of clusterings, and pictures."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.mixture import GaussianMixture

from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp, plots
from pyro_vmonf.evaluation import metrics
from pyro_vmonf.training import History

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
    figure.savefig(file, format="raw", dpi=40)
    return np.frombuffer(file.getvalue(), np.uint8)


X, COMPONENTS = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
CURVES = {"elbo": ([0, 1, 2], [-9.0, -2.0, -1.0]), "temperature": ([0, 1, 2], [5.0, 2.0, 1.0])}
CHECK = {"statistic": "mean", "observed": 0.5, "replicated": [0.1, 0.4, 0.6, 0.7], "p": 1.0}
CHOICE = [
    {"n_components": k, "overlap": 0.1 * k, "validation_evidence": -k, "standard_error": 0.1, "chosen": k == 2}
    for k in (3, 2, 1)
]


def right_half(points):
    """The component of points: 1 on the right, 0 on the left."""
    return (points[:, 0] > 0).long()


# What is drawn, with the number of its panels, given a conversion of tensors and axes to draw into.
PICTURES = {
    "clusters": (1, lambda of, axes: plots.clusters(lambda x: torch.stack([x[:, 0], -x[:, 0]], 1), of(X), axes=axes)),
    "assignments": (
        2,
        lambda of, axes: plots.assignments(
            [("data", of(X), of(COMPONENTS)), ("samples", of(X[:9]), of(COMPONENTS[:9]))],
            right_half,
            3,
            marked=of(X[:4]),
            axes=axes,
        ),
    ),
    "image_rows": (1, lambda of, axes: plots.image_rows(of(torch.rand(3, 4, 8, 8)), "samples", axes=axes)),
    "history": (1, lambda of, axes: plots.history(CURVES, axes=axes)),
    "contingency": (
        1,
        lambda of, axes: plots.contingency(of(torch.tensor([[0.9, 0.1], [0.2, 0.8]])), ["0", "1"], axes=axes),
    ),
    "selection": (2, lambda of, axes: plots.selection(CHOICE, axes=axes)),
    "reliability": (
        1,
        lambda of, axes: plots.reliability(
            {"encoder": of(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.7, 0.6]]))}, axes=axes
        ),
    ),
    "predictive_checks": (3, lambda of, axes: plots.predictive_checks([CHECK] * 3, axes=axes)),
    "replications": (2, lambda of, axes: plots.replications((of(X), of(COMPONENTS)), [(X, COMPONENTS)], 3, axes=axes)),
    "probability_integral_transforms": (
        3,
        lambda of, axes: plots.probability_integral_transforms(of(X.sigmoid()), of(COMPONENTS), 3, axes=axes),
    ),
}


def test_all_pictures_are_tried():
    assert set(PICTURES) == set(plots.__all__)


@pytest.mark.parametrize("name", PICTURES)
def test_tensors_and_arrays_give_one_picture(name):
    _, draw = PICTURES[name]
    torch.manual_seed(0)
    of_tensors = pixels(draw(lambda t: t, None))
    torch.manual_seed(0)
    of_arrays = pixels(draw(lambda t: t.numpy(), None))
    assert len(np.unique(of_tensors)) > 5
    assert np.array_equal(of_tensors, of_arrays)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn_into_given_axes(name):
    count, draw = PICTURES[name]
    figure = Figure()
    part, _ = figure.subfigures(1, 2)
    axes = part.subplots(1, count)
    assert draw(lambda t: t, axes) is figure
    assert all(ax.has_data() for ax in np.ravel(axes))
    with pytest.raises(ValueError, match=f"axes: expected {count}, one for each panel, got {count - 1}"):
        draw(lambda t: t, list(np.ravel(axes))[1:])
    with pytest.raises(TypeError, match="axes: expected those of matplotlib, got str"):
        draw(lambda t: t, "left")


def test_clusters_are_those_of_the_encoder():
    guide = SoftmaxEncoder(torch.nn.Sequential(mlp(2, 3), torch.nn.Dropout(0.9)), 3).double()
    guide.train()
    torch.set_default_dtype(torch.float32)
    figure = plots.clusters(guide.probs, X.numpy(), marked=X[:5], title="clusters")
    assert guide.training
    points, crosses = figure.axes[0].collections
    assert len(crosses.get_offsets()) == 5
    colours = plots.component_colours(3)
    with torch.no_grad():
        expected = [colours[k] for k in guide.eval().probs(X.double()).argmax(-1)]
    np.testing.assert_allclose(points.get_facecolors(), expected)


def test_clusters_of_other_functions():
    model = FlowMixture(RealNVP(2, 3))
    assert plots.clusters(model.responsibilities, X).axes
    assert plots.clusters(GaussianMixture(2).fit(X.numpy()).predict_proba, X).axes
    assert plots.clusters(lambda x: x, torch.ones(3, 2)).axes  # points without an extent


def test_a_history_is_drawn_as_it_is():
    rows = [{"epoch": i, "phase": 0, "temperature": 1.0, "steps": 4, "seconds": 0.1, "elbo": -2.0} for i in range(3)]
    rows[2]["validation_elbo"] = float("nan")
    figure = plots.history(History(rows))
    (ax,) = figure.axes  # a temperature that stays is not drawn
    assert [line.get_label() for line in ax.lines] == ["elbo", "validation elbo"]
    assert plots.history(History()).axes
    with pytest.raises(TypeError, match="history: expected what fit returned, or a dictionary, got list"):
        plots.history(rows)


def test_many_components_and_unknown_ones_are_drawn():
    z = torch.arange(50) % 12 - 1
    figure = plots.assignments([("one", X, z)], lambda p: right_half(p) * 11, 12)
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == 12


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda: plots.assignments([("", torch.zeros(3, 4), Z[:3])], right_half, 3),
            ValueError,
            r"panels\[0\]: expected points of shape \(N, 2\) with N ≥ 1, got \(3, 4\)",
        ),
        (
            lambda: plots.assignments([("", torch.zeros(3, 1, 8, 8), Z[:3])], right_half, 3),
            ValueError,
            r"shape \(N, 2\)",
        ),
        (
            lambda: plots.assignments([], right_half, 3),
            ValueError,
            "number of panels: expected an integer of at least 1",
        ),
        (
            lambda: plots.assignments([("", X[:3], [0, 1, 3])], right_half, 3),
            ValueError,
            r"panels\[0\], components: expected labels from -1 \(unlabelled\) to 2",
        ),
        (
            lambda: plots.assignments([("", X[:2], [0, 0])], lambda x: x, 3),
            TypeError,
            "choose: expected integer labels",
        ),
        (
            lambda: plots.assignments([("", X[:2], [0, 0])], right_half, 3, [[0.0]]),
            ValueError,
            "marked: expected points",
        ),
        (lambda: plots.clusters(right_half, X), ValueError, "probs: expected a function such as guide.probs"),
        (lambda: plots.clusters(right_half, [["a", "b"]]), TypeError, "x: expected real numbers"),
        (lambda: plots.clusters(right_half, X * float("nan")), ValueError, "x: expected finite values"),
        (lambda: plots.image_rows(torch.zeros(3, 8, 8)), ValueError, r"images: expected shape \(K, n, height, width\)"),
        (lambda: plots.contingency([[1.0]], ["a", "b"]), ValueError, "class_names: expected 1 names"),
        (lambda: plots.contingency([1.0]), ValueError, r"table: expected shape \(classes, components\), got \(1,\)"),
        (lambda: plots.reliability({"a": X}), ValueError, r"tables\['a'\]: expected shape \(bins, 3\), got \(50, 2\)"),
        (lambda: plots.predictive_checks([]), ValueError, "number of panels: expected an integer of at least 1, got 0"),
        (lambda: plots.replications((X[:, :1], Z), [], 3), ValueError, r"data: expected points of shape \(N, 2\)"),
        (lambda: plots.probability_integral_transforms(X[0], Z, 3), ValueError, r"values: expected shape \(N, D\)"),
    ],
)
def test_bad_pictures_are_named(act, error, message):
    with pytest.raises(error, match=message):
        act()
