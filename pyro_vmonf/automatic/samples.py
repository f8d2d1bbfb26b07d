"""Large tables: a random sample of the points is clustered, and the others are assigned to its clusters."""

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from pyro_vmonf.initialization.gaussian_mixture import responsibilities_of
from pyro_vmonf.initialization.initializer import Initializer, Start

__all__ = ["SAMPLE", "assigned", "sample_note", "sample_of", "start_from_sample"]

SAMPLE = 5000  # points
NEIGHBOURS = 5  # in the sample, whose responsibilities are averaged


def sample_of(n: int, seed: int) -> Tensor:
    """Returns the numbers of 5,000 of n points, drawn at random without replacement, in their order; all if n is less.

    Args:
        n: The number of points.
        seed: The seed of the draw.
    """
    if n <= SAMPLE:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:SAMPLE].sort().values


def start_from_sample(initializer: Initializer, x: Tensor, n_components: int, weight: Tensor, seed: int) -> Start:
    """Returns what an initializer finds; of more than 5,000 points a method known by its name clusters a sample.

    The responsibilities of the other points are those of the method's Gaussians where it has any, and elsewhere the
    mean of those of their five nearest neighbours in the sample. A method of the user's own is given all points.

    Args:
        initializer: The method.
        x: The points ``(N, D)``.
        n_components: The number K of components.
        weight: The weights of the points, ``(N,)``.
        seed: The seed of the sample and of the method.
    """
    if len(x) <= SAMPLE or not isinstance(initializer.method, str):
        return initializer.start(x, n_components, weight=weight, seed=seed)
    rows = sample_of(len(x), seed)
    some = x[rows]
    start = initializer.at(rows, len(x)).start(some, n_components, weight=weight[rows], seed=seed)
    if start.means is not None and start.covariances is not None:
        return Start(responsibilities_of(x, start.log_weights.exp(), start.means, start.covariances), start.log_weights)
    found = assigned(x, some, start.responsibilities)
    found[rows] = start.responsibilities
    return Start(found, start.log_weights)


def assigned(x: Tensor, some: Tensor, responsibilities: Tensor) -> Tensor:
    """Returns the mean responsibilities of the nearest neighbours of points ``(N, D)`` among some ``(M, D)``."""
    method = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(some))).fit(some.numpy())
    near = torch.as_tensor(method.kneighbors(x.numpy(), return_distance=False))
    return responsibilities[near].mean(1)


def sample_note(n: int) -> list[str]:
    """Returns a sentence about the sample of n points, or nothing where all were clustered."""
    if n <= SAMPLE:
        return []
    return [f"Starts by name clustered a random sample of {SAMPLE:,} of {n:,} points; so many are in the graph."]
