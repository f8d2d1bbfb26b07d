"""The number of components of scikit-learn's Gaussian mixtures."""

import math

import numpy as np
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

__all__ = ["least_bic", "occupied"]

COVARIANCES = ("full", "tied", "diag", "spherical")
STARTS = 3
LEAST_WEIGHT = 0.01


def least_bic(x, most, seed):
    """The number with the least Bayesian information criterion, of three families of mixtures.

    They are those with all types of covariances, with full ones, and all but the singular: those with a covariance that
    nothing but the ridge keeps from being so. A few points that lie in a plane have no bound on their density but that.
    """
    every = [[bic(x, k, kind, seed) for k in range(1, most + 1)] for kind in COVARIANCES]
    values = np.array([[value for value, _ in line] for line in every])
    regular = np.where([[not is_singular for _, is_singular in line] for line in every], values, math.inf)
    families = {"BIC": values, "BIC (full)": values[:1], "BIC (not singular)": regular}
    return {"counts": {column: int(table.min(0).argmin()) + 1 for column, table in families.items()}}


def bic(x, k, covariance, seed):
    """The criterion of one mixture, and whether it is singular; infinite where it cannot be fitted."""
    try:
        fitted = GaussianMixture(k, covariance_type=covariance, n_init=STARTS, random_state=seed).fit(x)
    except ValueError:  # a covariance is singular with the ridge too
        return math.inf, True
    return fitted.bic(x), least_variance(fitted) < 2 * fitted.reg_covar


def least_variance(fitted):
    """The least variance of a component in any direction."""
    found = fitted.covariances_
    return (np.linalg.eigvalsh(found) if fitted.covariance_type in ("full", "tied") else found).min()


def occupied(x, most, seed):
    """The components of a variational mixture with more weight than .01 that are the most probable of some point."""
    options = {"weight_concentration_prior_type": "dirichlet_process", "max_iter": 500}
    fitted = BayesianGaussianMixture(n_components=most, random_state=seed, **options).fit(x)
    return int((fitted.weights_[np.unique(fitted.predict(x))] > LEAST_WEIGHT).sum())
