"""Posterior predictive checks: would the model have made such data?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import Predictive
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from pyro_vmonf._checks import check_count, check_events
from pyro_vmonf.components.base import Components
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference.reading import check_points, evaluating, read
from pyro_vmonf.models.mixture import FlowMixture

__all__ = [
    "ComponentShares",
    "EnergyDistance",
    "RadialProfile",
    "Replications",
    "base_probabilities",
    "energy_distance",
    "nearest_distances",
    "predictive_check",
    "quantiles",
    "replicate",
    "standard_statistics",
    "uniforms",
]

Statistic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Replications:
    """Data sets drawn from the posterior predictive distribution.

    Attributes:
        x: ``(draws, size, *event)``.
        z: the component of each point, ``(draws, size)``.
    """

    x: Tensor
    z: Tensor


def replicate(
    model: FlowMixture, guide: SoftmaxEncoder | None = None, *, size: int, draws: int = 100, seed: int = 0
) -> Replications:
    """Data sets as the model would make them: π from its posterior in the guide, where it has one, then z, then x.

    It is Pyro's ``Predictive(model, guide=guide)``, with points of its own in the place of the observed ones.

    Args:
        model: p(x, z).
        guide: has q(π), if the weights have a prior; else it plays no part.
        size: points in a data set; as many as the data have, if statistics depend on it.
        draws: data sets.
        seed: of the draws; the global random state is left as it was.
    """
    counts = check_count("size", size), check_count("draws", draws)
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad(), evaluating(model):
        torch.manual_seed(seed)
        weights = None if guide is None else guide.weights
        posterior: dict[str, Tensor] = {}
        if weights is not None:
            posterior = {"weights": Predictive(weights, num_samples=counts[1])()["weights"]}
        drawn = Predictive(model, posterior or None, num_samples=counts[1])(size=counts[0])
    shape = model.components.event_shape
    return Replications(drawn["x"].reshape(counts[1], counts[0], *shape), drawn["z"].reshape(counts[1], counts[0]))


def predictive_check(
    x: Tensor, replications: Replications, statistics: Mapping[str, Statistic] | None = None
) -> list[dict[str, Any]]:
    r"""Compares statistics of data with those of replicated data.

    p = 2 min(P(T_rep ≤ T), P(T_rep ≥ T)), at most 1, each estimated as (1 + count) / (1 + draws). For data that the
    model did make, and was not fitted to, p is below any α in no more than α of cases. A model is nearer to the points
    it was fitted to than to new ones, so check points that were held out.

    Reference: Gelman, Meng and Stern, 1996 (*Statistica Sinica* 6); Phipson and Smyth, 2010, for the 1 +.

    Args:
        x: ``(N, *event)``.
        replications: data sets from the model, of N points each.
        statistics: name → function of a data set ``(N, *event)`` to a number or a vector; means, standard deviations,
            quantiles and nearest-neighbour distances if not given (see :func:`standard_statistics`).

    Returns:
        a row for each number: ``statistic``, ``observed``, ``replicated`` (the values, a list), and ``p``.

    Raises:
        ValueError: if the replicated data sets have another shape than x.
    """
    check_events("x", x, replications.x.shape[2:])
    if x.shape != replications.x.shape[1:]:
        given = tuple(replications.x.shape[1:])
        raise ValueError(f"replications: expected data sets of shape {tuple(x.shape)}, got {given}")
    x = x.to(replications.x)
    rows = []
    for name, statistic in (standard_statistics() if statistics is None else statistics).items():
        observed = statistic(x).reshape(-1)
        replicated = torch.stack([statistic(one).reshape(-1) for one in replications.x])
        for i, value in enumerate(observed):
            title = f"{name}[{i}]" if len(observed) > 1 else name
            rows.append({"statistic": title, **compared(value, replicated[:, i])})
    return rows


def compared(observed: Tensor, replicated: Tensor) -> dict[str, Any]:
    """One number, its replications, and the p-value."""
    tails = [1 + int((replicated <= observed).sum()), 1 + int((replicated >= observed).sum())]
    p = min(1.0, 2 * min(tails) / (1 + len(replicated)))
    return {"observed": float(observed), "replicated": replicated.tolist(), "p": p}


def standard_statistics() -> dict[str, Statistic]:
    """Statistics that suit most data: name → function of ``(N, *event)``."""
    return {
        "mean": lambda x: x.flatten(1).mean(0),
        "standard deviation": lambda x: x.flatten(1).std(0),
        "quantile .05": quantiles(0.05),
        "quantile .95": quantiles(0.95),
        "nearest-neighbour distance": lambda x: nearest_distances(x).mean(),
    }


def quantiles(share: float) -> Statistic:
    """The quantile of each coordinate, as a statistic."""
    return lambda x: x.flatten(1).quantile(share, 0)


def nearest_distances(x: Tensor, others: Tensor | None = None) -> Tensor:
    """Euclidean distance of each x ``(N, *event)`` to the nearest of ``others``, or of the other x: ``(N,)``."""
    points = x.flatten(1).cpu().numpy()
    if others is None:
        found = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]
    else:
        found = NearestNeighbors(n_neighbors=1).fit(others.flatten(1).cpu().numpy()).kneighbors(points)[0][:, 0]
    return torch.as_tensor(found).to(x)


def energy_distance(x: Tensor, others: Tensor) -> Tensor:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| ≥ 0, 0 where both have one distribution: Székely and Rizzo, 2013."""
    a, b = x.flatten(1), others.flatten(1)
    return 2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()


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
        self.centre, self.reach, self.bins = centre, reach, check_count("bins", bins)

    def __call__(self, x: Tensor) -> Tensor:
        radius = (x - self.centre.to(x)).flatten(1).norm(dim=-1)
        return torch.histc(radius, self.bins, 0.0, self.reach) / len(x)


