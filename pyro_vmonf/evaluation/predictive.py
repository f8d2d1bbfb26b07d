"""Posterior predictive checks: would the model have made such data?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer import Predictive
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode, isolated_parameter_store, isolated_random_state
from pyro_vmonf._validation import check_count, check_events, check_finite
from pyro_vmonf.components.base import Components
from pyro_vmonf.evaluation.evaluate import validate_points
from pyro_vmonf.evaluation.statistics import (
    Statistic,
    device_of,
    flatten_events,
    responsibilities,
    standard_statistics,
)
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior

__all__ = [
    "Replications",
    "base_cdf",
    "posterior_predictive",
    "predictive_checks",
    "probability_integral_transform",
]


@dataclass(frozen=True)
class Replications:
    """Data sets drawn from the posterior predictive distribution.

    Attributes:
        x: ``(draws, size, *event)``, on the CPU.
        z: the component of each point, ``(draws, size)``.
    """

    x: Tensor
    z: Tensor


def posterior_predictive(
    model: FlowMixture, guide: SoftmaxEncoder | None = None, *, size: int, draws: int = 100, seed: int = 0
) -> Replications:
    """Data sets as the model would make them: π from its posterior in the guide, where it has one, then z, then x.

    It is Pyro's ``Predictive(model, guide=guide)(size=…)``.

    Args:
        model: p(x, z).
        guide: has q(π), if the weights have a prior; else it is not used.
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
    # The user's store stays as it is, and what it holds under a module's names may be another module's.
    store = state_without(pyro.get_param_store().get_state(), model, guide)
    with isolated_random_state(seed), torch.no_grad(), evaluation_mode(model), isolated_parameter_store(store):
        drawn = Predictive(model, guide=guide, num_samples=counts[1])(size=counts[0])
    shape = model.components.event_shape
    x, z = drawn["x"].reshape(counts[1], counts[0], *shape), drawn["z"].reshape(counts[1], counts[0])
    return Replications(x.cpu(), z.cpu())


def state_without(state: Any, *modules: nn.Module | None) -> Any:
    """A parameter store's state but for what the modules hold themselves."""
    own = {name.removesuffix("_unconstrained") for part in modules if part for name, _ in part.named_parameters()}
    return {kind: {name: v for name, v in values.items() if name not in own} for kind, values in state.items()}


def predictive_checks(
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
        raise TypeError(f"replications: expected those of posterior_predictive, got {type(replications).__name__}")
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
            rows.append({"statistic": title, **compare(value, replicated[:, i])})
    return rows


def compare(observed: Tensor, replicated: Tensor) -> dict[str, Any]:
    """One number, its replications, and the p-value."""
    tails = [1 + int((replicated <= observed).sum()), 1 + int((replicated >= observed).sum())]
    p = min(1.0, 2 * min(tails) / (1 + len(replicated)))
    return {"observed": float(observed), "replicated": replicated.tolist(), "p": p}


def probability_integral_transform(
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
        TypeError: if a component is no flow whose base variables can be had (see :func:`base_cdf`).
    """
    x = validate_points("x", x, model, guide)
    with isolated_random_state(seed):
        z = torch.multinomial(responsibilities(model, guide, x), 1).squeeze(-1)
    x = x.to(device_of(model, x))
    found = x.new_empty(len(x), x[0].numel())
    with torch.no_grad(), evaluation_mode(model):
        for k in z.unique().tolist():
            rows = (z == k).nonzero().squeeze(-1).to(x.device)
            found[rows] = flatten_events(base_cdf(model.components, k, x[rows]))
    return found.cpu(), z


def base_cdf(components: Components, k: int, x: Tensor) -> Tensor:
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
