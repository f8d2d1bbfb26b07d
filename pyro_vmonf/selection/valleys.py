"""Whether clusters are modes that stand alone: how deep the valleys of density between them are."""

import math

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

__all__ = ["log_density", "shallowest_valley"]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

UPPER = 0.75  # quantile of log-densities by which clusters and borders are compared
FEW = 3  # points: a border of fewer is a gap


def log_density(x: Array, neighbours: int = 30) -> Array:
    """Returns the logarithm of a nearest-neighbour estimate of the density at each point, but for a constant, ``(N,)``.

    It is −D log r, with r the root mean square distance to the nearest neighbours: 30, or a fifth of all points. D is
    the rank of the centred points, so that columns which are constant or follow from others do not count.

    Args:
        x: The points ``(N, D)``, at least two.
        neighbours: The number of neighbours.
    """
    count = max(1, min(neighbours, len(x) // 5))
    distance, _ = NearestNeighbors(n_neighbors=count).fit(x).kneighbors()
    radius = np.sqrt(np.square(distance).mean(1))
    rank = np.linalg.matrix_rank(x - x.mean(0))
    found: Array = -rank * np.log(np.maximum(radius, np.finfo(float).tiny))
    return found


def shallowest_valley(labels: Labels, near: Labels, level: Array) -> float:
    """Returns the depth of the shallowest valley of density between two clusters, in nats.

    The border of two clusters are the points of one with a neighbour in the other. A valley's depth is the upper
    quartile of the log-densities of a cluster, of that where it is less, minus that of the border. It is about 0, or
    less, where a cluster was cut in two, and infinite where no two clusters have a border.

    Args:
        labels: The cluster of each point ``(N,)``.
        near: The nearest neighbours of each point ``(N, M)``.
        level: The log-density at each point ``(N,)``.
    """
    own = [labels == cluster for cluster in np.unique(labels)]
    heights = [upper(level[points]) for points in own]
    found = math.inf
    for i, one in enumerate(own):
        for j in range(i):
            border = (one & own[j][near].any(1)) | (own[j] & one[near].any(1))
            if border.sum() >= FEW:
                found = min(found, min(heights[i], heights[j]) - upper(level[border]))
    return found


def upper(level: Array) -> float:
    """Returns the upper quartile."""
    return float(np.quantile(level, UPPER))
