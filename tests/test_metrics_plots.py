"""Scores of clusterings, and pictures."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.mixture import GaussianMixture

from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp, plots
from pyro_vmonf.evaluation import metrics
from pyro_vmonf.plots.colours import component_colours
from pyro_vmonf.selection import Merging
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


def pixels(axes):
    file = io.BytesIO()
    axes.figure.savefig(file, format="raw", dpi=40)
    return np.frombuffer(file.getvalue(), np.uint8)


X, COMPONENTS = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
CURVES = {"elbo": ([0, 1, 2], [-9.0, -2.0, -1.0]), "temperature": ([0, 1, 2], [5.0, 2.0, 1.0])}
CHECK = {"statistic": "mean", "observed": 0.5, "replicated": [0.1, 0.4, 0.6, 0.7], "p": 1.0}
CHOICE = Merging(
    [
        {"n_components": k, "overlap": 0.1 * k, "validation_evidence": -k, "standard_error": 0.1, "chosen": k == 2}
        for k in (3, 2, 1)
    ]
)


MODEL = FlowMixture(RealNVP(2, 3)).double()
TRIED = History(
    restarts=[
        {
            "initializer": name,
            "repetition": 0,
            "validation_elbo": score,
            "validation_evidence": 0.0,
            "chosen": score > 0,
        }
        for name, score in (("gmm", 1.0), ("ward", -1.0))
    ]
)


def log_density(points):
    """The log-density of points under the standard normal distribution."""
    return -0.5 * (points**2).sum(-1) - np.log(2 * np.pi)


def right_half(points):
    """The component of points: 1 on the right, 0 on the left."""
    return (points[:, 0] > 0).long()


# What is drawn, with the number of its panels, given a conversion of tensors and Axes to draw into.
PICTURES = {
    "clusters": (1, lambda of, ax: plots.clusters(lambda x: torch.stack([x[:, 0], -x[:, 0]], 1), of(X), ax=ax)),
    "density": (1, lambda of, ax: plots.density(log_density, of(X), ax=ax)),
    "components": (1, lambda of, ax: plots.components(MODEL, of(X), ax=ax)),
    "pairs": (9, lambda of, ax: plots.pairs(of(COMPONENTS), of(torch.cat([X, X[:, :1]], 1)), ax=ax)),
    "responsibilities": (1, lambda of, ax: plots.responsibilities(of(torch.cat([X, X], 1).softmax(1)), ax=ax)),
    "restarts": (1, lambda of, ax: plots.restarts(TRIED, ax=ax)),
    "assignments": (
        2,
        lambda of, ax: plots.assignments(
            [("data", of(X), of(COMPONENTS)), ("samples", of(X[:9]), of(COMPONENTS[:9]))],
            right_half,
            3,
            marked=of(X[:4]),
            ax=ax,
        ),
    ),
    "image_rows": (1, lambda of, ax: plots.image_rows(of(torch.rand(3, 4, 8, 8)), "samples", ax=ax)),
    "history": (1, lambda of, ax: plots.history(CURVES, ax=ax)),
    "contingency": (
        1,
        lambda of, ax: plots.contingency(of(torch.tensor([[0.9, 0.1], [0.2, 0.8]])), class_names="ab", ax=ax),
    ),
    "selection": (2, lambda of, ax: plots.selection(CHOICE, ax=ax)),
    "reliability": (
        1,
        lambda of, ax: plots.reliability({"encoder": of(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.7, 0.6]]))}, ax=ax),
    ),
    "predictive_checks": (3, lambda of, ax: plots.predictive_checks([CHECK] * 3, ax=ax)),
    "replications": (2, lambda of, ax: plots.replications((of(X), of(COMPONENTS)), [(X, COMPONENTS)], 3, ax=ax)),
    "probability_integral_transforms": (
        3,
        lambda of, ax: plots.probability_integral_transforms(of(X.sigmoid()), of(COMPONENTS), 3, ax=ax),
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
    axes = np.ravel(part.subplots(1, count))
    given = axes[0] if count == 1 else axes
    drawn = draw(lambda t: t, given)
    assert [*np.ravel(drawn)] == [*axes]
    assert np.ravel(drawn)[0].figure.figure is figure
    assert all(ax.has_data() or not ax.axison for ax in axes)
    expected = r"3 × 3 Axes, as of plt.subplots\(3, 3\)" if name == "pairs" else f"{count} Axes, one for each panel"
    with pytest.raises(ValueError, match=f"ax: expected {expected}, got {count - 1}"):
        draw(lambda t: t, list(axes)[1:])
    with pytest.raises(TypeError, match="ax: expected the Axes of matplotlib, got str"):
        draw(lambda t: t, "left")


def test_clusters_are_those_of_the_encoder():
    guide = SoftmaxEncoder(torch.nn.Sequential(mlp(2, 3), torch.nn.Dropout(0.9)), 3).double()
    guide.train()
    torch.set_default_dtype(torch.float32)
    ax = plots.clusters(guide.probs, X.numpy(), marked=X[:5], title="clusters")
    assert guide.training
    points, crosses = ax.collections
    assert len(crosses.get_offsets()) == 5
    colours = component_colours(3)
    with torch.no_grad():
        expected = [colours[k] for k in guide.eval().probs(X.double()).argmax(-1)]
    np.testing.assert_allclose(points.get_facecolors(), expected)


def test_clusters_of_other_functions():
    model = FlowMixture(RealNVP(2, 3))
    assert plots.clusters(model.responsibilities, X).has_data()
    assert plots.clusters(GaussianMixture(2).fit(X.numpy()).predict_proba, X).has_data()
    assert plots.clusters(lambda x: x, torch.ones(3, 2)).has_data()  # points without an extent


def test_a_history_is_drawn_as_it_is():
    rows = [{"epoch": i, "phase": 0, "temperature": 1.0, "steps": 4, "seconds": 0.1, "elbo": -2.0} for i in range(3)]
    rows[2]["validation_elbo"] = float("nan")
    ax = plots.history(History(rows))
    assert ax.figure.axes == [ax]  # a temperature that stays is not drawn
    assert [line.get_label() for line in ax.lines] == ["elbo", "validation elbo"]
    assert not plots.history(History()).lines
    with pytest.raises(TypeError, match=r"history: expected what fit returned, .* got list"):
        plots.history(rows)


def test_many_components_and_unknown_ones_are_drawn():
    z = torch.arange(50) % 12 - 1
    (ax,) = plots.assignments([("one", X, z)], lambda p: right_half(p) * 11, 12)
    assert len(np.unique(ax.collections[0].get_facecolors(), axis=0)) == 12


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
        (lambda: plots.clusters(right_half, X), ValueError, r"source: expected probabilities of shape \(50, K\)"),
        (lambda: plots.clusters(right_half, [["a", "b"]]), TypeError, "x: expected real numbers"),
        (lambda: plots.clusters(right_half, X * float("nan")), ValueError, "x: expected finite values"),
        (lambda: plots.image_rows(torch.zeros(3, 8, 8)), ValueError, r"images: expected shape \(K, n, height, width\)"),
        (lambda: plots.contingency([[1.0]], class_names=["a", "b"]), ValueError, "class_names: expected 1 names"),
        (
            lambda: plots.contingency([1.0]),
            ValueError,
            r"y: expected a table \(classes, components\), .* got \(1,\)",
        ),
        (lambda: plots.reliability({"a": X}), ValueError, r"tables\['a'\]: expected shape \(bins, 3\), got \(50, 2\)"),
        (lambda: plots.predictive_checks([]), ValueError, "number of panels: expected an integer of at least 1, got 0"),
        (lambda: plots.replications((X[:, :1], Z), [], 3), ValueError, r"data: expected points of shape \(N, 2\)"),
        (lambda: plots.probability_integral_transforms(X[0], Z, 3), ValueError, r"values: expected shape \(N, D\)"),
    ],
)
def test_bad_pictures_are_named(act, error, message):
    with pytest.raises(error, match=message):
        act()
