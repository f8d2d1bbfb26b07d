"""The default call on tables as they are: missing values, columns without a density, failing starts, many rows."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

from pyro_vmonf import Initializer, evaluate, fit_mixture
from pyro_vmonf.automatic import Schedule, SearchConfig, arguments, remembered, samples
from pyro_vmonf.automatic.blocks import Blocks, points_at_once
from pyro_vmonf.automatic.columns import (
    ColumnWarning,
    check_complete,
    column_names,
    dependent_columns,
    listed,
    tied_columns,
    warn_of_columns,
)
from pyro_vmonf.automatic.covariances import covariance_note, covariance_types, starts_for
from pyro_vmonf.automatic.folds import folds_of
from pyro_vmonf.automatic.judge import Judge
from pyro_vmonf.automatic.problem import Problem
from pyro_vmonf.automatic.samples import start_from_sample
from pyro_vmonf.automatic.search import Search
from pyro_vmonf.automatic.starts import Candidate, candidates, gaussians_on
from pyro_vmonf.initialization import InitializationWarning
from pyro_vmonf.initialization import clustering as clusterings
from pyro_vmonf.initialization.gaussian_mixture import log_joint
from pyro_vmonf.transforms import MarginalSpline

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),  # so short fits leave one
]

K, N = 3, 90


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Trains for a short time: the quality is not the subject."""
    budget = Schedule(40, 30, 20)
    monkeypatch.setattr(arguments, "SearchConfig", partial(SearchConfig, short=budget, long=budget))


def clouds(features=2, n=N, seed=0):
    """Three clouds."""
    random = np.random.default_rng(seed)
    return 6 * random.normal(size=(K, features))[np.arange(n) % K] + random.normal(size=(n, features))


# ---- missing and infinite values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_values_are_named(value):
    x = clouds()
    x[[3, 7], 1] = value
    kind = "missing" if np.isnan(value) else "infinite"
    with pytest.raises(
        ValueError, match=rf"x: expected finite values, got 2 {kind}.* in 2 of 90 rows, columns 1\. Lea"
    ):
        fit_mixture(x, K, progress=False)


def test_columns_of_a_frame_have_names():
    frame = pd.DataFrame(clouds(3), columns=["mass", "length", "year"])
    frame.iloc[2, 0] = np.nan
    frame.iloc[5, 2] = np.inf
    with pytest.raises(ValueError, match=r"'mass', and 1 infinite in 1 of 90 rows, columns 'year'.*KNNImputer"):
        fit_mixture(frame, K, progress=False)


def test_missing_values_of_pandas_types_are_named():
    frame = pd.DataFrame({"count": pd.array([1, 2, None] * 30, dtype="Int64"), "mass": np.ones(90)})
    with pytest.raises(ValueError, match=r"30 missing \(NaN\) in 30 of 90 rows, columns 'count'"):
        fit_mixture(frame, K, progress=False)


def test_finite_points_pass():
    check_complete("x", torch.zeros(2, 2), ["0", "1"])


def test_names_of_many_columns_are_cut_short():
    assert column_names(np.zeros((2, 3)), 3) == ["0", "1", "2"]
    assert listed(torch.ones(12, dtype=torch.bool), column_names(None, 12)) == "0, 1, 2, 3, 4, 5, 6, 7, 4 more"


# ---- clusterings that fail


def test_failing_start_is_left_out(monkeypatch):
    def broken(features, k, seed, weight=None):
        raise RuntimeError("no convergence")

    monkeypatch.setitem(clusterings.METHODS, "spectral", broken)
    with pytest.warns(InitializationWarning, match="'spectral' is left out, it raised RuntimeError: no convergence"):
        _, _, history = fit_mixture(clouds(), K, progress=False)
    assert {row.start for row in history.search.rows} >= {"gmm"}
    with pytest.raises(RuntimeError, match="no convergence"):
        fit_mixture(clouds(), K, initializer=["gmm", "spectral"], progress=False)


# ---- columns that are constant, or follow from others


