"""Gaussian mixtures of weighted points: scikit-learn's where weights are equal, and whole weights are copies."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture, log_joint, responsibilities_of
from pyro_vmonf.moments import component_moments, shrink_covariance

KINDS = ["full", "tied", "diag"]
RANDOM = torch.Generator().manual_seed(0)
CENTRES = torch.tensor([[-3.0, 0.0, 0.0], [3.0, 0.0, 1.0], [0.0, 4.0, 0.0]])
Z = torch.arange(3).repeat_interleave(torch.tensor([80, 50, 30]))
X = (
    100
    + CENTRES[Z]
    + torch.randn(160, 3, generator=RANDOM, dtype=torch.float64)
    @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.8, 0.3], [0.0, 0.0, 0.5]], dtype=torch.float64)
)
START = torch.rand(160, 3, generator=RANDOM, dtype=torch.float64).softmax(-1)
WHOLE = torch.randint(0, 4, (160,), generator=RANDOM)


def close(found, other, rows=slice(None)):
    """Whether two fits are the same, and the responsibilities of some rows of the second are those of the first."""
    assert abs(found.lower_bound - other.lower_bound) < 1e-9
    assert (found.n_iter, found.converged) == (other.n_iter, other.converged)
    for name in ("weights", "means", "covariances"):
        torch.testing.assert_close(getattr(found, name), getattr(other, name), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(found.responsibilities, other.responsibilities[rows], atol=1e-8, rtol=1e-8)


class Started(GaussianMixture):
    """scikit-learn's mixture from given responsibilities."""

    def _initialize_parameters(self, X, random_state, xp=None):  # noqa: N803
        self._initialize(X, START.numpy().copy())


def covariances_of(mixture):
    """scikit-learn's covariances as (K, D, D)."""
    found = torch.as_tensor(mixture.covariances_)
    if mixture.covariance_type == "tied":
        return found.expand(mixture.n_components, -1, -1)
    return torch.diag_embed(found) if mixture.covariance_type == "diag" else found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("started", [True, False], ids=["from responsibilities", "from a seed"])
