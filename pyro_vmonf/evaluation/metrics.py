"""How well clusters agree with classes; arrays or tensors in, numbers out."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from pyro_vmonf._validation import check_count

__all__ = [
    "accuracy",
    "adjusted_rand",
    "calibration",
    "calibration_error",
    "contingency",
    "matching",
    "normalized_mutual_information",
]

Table = npt.NDArray[np.float64]


def contingency(y: Any, z: Any, *, normalized: bool = False) -> Table:
    """How many points of class i are in cluster j: labels y, z ``(N,)``, integers from 0 → ``(classes, clusters)``.

    Args:
        y: classes.
        z: clusters.
        normalized: divide each row by its sum, as in the thesis's Table 5.1; an empty row stays 0.

    Raises:
        ValueError: if y and z are empty, differ in length, or hold other than integers from 0.
    """
    classes, clusters = validate_classes("y", y), validate_classes("z", z)
    if classes.shape != clusters.shape:
        raise ValueError(f"z: expected {len(classes)} labels, as many as y has, got {len(clusters)}")
    table = np.zeros((classes.max() + 1, clusters.max() + 1))
    np.add.at(table, (classes, clusters), 1)
    return table / np.maximum(table.sum(1, keepdims=True), 1) if normalized else table


def matching(y: Any, z: Any) -> dict[int, int]:
    """The one-to-one assignment of clusters to classes with the greatest agreement: cluster → class."""
    classes, clusters = linear_sum_assignment(-contingency(y, z))
    return {int(cluster): int(label) for label, cluster in zip(classes, clusters, strict=True)}


def accuracy(y: Any, z: Any) -> float:
    """The share of points whose cluster is matched to their class, under the best one-to-one matching."""
    table = contingency(y, z)
    return float(table[linear_sum_assignment(-table)].sum() / table.sum())


def normalized_mutual_information(y: Any, z: Any) -> float:
    """Normalized mutual information (scikit-learn's, arithmetic mean): 0 … 1."""
    return float(normalized_mutual_info_score(validate_classes("y", y), validate_classes("z", z)))


def adjusted_rand(y: Any, z: Any) -> float:
    """Adjusted Rand index (scikit-learn's): 0 on average for random clusters, 1 for perfect ones."""
    return float(adjusted_rand_score(validate_classes("y", y), validate_classes("z", z)))


def calibration(probabilities: Any, y: Any, bins: int = 15) -> Table:
    """Confidence against accuracy, in ``bins`` of equal width of the greatest probability.

    Args:
        probabilities: of the classes, ``(N, C)``.
        y: classes ``(N,)``, integers from 0.
        bins: how many.

    Returns:
        ``(bins, 3)``: the share of the points in each bin, their mean confidence, and the share of them whose most
        probable class is right; 0 in empty bins.

    Raises:
        ValueError: if the shapes do not agree, rows do not sum to 1, or ``bins`` is below 1.
    """
    table, classes = np.asarray(probabilities, dtype=np.float64), validate_classes("y", y)
    check_count("bins", bins)
    if table.ndim != 2 or len(table) != len(classes) or classes.max() >= table.shape[1]:
        raise ValueError(
            f"probabilities: expected shape ({len(classes)}, C), a row for each y, with C above {classes.max()}, "
            f"got {table.shape}"
        )
    if not (np.abs(table.sum(1) - 1) < 1e-3).all() or (table < -1e-6).any():
        raise ValueError("probabilities: expected numbers ≥ 0 that sum to 1 in each row")
    confidence, right = table.max(1), table.argmax(1) == classes
    bin_index = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(bin_index, minlength=bins)
    sums = [np.bincount(bin_index, weights=of, minlength=bins) for of in (confidence, right)]
    return np.stack([counts / len(classes), *(total / np.maximum(counts, 1) for total in sums)], axis=1)


def calibration_error(probabilities: Any, y: Any, bins: int = 15) -> float:
    """Expected calibration error: Σ_b share_b |accuracy_b − confidence_b| over the bins of :func:`calibration`.

    Reference: Guo et al., 2017 (arXiv:1706.04599), equation 3.
    """
    share, confidence, right = calibration(probabilities, y, bins).T
    return float((share * np.abs(right - confidence)).sum())


def validate_classes(name: str, values: Any) -> npt.NDArray[np.int64]:
    """``values`` as an integer array ``(N,)``, N ≥ 1, none negative."""
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise ValueError(f"{name}: expected integers from 0, shape (N,) with N ≥ 1, got {array.dtype} {array.shape}")
    return array.astype(np.int64)
