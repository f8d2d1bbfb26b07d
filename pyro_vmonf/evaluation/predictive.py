"""Posterior predictive checks: whether data look like data that the model draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import pyro
import torch
from pyro.infer import Predictive
from pyro.params.param_store import StateDict
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode, isolated_parameter_store, isolated_random_state
from pyro_vmonf._validation import as_floats, check_count, check_events, check_finite
from pyro_vmonf.components.base import Components
from pyro_vmonf.evaluation.evaluating import validate_points
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
    "CheckRow",
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
        x: The points ``(draws, size, *event)``, on the CPU.
        z: The component of each point, ``(draws, size)``.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.evaluation import posterior_predictive
        >>> drawn = posterior_predictive(FlowMixture(RealNVP(2, 3)), size=50, draws=10)
        >>> drawn.x.shape, drawn.z.shape
        (torch.Size([10, 50, 2]), torch.Size([10, 50]))
    """

    x: Tensor
    z: Tensor


class CheckRow(TypedDict):
    """One number of a statistic: its name, its value in the data and in the replications, and the p-value.

    Examples:
        >>> from pyro_vmonf.evaluation import CheckRow
        >>> row: CheckRow = {"statistic": "mean", "observed": 0.5, "replicated": [0.1, 0.9], "p": 1.0}
        >>> row["p"]
        1.0
    """

    statistic: str
    observed: float
    replicated: list[float]
    p: float


def posterior_predictive(
    model: FlowMixture, guide: SoftmaxEncoder | None = None, *, size: int, draws: int = 100, seed: int = 0
) -> Replications:
    """Draws data sets from the model: the weights from their posterior in the guide, if any, then z, then x.

    It is Pyro's ``Predictive(model, guide=guide)(size=…)``. The global random state is left as it was.

    Args:
        model: The model p(x, z).
        guide: The guide, which is needed where the weights have a prior, for their posterior q(π).
        size: The number of points in a data set. It should be that of the data, if statistics depend on it.
        draws: The number of data sets.
        seed: The seed of the draws.

    Returns:
        The data sets, with the component of each point.

    Raises:
        TypeError: If ``model`` is no ``FlowMixture``.
        ValueError: If the weights have a prior and there is no guide with their posterior (``Predictive(model)`` draws
            from the prior), the guide has another number of components, or a number is below 1.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.evaluation import posterior_predictive
        >>> posterior_predictive(FlowMixture(RealNVP(2, 3)), size=50, draws=10).x.shape
        torch.Size([10, 50, 2])
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


def state_without(state: StateDict, *modules: nn.Module | None) -> StateDict:
    """Returns a parameter store's state without the parameters that the modules hold themselves."""
    own = {name.removesuffix("_unconstrained") for part in modules if part for name, _ in part.named_parameters()}
    params = {name: value for name, value in state["params"].items() if name not in own}
    return {"params": params, "constraints": {name: v for name, v in state["constraints"].items() if name not in own}}


def predictive_checks(
    x: object, replications: object, statistics: Mapping[str, Statistic] | None = None
) -> list[CheckRow]:
    r"""Compares statistics of data with those of replicated data.

    The p-value is 2 min(P(T_rep ≤ T), P(T_rep ≥ T)), at most 1, each estimated as (1 + count) / (1 + draws). For data
    from the model, to which it was not fitted, p is below any α in no more than α of cases. A model fits its training
    points better than new ones, so check points that were held out.

    Reference: Gelman, Meng and Stern, 1996 (*Statistica Sinica* 6); Phipson and Smyth, 2010, for the 1 +.

    Args:
        x: The data ``(N, *event)``: a tensor, an array, a data frame or rows of numbers.
        replications: The data sets from the model, of N points each: what :func:`posterior_predictive` returned, or
            their points ``(draws, N, *event)``, as a tensor or an array.
        statistics: The names of the statistics, each with a function of a data set ``(N, *event)`` that returns a
            number or a vector. If they are not given, they are means, standard deviations, quantiles and
            nearest-neighbour distances (see :func:`standard_statistics`).

    Returns:
        One row for each number: ``statistic`` (its name), ``observed``, ``replicated`` (a list), and ``p``.

    Raises:
        TypeError: If x or the replications hold anything but numbers.
        ValueError: If the replicated data sets have another shape than x, or x or a statistic is not finite.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.evaluation import posterior_predictive, predictive_checks
        >>> drawn = posterior_predictive(FlowMixture(RealNVP(2, 3)), size=50, draws=19)
        >>> rows = predictive_checks(drawn.x[0] + 10, drawn, {"mean": lambda x: x.mean(0)})
        >>> [(row["statistic"], row["p"]) for row in rows]
        [('mean[0]', 0.1), ('mean[1]', 0.1)]
    """
    drawn, data = replicated_points(replications), as_floats("x", x)
    check_finite("x", check_events("x", data, drawn.shape[2:]))
    if data.shape != drawn.shape[1:]:
        given = tuple(drawn.shape[1:])
        raise ValueError(f"replications: expected data sets of shape {tuple(data.shape)}, got {given}")
    data = data.to(drawn)
    rows = []
    for name, statistic in (standard_statistics() if statistics is None else statistics).items():
        values = [torch.as_tensor(statistic(one)).reshape(-1) for one in (data, *drawn)]
        check_finite(f"statistics[{name!r}]", torch.stack(values))
        observed, replicated = values[0], torch.stack(values[1:])
        for i, value in enumerate(observed):
            title = f"{name}[{i}]" if len(observed) > 1 else name
            rows.append(compare(title, value, replicated[:, i]))
    return rows


