"""Single linkage that leaves no crumbs: a minimum spanning tree, cut only where both sides have points enough."""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

__all__ = ["NoClustersError", "Tree", "cut_tree", "reachability_tree", "single_linkage"]

Array: TypeAlias = npt.NDArray[Any]
Tree: TypeAlias = tuple[list[int], list[int], Array]

CORE_NEIGHBOURS = 5  # a point's core distance is that to the fifth
SMALLEST_SHARE = 0.25  # of the N/K points of an even clustering
FEWEST_POINTS = 3


class NoClustersError(ValueError):
    """A clustering method found fewer clusters in the data than were asked for."""


def single_linkage(points: Array, k: int) -> Array:
    """Returns the labels ``(N,)`` of single linkage on mutual reachability distances, without small clusters.

    The mutual reachability distance of two points is their distance, or if that is greater, the distance of either to
    its fifth neighbour (Campello, Moulavi and Sander, 2013, PAKDD, definition 3). The longest edges of the minimum
    spanning tree are cut first, and only where N/(4K) points or more, and at least 3, are left on both sides.

    Args:
        points: The points ``(N, F)``.
        k: The number of clusters, K.

    Raises:
        NoClustersError: If no K such clusters exist.

    Examples:
        >>> import numpy as np
        >>> from pyro_vmonf.initialization.linkage import single_linkage
        >>> x = np.concatenate([np.arange(6.0), 20 + np.arange(8.0)])[:, None]
        >>> single_linkage(x, 2)
        array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    """
    least = max(FEWEST_POINTS, math.ceil(SMALLEST_SHARE * len(points) / k)) if k > 1 else 1
    labels = cut_tree(reachability_tree(points), k, least)
    if (found := len(np.unique(labels))) < k:
        raise NoClustersError(
            f"initializer: expected single linkage to find {k} clusters of at least {least} of {len(points)} points, "
            f"got {found}"
        )
    return labels


def reachability_tree(points: Array) -> Tree:
    """Returns a minimum spanning tree of mutual reachability distances, by Prim's algorithm.

    Returns:
        The N points in the order in which the tree reached them, the point that each was reached from (the first from
        itself), and the length of that edge ``(N,)``, infinite for the first.
    """
    n, core = len(points), core_distances(points)
    parent, length, outside = np.zeros(n, dtype=np.int64), np.full(n, np.inf), np.ones(n, dtype=bool)
    order = [0]
    for _ in range(n - 1):
        last = order[-1]
        outside[last] = False
        distance = np.maximum(np.linalg.norm(points - points[last], axis=1), np.maximum(core, core[last]))
        nearer = outside & (distance < length)
        length[nearer], parent[nearer] = distance[nearer], last
        order.append(int(np.where(outside, length, np.inf).argmin()))
    length[0] = np.inf
    return order, parent.tolist(), length


def core_distances(points: Array) -> Array:
    """Returns the distance of each point to its fifth neighbour ``(N,)``, or to the last of fewer."""
    count = min(CORE_NEIGHBOURS, len(points) - 1)
    if count < 1:
        return np.zeros(len(points))
    return np.asarray(NearestNeighbors(n_neighbors=count).fit(points).kneighbors()[0][:, -1])


def cut_tree(tree: Tree, k: int, least: int) -> Array:
    """Returns labels ``(N,)``: the longest edges that leave ``least`` points on both sides are cut first.

    An edge that is left whole because a side is too small stays so, since later cuts only make sides smaller. Each cut
    is therefore the longest of those possible by then.

    Args:
        tree: What :func:`reachability_tree` returns.
        k: The number of clusters; fewer are found where no edge can be cut.
        least: The least number of points of a cluster.
    """
    order, parent, length = tree
    roots = {order[0]}
    while True:
        below, root = subtrees(order, parent, roots)
        sides = np.minimum(below, below[root] - below)
        possible = np.where(sides >= least, length, -np.inf)
        longest = int(possible.argmax())
        if len(roots) == k or possible[longest] == -np.inf:
            return np.unique(root, return_inverse=True)[1]
        roots.add(longest)


def subtrees(order: list[int], parent: list[int], roots: set[int]) -> tuple[Array, Array]:
    """Returns how many points stand at or below each point, and the root above it, once the edges of roots are cut."""
    below, root = [1] * len(order), list(range(len(order)))
    for point in reversed(order):
        if point not in roots:
            below[parent[point]] += below[point]
    for point in order:
        if point not in roots:
            root[point] = root[parent[point]]
    return np.array(below), np.array(root)
