"""scikit-learn's Gaussian mixtures: K given, K free, and the variational one."""

import math

from default_parts.found import Found, validation
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

__all__ = ["alone", "bayesian", "chosen", "free"]

COVARIANCES = ("full", "tied", "diag")
FACTORS = (1, 2, 4, 8)


def mixture(x, k, covariance, seed, starts=5):
    """The most likely of some mixtures of k normal distributions."""
    return GaussianMixture(k, covariance_type=covariance, n_init=starts, max_iter=300, random_state=seed).fit(x)


def alone(covariance):
    """The method with one kind of covariance."""

    def run(x, k, x_test, seed):
        fitted = mixture(x, k, covariance, seed)
        return Found(fitted.score_samples(x_test), fitted.predict(x_test))

    return run


def chosen(x, k, x_test, seed):
    """The kind of covariance chosen by a validation part, then all training points."""
    covariance, _ = best_of([(covariance, k) for covariance in COVARIANCES], x, seed, 5)
    fitted = mixture(x, k, covariance, seed)
    return Found(fitted.score_samples(x_test), fitted.predict(x_test), {"covariance": covariance})


def free(x, k, x_test, seed):
    """The kind of covariance and the number of components chosen by a validation part: a density alone."""
    candidates = [(covariance, factor * k) for covariance in COVARIANCES for factor in FACTORS]
    covariance, components = best_of(candidates, x, seed, 1)
    fitted = mixture(x, components, covariance, seed, 1)
    return Found(fitted.score_samples(x_test), None, {"covariance": covariance, "components": components})


def best_of(candidates, x, seed, starts):
    """The candidate with the most likely validation part."""
    learn, judge = validation(x, seed)

    def score(candidate):
        covariance, components = candidate
        try:
            return mixture(learn, components, covariance, seed, starts).score(judge)
        except ValueError:  # more components than points, or a singular covariance
            return -math.inf

    return max(candidates, key=score)


def bayesian(x, k, x_test, seed):
    """The variational Gaussian mixture with K components at most."""
    fitted = BayesianGaussianMixture(n_components=k, n_init=3, max_iter=500, random_state=seed).fit(x)
    return Found(fitted.score_samples(x_test), fitted.predict(x_test))
