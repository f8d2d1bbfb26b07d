"""Responsibilities that agree with labels."""

import copy
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.base import is_classifier
from torch import Tensor

from pyro_vmonf.initialization.clustering import Array, kmeans
from pyro_vmonf.initialization.responsibilities import ARRAY_TYPES, ClusterMethod, as_responsibilities, with_seed
from pyro_vmonf.labels import Labels, is_labelled

__all__ = ["learns_from_labels", "match_labels", "with_labels"]


class Clustering(Protocol):
    """What is needed of an initializer here."""

    @property
    def method(self) -> ClusterMethod:
        """The method."""
        ...

    def reduce(self, x: Tensor, seed: int = 0) -> Array:
        """Returns the features of x."""
        ...

    def cluster(self, features: Array, k: int, seed: int, weight: Tensor | None = None) -> tuple[Tensor, object]:
        """Returns responsibilities by the method."""
        ...


def with_labels(
    initializer: Clustering, x: Tensor, y: Tensor, labels: Labels, weight: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Returns an initializer's responsibilities ``(N, K)`` in the order that agrees best with labels.

    Where classes have several components and the method can find any number of clusters, the labels can be read in two
    ways, and the one they agree with more is kept. Either a class is a cluster, and its components are parts of it;
    one that no label meets has its class all the same. Or each component is a cluster, and a class is any set of them.
    """
    k, n_classes = len(labels.classes), labels.n_classes
    method = initializer.method
    if learns_from_labels(method):
        return by_classifier(initializer, x, y, labels, seed)
    if isinstance(method, ARRAY_TYPES):
        return match_labels(as_responsibilities(method, len(x), k).to(x), y, labels)[0]
    features = initializer.reduce(x, seed)
    parts, agreed = match_labels(initializer.cluster(features, k, seed, weight)[0].to(x), y, labels)
    if not isinstance(method, str) or k == n_classes:
        return parts
    clusters = initializer.cluster(features, n_classes, seed, weight)[0].to(x)
    classes, agreed_as_clusters = match_labels(clusters, y, labels.one_component_per_class())
    if agreed > agreed_as_clusters:
        return parts
    return divide_classes(
        classes,
        labels.classes.to(x.device),
        lambda rows, m: initializer.cluster(features[rows], m, seed)[0].to(x),
    )


def learns_from_labels(method: object) -> bool:
    """Whether a method is a classifier."""
    return hasattr(method, "fit") and not isinstance(method, ARRAY_TYPES) and bool(is_classifier(method))


def by_classifier(initializer: Clustering, x: Tensor, y: Tensor, labels: Labels, seed: int) -> Tensor:
    """Returns a classifier's probabilities ``(N, K)``, restricted by the labels; k-means divides classes."""
    features, rows = initializer.reduce(x, seed), is_labelled(y)
    classes = torch.where(rows, y if y.dim() == 1 else y.argmax(-1), -1).cpu().numpy()
    probs, columns = class_probabilities(with_seed(initializer.method, seed), features, classes)
    table = np.zeros((len(x), labels.n_classes))
    table[:, columns] = probs
    table[table.sum(1) <= 0] = 1 / labels.n_classes
    owners = labels.classes.to(x.device)
    found = divide_classes(
        as_responsibilities(table, len(x), labels.n_classes).to(x),
        owners,
        lambda r, m: as_responsibilities(kmeans(features[r], m, seed)[0], len(r), m).to(x),
    )
    return copy.deepcopy(labels).to(x.device).posterior((found + 1e-12).log().log_softmax(-1), y.to(x.device)).exp()


def class_probabilities(classifier: object, features: Array, classes: Array) -> tuple[Array, Array]:
    """Returns a classifier's probabilities of all points, 0 where it has none, and the classes of their columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points that no label reaches, whose answer is NaN
        fitted = classifier.fit(features, classes)  # type: ignore[attr-defined]
        spread = getattr(fitted, "label_distributions_", None)
        probs = np.nan_to_num(fitted.predict_proba(features) if spread is None else spread)
    return probs, fitted.classes_.astype(int)


def divide_classes(classes: Tensor, owners: Tensor, cluster: Callable[[Array, int], Tensor]) -> Tensor:
    """Returns shares of classes ``(N, C)`` as shares of their components ``(N, K)``, by clusters in each class."""
    table = classes[:, owners] / torch.bincount(owners)[owners]
    chosen = classes.argmax(-1)
    for c, count in enumerate(torch.bincount(owners).tolist()):
        rows = (chosen == c).nonzero().squeeze(-1)
        if count > 1 and len(rows) > count:
            columns = (owners == c).nonzero().squeeze(-1)
            table[rows.unsqueeze(-1), columns] = classes[rows, c, None] * cluster(rows.cpu().numpy(), count)
    return table


def match_labels(responsibilities: Tensor, y: Tensor, labels: Labels) -> tuple[Tensor, float]:
    """Returns responsibilities restricted by labels, with components in the order that agrees best with them.

    Args:
        responsibilities: The shares ``(N, K)``.
        y: Labels ``(N,)`` or soft labels ``(N, C)``, −1 where there are none.
        labels: The class of each component.

    Returns:
        The responsibilities ``(N, K)``, and how many of the labels the order agrees with.
    """
    y, labels = y.to(responsibilities.device), copy.deepcopy(labels).to(responsibilities.device)
    rows = is_labelled(y)
    uniform = torch.zeros_like(responsibilities).log_softmax(-1)
    soft_labels = labels.class_log_probs(labels.posterior(uniform, y)).exp()[rows]
    agreement = (soft_labels.T @ responsibilities[rows])[labels.classes].double().cpu().numpy()
    assigned = linear_sum_assignment(-agreement)
    ordered = responsibilities[:, torch.as_tensor(assigned[1]).to(responsibilities.device)]
    # A class that the clustering denies a point has no share to divide; its components then get equal ones.
    restricted = labels.posterior((ordered + 1e-12).log().log_softmax(-1), y).exp()
    return restricted, float(agreement[assigned].sum())