class ComponentShares:
    """The mean of p(z | x) over the points, ``(K,)``, as a statistic.

    Args:
        model, guide: the fitted pair.
    """

    def __init__(self, model: FlowMixture, guide: SoftmaxEncoder) -> None:
        self.model, self.guide = model, guide

    def __call__(self, x: Tensor) -> Tensor:
        return read(self.model, self.guide, x).responsibilities.mean(0)


def uniforms(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The probability integral transform of the base variables: uniform on (0, 1) if the model is right.

    z_n is drawn from the exact posterior p(z | x_n), component z_n's flow is inverted, and each coordinate of the base
    variable goes through the base's cumulative distribution function.

    Args:
        model, guide: the fitted pair.
        x: ``(N, *event)``.
        seed: of the draw of z; the global random state is left as it was.

    Returns:
        values ``(N, D)`` with D the size of an event, and z ``(N,)``.

    Raises:
        TypeError: if a component is no flow whose base variables can be had (see :func:`base_probabilities`).
    """
    x = check_points("x", x, model, guide)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        z = torch.multinomial(read(model, guide, x).responsibilities.cpu(), 1).squeeze(-1)
    x = x.to(guide.temperature.device)
    found = x.new_empty(len(x), x[0].numel())
    with torch.no_grad(), evaluating(model):
        for k in z.unique().tolist():
            rows = (z == k).nonzero().squeeze(-1).to(x.device)
            found[rows] = base_probabilities(model.components, k, x[rows]).flatten(1)
    return found.cpu(), z


def base_probabilities(components: Components, k: int, x: Tensor) -> Tensor:
    """F(u) ``(N, *event)`` of the base variables u of x under component k, F the base's distribution function.

    Raises:
        TypeError: if component k is neither a plain distribution with a ``cdf``, nor one transformed, nor a zuko flow.
    """
    flow: Any = components.component(k)
    if hasattr(flow, "transform") and hasattr(flow, "base"):  # zuko's flows go from x to the base
        x, flow = flow.transform(x), flow.base
    while hasattr(flow, "base_dist"):
        for transform in reversed(getattr(flow, "transforms", [])):
            x = transform.inv(x)
        flow = flow.base_dist
    try:
        probabilities: Tensor = flow.cdf(x)
    except NotImplementedError as error:
        raise TypeError(f"components: expected a flow with a base that has a cdf, got {type(flow).__name__}") from error
    return probabilities
