"""A kernel density estimate with a normal kernel, whose bandwidth a validation part chooses."""

import math

import numpy as np
from default_parts.found import Found, validation
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

__all__ = ["kernel_density", "log_density"]

BANDWIDTHS = np.geomspace(0.02, 2.0, 15)


def kernel_density(x, k, x_test, seed):
    """The density of all training points at the bandwidth that makes the validation part most likely."""
    learn, judge = validation(x, seed)
    squares = cdist(judge, learn, "sqeuclidean")
    bandwidth = max(BANDWIDTHS, key=lambda width: log_density(squares, width, x.shape[1]).mean())
    scores = log_density(cdist(x_test, x, "sqeuclidean"), bandwidth, x.shape[1])
    return Found(scores, None, {"bandwidth": float(bandwidth)})


def log_density(squares, bandwidth, features):
    """The log-density at points with squared distances ``(N, M)`` to the M points that carry a kernel."""
    normal = features * math.log(bandwidth * math.sqrt(2 * math.pi)) + math.log(squares.shape[1])
    return logsumexp(-squares / (2 * bandwidth**2), axis=1) - normal
