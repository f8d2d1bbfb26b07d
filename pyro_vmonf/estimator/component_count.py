"""The number of components, where the user leaves it to the data."""

import math

from torch import Tensor

from pyro_vmonf.automatic.samples import sample_of
from pyro_vmonf.automatic.table import collapsed
from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture

__all__ = ["choose_components"]

MOST_COMPONENTS = 10


def choose_components(rows: Array, weight: Array | None, seed: int) -> int:
    """Returns the number of components with the least BIC of Gaussian mixtures with full covariances.

    Numbers from 1 to 10 compete, and fewer where there are fewer than 11 distinct rows. Of more than 5,000 distinct
    rows a random sample of 5,000 decides. A mixture of flows may need fewer components than one of Gaussians; a later
    version chooses by held-out points.

    Args:
        rows: The rows ``(N, D)``.
        weight: Their weights ``(N,)``, or None.
        seed: The seed of k-means and of the sample.
    """
    table, _ = collapsed(rows, weight)
    some = sample_of(len(table.x), seed)
    count = len(table.kept) * len(some) / len(table.x)  # repeated rows count
    most = max(1, min(MOST_COMPONENTS, len(table.x) - 1))
    return min(range(1, most + 1), key=lambda k: bic(table.x[some], table.weight[some], k, count, seed))


def bic(x: Tensor, weight: Tensor, n_components: int, count: float, seed: int) -> float:
    """Returns the Bayesian information criterion of a Gaussian mixture with full covariances.

    Args:
        x: The points ``(N, D)``.
        weight: Their weights ``(N,)``.
        n_components: The number K of components.
        count: The number of rows that the points stand for.
        seed: The seed of k-means.
    """
    d = x.shape[1]
    parameters = n_components * (1 + d + d * (d + 1) // 2) - 1
    fitted = fit_gaussian_mixture(x, n_components, weight=weight, seed=seed)
    return parameters * math.log(count) - 2 * count * fitted.lower_bound
