"""What the points say of each number of components, before any flow is trained."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf.automatic.graph import Graph
from pyro_vmonf.automatic.table import Table
from pyro_vmonf.initialization.clustering import MIXTURES
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture
from pyro_vmonf.moments import COVARIANCE_TYPES, gaussian_parameter_count
from pyro_vmonf.selection.stability import Labels, labels_by, stability
from pyro_vmonf.selection.valleys import log_density, shallowest_valley

__all__ = ["DEPTH", "STABLE", "Criteria", "Sample", "criteria_of", "sample_from"]

METHODS = ("spectral", "ward", "linkage", "gmm")
DEPTH = 0.25  # nats, of a valley that parts clusters
STABLE = 0.85  # mean Jaccard coefficient of clusters that are found again
MOST = 1500  # points
LEAST_POINTS = 10  # of a cluster; fewer may be outliers
NEIGHBOURS = 10


@dataclass(frozen=True)
class Criteria:
    """What the points say of one number of components.

    Attributes:
        n_components: The number K.
        valley: The depth in nats of the shallowest valley of density between two clusters, infinite where none touch;
            NaN where no method finds so many clusters of ten points or more.
        method: The clustering they are from: that with the deepest valley, if possible of those that are found again.
        stability: How well its worst cluster is found again in halves of the points, 0 to 1; NaN where the valley is so
            shallow that it was not asked.
        bic: The least Bayesian information criterion of Gaussian mixtures with full, tied or diagonal covariances.
        gaussian_stability: How well the worst component of that mixture is found again.
    """

    n_components: int
    valley: float
    method: str
    stability: float
    bic: float
    gaussian_stability: float

    @property
    def has_modes(self) -> bool:
        """Whether the clusters are modes that stand alone: parted by gaps, or by valleys and found again."""
        return self.valley == math.inf or (self.valley >= DEPTH and self.stability >= STABLE)

    @property
    def has_stable_gaussians(self) -> bool:
        """Whether the components of that Gaussian mixture are found again."""
        return self.gaussian_stability >= STABLE


class Sample:
    """The points by which the number of components is judged.

    Args:
        x: Distinct points ``(N, D)``, standardised.
        weight: Their weights ``(N,)``.
        count: The number of rows that they stand for.
    """

    def __init__(self, x: Tensor, weight: Tensor, count: float) -> None:
        self.x, self.weight, self.count = x, weight, count
        graph = Graph(x, NEIGHBOURS)
        self.near, self.level = graph.near, log_density(graph.x)


def sample_from(table: Table, seed: int) -> Sample:
    """Returns the points of a table; a random sample of 1,500 of more."""
    n = len(table.x)
    if n <= MOST:
        return Sample(table.x, table.weight, len(table.kept))
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:MOST].sort().values
    return Sample(table.x[rows], table.weight[rows], len(table.kept) * MOST / n)


def criteria_of(sample: Sample, n_components: int, seed: int) -> Criteria:
    """Returns what the points say of a number of components.

    Args:
        sample: The points.
        n_components: The number K.
        seed: The seed of clusterings and parts.
    """
    if n_components == 1:
        return Criteria(1, math.inf, "", 1.0, *least_bic(sample, 1, seed))
    if len(sample.x) < LEAST_POINTS * n_components:
        return Criteria(n_components, math.nan, "", math.nan, math.nan, math.nan)
    found = {method: (valley, again) for method, valley, again in clusterings(sample, n_components, seed)}
    stable = [method for method, (valley, again) in found.items() if again >= STABLE or valley == math.inf]
    best = max(stable or found, key=lambda method: found[method][0], default="")
    valley, again = found.get(best, (math.nan, math.nan))
    least, gaussian = least_bic(sample, n_components, seed)
    return Criteria(n_components, valley, best, again, least, gaussian)


def clusterings(sample: Sample, n_components: int, seed: int) -> Iterator[tuple[str, float, float]]:
    """Yields each method that finds K clusters of ten points or more, the valley between them, and their stability.

    That is asked of clusters between which there is a valley, and NaN for others.
    """
    for method in METHODS:
        labels = labels_by(method, sample.x, n_components, sample.weight, seed)
        if labels is not None and np.bincount(labels).min() >= LEAST_POINTS:
            valley = shallowest_valley(labels, sample.near, sample.level)
            yield method, valley, again_by(method, sample, labels, seed) if valley >= DEPTH else math.nan


def again_by(method: str, sample: Sample, labels: Labels, seed: int) -> float:
    """Returns how well the worst of a method's clusters is found again."""
    return stability(method, sample.x, labels, sample.weight, seed, STABLE)


def least_bic(sample: Sample, n_components: int, seed: int) -> tuple[float, float]:
    """Returns the least Bayesian information criterion of Gaussian mixtures, and how well its components are found."""
    least, kind = min((bic(sample, n_components, kind, seed), kind) for kind in COVARIANCE_TYPES)
    if n_components == 1:
        return least, 1.0
    method = next(name for name, own in MIXTURES.items() if own == kind)
    labels = labels_by(method, sample.x, n_components, sample.weight, seed)
    return least, 0.0 if labels is None else again_by(method, sample, labels, seed)


def bic(sample: Sample, n_components: int, covariance_type: str, seed: int) -> float:
    """Returns the Bayesian information criterion P log N − 2 log L of a Gaussian mixture with P parameters."""
    x, weight = sample.x, sample.weight
    fitted = fit_gaussian_mixture(x, n_components, covariance_type=covariance_type, weight=weight, seed=seed)
    parameters = n_components - 1 + gaussian_parameter_count(n_components, x.shape[1], covariance_type)
    return parameters * math.log(sample.count) - 2 * sample.count * fitted.lower_bound
