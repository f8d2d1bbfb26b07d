"""Plots of estimators, modules, pairs and arrays; what they draw, and what they say of what they cannot draw."""

import io
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from pyro_vmonf import (
    FlowMixture,
    RealNVP,
    Restarts,
    SoftmaxEncoder,
    TrainingConfig,
    VMoNF,
    VMoNFClassifier,
    fit,
    mlp,
    plots,
)
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.guides import DirichletPosterior
from pyro_vmonf.models import DirichletWeights
from pyro_vmonf.plots.axes import AxesArray, PlotAxes
from pyro_vmonf.plots.colours import UNKNOWN, component_colours
from pyro_vmonf.plots.densities import outline_levels
from pyro_vmonf.plots.pair_plots import most_separating
from pyro_vmonf.plots.points import Extent
from pyro_vmonf.plots.tries import score_range
from pyro_vmonf.selection import Merging
from pyro_vmonf.training import History

CENTRES = np.array([[-4.0, 0.0, 1.0], [4.0, 0.0, -1.0]])
Y = np.arange(120) % 2
X3 = CENTRES[Y] + np.random.default_rng(0).normal(size=(120, 3))
X = X3[:, :2]


@pytest.fixture(scope="module")
def mixture():
    return VMoNF(2, components="gaussian", random_state=0).fit(X)


@pytest.fixture(scope="module")
def of_frame():
    """An estimator that knows the names of its features."""
    return VMoNF(2, components="gaussian", random_state=0).fit(pd.DataFrame(X, columns=["east", "north"]))


def modules(features=2):
    return FlowMixture(RealNVP(features, 2), weights=[0.7, 0.3]), SoftmaxEncoder(mlp(features, 2), 2)


@pytest.fixture(autouse=True)
def nothing_is_left_open():
    yield
    assert not plt.get_fignums()


@pytest.fixture(scope="module")
def sources(mixture):
    """What gives probabilities, densities or components, by name."""
    model, guide = modules()
    scikit = GaussianMixture(2, random_state=0).fit(X)
    return {
        "estimator": mixture,
        "classifier": VMoNFClassifier(components="gaussian", random_state=0).fit(X, Y),
        "scikit-learn": scikit,
        "model": model,
        "guide": guide,
        "pair": (model, guide),
        "double": tuple(part.double() for part in modules()),
        "probs": guide.probs,
        "predict_proba": scikit.predict_proba,
    }


def test_probabilities_of_all_kinds(sources):
    for name, source in sources.items():
        assert plots.clusters(source, X).has_data(), name
        assert plots.responsibilities(source, X).get_images()[0].get_array().shape == (120, 2), name
        assert plots.pairs(source, X).shape == (2, 2), name
        assert plots.assignments([("", X, Y)], Y_OF.get(name, source), 2)[0].has_data(), name


Y_OF = {name: lambda points: (points[:, 0] > 0).long() for name in ("probs", "predict_proba")}


def test_densities_of_all_kinds(sources):
    for name in ("estimator", "classifier", "scikit-learn", "model", "pair", "double"):
        source = sources[name]
        assert plots.density(source, X).has_data(), name
        if name != "scikit-learn":
            assert len(plots.components(source, X).get_legend().get_texts()) == 2, name


@pytest.mark.parametrize("kind", [lambda x: torch.tensor(x, requires_grad=True), pd.DataFrame, pl.DataFrame, list])
def test_points_of_all_kinds(kind):
    source, x = modules(), kind(X)
    for draw in (plots.clusters, plots.density, plots.components, plots.pairs, plots.responsibilities):
        assert np.array_equal(pixels(draw(source, X)), pixels(draw(source, x)))


def pixels(axes):
    file = io.BytesIO()
    for ax in axes.figure.axes:
        ax.set(xlabel="", ylabel="")  # a frame's names
    axes.figure.savefig(file, format="raw", dpi=40)
    return np.frombuffer(file.getvalue(), np.uint8)


def test_clusters_are_of_the_encoder_where_there_is_one():
    model, guide = modules()
    for source, probs in ((model, model.responsibilities), (guide, guide.probs), ((model, guide), guide.probs)):
        drawn = plots.clusters(source, X).collections[0].get_facecolors()
        colours = component_colours(2)
        with torch.no_grad():
            expected = [colours[k] for k in probs(torch.tensor(X)).argmax(-1)]
        np.testing.assert_allclose(drawn, expected)