def test_columns_that_follow_from_others():
    x = torch.as_tensor(clouds(3))
    x = (x - x.mean(0)) / x.std(0)
    whole = torch.cat([x, x[:, :1], x.sum(1, keepdim=True), torch.randn(N, 1)], 1)
    assert dependent_columns(whole).tolist() == [False, False, False, True, True, False]
    assert not dependent_columns(whole[:6]).any()


def test_constant_and_copied_columns():
    x, _ = load_iris(return_X_y=True)
    table = np.column_stack([x, np.full(len(x), 7e5), 3 * x[:, 2] - 1])
    with pytest.warns(ColumnWarning, match="columns 4 are constant, and columns 5 are linear functions"):
        model, guide, history = fit_mixture(table, 3, initializer="gmm", progress=False)
    evaluation = evaluate(model, guide, table)
    assert evaluation.evidence.isfinite().all()
    assert evaluation.encoder_probs.isfinite().all()
    assert all(np.isfinite(row.elbo) for row in history.search.rows)
    plain = evaluate(*fit_mixture(x, 3, initializer="gmm", progress=False)[:2], x)
    labels = [e.encoder_probs.argmax(1) for e in (evaluation, plain)]
    assert adjusted_rand_score(*labels) > 0.85


def test_few_values_are_tied():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=random).double()
    x[:, 1] = (x[:, 1] > 0).double()
    x[:, 2] = x[:, 2].clamp(min=0.2)  # an atom of more than a quarter of the points
    x[:, 3] = x[:, 3].round(decimals=1)  # measurements
    x[:, 4] = 1.0
    assert tied_columns(x, torch.ones(200).double()).tolist() == [False, True, True, False, False]
    light = torch.where(x[:, 2] == 0.2, 0.1, 1.0)
    assert tied_columns(x, light.double()).tolist() == [False, True, False, False, False]
    with pytest.warns(ColumnWarning, match=r"in columns 1, 2 many points share values.*uniform noise"):
        warn_of_columns(x[:, :4], torch.ones(200).double(), column_names(x, 4))


def test_plain_columns_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_mixture(clouds(), K, initializer="gmm", progress=False)


# ---- many points, and many features


@pytest.fixture
def small_sample(monkeypatch):
    """Clusters so many points alone."""
    monkeypatch.setattr(samples, "SAMPLE", 60)


@pytest.mark.parametrize("method", ["gmm", "ward", "spectral"])
def test_sample_is_clustered_and_the_others_follow(method, small_sample):
    x = torch.as_tensor(clouds(3, n=150, seed=2))
    start = start_from_sample(Initializer(method), x, K, torch.ones(150).double(), 0)
    torch.testing.assert_close(start.responsibilities.sum(1), torch.ones(150).double())
    assert adjusted_rand_score(start.responsibilities.argmax(1), np.arange(150) % K) > 0.95
    assert len(samples.sample_of(150, 0)) == len(samples.sample_of(150, 0).unique()) == 60


def test_users_own_method_is_given_all_points(small_sample):
    x = torch.as_tensor(clouds(3, n=150))
    seen = []

    def method(features):
        seen.append(len(features))
        return np.arange(len(features)) % K

    start_from_sample(Initializer(method), x, K, torch.ones(150).double(), 0)
    assert seen == [150]


def test_report_states_the_sample_and_the_memory(small_sample):
    x = clouds(3, n=150)
    model, _, history = fit_mixture(x, K, initializer=["gmm", "ward"], progress=False)
    assert "sample of 60 of 150 points" in str(history.search)
    assert history.search.peak_memory > 0.05
    assert "Peak memory" in str(history.search)
    assert model.evidence(torch.as_tensor(x)).isfinite().all()


def test_few_points_a_feature_are_reported():
    x = np.random.default_rng(0).normal(size=(40, 12))
    _, _, history = fit_mixture(x, 2, initializer="ward", progress=False)
    assert "12 features and 20 points a cluster" in str(history.search)
    assert covariance_note(1000, 2, 4) == []
    assert covariance_note(1000, 2, 300)[0].endswith("covariances are diagonal.")
    assert covariance_types(300) == ("diag",)
    assert starts_for(("gmm", "gmm-diag"), 300) == ["gmm-diag"]


