"""Statistics of data sets, which predictive checks compare between data and their replications."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf._validation import check_count, check_fraction, check_positive
from pyro_vmonf.evaluation.evaluating import validate_points
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

Statistic: TypeAlias = Callable[[Tensor], Tensor]


def standard_statistics() -> dict[str, Statistic]:
    """Returns statistics that suit most data: their names, each with a function of a data set ``(N, *event)``.

    Means, standard deviations and quantiles are those of each coordinate. Where there are more than 16 coordinates, as
    in images, they are those of two numbers of each point: the mean and the standard deviation of its coordinates.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import standard_statistics
        >>> standard_statistics()["mean"](torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        tensor([1., 2.])
    """
    return {
        "mean": lambda x: coordinate_summaries(x).mean(0),
        "standard deviation": lambda x: coordinate_summaries(x).std(0),
        "quantile .05": quantiles(0.05),
        "quantile .95": quantiles(0.95),
        "nearest-neighbour distance": lambda x: nearest_distances(x).mean(),
    }


def quantiles(share: float) -> Statistic:
    """Returns a statistic, the quantile of each coordinate (see :func:`standard_statistics`).

    Args:
        share: The share of points below the quantile, above 0 and at most 1.

    Raises:
        ValueError: If ``share`` is out of range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import quantiles
        >>> quantiles(0.5)(torch.tensor([[0.0], [1.0], [5.0]]))
        tensor([1.])
    """
    share = check_fraction("share", share)
    return lambda x: coordinate_summaries(x).quantile(share, 0)


def coordinate_summaries(x: Tensor, max_coordinates: int = 16) -> Tensor:
    """Returns the coordinates of each point ``(N, D)``, or their mean and standard deviation ``(N, 2)``.

    Args:
        x: The points ``(N, *event)``.
        max_coordinates: The greatest number of coordinates D that are returned themselves.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import coordinate_summaries
        >>> coordinate_summaries(torch.tensor([[0.0, 1.0, 2.0]]), max_coordinates=2)
        tensor([[1., 1.]])
    """
    x = flatten_events(x)
    return x if x.shape[1] <= max_coordinates else torch.stack([x.mean(1), x.std(1)], 1)


def flatten_events(x: Tensor) -> Tensor:
    """Returns points ``(N, *event)`` as vectors ``(N, D)``."""
    return x.reshape(len(x), -1)


def nearest_distances(x: Tensor, others: Tensor | None = None) -> Tensor:
    """Returns the Euclidean distance of each point to its nearest neighbour, ``(N,)``.

    Args:
        x: The points ``(N, *event)``.
        others: The points ``(M, *event)`` among which the neighbour is. They are the other points of x if they are not
            given.

    Raises:
        ValueError: If there are too few points.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import nearest_distances
        >>> nearest_distances(torch.tensor([[0.0], [1.0], [5.0]]))
        tensor([1., 1., 4.])
    """
    points = flatten_events(x).cpu().numpy()
    if len(points) < 1 + (others is None):
        raise ValueError(f"x: expected at least {1 + (others is None)} points, got {len(points)}")
    if others is None:
        found = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]
    else:
        found = NearestNeighbors(n_neighbors=1).fit(flatten_events(others).cpu().numpy()).kneighbors(points)[0][:, 0]
    return torch.as_tensor(found).to(x)


def energy_distance(x: Tensor, others: Tensor) -> Tensor:
    """Returns the energy distance 2 E|X − Y| − E|X − X′| − E|Y − Y′| ≥ 0, which is 0 for equal distributions.

    Reference: Székely and Rizzo, 2013 (*J. Stat. Plan. Inference* 143(8)).

    Args:
        x: The points ``(N, *event)``.
        others: The other points ``(M, *event)``.

    Raises:
        ValueError: If the points do not have equally many coordinates.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import energy_distance
        >>> energy_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]]))
        tensor(1.)
    """
    a, b = flatten_events(x), flatten_events(others)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"others: expected points of {a.shape[1]} coordinates, as x has, got {b.shape[1]}")
    across, *within = (mean_distance(*pair) for pair in ((a, b), (a, a), (b, b)))
    return (2 * across - sum(within)).clamp(min=0)


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Returns the mean Euclidean distance, without the cancellation of a product of matrices."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").mean()


class EnergyDistance:
    """The energy distance to fixed points, as a statistic.

    Args:
        reference: The fixed points ``(M, *event)``. They should be draws of the model other than the replications.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import EnergyDistance
        >>> EnergyDistance(torch.tensor([[0.0], [3.0]]))(torch.tensor([[0.0], [1.0]]))
        tensor(1.)
    """

    def __init__(self, reference: Tensor) -> None:
        self.reference = reference

    def __call__(self, x: Tensor) -> Tensor:
        return energy_distance(x, self.reference.to(x))


class RadialProfile:
    """The share of points in each of some rings about a centre, as a statistic.

    Args:
        centre: The centre ``(*event)``.
        reach: The outer radius of the last ring, in the units of x.
        bins: The number of rings, of equal width.

    Raises:
        ValueError: If ``reach`` is not above 0, or ``bins`` is below 1.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.evaluation import RadialProfile
        >>> RadialProfile(torch.zeros(2), 2.0, bins=2)(torch.tensor([[0.5, 0.0], [0.0, 1.5]]))
        tensor([0.5000, 0.5000])
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
        model: The model p(x, z).
        guide: The guide, where it has a posterior of the weights.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.evaluation import ComponentShares
        >>> ComponentShares(FlowMixture(RealNVP(2, 3)))(torch.zeros(4, 2)).shape
        torch.Size([3])
    """

    def __init__(self, model: FlowMixture, guide: SoftmaxEncoder | None = None) -> None:
        self.model, self.guide = model, guide

    def __call__(self, x: Tensor) -> Tensor:
        return responsibilities(self.model, self.guide, x).mean(0)


def responsibilities(model: FlowMixture, guide: SoftmaxEncoder | None, x: Tensor) -> Tensor:
    """Returns p(z | x) ``(N, K)``, on the CPU, with the mean of the guide's posterior of the weights if it has one."""
    x = validate_points("x", x, model, guide)
    weights = None if guide is None else guide.log_weights()
    with torch.no_grad(), evaluation_mode(model):
        parts = [model.responsibilities(part.to(device_of(model, x)), weights).cpu() for part in x.split(1024)]
    return torch.cat(parts)


def device_of(module: nn.Module, x: Tensor) -> torch.device:
    """Returns the device of a module's tensors, or that of x if the module has none."""
    return next((t.device for t in [*module.parameters(), *module.buffers()]), x.device)
