"""Methods that give the probabilities of classes in all points from the labels of some."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from pyro_vmonf.automatic.label_terms import known
from pyro_vmonf.initialization.gaussian_mixture import default_ridge, log_joint
from pyro_vmonf.initialization.gaussians import cluster_gaussians

__all__ = ["LABEL_METHODS", "LabelMethod", "clamped_mixture", "spread_labels"]

LabelMethod = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function of points ``(N, D)``, labels ``(N, K)`` and weights ``(N,)`` that returns probabilities ``(N, K)``."""

NEIGHBOURS, ROUNDS = 10, 1000
UPDATES, TOLERANCE = 100, 1e-4


def spread_labels(x: Tensor, labels: Tensor, weight: Tensor, *, alpha: float = 0.2) -> Tensor:
    """Returns what spreads from labels over the graph of ten nearest neighbours; weights have no part.

    Args:
        x: The points ``(N, D)``.
        labels: The labels ``(N, K)``, all 0 where there is none.
        weight: Not used.
        alpha: How much a labelled point learns from its neighbours, between 0 and 1.

    Reference: Zhou et al., 2004, *Learning with local and global consistency*, NeurIPS 16.
    """
    method = LabelSpreading(
        kernel="knn", n_neighbors=min(NEIGHBOURS, len(x) - 1), alpha=alpha, max_iter=ROUNDS, tol=1e-6
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of points that no label reaches, which get equal shares
        method.fit(x.numpy(), torch.where(known(labels), labels.argmax(-1), -1).numpy())
    return in_columns(method.label_distributions_, method.classes_, labels)


def classify(method: LinearDiscriminantAnalysis | LogisticRegression, x: Tensor, labels: Tensor) -> Tensor:
    """Returns the probabilities of a classifier that learns from the labelled points alone."""
    rows = known(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class with one point, whose covariance is 0
        method.fit(x[rows].numpy(), labels[rows].argmax(-1).numpy())
        return in_columns(method.predict_proba(x.numpy()), method.classes_, labels)


def discriminant(x: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Returns the posterior of a linear discriminant with a shrunk covariance; weights have no part."""
    return classify(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), x, labels)


def regression(x: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Returns the probabilities of a logistic regression; weights have no part."""
    return classify(LogisticRegression(max_iter=2000), x, labels)


def clamped_mixture(x: Tensor, labels: Tensor, weight: Tensor, *, covariance_type: str = "full") -> Tensor:
    """Returns the responsibilities of a Gaussian mixture in which labelled points keep their labels.

    EM begins from a linear discriminant's posterior. The covariances are shrunk, see
    :func:`~pyro_vmonf.initialization.gaussians.cluster_gaussians`.

    Args:
        x: The points ``(N, D)``.
        labels: The labels ``(N, K)``, all 0 where there is none.
        weight: The weights ``(N,)``.
        covariance_type: ``"full"``, ``"tied"`` or ``"diag"``.

    Reference: Nigam et al., 2000, *Text classification from labeled and unlabeled documents using EM*, Machine
    Learning 39, for naive Bayes.
    """
    rows, shares = known(labels), discriminant(x, labels, weight)
    ridge, before = 10 * default_ridge(x, weight), -np.inf
    for _ in range(UPDATES):
        shares[rows] = labels[rows]
        # No component may be without any share.
        gaussians = cluster_gaussians(x, shares + 1e-8, covariance_type=covariance_type, weight=weight, ridge=ridge)
        joint = log_joint(x, *gaussians)
        shares, evidence = joint.softmax(0).mT.clone(), float((weight * joint.logsumexp(0)).sum() / weight.sum())
        if abs(evidence - before) < TOLERANCE:
            break
        before = evidence
    return shares


def in_columns(probs: object, classes: object, labels: Tensor) -> Tensor:
    """Returns probabilities of some classes as those of all, in the type of the labels; equal where there are none."""
    table = torch.zeros_like(labels)
    table[:, torch.as_tensor(np.asarray(classes)).long()] = torch.as_tensor(np.nan_to_num(np.asarray(probs))).to(labels)
    table = table.clamp(min=0)
    table[table.sum(-1) <= 0] = 1.0
    return table / table.sum(-1, keepdim=True)


def spread_far(x: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Returns what spreads from labels where neighbours count for more than labels."""
    return spread_labels(x, labels, weight, alpha=0.9)


def clamped(covariance_type: str) -> LabelMethod:
    """Returns the Gaussian mixture with one type of covariances."""
    return lambda x, labels, weight: clamped_mixture(x, labels, weight, covariance_type=covariance_type)


LABEL_METHODS: dict[str, LabelMethod] = {
    "spreading": spread_labels,
    "spreading-far": spread_far,
    "discriminant": discriminant,
    "regression": regression,
    "mixture": clamped("full"),
    "mixture-tied": clamped("tied"),
    "mixture-diag": clamped("diag"),
}
"""The methods by name."""