@pytest.mark.parametrize(("points", "size"), [(5, 9), (9, 9), (10, 3), (11, 4)])
def test_blocks_join_to_the_whole(points, size):
    x, y = torch.randn(2, points, 3), torch.randn(2, points)
    blocks = Blocks([x, y], size)
    out = torch.empty(2, blocks.size)

    def function():
        torch.add(blocks.inputs[0].sum(-1), blocks.inputs[1], out=out)  # overwritten by the next call, as captured
        return out

    assert len(blocks) == -(-points // size)
    assert torch.equal(blocks.joined(function), x.sum(-1) + y)


def test_blocks_are_smaller_for_more_numbers():
    assert points_at_once(5, 3, 4) == 2048
    assert points_at_once(6, 20, 60) == 145
    assert points_at_once(30, 20, 784) == 64


def test_held_out_points_are_capped():
    folds = folds_of(30_000, 0)
    assert len(folds.held_out[0]) == 4000
    assert len(folds.kept[0]) == 26_000


# ---- splines of single features


def skewed(n=N):
    """Clouds whose features are far from normal."""
    x = torch.as_tensor(clouds(3, n=n, seed=4))
    return torch.cat([x[:, :2], (x[:, 2:] / 3).exp()], 1)


@pytest.mark.parametrize("method", ["gmm", "ward"])
def test_begins_as_gaussian_mixture_behind_the_splines(method):
    x = skewed()
    x, weight = (x - x.mean(0)) / x.std(0), torch.ones(N).double()
    found = candidates([Initializer(method)], x, K, weight, 0)
    parts = [torch.arange(0, 60), torch.arange(30, N)]
    ensemble = Problem(x, weight, K).build("M", found, parts).double()
    log_p, log_q = ensemble(x.expand(2, -1, -1))
    for i, rows in enumerate(parts):
        own = MarginalSpline(3).double()
        own.set_quantiles(x[rows], weight[rows])
        images = own.inv(x)
        start = gaussians_on(found[0], images.detach(), weight, rows)
        expected = log_joint(images, start.log_weights[0].exp(), start.means[0], start.covariances[0])
        torch.testing.assert_close(log_q[i], expected.log_softmax(0), atol=1e-3, rtol=0)  # set in float32
        expected = expected - own.log_abs_det_jacobian(images, x)
        torch.testing.assert_close(log_p[i], expected - start.log_weights[0].logsumexp(0), atol=1e-3, rtol=1e-4)


def test_splines_of_features_become_a_part_of_both_modules(monkeypatch):
    monkeypatch.setattr(Search, "simplest", lambda self, tries: next(t for t in tries if t.warp == "M"))
    monkeypatch.setattr(Judge, "is_better", lambda self, a, b: True)
    x = 100 * skewed() + 7
    model, guide, history = fit_mixture(x, K, initializer="gmm", progress=False)
    assert history.search.choice.warp == "M"
    assert float(evaluate(model, guide, x).inference_gap.mean()) < 0.5
    sampled, _ = model.sample(200)
    assert bool((sampled - sampled.mean(0)).isfinite().all())
    assert bool(((sampled.mean(0) - x.mean(0)).abs() < 2 * x.std(0)).all())


def test_gaussians_are_found_once_and_so_many_are_remembered(monkeypatch):
    x, weight, rows = torch.randn(40, 2), torch.ones(40), torch.arange(30)
    shares = torch.rand(40, 2).softmax(1)
    known = remembered.RememberedGaussians(x, weight)
    first = known.on(Candidate("array", shares), rows)
    assert known.on(Candidate("another name", shares), rows) is first
    for name in ("log_weights", "means", "covariances"):
        expected = getattr(gaussians_on(Candidate("array", shares), x, weight, rows), name)
        assert torch.equal(getattr(first, name), expected)
    other = known.on(Candidate("array", shares, "diag"), rows)
    assert not torch.equal(other.covariances, first.covariances)
    assert known.on(Candidate("array", shares), torch.arange(30)) is not first  # equal rows, but others
    monkeypatch.setattr(remembered, "MOST_NUMBERS", 0)
    few = remembered.RememberedGaussians(x, weight)
    few.on(Candidate("array", shares), rows)
    assert not few.found
