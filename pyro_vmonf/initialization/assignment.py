"""What a start sets in a model and its guide, and which cluster each component gets."""

import math
from typing import cast

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.labels import Labels, is_labelled
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.models.weights import log_mean

__all__ = ["InitializationWarning", "apply_start", "initialize_posterior"]


class InitializationWarning(UserWarning):
    """Components that an initializer could not set from the data, or an initializer that failed."""


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
    responsibilities: Tensor,
    *,
    weight: Tensor | None = None,
    y: Tensor | None = None,
) -> tuple[Tensor, list[int]]:
    """Sets components, weights and the posterior of the weights by responsibilities.

    Args:
        model: The model, on the device of ``points``.
        guide: Its guide.
        points: Some of the data, enough for means and covariances, ``(M, *event)``.
        indices: The indices of ``points`` among the data, ``(M,)``.
        responsibilities: Those of all data ``(N, K)``.
        weight: The weights of all data ``(N,)``.
        y: The labels of all data, which say which components may change places.

    Returns:
        The responsibilities in the order of the components, and the components that no part of theirs can follow data.
    """
    chosen = indices.to(responsibilities.device)
    scale = responsibilities.new_ones(len(points), 1) if weight is None else weight.to(responsibilities)[chosen, None]
    scale = scale.to(points)
    not_set = set_components(model, points, responsibilities[chosen], scale)
    free = interchangeable(model.labels, y)
    ordered = match_components(model, points, responsibilities, responsibilities[chosen], not_set, free)
    set_components(model, points, ordered[chosen], scale)
    whole = responsibilities.new_ones(len(ordered)) if weight is None else weight.to(ordered)
    counts = ordered.sum(0) if weight is None else whole @ ordered
    prior, posterior = model.weights, guide.weights
    device = guide.temperature.device
    if posterior is not None:
        posterior.initialize(counts.to(device), cast(WeightsPrior, prior))
        posterior.is_initialized.fill_(True)
    elif callable(set_weights := getattr(prior, "initialize", None)):
        set_weights((ordered.mean(0) if weight is None else counts / whole.sum()).to(device))
    return ordered, not_set


def set_components(model: FlowMixture, x: Tensor, responsibilities: Tensor, scale: Tensor) -> list[int]:
    """Starts the components from x and their responsibilities ``(N, K)``; returns those it could not."""
    # No component may be without any share of the points chosen.
    return model.components.initialize(x, (responsibilities + 1e-8).to(x) * scale)


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
    model: FlowMixture, x: Tensor, whole: Tensor, responsibilities: Tensor, not_set: list[int], allowed: Tensor
) -> Tensor:
    """Returns ``whole`` in the order that suits what an initializer cannot set: given weights, and ``not_set``.

    Clusters are assigned to components by the greatest Σ_n r_nj [log π_k + log p_k(x_n)], where a component that can
    follow any cluster counts as the Gaussian that it starts from, with a diagonal covariance.
    """
    given = not hasattr(model.weights, "initialize")
    log_weights = log_mean(model.weights) if given else torch.zeros(model.n_components)
    if not not_set and bool((log_weights == log_weights[0]).all()):
        return whole
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
    return whole[:, order.to(whole.device)]


def gaussian_scores(x: Tensor, shares: Tensor, sizes: Tensor) -> Tensor:
    """Returns the mean log-density of each cluster's points ``(K,)`` under its Gaussian with a diagonal covariance."""
    mean = (shares.mT @ x) / sizes.unsqueeze(-1)
    variance = ((shares.mT @ x.square()) / sizes.unsqueeze(-1) - mean.square()).clamp(min=1e-12)
    return -(variance.log() + math.log(2 * math.pi) + 1).sum(-1) / 2