def test_equal_weights_give_the_mixture_of_scikit_learn(kind, started):
    settings = {"covariance_type": kind, "reg_covar": 1e-6, "max_iter": 200, "tol": 1e-6}
    theirs = Started(3, **settings) if started else GaussianMixture(3, n_init=4, random_state=7, **settings)
    theirs.fit(X.numpy())
    settings = {"covariance_type": kind, "reg": 1e-6, "max_iter": 200, "tol": 1e-6}
    settings |= {"responsibilities": START} if started else {"n_init": 4, "seed": 7}
    for weight in (None, torch.full((160,), 2.5)):
        found = fit_gaussian_mixture(X, 3, weight=weight, **settings)
        assert (found.n_iter, found.converged) == (theirs.n_iter_, theirs.converged_)
        assert abs(found.lower_bound - theirs.lower_bound_) < 1e-6
        expected = {"weights": theirs.weights_, "means": theirs.means_, "covariances": covariances_of(theirs)}
        expected["responsibilities"] = theirs.predict_proba(X.numpy()).T
        order, other = found.weights.argsort(), torch.as_tensor(theirs.weights_).argsort()  # starts may tie
        for name, value in expected.items():
            own = found.responsibilities.mT if name == "responsibilities" else getattr(found, name)
            torch.testing.assert_close(own[order], torch.as_tensor(value)[other], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_given_means_are_those_of_the_first_update(kind):
    settings = {"covariance_type": kind, "max_iter": 2, "tol": 1e-9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = GaussianMixture(3, means_init=99 + CENTRES.numpy(), n_init=2, random_state=7, **settings)
        theirs.fit(X.numpy())
    found = fit_gaussian_mixture(X, 3, means=99 + CENTRES, n_init=2, seed=7, reg=1e-6, **settings)
    torch.testing.assert_close(found.means, torch.as_tensor(theirs.means_), atol=1e-8, rtol=1e-8)
    other = fit_gaussian_mixture(X, 3, n_init=2, seed=7, reg=1e-6, **settings)
    assert not torch.allclose(found.means, other.means, atol=1e-3)


def test_a_ridge_is_in_the_unit_of_the_mean_variance():
    unit = float(X.var(0, correction=0).mean())
    relative = fit_gaussian_mixture(X, 3, responsibilities=START, ridge=0.1)
    close(relative, fit_gaussian_mixture(X, 3, responsibilities=START, reg=0.1 * unit))
    scaled = fit_gaussian_mixture(1e3 * X, 3, responsibilities=START, ridge=0.1)
    torch.testing.assert_close(scaled.covariances, 1e6 * relative.covariances)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [START, None], ids=["from responsibilities", "from a seed"])
def test_whole_weights_are_copies(kind, start):
    rows = torch.arange(160).repeat_interleave(WHOLE)
    found = fit_gaussian_mixture(X, 3, covariance_type=kind, weight=WHOLE, responsibilities=start, tol=1e-8)
    copied = None if start is None else start[rows]
    copies = fit_gaussian_mixture(X[rows], 3, covariance_type=kind, responsibilities=copied, tol=1e-8)
    close(copies, found, rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [START, None], ids=["from responsibilities", "from a seed"])
def test_a_weight_of_nothing_leaves_its_point_out(kind, start):
    kept = WHOLE > 0
    x = torch.where(kept[:, None], X, X + 1e3)
    found = fit_gaussian_mixture(x, 3, covariance_type=kind, weight=kept.double(), responsibilities=start)
    fewer = fit_gaussian_mixture(
        x[kept], 3, covariance_type=kind, responsibilities=None if start is None else start[kept]
    )
    close(fewer, found, kept)
    torch.testing.assert_close(found.responsibilities.sum(-1), torch.ones(160))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_singular_covariances_stay_finite(kind, scale):
    line = scale * torch.linspace(-1, 1, 50)[:, None] * torch.tensor([1.0, -2.0, 0.0])
    found = fit_gaussian_mixture(line, 2, covariance_type=kind)
    torch.linalg.cholesky(found.covariances)
    assert bool(found.responsibilities.isfinite().all())
    assert np.isfinite(found.lower_bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1e6])
def test_equal_rows_are_one_component(kind, value):
    found = fit_gaussian_mixture(torch.full((20, 2), value), 2, covariance_type=kind)
    torch.testing.assert_close(found.means, torch.full((2, 2), value))
    torch.testing.assert_close(found.weights.max(), torch.tensor(1.0))
    torch.linalg.cholesky(found.covariances)
    assert bool(found.responsibilities.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 3])
