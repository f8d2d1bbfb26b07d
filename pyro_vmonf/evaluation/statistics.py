"""Statistics of data sets: what predictive checks compare between data and their replications."""

from collections.abc import Callable

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf._validation import check_count, check_fraction, check_positive
from pyro_vmonf.evaluation.evaluate import validate_points
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture

__all__ = [
    "ComponentShares",
    "EnergyDistance",
    "RadialProfile",
    "coordinate_summaries",
    "energy_distance",
    "nearest_distances",
    "quantiles",
    "standard_statistics",
]

Statistic = Callable[[Tensor], Tensor]


def standard_statistics() -> dict[str, Statistic]:
    """Statistics that suit most data: name → function of ``(N, *event)``.

    Means, standard deviations and quantiles are those of each coordinate; where there are more than 16, as in images,
    of two numbers of each point: the mean and the standard deviation of its coordinates.
    """
    return {
        "mean": lambda x: coordinate_summaries(x).mean(0),
        "standard deviation": lambda x: coordinate_summaries(x).std(0),
        "quantile .05": quantiles(0.05),
        "quantile .95": quantiles(0.95),
        "nearest-neighbour distance": lambda x: nearest_distances(x).mean(),
    }


def quantiles(share: float) -> Statistic:
    """The quantile of each coordinate (see :func:`standard_statistics`); ``share`` is above 0 and at most 1."""
    share = check_fraction("share", share)
    return lambda x: coordinate_summaries(x).quantile(share, 0)


def coordinate_summaries(x: Tensor, max_coordinates: int = 16) -> Tensor:
    """The coordinates of each point ``(N, D)``; their mean and standard deviation where D > ``max_coordinates``."""
    x = flatten_events(x)
    return x if x.shape[1] <= max_coordinates else torch.stack([x.mean(1), x.std(1)], 1)


def flatten_events(x: Tensor) -> Tensor:
    """Points ``(N, *event)`` as vectors ``(N, D)``."""
    return x.reshape(len(x), -1)


def nearest_distances(x: Tensor, others: Tensor | None = None) -> Tensor:
    """Euclidean distance of each x ``(N, *event)`` to the nearest of ``others``, or of the other x: ``(N,)``."""
    points = flatten_events(x).cpu().numpy()
    if len(points) < 1 + (others is None):
        raise ValueError(f"x: expected at least {1 + (others is None)} points, got {len(points)}")
    if others is None:
        found = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]
    else:
        found = NearestNeighbors(n_neighbors=1).fit(flatten_events(others).cpu().numpy()).kneighbors(points)[0][:, 0]
    return torch.as_tensor(found).to(x)


def energy_distance(x: Tensor, others: Tensor) -> Tensor:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| ≥ 0, 0 where both have one distribution: Székely and Rizzo, 2013."""
    a, b = flatten_events(x), flatten_events(others)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"others: expected points of {a.shape[1]} coordinates, as x has, got {b.shape[1]}")
    across, *within = (mean_distance(*pair) for pair in ((a, b), (a, a), (b, b)))
    return (2 * across - sum(within)).clamp(min=0)


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """The mean Euclidean distance, without the cancellation that a product of matrices has."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").mean()


class EnergyDistance:
    """The energy distance to fixed points, as a statistic; draw them from the model, apart from the replications.

    Args:
        reference: ``(M, *event)``.
    """

    def __init__(self, reference: Tensor) -> None:
        self.reference = reference

    def __call__(self, x: Tensor) -> Tensor:
        return energy_distance(x, self.reference.to(x))


class RadialProfile:
    """The share of points in each of ``bins`` rings about a centre, out to ``reach``, as a statistic.

    Args:
        centre: ``(*event)``.
        reach: of the last ring.
        bins: how many.
    """

    def __init__(self, centre: Tensor, reach: float, bins: int = 10) -> None:
        self.centre = torch.as_tensor(centre)
        self.reach, self.bins = check_positive("reach", reach), check_count("bins", bins)

    def __call__(self, x: Tensor) -> Tensor:
        radius = flatten_events(x - self.centre.to(x)).norm(dim=-1)
        return torch.histc(radius, self.bins, 0.0, self.reach) / len(x)


class ComponentShares:
    """The mean of the exact posterior p(z | x) over the points, ``(K,)``, as a statistic.

    Args:
        model: p(x, z).
        guide: where it has a posterior of the weights.
    """

    def __init__(self, model: FlowMixture, guide: SoftmaxEncoder | None = None) -> None:
        self.model, self.guide = model, guide

    def __call__(self, x: Tensor) -> Tensor:
        return responsibilities(self.model, self.guide, x).mean(0)


def responsibilities(model: FlowMixture, guide: SoftmaxEncoder | None, x: Tensor) -> Tensor:
    """p(z | x) ``(N, K)``, on the CPU, with the mean of the guide's weights where it has a posterior of them."""
    x = validate_points("x", x, model, guide)
    weights = None if guide is None else guide.log_weights()
    with torch.no_grad(), evaluation_mode(model):
        parts = [model.responsibilities(part.to(device_of(model, x)), weights).cpu() for part in x.split(1024)]
    return torch.cat(parts)


def device_of(module: nn.Module, x: Tensor) -> torch.device:
    """Where a module's tensors are; where x is, if it has none."""
    return next((t.device for t in [*module.parameters(), *module.buffers()]), x.device)
