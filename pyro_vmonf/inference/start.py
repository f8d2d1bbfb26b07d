"""Starts that follow the data: responsibilities from a clustering, in a space of one's choice."""

import copy
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone, is_classifier
from torch import Tensor

from pyro_vmonf.inference.clustering import METHODS, PCA_FEATURES, REDUCTIONS, Array, flat, kmeans
from pyro_vmonf.labels import Labels, is_labelled

__all__ = ["Start", "match_labels", "starts", "with_labels"]

ARRAYS = (Tensor, np.ndarray, list, tuple)


@dataclass(frozen=True)
class Start:
    """Where a fit begins: a clustering of the data, whose responsibilities r(z | x) teach model and guide first.

    Attributes:
        method: ``"kmeans"``, ``"gmm"`` (a Gaussian mixture with full covariances), ``"spectral"`` (on the graph of
            nearest neighbours; for shapes that are no clouds), ``"random"`` (the parameters as they are, drawn anew in
            restarts), any scikit-learn clusterer or mixture, responsibilities ``(N, K)``, or a function from features
            ``(N, F)``, an array, to labels ``(N,)`` or responsibilities ``(N, K)``. The label −1 stands for equal
            shares. With labels also a scikit-learn classifier that takes −1 for none, such as ``LabelSpreading``.
        features: the space to cluster in: None for x itself, ``"pca"`` (30 components), ``"umap"`` (5 dimensions;
            needs ``pip install umap-learn``), features ``(N, F)``, a function from a tensor to features, a
            scikit-learn transformer, or a list of these, one after the other.

    Raises:
        TypeError: if the method is none of these.
        ValueError: for an unknown name.
    """

    method: Any = "gmm"
    features: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.method, str) and self.method not in {*METHODS, "random"}:
            known = sorted({*METHODS, "random"})
            raise ValueError(
                f"init: expected 'auto', one of {known}, a clusterer, an array or a function, got {self.method!r}"
            )
        if not isinstance(self.method, (str, *ARRAYS)) and not usable(self.method):
            raise TypeError(f"init: expected a name, a clusterer, an array or a function, got {self.method!r}")
        for step in self.steps():
            if not isinstance(step, str | Tensor | np.ndarray) and not usable(step):
                raise TypeError(f"features: expected a name, an array, a function or a transformer, got {step!r}")
            if isinstance(step, str) and step not in REDUCTIONS:
                raise ValueError(
                    f"features: expected one of {sorted(REDUCTIONS)}, an array, a function or a transformer, "
                    f"got {step!r}"
                )

    @property
    def random(self) -> bool:
        """Whether this start leaves the parameters as they are."""
        return isinstance(self.method, str) and self.method == "random"

    @property
    def name(self) -> str:
        """For tables: the method, and the space if it is not x."""
        parts = [named(self.method), *(named(step) for step in self.steps())]
        return " on ".join([parts[0], " ".join(parts[1:])] if parts[1:] else parts)

    @property
    def identity(self) -> str:
        """The name with the settings and contents of its parts, by which a checkpoint knows the start again."""
        return "; ".join(identity(part) for part in (self.method, *self.steps()))

    def steps(self) -> list[Any]:
        """The steps from x to the features."""
        if self.features is None:
            return []
        return list(self.features) if isinstance(self.features, list | tuple) else [self.features]

    def responsibilities(self, x: Tensor, n_components: int, seed: int = 0) -> Tensor | None:
        """r(z | x) for x ``(N, *event)``: ``(N, K)`` in x's type, rows that sum to 1; None for ``"random"``.

        Raises:
            ValueError: if the method's answer is no ``(N,)`` labels of K clusters and no ``(N, K)`` responsibilities.
            ImportError: for ``"umap"`` where it is not installed.
        """
        if self.random:
            return None
        if taught(self.method):
            raise ValueError(f"init: expected labels in y for {self.name} to learn, got none")
        if isinstance(self.method, ARRAYS):
            return shares(self.method, len(x), n_components).to(x)
        return self.cluster(self.reduce(x, seed), n_components, seed).to(x)

    def cluster(self, features: Array, k: int, seed: int) -> Tensor:
        """r(z | x) ``(N, k)`` by the method, which is no array."""
        if isinstance(self.method, str):
            answer = METHODS[self.method](features, k, seed)
        elif hasattr(self.method, "fit"):
            answer = run_clusterer(self.method, features, seed)
        else:
            answer = self.method(features)
        return shares(answer, len(features), k)

    def reduce(self, x: Tensor, seed: int = 0) -> Array:
        """The features of x ``(N, *event)``: ``(N, F)``."""
        features: Any = x.detach().cpu()
        for step in self.steps():
            if isinstance(step, str):
                features = REDUCTIONS[step](flat(features), seed)
            elif isinstance(step, Tensor | np.ndarray):
                features = step
            elif hasattr(step, "fit_transform"):
                features = seeded(step, seed).fit_transform(flat(features))
            else:
                features = step(torch.as_tensor(features))
        rows = flat(features)
        if len(rows) != len(x):
            raise ValueError(f"features: expected {len(x)} rows, one for each x, got {len(rows)}")
        return rows


