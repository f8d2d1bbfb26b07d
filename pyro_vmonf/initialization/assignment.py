"""What a start sets in a model and its guide, and which cluster each component gets."""

import math
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pyro_vmonf.guides.discriminant import DiscriminantNetwork
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.initialization.gaussians import cluster_gaussians, covariance_type_of
from pyro_vmonf.initialization.initializer import Start
from pyro_vmonf.labels import Labels, is_labelled
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.models.weights import log_mean

__all__ = ["Applied", "GaussianStartWarning", "InitializationWarning", "apply_start", "initialize_posterior"]


class InitializationWarning(UserWarning):
    """Components that an initializer could not set from the data, or an initializer that failed."""


class GaussianStartWarning(InitializationWarning):
    """Components that follow data, but do not begin as the Gaussians of the start."""


class Applied(NamedTuple):
    """What a start has set.

    Attributes:
        responsibilities: Those of all data ``(N, K)``, in the order of the components.
        not_set: The components that no part of theirs can follow data.
        not_gaussian: The components that do not begin as Gaussians; ``not_set`` are among them.
    """

    responsibilities: Tensor
    not_set: list[int]
    not_gaussian: list[int]


def initialize_posterior(model: FlowMixture, guide: SoftmaxEncoder, size: float) -> None:
    """Begins a posterior of the weights from equal counts, if nothing has set it."""
    posterior, k = guide.weights, model.n_components
    if posterior is not None and not posterior.is_initialized:
        counts = torch.full((k,), size / k, device=guide.temperature.device)
        posterior.initialize(counts, cast(WeightsPrior, model.weights))
        posterior.is_initialized.fill_(True)  # a subclass of the user's may not say so itself


def apply_start(
    model: FlowMixture,
    guide: SoftmaxEncoder,
    points: Tensor,
    indices: Tensor,
    start: Start,
    *,
    weight: Tensor | None = None,
    y: Tensor | None = None,
    is_augmented: bool = False,
) -> Applied:
    """Sets components, weights and the posterior of the weights by a start.

    Components that can be Gaussians become those of the start's own mixture, where it has one in the space of x and
    the points are as they are; otherwise the Gaussians of its clusters, see
    :func:`~pyro_vmonf.initialization.gaussians.cluster_gaussians`.

    Args:
        model: The model, on the device of ``points``.
        guide: Its guide.
        points: Some of the data, enough for means and covariances, ``(M, *event)``.
        indices: The indices of ``points`` among the data, ``(M,)``.
        start: What an initializer found on all data.
        weight: The weights of all data ``(N,)``.
        y: The labels of all data, which say which components may change places.
        is_augmented: Whether ``points`` are not those that were clustered, but augmented ones.
    """
    responsibilities = start.responsibilities
    chosen = indices.to(responsibilities.device)
    scale = responsibilities.new_ones(len(points), 1) if weight is None else weight.to(responsibilities)[chosen, None]
    scale = scale.to(points)
    not_set = set_components(model, points, responsibilities[chosen], scale)
    free = interchangeable(model.labels, y)
    start = start.ordered(match_components(model, points, responsibilities[chosen], not_set, free))
    ordered = start.responsibilities
    set_components(model, points, ordered[chosen], scale)
    own = (
        Start(ordered[chosen], start.log_weights) if is_augmented else replace(start, responsibilities=ordered[chosen])
    )
    kind = None if start.covariances is None else covariance_type_of(start.covariances)
    not_gaussian = set_gaussians(model, guide, points, own, scale.squeeze(-1), kind)
    set_weights(model, guide, ordered, weight, own.weights)
    return Applied(ordered, not_set, not_gaussian)


def set_weights(
    model: FlowMixture, guide: SoftmaxEncoder, responsibilities: Tensor, weight: Tensor | None, given: Tensor | None
) -> None:
    """Sets learned weights, to ``given`` ones or the components' shares, or the posterior of the weights."""
    whole = responsibilities.new_ones(len(responsibilities)) if weight is None else weight.to(responsibilities)
    counts = responsibilities.sum(0) if weight is None else whole @ responsibilities
    prior, posterior = model.weights, guide.weights
    device = guide.temperature.device
    if posterior is not None:
        posterior.initialize(counts.to(device), cast(WeightsPrior, prior))
        posterior.is_initialized.fill_(True)
    elif callable(initialize := getattr(prior, "initialize", None)):
        shares = responsibilities.mean(0) if weight is None else counts / whole.sum()
        initialize((shares if given is None else given).to(device))