def test_one_component_has_the_moments_of_the_points(kind, d):
    weight = WHOLE.double()
    found = fit_gaussian_mixture(X[:, :d], 1, covariance_type=kind, weight=weight, reg=0.0)
    expected = X[:, :d].T.cov(correction=0, fweights=WHOLE).reshape(d, d)
    expected = torch.diag(expected.diag()) if kind == "diag" else expected
    torch.testing.assert_close(found.covariances[0], expected)
    torch.testing.assert_close(found.means[0], weight @ X[:, :d] / weight.sum())
    torch.testing.assert_close(found.responsibilities, torch.ones(160, 1))
    own = MultivariateNormal(found.means[0], found.covariances[0]).log_prob(X[:, :d])
    torch.testing.assert_close(torch.tensor(found.lower_bound), weight @ own / weight.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_one_feature(kind):
    theirs = GaussianMixture(2, covariance_type=kind, n_init=5, random_state=0).fit(X[:, 1:2].numpy())
    found = fit_gaussian_mixture(X[:, 1:2], 2, covariance_type=kind, reg=1e-6)
    torch.testing.assert_close(found.means, torch.as_tensor(theirs.means_), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.covariances, covariances_of(theirs), atol=1e-6, rtol=1e-6)


def test_the_best_of_several_starts_is_kept():
    starts = torch.stack([START, torch.nn.functional.one_hot(Z, 3).double(), START.roll(1, 0)])
    bounds = [fit_gaussian_mixture(X, 3, responsibilities=one, max_iter=2).lower_bound for one in starts]
    found = fit_gaussian_mixture(X, 3, responsibilities=starts, max_iter=2)
    assert (found.lower_bound, found.converged) == (max(bounds), False)
    assert len(set(bounds)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_that_of_torch(kind):
    found = fit_gaussian_mixture(X, 3, covariance_type=kind)
    each = MultivariateNormal(found.means, found.covariances).log_prob(X[:, None]) + found.weights.log()
    joint = log_joint(X, found.weights, found.means, found.covariances)
    torch.testing.assert_close(joint, each.mT)
    torch.testing.assert_close(responsibilities_of(X, found.weights, found.means, found.covariances), each.softmax(-1))
    if kind == "diag":
        variances = found.covariances.diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(log_joint(X, found.weights, found.means, variances), joint)


def test_what_scikit_learn_would_warn_of_is_a_field():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        found = fit_gaussian_mixture(X.float(), 3, max_iter=1)
    assert (found.n_iter, found.converged, found.means.dtype) == (1, False, torch.float64)


def test_moments_of_no_weight_are_zero():
    for kind in KINDS:
        sizes, means, covariances = component_moments(X - X.mean(0), torch.zeros(2, 160), kind)
        assert bool((sizes < 1e-12).all())
        assert not bool(means.any())
        assert not bool(covariances.any())


def test_few_points_have_a_diagonal_covariance():
    covariance = X.T.cov()
    for n, shrink in ((1, 1.0), (3, 1.0), (6, 0.25), (30, 0.01)):
        found = shrink_covariance(covariance, torch.full((n,), 1 / n))
        expected = torch.where(torch.eye(3) > 0, covariance, (1 - shrink) * covariance)
        torch.testing.assert_close(found, expected)


BAD = [
    ({"n_components": 0}, "n_components: expected an integer of at least 1, got 0"),
    ({"n_components": 161}, "x: expected at least 161 points of weight above 0, .* got 160"),
    ({"x": X[0]}, r"x: expected shape \(N, D\), got \(3,\)"),
    ({"x": X / 0}, "x: expected finite values, got 480"),
    ({"covariance_type": "round"}, r"covariance_type: expected one of \('full', 'tied', 'diag'\), got 'round'"),
    ({"weight": torch.ones(3)}, r"weight: expected shape \(160,\)"),
    ({"weight": -torch.ones(160)}, "weight: expected numbers of at least 0"),
    ({"weight": torch.eye(160)[0]}, "x: expected at least 3 points of weight above 0, .* got 1"),
    ({"n_init": 0}, "n_init: expected an integer of at least 1"),
    ({"max_iter": 0}, "max_iter: expected an integer of at least 1"),
    ({"tol": 0}, "tol: expected a finite number above 0"),
    ({"ridge": -1.0}, "ridge: expected a finite number of at least 0"),
    ({"means": CENTRES[:2]}, r"means: expected shape \(3, 3\), got \(2, 3\)"),
    ({"means": CENTRES / 0}, "means: expected finite values"),
    ({"reg": -1.0}, "reg: expected a finite number of at least 0"),
    ({"x": X[:, [0, 0]], "reg": 0.0}, "covariances: expected positive definite matrices, .* a larger reg helps"),
    ({"seed": -1}, "seed: expected an integer of at least 0"),
    ({"responsibilities": START[:5]}, r"responsibilities: expected shape \(160, 3\) or \(S, 160, 3\), got \(5, 3\)"),
    ({"responsibilities": -START}, "responsibilities: expected numbers of at least 0, got -"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_errors_name_the_argument(changed, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian_mixture(**{"x": X, "n_components": 3} | changed)
