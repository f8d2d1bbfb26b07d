"""How far clusters stand apart: the edges between nearest neighbours that lead out of each."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from pyro_vmonf._validation import check_count

__all__ = ["edge_cut", "nearest_neighbours"]

Array: TypeAlias = npt.NDArray[Any]


def nearest_neighbours(x: Array, neighbours: int = 10) -> Array:
    """Returns the indices of each point's nearest neighbours, itself not among them, ``(N, neighbours)``.

    Args:
        x: The points ``(N, F)``, at least two.
        neighbours: Their number; all other points, where there are fewer.

    Raises:
        ValueError: If the number is not an integer of at least 1, or x has fewer than two points.

    Examples:
        >>> import numpy as np
        >>> from pyro_vmonf.initialization.separation import nearest_neighbours
        >>> nearest_neighbours(np.array([[0.0], [1.0], [5.0]]), 1).tolist()
        [[1], [0], [1]]
    """
    count = check_count("neighbours", neighbours)
    if len(x) < 2:
        raise ValueError(f"x: expected at least 2 points, got {len(x)}")
    method = NearestNeighbors(n_neighbors=min(count, len(x) - 1)).fit(x)
    return np.asarray(method.kneighbors(return_distance=False))


def edge_cut(x: Array, labels: Array, neighbours: int | Array = 10) -> Array:
    """Returns for each cluster the share of its nearest-neighbour edges that lead out of it, ``(K,)``.

    It is 0 for a cluster that touches no other, and near 1 − the cluster's share of all points for random labels.

    Args:
        x: The points ``(N, F)``.
        labels: The cluster of each point ``(N,)``, from 0 to K − 1, none of them empty.
        neighbours: The number of nearest neighbours of a point, or what :func:`nearest_neighbours` returned, where
            several clusterings of the same points are compared.

    Raises:
        ValueError: If labels are not integers ``(N,)``, or a cluster is empty.

    Examples:
        >>> import numpy as np
        >>> from pyro_vmonf.initialization.separation import edge_cut
        >>> x = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
        >>> edge_cut(x, np.array([0, 0, 1, 2, 2]), neighbours=1)
        array([0., 1., 0.])
    """
    clusters = np.asarray(labels)
    if clusters.shape != (len(x),) or not np.issubdtype(clusters.dtype, np.integer):
        raise ValueError(f"labels: expected integers of shape ({len(x)},), got {clusters.dtype} {clusters.shape}")
    if clusters.min() < 0 or not (sizes := np.bincount(clusters)).all():
        raise ValueError(f"labels: expected all of 0 … {clusters.max()}, got {np.unique(clusters).tolist()}")
    near = neighbours if isinstance(neighbours, np.ndarray) else nearest_neighbours(x, neighbours)
    outside = (clusters[near] != clusters[:, None]).mean(1)
    return np.bincount(clusters, weights=outside) / sizes
