"""What labels say in the objective of an ensemble, in closed form."""

import torch
from torch import Tensor

__all__ = ["bounds", "known", "label_log_probs", "labelled_rows", "rows_of"]


def known(labels: Tensor) -> Tensor:
    """Returns which points have a label, ``(…, N)``, from probabilities ``(…, N, K)`` that are all 0 where none is."""
    return labels.sum(-1) > 0


def bounds(log_joint: Tensor, log_q: Tensor, labels: Tensor) -> Tensor:
    """Returns the ELBO of each point and its label ``(V, N)``: log p(x, y) where a label is sure.

    A label b takes the place of q(z | x), as ``fit`` has it: Σ_z b(z) [log p(x, z) − log b(z)].

    Args:
        log_joint: log p(x, z), ``(V, K, N)``.
        log_q: log q(z | x), ``(V, K, N)``.
        labels: The probabilities b of the components, ``(V, N, K)``, all 0 where there is none.
    """
    b = labels.mT
    q = log_q.exp() * (b.sum(1, keepdim=True) == 0)
    return ((b + q) * log_joint - q * log_q - torch.special.xlogy(b, b)).sum(1)


def label_log_probs(log_q: Tensor, labels: Tensor) -> Tensor:
    """Returns log q(y | x) of each point ``(V, N)``, Σ_z b(z) log q(z | x), and 0 where there is no label."""
    return (labels.mT * log_q).sum(1)


def labelled_rows(labels: Tensor) -> Tensor:
    """Returns the rows of the labelled points of each mixture ``(V, m)``; others follow where a mixture has fewer.

    Args:
        labels: The probabilities of the components, ``(V, N, K)``, all 0 where there is none.
    """
    has_label = known(labels)
    most = int(has_label.sum(1).max())
    return has_label.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]


def rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """Returns rows ``(V, m)`` of the points of each mixture, ``(V, N, …)``."""
    index = rows.view(*rows.shape, *[1] * (tensor.dim() - 2)).expand(*rows.shape, *tensor.shape[2:])
    return tensor.gather(1, index)