def set_components(model: FlowMixture, x: Tensor, responsibilities: Tensor, scale: Tensor) -> list[int]:
    """Starts the components from x and their responsibilities ``(N, K)``; returns those it could not."""
    # No component may be without any share of the points chosen.
    return model.components.initialize(x, (responsibilities + 1e-8).to(x) * scale)


def set_gaussians(
    model: FlowMixture, guide: SoftmaxEncoder, points: Tensor, start: Start, scale: Tensor, kind: str | None
) -> list[int]:
    """Makes components Gaussians, and the encoder's discriminant that of the mixture, where there is one.

    Args:
        model: The model.
        guide: Its guide.
        points: Points ``(M, *event)``.
        start: The responsibilities of these points, and the Gaussians of a mixture, if they are to be those.
        scale: The weights of the points, ``(M,)``.
        kind: The type of covariances of the start; None for what the components can have.

    Returns:
        The components that cannot be these Gaussians, and are as they were.
    """
    possible = model.components.covariance_type
    if possible is None:
        return list(range(model.n_components))
    weights, means, covariances = start.weights, start.means, start.covariances
    if weights is None or means is None or covariances is None:
        shares = start.responsibilities.to(points).double()
        # Among the points chosen a small cluster may have none.
        shares = shares if bool((shares.sum(0) > 0).all()) else shares + 1e-8
        weights, means, covariances = cluster_gaussians(
            points.flatten(1).double(), shares, covariance_type=kind or possible, weight=scale.double()
        )
    not_gaussian = model.components.set_gaussians(means.to(points.device), covariances.to(points.device))
    if not not_gaussian and isinstance(guide.network, DiscriminantNetwork):
        here = guide.temperature.device
        guide.network.set_gaussians(weights.to(here).log(), means.to(here), covariances.to(here))
    return not_gaussian


def interchangeable(labels: Labels, y: Tensor | None) -> Tensor:
    """Returns which components ``(K, K)`` may change places once labels have ordered them.

    Those of one class may, and those of classes that no label names, if each of these has one component.
    """
    group = labels.classes.cpu()
    if y is None:
        return torch.ones(len(group), len(group), dtype=torch.bool)
    owners = y[is_labelled(y)] if y.dim() == 1 else y[is_labelled(y)].argmax(-1)
    unnamed = ~torch.isin(group, owners.cpu()) & (torch.bincount(group)[group] == 1)
    group = group.masked_fill(unnamed, -1)
    return group.unsqueeze(-1) == group


@torch.no_grad()
def match_components(
    model: FlowMixture, x: Tensor, responsibilities: Tensor, not_set: list[int], allowed: Tensor
) -> Tensor:
    """Returns the order of clusters ``(K,)`` that suits what is not set by them: given weights, and ``not_set``.

    Clusters are assigned to components by the greatest Σ_n r_nj [log π_k + log p_k(x_n)], where a component that can
    follow any cluster counts as the Gaussian that it starts from, with a diagonal covariance.
    """
    given = not hasattr(model.weights, "initialize")
    log_weights = log_mean(model.weights) if given else torch.zeros(model.n_components)
    if not not_set and bool((log_weights == log_weights[0]).all()):
        return torch.arange(model.n_components)
    shares = responsibilities.to(x)
    sizes = shares.sum(0)
    score = gaussian_scores(x.flatten(1), shares, sizes).unsqueeze(-1).repeat(1, model.n_components)
    if not_set:
        table = model.components.log_prob(x).clamp(min=-1e6)
        score[:, not_set] = ((shares.mT @ table.mT) / sizes.unsqueeze(-1))[:, not_set]
    total = (sizes.unsqueeze(-1) * (score + log_weights.to(x))).double().cpu()
    never = 2 * len(total) * (float(total.abs().max()) + 1)
    clusters, components = linear_sum_assignment(-total.masked_fill(~allowed, -never).numpy())
    order = torch.empty(len(clusters), dtype=torch.long)
    order[torch.as_tensor(components)] = torch.as_tensor(clusters)
    return order


def gaussian_scores(x: Tensor, shares: Tensor, sizes: Tensor) -> Tensor:
    """Returns the mean log-density of each cluster's points ``(K,)`` under its Gaussian with a diagonal covariance."""
    mean = (shares.mT @ x) / sizes.unsqueeze(-1)
    variance = ((shares.mT @ x.square()) / sizes.unsqueeze(-1) - mean.square()).clamp(min=1e-12)
    return -(variance.log() + math.log(2 * math.pi) + 1).sum(-1) / 2
