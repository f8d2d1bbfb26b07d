"""The graph of nearest neighbours, by which clusters are judged."""

import numpy as np
from torch import Tensor

from pyro_vmonf.automatic.folds import by_range
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours

__all__ = ["Graph"]


class Graph:
    """The edges between points and their nearest neighbours, where features are divided by their ranges.

    Args:
        x: The points ``(N, D)``.
        neighbours: The number of neighbours of each.
    """

    def __init__(self, x: Tensor, neighbours: int) -> None:
        self.x = by_range(x).numpy()
        self.near = nearest_neighbours(self.x, neighbours)

    def cut(self, labels: Tensor) -> tuple[float, float]:
        """Returns the share of edges that join points of two labels ``(N,)``: of all, and of the worst cluster."""
        z = labels.cpu().numpy()
        whole = float((z[self.near] != z[:, None]).mean())
        used = np.unique(z, return_inverse=True)[1]
        return whole, float(edge_cut(self.x, used, self.near).max())