def replicated_points(replications: object) -> Tensor:
    """Returns the points ``(draws, N, *event)`` of replicated data sets, or given ones, as a floating-point tensor.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If they are not several data sets.
    """
    given = replications.x if isinstance(replications, Replications) else replications
    points = as_floats("replications", given)
    if points.dim() < 2 or not len(points):
        expected = "those of posterior_predictive, or points of shape (draws, N, *event) with draws ≥ 1"
        raise ValueError(f"replications: expected {expected}, got {tuple(points.shape)}")
    return points


def compare(name: str, observed: Tensor, replicated: Tensor) -> CheckRow:
    """Returns the row of one number, with its replications ``(draws,)`` and the p-value."""
    tails = [1 + int((replicated <= observed).sum()), 1 + int((replicated >= observed).sum())]
    p = min(1.0, 2 * min(tails) / (1 + len(replicated)))
    return {"statistic": name, "observed": float(observed), "replicated": replicated.tolist(), "p": p}


def probability_integral_transform(
    model: FlowMixture, x: Tensor, guide: SoftmaxEncoder | None = None, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Returns the probability integral transform of the base variables, uniform on (0, 1) if the model is right.

    z_n is drawn from the exact posterior p(z | x_n), the flow of component z_n is inverted, and the base's cumulative
    distribution function is applied to each coordinate of the base variable. The global random state is left as it was.

    Args:
        model: The model p(x, z).
        x: The points ``(N, *event)``.
        guide: The guide, where it has a posterior of the weights.
        seed: The seed of the draw of z.

    Returns:
        The values ``(N, D)``, with D the size of an event, and the components z ``(N,)``.

    Raises:
        TypeError: If a component is no flow with known base variables (see :func:`base_cdf`).
        ValueError: If x has the wrong shape or values that are not finite.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.evaluation import probability_integral_transform
        >>> values, z = probability_integral_transform(FlowMixture(RealNVP(2, 3)), torch.zeros(4, 2))
        >>> values.shape, z.shape
        (torch.Size([4, 2]), torch.Size([4]))
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
    """Returns the base's cumulative distribution function of the base variables of x under component k.

    Args:
        components: The components p(x | z).
        k: The number of the component.
        x: The points ``(N, *event)``.

    Returns:
        The values ``(N, *event)``, from 0 to 1.

    Raises:
        TypeError: If component k is neither a plain distribution with a ``cdf``, nor one transformed, nor a zuko flow.

    Examples:
        >>> import torch
        >>> from pyro.distributions import Normal
        >>> from pyro_vmonf import FlowList
        >>> from pyro_vmonf.evaluation import base_cdf
        >>> base_cdf(FlowList([Normal(torch.zeros(2), 1.0).to_event(1)]), 0, torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """
    flow = components.component(k)
    to_base, base = getattr(flow, "transform", None), getattr(flow, "base", None)
    if to_base is not None and base is not None:  # the transform of a zuko flow maps x to the base
        x, flow = to_base(x), base
    while (base := getattr(flow, "base_dist", None)) is not None:
        for transform in reversed(getattr(flow, "transforms", [])):
            x = transform.inv(x)
        flow = base
    try:
        probabilities: Tensor = flow.cdf(x)
    except NotImplementedError as error:
        raise TypeError(f"components: expected a flow with a base that has a cdf, got {type(flow).__name__}") from error
    return probabilities
