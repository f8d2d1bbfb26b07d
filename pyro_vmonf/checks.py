"""Posterior predictive checks: would the model have made such data?"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer import Predictive
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from pyro_vmonf._checks import check_count, check_events, check_finite, check_fraction, check_positive
from pyro_vmonf.components.base import Components
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference.reading import check_points, evaluating
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior

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
        x: ``(draws, size, *event)``, on the CPU.
        z: the component of each point, ``(draws, size)``.
    """

    x: Tensor
    z: Tensor


def replicate(
    model: FlowMixture, guide: SoftmaxEncoder | None = None, *, size: int, draws: int = 100, seed: int = 0
) -> Replications:
    """Data sets as the model would make them: π from its posterior in the guide, where it has one, then z, then x.

    It is Pyro's ``Predictive(model, guide=guide)(size=…)``.

    Args:
        model: p(x, z).
        guide: has q(π), if the weights have a prior; else it plays no part.
        size: points in a data set; as many as the data have, if statistics depend on it.
        draws: data sets.
        seed: of the draws; the global random state is left as it was.

    Raises:
        TypeError: if model is no ``FlowMixture``.
        ValueError: if the weights have a prior and there is no guide with their posterior (``Predictive(model)`` draws
            from the prior), or a number is below 1.
    """
    counts = check_count("size", size), check_count("draws", draws)
    if not isinstance(model, FlowMixture):
        raise TypeError(f"model: expected a FlowMixture, got {type(model).__name__}")
    if isinstance(model.weights, WeightsPrior) and (guide is None or guide.weights is None):
        raise ValueError("guide: expected one with a posterior of the weights, as they have a prior, got none")
    if guide is not None and guide.n_components != model.n_components:
        raise ValueError(f"guide: expected {model.n_components} components, as the model has, got {guide.n_components}")
    store = pyro.get_param_store()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(range(torch.cuda.device_count())))
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(model))
        # The user's store stays as it is, and what it holds under a module's names may be another module's.
        stack.enter_context(store.scope(without_names(store.get_state(), model, guide)))
        torch.manual_seed(seed)
        drawn = Predictive(model, guide=guide, num_samples=counts[1])(size=counts[0])
    shape = model.components.event_shape
    x, z = drawn["x"].reshape(counts[1], counts[0], *shape), drawn["z"].reshape(counts[1], counts[0])
    return Replications(x.cpu(), z.cpu())


def without_names(state: Any, *modules: nn.Module | None) -> Any:
    """A parameter store's state but for what the modules hold themselves."""
    own = {name.removesuffix("_unconstrained") for part in modules if part for name, _ in part.named_parameters()}
    return {kind: {name: v for name, v in held.items() if name not in own} for kind, held in state.items()}


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
        TypeError: if these are no ``Replications``.
        ValueError: if the replicated data sets have another shape than x, or x or a statistic is not finite.
    """
    if not isinstance(replications, Replications):
        raise TypeError(f"replications: expected those of replicate, got {type(replications).__name__}")
    check_finite("x", check_events("x", x, replications.x.shape[2:]))
    if x.shape != replications.x.shape[1:]:
        given = tuple(replications.x.shape[1:])
        raise ValueError(f"replications: expected data sets of shape {tuple(x.shape)}, got {given}")
    x = x.to(replications.x)
    rows = []
    for name, statistic in (standard_statistics() if statistics is None else statistics).items():
        values = [torch.as_tensor(statistic(one)).reshape(-1) for one in (x, *replications.x)]
        check_finite(f"statistics[{name!r}]", torch.stack(values))
        observed, replicated = values[0], torch.stack(values[1:])
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
    """Statistics that suit most data: name → function of ``(N, *event)``.

    Means, standard deviations and quantiles are those of each coordinate; where there are more than 16, as in images,
    of two numbers of each point: the mean and the standard deviation of its coordinates.
    """
    return {
        "mean": lambda x: few(x).mean(0),
        "standard deviation": lambda x: few(x).std(0),
        "quantile .05": quantiles(0.05),
        "quantile .95": quantiles(0.95),
        "nearest-neighbour distance": lambda x: nearest_distances(x).mean(),
    }


def quantiles(share: float) -> Statistic:
    """The quantile of each coordinate (see :func:`standard_statistics`); ``share`` is above 0 and at most 1."""
    share = check_fraction("share", share)
    return lambda x: few(x).quantile(share, 0)


def few(x: Tensor, most: int = 16) -> Tensor:
    """The coordinates of each point ``(N, D)``, or where D is above ``most`` their mean and standard deviation."""
    x = flat(x)
    return x if x.shape[1] <= most else torch.stack([x.mean(1), x.std(1)], 1)


def flat(x: Tensor) -> Tensor:
    """Points ``(N, *event)`` as vectors ``(N, D)``."""
    return x.reshape(len(x), -1)


def nearest_distances(x: Tensor, others: Tensor | None = None) -> Tensor:
    """Euclidean distance of each x ``(N, *event)`` to the nearest of ``others``, or of the other x: ``(N,)``."""
    points = flat(x).cpu().numpy()
    if len(points) < 1 + (others is None):
        raise ValueError(f"x: expected at least {1 + (others is None)} points, got {len(points)}")
    if others is None:
        found = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]
    else:
        found = NearestNeighbors(n_neighbors=1).fit(flat(others).cpu().numpy()).kneighbors(points)[0][:, 0]
    return torch.as_tensor(found).to(x)


def energy_distance(x: Tensor, others: Tensor) -> Tensor:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| ≥ 0, 0 where both have one distribution: Székely and Rizzo, 2013."""
    a, b = flat(x), flat(others)
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
        radius = flat(x - self.centre.to(x)).norm(dim=-1)
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
    x = check_points("x", x, model, guide)
    weights = None if guide is None else guide.log_weights()
    with torch.no_grad(), evaluating(model):
        parts = [model.responsibilities(part.to(device_of(model, x)), weights).cpu() for part in x.split(1024)]
    return torch.cat(parts)


def device_of(module: nn.Module, x: Tensor) -> torch.device:
    """Where a module's tensors are; where x is, if it has none."""
    return next((t.device for t in [*module.parameters(), *module.buffers()]), x.device)


def uniforms(
    model: FlowMixture, x: Tensor, guide: SoftmaxEncoder | None = None, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The probability integral transform of the base variables: uniform on (0, 1) if the model is right.

    z_n is drawn from the exact posterior p(z | x_n), component z_n's flow is inverted, and each coordinate of the base
    variable goes through the base's cumulative distribution function.

    Args:
        model: p(x, z).
        x: ``(N, *event)``.
        guide: where it has a posterior of the weights.
        seed: of the draw of z; the global random state is left as it was.

    Returns:
        values ``(N, D)`` with D the size of an event, and z ``(N,)``.

    Raises:
        TypeError: if a component is no flow whose base variables can be had (see :func:`base_probabilities`).
    """
    x = check_points("x", x, model, guide)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        z = torch.multinomial(responsibilities(model, guide, x), 1).squeeze(-1)
    x = x.to(device_of(model, x))
    found = x.new_empty(len(x), x[0].numel())
    with torch.no_grad(), evaluating(model):
        for k in z.unique().tolist():
            rows = (z == k).nonzero().squeeze(-1).to(x.device)
            found[rows] = flat(base_probabilities(model.components, k, x[rows]))
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
