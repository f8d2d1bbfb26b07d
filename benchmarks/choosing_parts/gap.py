"""The number of clusters by the gap statistic."""

import numpy as np
from sklearn.cluster import KMeans

__all__ = ["first_within_error", "gap_statistic"]

REFERENCES = 20
STARTS = 5  # of k-means, for the points and for each reference set


def gap_statistic(x, most, seed):
    """The number of clusters of k-means by the gap statistic, 1 to ``most``.

    The reference sets are uniform in the box of the principal components.

    Reference: Tibshirani, Walther and Hastie, *Estimating the number of clusters in a data set via the gap statistic*,
    Journal of the Royal Statistical Society B 63, 2001.
    """
    rng = np.random.default_rng(seed)
    references = np.array([spreads(uniform(x, rng), most, seed) for _ in range(REFERENCES)])
    gaps = references.mean(0) - spreads(x, most, seed)
    return first_within_error(gaps, references.std(0) * np.sqrt(1 + 1 / REFERENCES))


def first_within_error(gaps, errors):
    """The least k whose gap is at least that of k + 1 less its standard error; the greatest where there is none."""
    found = np.flatnonzero(gaps[:-1] >= gaps[1:] - errors[1:])
    return int(found[0]) + 1 if len(found) else len(gaps)


def uniform(x, rng):
    """As many points as x has, uniform in the box of its principal components."""
    mean = x.mean(0)
    axes = np.linalg.svd(x - mean, full_matrices=False)[2]
    turned = (x - mean) @ axes.T
    return mean + rng.uniform(turned.min(0), turned.max(0), turned.shape) @ axes


def spreads(x, most, seed):
    """The logarithm of the sum of squares within the clusters of k-means, for each k."""
    return np.log([KMeans(k, n_init=STARTS, random_state=seed).fit(x).inertia_ for k in range(1, most + 1)])