def starts(init: Any, features: int) -> list[Start]:
    """``init`` as the starts that compete; ``features`` is the number of x's."""
    if isinstance(init, list | tuple) and not init:
        raise ValueError("init: expected at least one start, got an empty list")
    if isinstance(init, list | tuple) and all(
        one is None or isinstance(one, str | Start) or usable(one) for one in init
    ):
        return [start for one in init for start in starts(one, features)]
    if isinstance(init, list | tuple) and any(isinstance(one, str | Start) or usable(one) for one in init):
        kinds = sorted({type(one).__name__ for one in init if isinstance(one, ARRAYS)})
        raise TypeError(
            f"init: expected names, clusterers, functions or Starts in a list, got {kinds}; use Start(array)"
        )
    if init is None:
        return [Start("random")]
    if isinstance(init, str) and init == "auto":
        space = None if features <= PCA_FEATURES else "pca"
        return [Start("gmm", space), Start("spectral", space)]
    return [init if isinstance(init, Start) else Start(init)]


def usable(part: Any) -> bool:
    """Whether ``part`` is an estimator or a function, and not the class of one."""
    return not isinstance(part, type) and not isinstance(part, ARRAYS) and (hasattr(part, "fit") or callable(part))


def identity(part: Any) -> str:
    """A text that differs where the part does, as far as that can be told."""
    if isinstance(part, ARRAYS):
        return f"array {zlib.crc32(np.ascontiguousarray(flat(part)).tobytes())}"
    owner = getattr(part, "__self__", None)
    if owner is not None:
        return f"{owner!r}.{part.__name__}"
    text = getattr(part, "__qualname__", None) or repr(part)
    return type(part).__name__ if " at 0x" in text else text


def named(part: Any) -> str:
    """A short name for a table."""
    if isinstance(part, str):
        return part
    return "array" if isinstance(part, ARRAYS) else getattr(part, "__name__", None) or type(part).__name__


def seeded(estimator: Any, seed: int) -> Any:
    """An unfitted copy, with each ``random_state`` set, its parts' too, that is not."""
    copy = clone(estimator)
    for name, value in copy.get_params().items():
        if (name == "random_state" or name.endswith("__random_state")) and value is None:
            copy.set_params(**{name: seed})
    return copy


def run_clusterer(clusterer: Any, features: Array, seed: int) -> Array:
    """Responsibilities, where the clusterer gives probabilities, else labels."""
    copy = seeded(clusterer, seed)
    if hasattr(copy, "predict_proba"):
        return np.asarray(copy.fit(features).predict_proba(features))
    return np.asarray(copy.fit_predict(features))


def shares(answer: Any, n: int, k: int) -> Tensor:
    """Labels ``(N,)`` or responsibilities ``(N, K)`` as responsibilities whose rows sum to 1, checked."""
    array = np.asarray(answer.detach().cpu() if isinstance(answer, Tensor) else answer)
    if array.shape == (n,) and np.issubdtype(array.dtype, np.integer):
        array = one_hot(array, k)
    array = array.astype(np.float64) if array.dtype == bool and array.ndim == 2 else array
    if array.shape != (n, k) or not np.issubdtype(array.dtype, np.number):
        raise ValueError(
            f"init: expected responsibilities of shape ({n}, {k}) or integer labels ({n},), "
            f"got {array.dtype} {array.shape}"
        )
    if not np.isfinite(array).all() or (array < 0).any() or (array.sum(1) <= 0).any():
        raise ValueError("init: expected finite responsibilities ≥ 0, with a sum above 0 in each row")
    array = array / array.sum(1, keepdims=True)
    if not (array.sum(0) > 0).all():
        raise ValueError(f"init: expected a share for each component, got none for {np.flatnonzero(array.sum(0) == 0)}")
    return torch.as_tensor(array)


def one_hot(labels: Array, k: int) -> Array:
    """Labels of k clusters, −1 for none, as responsibilities; equal shares where there is none."""
    clusters = np.unique(labels[labels >= 0])
    if len(clusters) != k:
        raise ValueError(f"init: expected {k} clusters, one for each component, got {len(clusters)}")
    table = np.full((len(labels), k), 1 / k)
    table[labels >= 0] = labels[labels >= 0, None] == clusters
    return table


