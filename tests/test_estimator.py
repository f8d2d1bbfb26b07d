"""VMoNF as scikit-learn has estimators: its checks, and what they do not ask."""

import io
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from pyro_vmonf import FlowMixture, Initializer, RealNVP, SearchConfig, SoftmaxEncoder, VMoNF, mlp
from pyro_vmonf.estimator.component_count import choose_components
from pyro_vmonf.estimator.settings import settings_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),  # so short fits leave one
    pytest.mark.filterwarnings("ignore:training ended at the greatest:sklearn.exceptions.ConvergenceWarning"),
]

MEANS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


def clouds(n=90, seed=0):
    """Three clouds around MEANS, one after the other."""
    return MEANS[np.arange(n) % 3] + np.random.default_rng(seed).normal(size=(n, 2))


def gaussian(n_components=3, **parameters):
    """An estimator without flows, whose fit takes a moment."""
    return VMoNF(n_components, **{"init_params": "gmm", "max_iter": 0, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def x():
    return clouds()


@pytest.fixture(scope="module")
def fitted(x):
    return gaussian().fit(x)


@pytest.fixture(scope="module")
def flows(x):
    """A short fit whose result has flows: nothing else is offered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = VMoNF(2, components="realnvp", init_params="gmm", max_iter=8, random_state=1).fit(banana())
    assert found.history_.search.choice.warp != "N"
    return found


def banana(n=200):
    """Two crescents, which are no Gaussians."""
    random = np.random.default_rng(3)
    a = random.normal(size=n)
    points = np.stack([2 * a, a**2 + 0.1 * random.normal(size=n)], 1)
    points[: n // 2] += [0.0, 8.0]
    return points


# ---- scikit-learn's own checks


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    torch.set_default_dtype(torch.float32)  # what users have
    estimator = VMoNF(2, components="realnvp", init_params="gmm", n_init=1, max_iter=1)
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] in {"failed", "xfail"}]
    assert len(results) > 40


# ---- weights


@pytest.mark.parametrize("parameters", [{"max_iter": 0}, {"components": "realnvp", "max_iter": 2}])
def test_a_weight_of_two_is_a_row_twice_and_a_weight_of_zero_none(x, parameters):
    weight = np.random.default_rng(1).integers(0, 4, len(x)).astype(float)
    weighted = gaussian(**parameters).fit(x, sample_weight=weight)
    repeated = gaussian(**parameters).fit(np.repeat(x, weight.astype(int), axis=0))
    np.testing.assert_allclose(weighted.score_samples(x), repeated.score_samples(x), rtol=1e-9)
    alike = gaussian(**parameters).fit(x[weight > 0])
    assert np.abs(alike.score_samples(x) - weighted.score_samples(x)).max() > 0.01


def test_weights_move_the_fit(x):
    weight = np.where(np.arange(len(x)) % 3 == 0, 8.0, 1.0)
    light, heavy = gaussian().fit(x), gaussian().fit(x, sample_weight=weight)
    near = [np.linalg.norm(one.means_ - MEANS[0], axis=1).argmin() for one in (light, heavy)]
    assert light.weights_[near[0]] == pytest.approx(1 / 3, abs=0.05)
    assert heavy.weights_[near[1]] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(90), "sample_weight: expected a weight above 0, got zero"),
        (-np.ones(90), "sample_weight: expected numbers of at least 0"),
        (np.ones(3), "sample_weight"),
    ],
)
def test_weights_that_are_none(x, weight, message):
    with pytest.raises(ValueError, match=message):
        gaussian().fit(x, sample_weight=weight)


# ---- the Gaussian mixture


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_without_iterations_it_is_the_gaussian_mixture_of_scikit_learn(x, kind):
    points = x * [1e3, 1e-2] + [5.0, -7.0]  # units differ
    scale = StandardScaler().fit(points)
    z, log_units = scale.transform(points), np.log(scale.scale_).sum()
    mine = gaussian(covariance_type=kind, tol=1e-8).fit(points)
    theirs = GaussianMixture(3, covariance_type=kind, n_init=3, tol=1e-8, reg_covar=1e-6, random_state=0).fit(z)
    assert mine.score(points) == pytest.approx(theirs.score(z) - log_units, abs=1e-5)
    assert mine.bic(points) == pytest.approx(theirs.bic(z) + 2 * len(z) * log_units, abs=1e-2)
    assert mine.aic(points) == pytest.approx(theirs.aic(z) + 2 * len(z) * log_units, abs=1e-2)
    means, unit = scale.transform(mine.means_), scale.scale_
    order = np.linalg.norm(means[:, None] - theirs.means_, axis=2).argmin(0)
    np.testing.assert_allclose(means[order], theirs.means_, atol=1e-3)
    if kind == "diag":
        np.testing.assert_allclose(mine.covariances_[order] / unit**2, theirs.covariances_, atol=1e-3)
    else:
        covariances = mine.covariances_[order] if kind == "full" else mine.covariances_
        np.testing.assert_allclose(covariances / np.outer(unit, unit), theirs.covariances_, atol=1e-3)
    assert (mine.n_iter_, mine.converged_) == (1, True)


def test_moments_of_flows_are_those_of_draws(flows):
    points, z = flows.sample(20_000)
    for k in range(2):
        own = points[z == k]
        spread = own.std(0)
        assert (np.abs(flows.means_[k] - own.mean(0)) < 0.1 * spread).all()
        np.testing.assert_allclose(flows.covariances_[k].diagonal() ** 0.5, spread, rtol=0.1)


def test_means_init_is_where_the_updates_begin(x):
    found = gaussian(means_init=MEANS[[2, 0, 1]]).fit(x)
    np.testing.assert_allclose(found.means_, MEANS[[2, 0, 1]], atol=0.6)
    far = gaussian(means_init=MEANS[[1, 2, 0]]).fit(1e3 * x)  # in the units of X
    assert not np.allclose(far.means_, 1e3 * MEANS[[1, 2, 0]], atol=600)
    np.testing.assert_allclose(
        gaussian(means_init=1e3 * MEANS[[1, 2, 0]]).fit(1e3 * x).means_, 1e3 * MEANS[[1, 2, 0]], atol=600
    )


def test_reg_covar_and_tol_reach_the_mixtures(x):
    wide = gaussian(reg_covar=0.3).fit(x)
    assert (wide.covariances_[:, 0, 0] > gaussian().fit(x).covariances_[:, 0, 0] + 3).all()
    assert gaussian(tol=1e-9).fit(banana()).score(banana()) > gaussian(tol=0.5).fit(banana()).score(banana())


def test_200_iterations_are_the_defaults_of_a_search():
    found, expected = settings_of(VMoNF()).config, SearchConfig()
    assert (found.short, found.long) == (expected.short, expected.long)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"init_params": "auto"}, "auto"),
        ({"init_params": "kmeans"}, ["gmm", "gmm-tied", "gmm-diag"]),
        ({"init_params": "kmeans", "covariance_type": "tied"}, ["gmm-tied"]),
        ({"init_params": "gmm", "covariance_type": "diag"}, "gmm-diag"),
        ({"init_params": "ward"}, "ward"),
    ],
)
def test_starts_by_name(parameters, expected):
    assert settings_of(VMoNF(**parameters)).initializer == expected


@pytest.mark.parametrize(
    "start", [Initializer("ward"), KMeans(3, n_init=1), lambda rows: KMeans(3, n_init=1).fit_predict(rows)]
)
def test_starts_of_ones_own(x, start):
    labels = gaussian(init_params=start).fit_predict(x)
    assert adjusted_rand_score(labels, np.arange(90) % 3) > 0.95


def test_the_type_of_covariances_restricts_all_starts(x):
    found = gaussian(init_params="ward", covariance_type="diag").fit(x)
    assert found.history_.search.choice.covariance_type == "diag"
    assert found.covariances_.shape == (3, 2)


# ---- what the methods return


@pytest.mark.parametrize("name", ["fitted", "flows"])
def test_densities(name, request):
    one = request.getfixturevalue(name)
    points = one.sample(50)[0]
    density, table = one.score_samples(points), one.transform(points)
    assert density.dtype == table.dtype == np.float64
    np.testing.assert_allclose(logsumexp(table, axis=1), density)
    np.testing.assert_allclose(one.predict_proba(points, "exact"), np.exp(table - density[:, None]))
    np.testing.assert_allclose(one.elbo(points) + one.inference_gap(points), density)
    assert (one.inference_gap(points) > -1e-9).all()
    assert one.score(points) == pytest.approx(density.mean())
    assert np.array_equal(one.predict(points), one.predict_proba(points).argmax(1))
    np.testing.assert_allclose(one.predict_proba(points).sum(1), 1)


def test_the_density_integrates_to_one(flows):
    side = np.linspace(-14, 14, 300), np.linspace(-8, 32, 400)
    grid = np.stack(np.meshgrid(*side, indexing="ij"), -1).reshape(-1, 2)
    cell = (side[0][1] - side[0][0]) * (side[1][1] - side[1][0])
    assert np.exp(flows.score_samples(grid)).sum() * cell == pytest.approx(1, abs=0.02)


def test_densities_are_in_the_units_of_x(x, fitted):
    other = gaussian().fit(1000 * x)
    np.testing.assert_allclose(other.score_samples(1000 * x), fitted.score_samples(x) - 2 * np.log(1000), atol=1e-6)
    assert other.lower_bound_ == pytest.approx(fitted.lower_bound_ - 2 * np.log(1000), abs=1e-6)


def test_rows_do_not_depend_on_their_neighbours(flows):
    points = banana()
    alone = np.concatenate([flows.score_samples(points[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(alone, flows.score_samples(points)[:20], rtol=1e-12)


def test_a_fit_says_how_it_went(flows):
    assert flows.labels_.tolist() == flows.predict(banana()).tolist()
    assert flows.lower_bound_ in flows.lower_bounds_
    assert flows.lower_bounds_ == [row.elbo for row in flows.history_.search.rows]
    assert flows.n_iter_ > 1
    assert not flows.converged_
    assert flows.weights_.sum() == pytest.approx(1)


def test_a_fit_that_cannot_converge_warns(x):
    with pytest.warns(ConvergenceWarning, match="a larger max_iter"):
        VMoNF(2, components="realnvp", init_params="gmm", max_iter=8, random_state=1).fit(banana())


def test_clusters(x):
    labels = gaussian().fit_predict(x)
    assert [len(set(labels[i::3])) for i in range(3)] == [1, 1, 1]
    assert len(set(labels)) == 3


def test_draws(fitted):
    points, z = fitted.sample(500)
    assert points.shape == (500, 2)
    assert z.shape == (500,)
    assert np.array_equal(points, fitted.sample(500)[0])
    assert (fitted.predict(points) == z).mean() > 0.95
    random = clone(fitted).set_params(random_state=np.random.RandomState(0)).fit(clouds())
    assert not np.array_equal(random.sample(5)[0], random.sample(5)[0])


def test_a_seed_says_all_and_global_state_stays():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = (VMoNF(2, components="realnvp", max_iter=1, random_state=5).fit(banana()) for _ in range(2))
    assert np.array_equal(a.score_samples(banana()), b.score_samples(banana()))
    a.sample(3)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_the_number_of_components_is_chosen(x):
    assert choose_components(x, None, 0).n_components == 3
    assert choose_components(x[np.arange(90) % 3 > 0], None, 0).n_components == 2
    found = gaussian("auto").fit(x)
    assert found.n_components_ == 3
    assert any("3 by modes" in text for text in found.history_.search.reasons)


def test_of_a_few_rows_a_few_numbers_are_asked(x):
    assert choose_components(x[:15], None, 0).n_components == 1
    assert (
        "More than 4 were not asked: 45 distinct rows are fewer than 10 for each."
        in choose_components(x[:45], None, 0).reasons
    )


def test_weights_that_are_given(x):
    found = gaussian(weights=[0.5, 0.3, 0.2]).fit(x)
    np.testing.assert_allclose(np.sort(found.weights_), [0.2, 0.3, 0.5])
    np.testing.assert_allclose(gaussian(weights="uniform").fit(x).weights_, 1 / 3)


# ---- few rows


def test_few_rows_are_a_gaussian_mixture():
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    with pytest.warns(ConvergenceWarning, match="4 distinct rows none can be held out"):
        found = VMoNF(2, random_state=0).fit(points, sample_weight=[1.0, 3.0, 1.0, 1.0])
    np.testing.assert_allclose(np.sort(found.means_.ravel()), [0.75, 10.5], atol=1e-6)
    assert found.score(points) > -3
    assert found.lower_bound_ == pytest.approx(np.average(found.score_samples(points), weights=[1, 3, 1, 1]))
    with pytest.warns(ConvergenceWarning, match="4 distinct rows"):
        fixed = VMoNF(2, weights=[0.2, 0.8], random_state=0).fit(points, sample_weight=[1.0, 3.0, 1.0, 1.0])
    assert fixed.weights_[fixed.predict([[0.9]])[0]] == pytest.approx(0.8)


def test_more_components_than_rows():
    with pytest.raises(ValueError, match=r"n_components: expected at most the number of distinct rows.* 2, got 3"):
        VMoNF(3).fit([[0.0], [1.0], [1.0], [0.0]])


# ---- tools of scikit-learn


def test_in_a_pipeline(x, fitted):
    pipeline = make_pipeline(StandardScaler(), gaussian()).fit(x)
    expected = fitted.score(x) + np.log(x.std(0)).sum()
    assert pipeline.score(x) == pytest.approx(expected, abs=1e-3)


def test_in_a_search_over_parameters(x):
    search = GridSearchCV(gaussian(), {"n_components": [1, 3]}, cv=3).fit(x)
    assert search.best_params_ == {"n_components": 3}
    assert len(cross_val_score(gaussian(), x, cv=3)) == 3


def test_weights_are_routed_to_fits(x):
    weight = np.where(np.arange(90) % 3 == 0, 8.0, 1.0)
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(PCA(), gaussian().set_fit_request(sample_weight=True))
        pipeline.fit(x, sample_weight=weight)
    assert pipeline[-1].weights_.max() == pytest.approx(0.8, abs=0.05)
    with config_context(enable_metadata_routing=True), pytest.raises(ValueError, match="sample_weight"):
        make_pipeline(PCA(), gaussian()).fit(x, sample_weight=weight)


def test_pickling(flows):
    file = io.BytesIO()
    joblib.dump(flows, file)
    file.seek(0)
    again = joblib.load(file)
    assert np.array_equal(again.score_samples(banana()), flows.score_samples(banana()))
    assert np.array_equal(again.means_, flows.means_)


def test_a_clone_is_unfitted(fitted):
    with pytest.raises(NotFittedError):
        clone(fitted).predict([[0.0, 0.0]])
    with pytest.raises(NotFittedError):
        clone(fitted).sample()
    assert not hasattr(clone(fitted), "means_")


def test_frames_in_and_out(x):
    frame = pd.DataFrame(x, columns=["a", "b"], index=np.arange(90) + 7)
    found = gaussian().set_output(transform="pandas").fit(frame)
    table = found.transform(frame)
    assert table.columns.tolist() == ["vmonf0", "vmonf1", "vmonf2"]
    assert table.index.tolist() == frame.index.tolist()
    assert found.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame[["b", "a"]])
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame.assign(c=0.0))


# ---- what rows may be


def kinds(x):
    frame = pd.DataFrame(x, columns=["a", "b"])
    polars = pl.DataFrame(x, schema=["a", "b"])
    return {
        "nested lists": x.tolist(),
        "a tensor with a graph": torch.tensor(x, requires_grad=True) * 1,
        "single precision": torch.tensor(x),
        "an array of objects": x.astype(object),
        "Fortran order": np.asfortranarray(x),
        "a masked array without a masked value": np.ma.array(x, mask=False),
        "pandas": frame,
        "pandas, nullable": frame.astype("Float64"),
        "polars": polars,
        "polars, lazy": polars.lazy(),
    }


@pytest.mark.parametrize("name", kinds(np.zeros((2, 2))))
def test_rows_of_any_kind(name, x, fitted):
    given = kinds(x)[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has feature names")  # it was fitted without
        assert np.array_equal(fitted.score_samples(given), fitted.score_samples(x))
    assert np.array_equal(gaussian().fit(given).score_samples(given), fitted.score_samples(x))


@pytest.mark.parametrize("backend", ["pandas", "table"])
def test_rows_of_pyarrow(backend, x, fitted):
    arrow = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(x, columns=["a", "b"])
    given = arrow.Table.from_pandas(frame) if backend == "table" else frame.convert_dtypes(dtype_backend="pyarrow")
    found = gaussian().fit(given)
    assert found.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_allclose(found.score_samples(given), fitted.score_samples(x))


def broken():
    rows = clouds(6)
    gaps, far = rows.copy(), rows.copy()
    gaps[1, 1], far[2, 0] = np.nan, np.inf
    frame = pd.DataFrame({"a": [1.0, None, 3.0], "b": [1.0, 2.0, 3.0]})
    return {
        "missing": (gaps, ValueError, r"X: expected finite values, got 1 missing \(NaN\) in 1 of 6 rows, columns 1"),
        "infinite": (far, ValueError, r"X: .*1 infinite in 1 of 6 rows, columns 0"),
        "missing in a frame": (frame, ValueError, "columns 'a'"),
        "missing in a nullable frame": (frame.astype("Float64"), ValueError, "columns 'a'"),
        "masked": (np.ma.array(rows, mask=rows > 5), ValueError, r"X: .* masked ones"),
        "text": (pd.DataFrame({"a": [1.0, 2.0], "sort": ["x", "y"]}), ValueError, r"others in columns \['sort'\]"),
        "text in polars": (pl.DataFrame({"a": [1.0, 2.0], "sort": ["x", "y"]}), ValueError, r"columns \['sort'\]"),
        "sparse": (csr_array(rows), TypeError, "dense data is required"),
        "complex": (rows * 1j, ValueError, "Complex"),
        "a complex tensor": (torch.tensor(rows * 1j), ValueError, "Complex"),
        "one row": (rows[:1], ValueError, "minimum of 2"),
        "one axis": (rows[0], ValueError, "2D array"),
    }


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("name", broken())
def test_rows_that_are_refused(name):
    given, kind, message = broken()[name]
    with pytest.raises(kind, match=message):
        gaussian(2).fit(given)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": "many"}, "n_components"),
        ({"components": "maf"}, "components: .*from_modules"),
        ({"components": lambda d, k: RealNVP(d, k)}, "components"),
        ({"covariance_type": "spherical"}, "covariance_type"),
        ({"weights": [0.5, 0.6, 0.1]}, "weights"),
        ({"n_init": 0}, "n_init"),
        ({"init_params": "random"}, "init_params"),
        ({"init_params": 3}, "init_params"),
        ({"init_params": "gmm-tied", "covariance_type": "full"}, "init_params"),
        ({"means_init": MEANS, "init_params": "ward"}, "means_init"),
        ({"means_init": MEANS, "init_params": KMeans(3)}, "means_init"),
        ({"means_init": MEANS[:2]}, "means_init"),
        ({"means_init": MEANS, "n_components": "auto"}, "n_components"),
        ({"max_iter": -1}, "max_iter"),
        ({"tol": 0}, "tol"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"device": "nowhere"}, "device"),
    ],
)
def test_parameters_that_are_refused(x, parameters, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        gaussian(**{"max_iter": 1, **parameters}).fit(x)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(x):
    with pytest.raises(ValueError, match=r"device: expected one that torch can use here, got 'cuda'"):
        gaussian(device="cuda").fit(x)


def test_an_unknown_posterior(fitted):
    with pytest.raises(ValueError, match="posterior"):
        fitted.predict_proba([[0.0, 0.0]], posterior="both")


# ---- further fits, and modules of one's own


def test_a_warm_start_keeps_the_components(x):
    found = gaussian(warm_start=True).fit(x)
    before = found.means_
    order = np.argsort(before[:, 0])
    moved = x + np.random.default_rng(5).normal(scale=0.1, size=x.shape)
    found.init_params = "linkage"  # which has no part any more
    assert np.array_equal(np.argsort(found.fit(moved).means_[:, 0]), order)
    np.testing.assert_allclose(found.means_, before, atol=0.3)
    assert found.history_.search.choice.start == "array"
    with pytest.raises(ValueError, match="warm_start: expected 3 components of 2 features"):
        found.fit(x[:, :1])


def test_modules_of_ones_own(x):
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(mlp(2, 3), 3)
    found = VMoNF.from_modules(model, guide)
    np.testing.assert_allclose(found.score_samples(x), model.evidence(torch.tensor(x)).detach())
    assert found.model_ is model
    assert (found.n_components_, found.n_features_in_) == (3, 2)
    assert found.sample(4)[0].shape == (4, 2)
    assert found.means_.shape == (3, 2)
    assert np.isfinite(found.bic(x))
    assert not hasattr(found, "labels_")
    with pytest.raises(ValueError, match="guide: expected 3 components, got 2"):
        VMoNF.from_modules(model, SoftmaxEncoder(mlp(2, 2), 2))
    with pytest.raises(TypeError, match="model"):
        VMoNF.from_modules(guide, model)


def test_the_parameters_of_flows_count(fitted, flows, x):
    assert fitted._parameter_count() == 3 * 2 + 3 * 3 + 2
    assert flows._parameter_count() > 2 * 2 + 2 * 3 + 1
    assert flows.bic(banana()) - flows.aic(banana()) == pytest.approx(flows._parameter_count() * (np.log(200) - 2))


def test_modules_may_come_with_their_history_and_names(fitted):
    mixture = fitted
    names = [f"column {i}" for i in range(mixture.n_features_in_)]
    again = VMoNF.from_modules(mixture.model_, mixture.guide_, mixture.history_, feature_names=names)
    assert again.history_ is mixture.history_
    frame = pd.DataFrame(np.zeros((2, len(names))), columns=names)
    again.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[names[::-1]])
    with pytest.raises(ValueError, match="feature_names: expected"):
        VMoNF.from_modules(mixture.model_, mixture.guide_, feature_names=names[:1])


def test_rows_in_any_order_of_memory(fitted):
    mixture = fitted
    rows = np.arange(12.0).reshape(6, 2)[:, : mixture.n_features_in_]
    np.testing.assert_array_equal(mixture.score_samples(rows[::-1])[::-1], mixture.score_samples(rows))
