"""What a clustering method or a user gives, as responsibilities r(z | x), checked."""

from collections.abc import Callable
from typing import Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from pyro_vmonf.initialization.clustering import Array

__all__ = [
    "ARRAY_TYPES",
    "ClusterMethod",
    "Clusterer",
    "FeatureStep",
    "ProbabilisticClusterer",
    "Transformer",
    "as_responsibilities",
    "fit_clusterer",
    "is_method",
    "with_seed",
]

ARRAY_TYPES = (Tensor, np.ndarray, list, tuple)


@runtime_checkable
class Clusterer(Protocol):
    """A scikit-learn clusterer."""

    def fit_predict(self, X: Array) -> npt.NDArray[np.int64]:  # noqa: N803  (scikit-learn's name)
        """Returns the cluster of each row, or −1 for none."""
        ...


@runtime_checkable
class ProbabilisticClusterer(Protocol):
    """A scikit-learn mixture."""

    def fit(self, X: Array) -> object:  # noqa: N803
        """Fits the mixture."""
        ...

    def predict_proba(self, X: Array) -> Array:  # noqa: N803
        """Returns responsibilities."""
        ...


@runtime_checkable
class Transformer(Protocol):
    """A scikit-learn transformer."""

    def fit_transform(self, X: Array) -> Array:  # noqa: N803
        """Returns features."""
        ...


ClusterMethod: TypeAlias = str | Clusterer | ProbabilisticClusterer | Callable[[Array], Array] | npt.ArrayLike | Tensor
FeatureStep: TypeAlias = str | Transformer | Callable[[Tensor], Tensor] | Array | Tensor


def is_method(part: object) -> bool:
    """Whether ``part`` is an estimator or a function, and not the class of one."""
    return not isinstance(part, (type, *ARRAY_TYPES)) and (hasattr(part, "fit") or callable(part))


def with_seed(estimator: object, seed: int) -> object:
    """Returns an unfitted copy, with each ``random_state`` set, its parts' too, that is not set."""
    copy = cast(BaseEstimator, clone(estimator))
    for name, value in copy.get_params().items():
        if (name == "random_state" or name.endswith("__random_state")) and value is None:
            copy.set_params(**{name: seed})
    return copy


def fit_clusterer(clusterer: object, features: Array) -> Array:
    """Returns responsibilities, where the clusterer gives probabilities, else labels."""
    if hasattr(clusterer, "predict_proba"):  # a pipeline's class has it, and the pipeline where its last step has
        mixture = cast(ProbabilisticClusterer, clusterer)
        mixture.fit(features)
        return np.asarray(mixture.predict_proba(features))
    return np.asarray(cast(Clusterer, clusterer).fit_predict(features))


def as_responsibilities(answer: object, n: int, k: int) -> Tensor:
    """Returns labels ``(N,)`` or responsibilities ``(N, K)`` as responsibilities whose rows sum to 1.

    Raises:
        ValueError: If they have another shape or type, a row without a share, or a component without one.
    """
    array = np.asarray(answer.detach().cpu() if isinstance(answer, Tensor) else answer)
    if array.shape == (n,) and np.issubdtype(array.dtype, np.integer):
        array = one_hot(array, k)
    array = array.astype(np.float64) if array.dtype == bool and array.ndim == 2 else array
    if array.shape != (n, k) or not np.issubdtype(array.dtype, np.number):
        raise ValueError(
            f"initializer: expected responsibilities of shape ({n}, {k}) or integer labels ({n},), "
            f"got {array.dtype} {array.shape}"
        )
    if not np.isfinite(array).all() or (array < 0).any() or (array.sum(1) <= 0).any():
        raise ValueError("initializer: expected finite responsibilities ≥ 0, with a sum above 0 in each row")
    array = array / array.sum(1, keepdims=True)
    if not (array.sum(0) > 0).all():
        raise ValueError(
            f"initializer: expected a share for each component, got none for {np.flatnonzero(array.sum(0) == 0)}"
        )
    return torch.as_tensor(array)


def one_hot(labels: Array, k: int) -> Array:
    """Returns labels of k clusters, −1 for none, as responsibilities; equal shares where there is none."""
    clusters = np.unique(labels[labels >= 0])
    if len(clusters) != k:
        raise ValueError(f"initializer: expected {k} clusters, one for each component, got {len(clusters)}")
    return np.where((labels >= 0)[:, None], (labels[:, None] == clusters).astype(np.float64), 1 / k)