def with_labels(start: Start, x: Tensor, y: Tensor, labels: Labels, seed: int = 0) -> Tensor | None:
    """A start's responsibilities ``(N, K)`` in the order that agrees best with labels; None for ``"random"``.

    Where classes have several components and the method can find any number of clusters, the labels can be read in two
    ways, and the one they agree with more is kept.
    Either a class is a cluster, and its components are parts of it; one that no label meets has its class all the same.
    Or each component is a cluster, and a class is any set of them.
    """
    k, n_classes = len(labels.classes), labels.n_classes
    if start.random:
        return None
    if taught(start.method):
        return by_classifier(start, x, y, labels, seed)
    if not isinstance(start.method, str) or k == n_classes:
        return match_labels(cast(Tensor, start.responsibilities(x, k, seed)), y, labels)[0]
    features = start.reduce(x, seed)
    parts, agreed = match_labels(start.cluster(features, k, seed).to(x), y, labels)
    clusters = start.cluster(features, n_classes, seed).to(x)
    classes, agreed_as_clusters = match_labels(clusters, y, labels.one_component_per_class())
    if agreed > agreed_as_clusters:
        return parts
    return divided(classes, labels.classes.to(x.device), lambda rows, m: start.cluster(features[rows], m, seed).to(x))


def taught(method: Any) -> bool:
    """Whether a method learns from labels."""
    return hasattr(method, "fit") and not isinstance(method, ARRAYS) and is_classifier(method)


def by_classifier(start: Start, x: Tensor, y: Tensor, labels: Labels, seed: int) -> Tensor:
    """A classifier's probabilities ``(N, K)``, restricted by the labels; k-means divides classes among components."""
    features, rows = start.reduce(x, seed), is_labelled(y)
    classes = torch.where(rows, y if y.dim() == 1 else y.argmax(-1), -1).cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points that no label reaches, whose answer is NaN
        method = seeded(start.method, seed).fit(features, classes)
        spread = getattr(method, "label_distributions_", None)
        answer = np.nan_to_num(method.predict_proba(features) if spread is None else spread)
    table = np.zeros((len(x), labels.n_classes))
    table[:, method.classes_.astype(int)] = answer
    table[table.sum(1) <= 0] = 1 / labels.n_classes
    owners = labels.classes.to(x.device)
    found = divided(
        shares(table, len(x), labels.n_classes).to(x),
        owners,
        lambda r, m: shares(kmeans(features[r], m, seed), len(r), m).to(x),
    )
    return copy.deepcopy(labels).to(x.device).posterior((found + 1e-12).log().log_softmax(-1), y.to(x.device)).exp()


def divided(classes: Tensor, owners: Tensor, cluster: Callable[[Array, int], Tensor]) -> Tensor:
    """Shares of classes ``(N, C)`` as shares of their components ``(N, K)``; a class's own points are clustered."""
    table = classes[:, owners] / torch.bincount(owners)[owners]
    chosen = classes.argmax(-1)
    for c, count in enumerate(torch.bincount(owners).tolist()):
        rows = (chosen == c).nonzero().squeeze(-1)
        if count > 1 and len(rows) > count:
            columns = (owners == c).nonzero().squeeze(-1)
            table[rows.unsqueeze(-1), columns] = classes[rows, c, None] * cluster(rows.cpu().numpy(), count)
    return table


def match_labels(responsibilities: Tensor, y: Tensor, labels: Labels) -> tuple[Tensor, float]:
    """The same, restricted by the labels, with components in the order that agrees best with them.

    Args:
        responsibilities: ``(N, K)``.
        y: labels ``(N,)`` or soft labels ``(N, C)``, −1 where there are none.
        labels: the class of each component.

    Returns:
        responsibilities ``(N, K)``, and how many of the labels the order agrees with.
    """
    y, labels = y.to(responsibilities.device), copy.deepcopy(labels).to(responsibilities.device)
    rows = is_labelled(y)
    even = torch.zeros_like(responsibilities).log_softmax(-1)
    said = labels.class_log_probs(labels.posterior(even, y)).exp()[rows]  # as soft labels
    agreement = (said.T @ responsibilities[rows])[labels.classes].double().cpu().numpy()
    places = linear_sum_assignment(-agreement)
    ordered = responsibilities[:, torch.as_tensor(places[1]).to(responsibilities.device)]
    # A class that the clustering denies a point has no share to divide; its components then get equal ones.
    restricted = labels.posterior((ordered + 1e-12).log().log_softmax(-1), y).exp()
    return restricted, float(agreement[places].sum())
