"""What is maximised at the points of an ensemble, and what they are judged by."""

import torch
from torch import Tensor

from pyro_vmonf.automatic.blocks import points_at_once
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.label_terms import bounds, label_log_probs

__all__ = [
    "block_of",
    "disagreements",
    "elbos",
    "kept_elbo",
    "kept_elbos",
    "label_term",
    "objective",
    "value_of",
]

LABEL_WEIGHT = 1.0  # of the mean log q(y | x) of labelled points, as in LabelTerm
KEPT = 1.0  # the weight of the start's responsibilities in the objective with labels, after the warm-up


def value_of(ensemble: Ensemble, x: Tensor, target: Tensor, taught: Tensor, labels: Tensor | None = None) -> Tensor:
    """Returns what is maximised at points ``(V, N, D)``, as ``(V, N)``.

    That is the ELBO Σ q(z | x) [log p(x, z) − log q(z | x)], or, where ``taught`` is 1 and not 0, how well the start's
    responsibilities r are known, Σ r(z) [log p(x, z) + log q(z | x)]. A tensor says which, so that one captured step
    does both. With labels a labelled point's ELBO is that of the point and its label, and Σ r(z) log q(z | x) is added
    to all: the encoder does not forget what the start said.
    """
    log_joint, log_q = ensemble(x)
    told = target.mT * log_q
    if labels is None:
        elbo = (log_q.exp() * (log_joint - log_q)).sum(1)
    else:
        elbo = bounds(log_joint, log_q, labels) + KEPT * told.sum(1)
    return torch.lerp(elbo, (target.mT * log_joint + told).sum(1), taught)


def objective(
    ensemble: Ensemble, x: Tensor, target: Tensor, weight: Tensor, taught: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Returns the weighted mean of :func:`value_of` for each mixture ``(V,)``."""
    return (weight * value_of(ensemble, x, target, taught, labels)).sum(-1) / weight.sum(-1)


def label_term(ensemble: Ensemble, x: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Returns α times the mean log q(y | x) of labelled points for each mixture ``(V,)``."""
    points = label_log_probs(ensemble.log_q(x), labels)
    return LABEL_WEIGHT * (weight * points).sum(-1) / weight.sum(-1)


def block_of(ensemble: Ensemble) -> int:
    """Returns how many points of each mixture are scored at once."""
    return points_at_once(ensemble.size, ensemble.n_components, ensemble.features)


@torch.no_grad()
def elbos(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Returns the ELBO of points ``(V, N, D)`` under each mixture, ``(V, N)``."""
    tables = [ensemble(some) for some in x.to(ensemble.log_weights).split(block_of(ensemble), 1)]
    return torch.cat([(log_q.exp() * (log_joint - log_q)).sum(1) for log_joint, log_q in tables], 1)


@torch.no_grad()
def disagreements(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Returns at which points encoder and exact posterior choose different components, ``(V, N)``."""
    tables = [ensemble(some) for some in x.to(ensemble.log_weights).split(block_of(ensemble), 1)]
    return torch.cat([log_joint.argmax(1) != log_q.argmax(1) for log_joint, log_q in tables], 1)


def kept_elbo(log_joint: Tensor, log_q: Tensor, target: Tensor) -> Tensor:
    """Returns the ELBO plus Σ r(z) log q(z | x), as the objective with labels has it, from tables ``(V, K, N)``."""
    return (log_q.exp() * (log_joint - log_q) + KEPT * target.mT * log_q).sum(1)


@torch.no_grad()
def kept_elbos(ensemble: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Returns :func:`kept_elbo` of points ``(V, N, D)``, ``(V, N)``."""
    size, like = block_of(ensemble), ensemble.log_weights
    parts = zip(x.to(like).split(size, 1), target.to(like).split(size, 1), strict=True)
    tables = [(*ensemble(some), r) for some, r in parts]
    return torch.cat([kept_elbo(log_joint, log_q, r) for log_joint, log_q, r in tables], 1)