def test_clusters_have_the_legend_of_components():
    def quadrants(x):
        return torch.nn.functional.one_hot(torch.where(x[:, 1] > 0, 0, torch.where(x[:, 0] > 0, 1, 3)), 4)

    ax = plots.clusters(lambda x: quadrants(x).to(x), [[-1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    legend = ax.get_legend()
    # Component 3 has a region and no points, and component 2 has neither.
    assert [text.get_text() for text in legend.get_texts()] == ["0: 75 %", "1: 25 %", "3: 0 %"]
    assert [line.get_color() for line in legend.get_lines()] == [component_colours(4)[k] for k in (0, 1, 3)]
    assert legend.get_title().get_text() == "component"


def test_infinite_valleys_stand_at_the_top():
    valleys = {1: np.inf, 2: np.inf, 3: 1.2, 4: np.inf, 5: -0.1, 6: np.nan}
    rows = [{"n_components": k, "valley": valley, "chosen": k == 4} for k, valley in valleys.items()]
    (ax,) = plots.selection(Merging(rows))
    (top,) = [line for line in ax.lines if line.get_label() == "none touch"]
    assert top.get_marker() == "^"
    assert top.get_xdata().tolist() == [2, 4]
    places = ax.transAxes.inverted().transform(top.get_transform().transform(top.get_xydata()))[:, 1]
    highest = ax.transAxes.inverted().transform(ax.transData.transform([3, 1.2]))[1]
    assert (places > highest + 0.05).all()
    assert (places < 1).all()
    assert "none touch" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_valleys_that_are_all_infinite():
    rows = [{"n_components": k, "valley": np.inf, "bic": 1.0 * k, "chosen": k == 2} for k in (1, 2)]
    valleys, bic = plots.selection(Merging(rows))
    assert valleys.get_ylabel() == "shallowest valley, nats"
    assert "none touch" in [text.get_text() for text in valleys.get_legend().get_texts()]
    assert len(bic.get_legend().get_texts()) == 1
    (only,) = plots.selection(Merging([{**rows[0], "chosen": True}]))  # one component has no valley
    assert only.get_ylabel() == "BIC"


def test_the_density_is_that_of_the_model():
    model, _ = modules()
    ax = plots.density(model, X, show_points=False)
    contours = ax.collections[0]
    with torch.no_grad():
        evidence = model.evidence(torch.tensor(X))
    assert contours.levels[0] <= evidence.quantile(0.01) - 2
    assert contours.levels[-1] >= evidence.max()
    assert ax.figure.axes[-1].get_ylabel() == "log p(x), nats"
    assert len(plots.density(model, X).collections) == 2


def test_densities_that_are_zero_somewhere():
    def square(x):
        return torch.where((x.abs() < 4).all(-1), 0.0, -torch.inf)

    assert plots.density(square, X).has_data()
    with pytest.raises(ValueError, match="source: expected finite values of log p"):
        plots.density(lambda x: torch.full((len(x),), -torch.inf), X)


def test_weights_are_those_of_the_posterior():
    model = FlowMixture(RealNVP(2, 2), weights=DirichletWeights([2.0, 2.0]))
    guide = SoftmaxEncoder(mlp(2, 2), 2, weights=DirichletPosterior(2))
    guide.weights.log_concentration.data = torch.tensor([8.0, 2.0]).log()
    for source, expected in ((model, ["50 %", "50 %"]), ((model, guide), ["80 %", "20 %"])):
        texts = [text.get_text() for text in plots.components(source, X).get_legend().get_texts()]
        assert texts == [f"{k}: {share}" for k, share in enumerate(expected)]
    before, after = (plots.density(source, X).collections[0].levels for source in (model, (model, guide)))
    assert len(before) > 2
    assert len(after) > 2


def test_outlines_hold_their_share():
    axis = np.linspace(-5, 5, 401)
    density = -0.5 * (axis[:, None] ** 2 + axis[None] ** 2).ravel()
    radii = np.sqrt(-2 * np.log(outline_levels(density)))
    np.testing.assert_allclose(radii, np.sqrt(-2 * np.log([0.1, 0.5])), rtol=0.01)
    assert outline_levels(np.full(100, -np.inf)) == []
    assert outline_levels(np.zeros(100)) == []
    assert outline_levels(np.r_[0.0, np.full(99, -np.inf)]) == []  # in one cell


def test_one_scale_unless_the_features_differ():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert Extent.around(x).sides == pytest.approx((-0.7, 1.7, -0.2, 2.2))
    assert Extent.around(x * torch.tensor([1.0, 50.0])).sides == pytest.approx((-0.1, 1.1, -10, 110))
    assert plots.clusters(lambda p: p, x).get_aspect() == 1
    assert plots.clusters(lambda p: p, x * torch.tensor([1.0, 50.0])).get_aspect() == "auto"


def test_names_stand_at_the_axes(of_frame):
    frame = pd.DataFrame(X, columns=["east", "north"])
    for ax in (plots.clusters(of_frame, X), plots.density(of_frame, frame), plots.components(modules(), frame)):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("east", "north")
    assert plots.clusters(of_frame, pd.DataFrame(X)).get_xlabel() == "east"  # whose names are numbers
    scikit = GaussianMixture(2).fit(frame)
    assert plots.clusters(scikit, frame).get_xlabel() == "east"
    swapped = frame[["north", "east"]]
    for draw in (plots.clusters, plots.density, plots.components, plots.pairs, plots.responsibilities):
        with pytest.raises(ValueError, match=r"x: expected the columns \['east', 'north'\] of the fit"):
            draw(of_frame, swapped)


def test_pairs_of_features():
    axes = plots.pairs(Y, X3, names=["a", "b", "c"])
    assert isinstance(axes, AxesArray)
    assert axes.shape == (3, 3)
    assert [ax.get_xlabel() for ax in axes[-1]] == ["a", "b", "c"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["points", "b", "c"]
    offsets = axes[2, 0].collections[0].get_offsets()
    np.testing.assert_allclose(offsets, X3[:, [0, 2]])
    assert not axes[0, 1].axison
    assert [text.get_text() for text in axes[0, -1].get_legend().get_texts()] == ["0: 50 %", "1: 50 %"]


def test_pairs_of_some_features():
    frame = pd.DataFrame(X3, columns=["a", "b", "c"])
    assert [ax.get_xlabel() for ax in plots.pairs(Y, frame, max_features=2)[-1]] == ["a", "c"]
    assert [ax.get_xlabel() for ax in plots.pairs(Y, frame, features=["c", 0])[-1]] == ["c", "a"]
    assert most_separating(np.c_[X3, np.ones(120)], Y, 2) == [0, 2]
    wide = np.random.default_rng(0).normal(size=(50, 20))
    assert plots.pairs(np.zeros(50, int), wide).shape == (6, 6)
    assert plots.pairs(np.zeros(50, int), wide[:, :1]).shape == (1, 1)


def test_pairs_of_many_points_and_of_unknown_components():
    rows = np.random.default_rng(0).normal(size=(6_000, 2))
    z = np.arange(6_000) % 3 - 1
    axes = plots.pairs(z, rows)
    assert len(axes[1, 0].collections[0].get_offsets()) == 5_000
    assert UNKNOWN in [tuple(colour) for colour in axes[1, 0].collections[0].get_facecolors()]
    assert axes[0, 1].get_legend().get_texts()[0].get_text() == "none: 33 %"
    assert sum(patch.get_data().values.sum() for patch in axes[0, 0].patches) == 6_000
    assert plots.pairs(np.arange(50), rows[:50])[0, 1].get_legend() is None


def test_responsibilities_are_sorted():
    probs = torch.tensor([[0.1, 0.9], [0.7, 0.3], [1.0, 0.0], [0.4, 0.6]])
    ax = plots.responsibilities(probs)
    np.testing.assert_allclose(ax.get_images()[0].get_array()[:, 0], [1.0, 0.7, 0.1, 0.4])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0\n50 %", "1\n50 %"]


def test_responsibilities_of_images():
    guide = SoftmaxEncoder(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), 3)
    assert plots.responsibilities(guide, torch.rand(5, 1, 8, 8)).get_images()[0].get_array().shape == (5, 3)


def test_contingency_of_labels():
    for y in (["b", "b", "a", None], np.array(["b", "b", "a", None], object), pd.Series(["b", "b", "a", None])):
        ax = plots.contingency(y, [1, 1, 2, 0])
        assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
        np.testing.assert_allclose(ax.get_images()[0].get_array(), [[0, 0, 1], [0, 1, 0]])
    ax = plots.contingency(torch.tensor([10, 9, -1]), torch.tensor([0, 1, 1]), class_names=["nine", "ten"])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["nine", "ten"]
    np.testing.assert_allclose(ax.get_images()[0].get_array(), [[0, 1], [1, 0]])
    assert not plots.contingency(np.eye(30)).texts


def test_history_of_an_estimator(mixture):
    model, guide = modules()
    config = TrainingConfig(epochs=6, patience=2)
    found = fit(model, guide, X, validation=0.2, config=config, progress=False)
    for given in (found, VMoNF.from_modules(model, guide, found)):
        labels = [line.get_label() for line in plots.history(given).lines]
        assert labels == ["elbo", "validation elbo", "validation evidence", "kept"]
    with pytest.raises(ValueError, match=r"history: expected one of epochs, got History .*; plots.restarts"):
        plots.history(mixture)
    with pytest.raises(TypeError, match=r"history: expected what fit .* got KMeans"):
        plots.history(KMeans())


def test_restarts_of_a_search(mixture):
    for given in (mixture, mixture.history_):
        ax = plots.restarts(given)
        assert len(ax.get_yticklabels()) == len(mixture.history_.search.rows)
        assert sum(line.get_marker() == "*" for line in ax.lines) == 1


def test_restarts_of_a_fit():
    model, guide = modules()
    starts = Restarts(["gmm", "kmeans"], repeats=2, trial_epochs=1)
    found = fit(model, guide, X, initializer=starts, config=TrainingConfig(epochs=2), progress=False)
    ax = plots.restarts(found)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[0] == "1: gmm, repetition 0"
    assert ax.get_xlabel() == "held-out ELBO, nats"
    assert [line.get_fillstyle() for line in ax.lines].count("none") == sum("same_as" in r for r in found.restarts)


def test_tries_that_failed_or_are_far_below():
    rows = [Row("gmm", "P", 0.1, elbo, 5, 0.2) for elbo in (-1.0, -1.1, -1.2, -90.0, -np.inf, float("nan"))]
    search = SearchReport(Choice("gmm", "full", "P", 0.1, 5), [*rows, Row("gmm", "P", 0.1, -0.9, 5, 0.2)], 1, 100)
    ax = plots.restarts(History(search=search))
    assert [line.get_marker() for line in ax.lines] == ["o", "o", "o", "<", "x", "x", "*"]
    assert [text.get_text() for text in ax.texts] == ["-90", "failed", "failed"]
    assert ax.get_yticklabels()[0].get_text() == "1: gmm + P, noise 0.1"
    assert score_range([-np.inf]) == (-0.025, 0.025)


def test_tries_of_nearly_one_score_look_equal():
    scores = (-14.62114, -14.6211401, -14.6211402, -14.6211403, -14.65)
    rows = [Row(f"start {i}", "P", 0.0, score, 5, 0.2) for i, score in enumerate(scores)]
    ax = plots.restarts(History(search=SearchReport(Choice("start 0", "full", "P", 0.0, 5), rows, 1, 100)))
    assert [line.get_marker() for line in ax.lines] == ["*", "o", "o", "o", "o"], "one is off the scale"
    low, high = ax.get_xlim()
    assert high - low > 0.05
    ax.figure.draw_without_rendering()
    assert ax.xaxis.get_offset_text().get_text() == ""
    assert "−14.62" in [text.get_text() for text in ax.get_xticklabels()]
    low, high = score_range(scores[:4])
    assert high - low == pytest.approx(0.05)


def test_restarts_that_are_chosen_by_the_evidence():
    scores = {"gmm": (-np.inf, -1.0), "ward": (-5.0, -2.0)}
    rows = [
        {"initializer": k, "repetition": 0, "validation_elbo": a, "validation_evidence": b, "chosen": k == "gmm"}
        for k, (a, b) in scores.items()
    ]
    assert plots.restarts(History(restarts=rows)).get_xlabel() == "held-out log p(x), nats"


def test_axes_of_their_own_are_shown_by_notebooks():
    ax, axes = plots.clusters(lambda x: x, X), plots.replications((X, Y), [(X, Y)], 2)
    assert isinstance(ax, PlotAxes)
    assert axes.figure is axes[0].figure
    for one in (ax, axes, axes[:1]):
        assert imread(io.BytesIO(one._repr_png_())).ndim == 3


def test_axes_of_pyplot_are_shown_once():
    _, given = plt.subplots(1, 2)
    axes = plots.replications((X, Y), [(X, Y)], 2, ax=given)
    assert axes.figure is given[0].figure
    assert axes._repr_png_() is None
    plt.close(axes.figure)


def test_pyplot_is_not_imported():
    code = """
import sys
from pyro_vmonf import FlowMixture, RealNVP, plots
x = [[0.0, 1.0], [2.0, 3.0]]
model = FlowMixture(RealNVP(2, 2))
for draw in (plots.clusters, plots.density, plots.components, plots.pairs, plots.responsibilities):
    assert draw(model, x).figure.savefig
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


MODEL, GUIDE = modules()
BAD = {
    "an object": (lambda: plots.clusters(3, X), TypeError, "source: expected an estimator with predict_proba, .* int"),
    "a class": (lambda: plots.clusters(VMoNF, X), TypeError, "source: expected an estimator .* got the class VMoNF"),
    "a clusterer": (lambda: plots.clusters(KMeans(2), X), TypeError, "source: expected an estimator .* got KMeans"),
    "a tuple": (lambda: plots.clusters((GUIDE, MODEL), X), TypeError, r"got \(SoftmaxEncoder, FlowMixture\)"),
    "no density": (lambda: plots.density(GUIDE, X), TypeError, "source: expected an estimator with score_samples"),
    "a class's density": (lambda: plots.density(VMoNF, X), TypeError, "got the class VMoNF"),
    "no components": (lambda: plots.components(GUIDE, X), TypeError, "source: expected a fitted VMoNF, a model"),
    "not fitted": (lambda: plots.components(VMoNF(2), X), TypeError, "source: expected a fitted VMoNF"),
    "a table for a density": (lambda: plots.density(lambda x: x, X), ValueError, r"log p\(x\) of shape \(120,\)"),
    "three features": (lambda: plots.clusters(GUIDE, X3), ValueError, r"x: expected .*\(120, 3\); plots.pairs"),
    "three for a density": (lambda: plots.density(MODEL, X3), ValueError, r"x: expected .*\(120, 3\); plots.pairs"),
    "other features": (
        lambda: plots.pairs(GUIDE, X3),
        ValueError,
        r"x: source .* shape \(120, 3\)",
    ),
    "other features of a model": (lambda: plots.pairs(MODEL, X3), ValueError, r"x: expected shape"),
    "missing values": (lambda: plots.pairs(Y, X * np.nan), ValueError, "x: expected finite values"),
    "no matrix": (lambda: plots.pairs(Y, X[:, 0]), ValueError, r"x: expected points of shape \(N, D\)"),
    "too few components": (lambda: plots.pairs(Y[1:], X), ValueError, r"source: expected shape \(120,\)"),
    "names": (lambda: plots.pairs(Y, X, names="ab"), ValueError, "names: expected 2 names"),
    "a feature": (lambda: plots.pairs(Y, X, features=["x7"]), ValueError, r"features: .*\['x0', 'x1'\].* got 'x7'"),
    "a text": (lambda: plots.pairs(Y, X, features="x0"), ValueError, "features: .* got 'x0'"),
    "no features": (lambda: plots.pairs(Y, X, features=[]), ValueError, "features: .* got 'none'"),
    "no points": (lambda: plots.responsibilities(GUIDE), TypeError, "x: expected the points whose probabilities"),
    "no vectors": (lambda: plots.responsibilities(GUIDE, [1.0]), ValueError, r"x: expected .* \(N, \*event\)"),
    "no table": (
        lambda: plots.responsibilities([1.0]),
        ValueError,
        r"source: expected .* shape \(N, K\)",
    ),
    "no probabilities": (lambda: plots.responsibilities(X), ValueError, "source: expected probabilities that sum to 1"),
    "counts": (lambda: plots.contingency([[5, 1]]), ValueError, "y: expected a table of shares from 0 to 1"),
    "no classes": (
        lambda: plots.contingency([-1, -1], [0, 1]),
        ValueError,
        "y: expected a class of at least",
    ),
    "a matrix of classes": (lambda: plots.contingency(X, Y), ValueError, r"y: expected classes of shape \(N,\)"),
    "no component": (lambda: plots.contingency([0, 1], [0, -1]), ValueError, "z: expected the component of each point"),
    "no tries": (lambda: plots.restarts(History()), ValueError, "history: expected one of several tries, got History"),
    "no history": (lambda: plots.restarts({}), TypeError, "history: expected what a fit returned, .* got dict"),
    "one Axes for pairs": (
        lambda: plots.pairs(Y, X3, ax=Figure().subplots()),
        ValueError,
        r"ax: expected 3 × 3 Axes, as of plt.subplots\(3, 3\), got 1",
    ),
    "a figure": (lambda: plots.density(MODEL, X, ax=plots.pairs(Y, X).figure), TypeError, "ax: .* got Figure"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_drawn_is_named(name):
    draw, error, message = BAD[name]
    with pytest.raises(error, match=message):
        draw()
