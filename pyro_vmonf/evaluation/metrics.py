"""Agreement of clusters with classes, and calibration: tensors or arrays in, numbers out."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from pyro_vmonf._validation import as_floats, as_numbers, check_count

__all__ = [
    "accuracy",
    "adjusted_rand",
    "calibration",
    "calibration_error",
    "contingency",
    "matching",
    "normalized_mutual_information",
]

Numbers: TypeAlias = Tensor | npt.ArrayLike
Table: TypeAlias = npt.NDArray[np.float64]


def contingency(y: Numbers, z: Numbers, *, normalized: bool = False) -> Table:
    """Returns how many points of class i are in cluster j, ``(classes, clusters)``.

    Args:
        y: The classes ``(N,)``, integers from 0.
        z: The clusters ``(N,)``, integers from 0.
        normalized: Whether each row is divided by its sum, as in the thesis's Table 5.1; an empty row stays 0.

    Raises:
        ValueError: If y and z are empty, differ in length, or hold anything but integers from 0.

    Examples:
        >>> from pyro_vmonf.evaluation import contingency
        >>> contingency([0, 0, 0, 1], [2, 2, 0, 1], normalized=True).round(2)
        array([[0.33, 0.  , 0.67],
               [0.  , 1.  , 0.  ]])
    """
    classes, clusters = validate_classes("y", y), validate_classes("z", z)
    if classes.shape != clusters.shape:
        raise ValueError(f"z: expected {len(classes)} labels, as many as y has, got {len(clusters)}")
    table = np.zeros((classes.max() + 1, clusters.max() + 1))
    np.add.at(table, (classes, clusters), 1)
    return table / np.maximum(table.sum(1, keepdims=True), 1) if normalized else table


def matching(y: Numbers, z: Numbers) -> dict[int, int]:
    """Returns the one-to-one assignment of clusters to classes with the greatest agreement: cluster → class.

    Examples:
        >>> from pyro_vmonf.evaluation import matching
        >>> matching([0, 0, 1, 1], [1, 1, 0, 0])
        {1: 0, 0: 1}
    """
    classes, clusters = linear_sum_assignment(-contingency(y, z))
    return {int(cluster): int(label) for label, cluster in zip(classes, clusters, strict=True)}


def accuracy(y: Numbers, z: Numbers) -> float:
    """Returns the share of points whose cluster is matched to their class, under the best one-to-one matching.

    Args:
        y: The classes ``(N,)``, integers from 0.
        z: The clusters ``(N,)``, integers from 0.

    Raises:
        ValueError: If y and z are empty, differ in length, or hold anything but integers from 0.

    Examples:
        >>> from pyro_vmonf.evaluation import accuracy
        >>> accuracy([0, 0, 1, 1], [1, 1, 0, 1])
        0.75
    """
    table = contingency(y, z)
    return float(table[linear_sum_assignment(-table)].sum() / table.sum())


def normalized_mutual_information(y: Numbers, z: Numbers) -> float:
    """Returns the normalized mutual information, from 0 to 1 (scikit-learn's, with the arithmetic mean).

    Examples:
        >>> from pyro_vmonf.evaluation import normalized_mutual_information
        >>> round(normalized_mutual_information([0, 0, 1, 1], [1, 1, 0, 0]), 6)
        1.0
    """
    return float(normalized_mutual_info_score(validate_classes("y", y), validate_classes("z", z)))


def adjusted_rand(y: Numbers, z: Numbers) -> float:
    """Returns the adjusted Rand index (scikit-learn's), on average 0 for random clusters, and 1 for perfect ones.

    Examples:
        >>> from pyro_vmonf.evaluation import adjusted_rand
        >>> adjusted_rand([0, 0, 1, 1], [1, 1, 0, 0])
        1.0
    """
    return float(adjusted_rand_score(validate_classes("y", y), validate_classes("z", z)))


def calibration(probabilities: Numbers, y: Numbers, bins: int = 15) -> Table:
    """Returns confidence and accuracy, in bins of equal width of the greatest probability.

    Args:
        probabilities: The probabilities of the classes ``(N, C)``.
        y: The classes ``(N,)``, integers from 0.
        bins: The number of bins.

    Returns:
        A table ``(bins, 3)``: the share of the points in each bin, their mean confidence, and the share of them whose
        most probable class is right. Empty bins have 0.

    Raises:
        ValueError: If the shapes do not agree, rows do not sum to 1, or ``bins`` is below 1.

    Examples:
        >>> from pyro_vmonf.evaluation import calibration
        >>> calibration([[0.75, 0.25], [0.75, 0.25]], [0, 1], bins=2)
        array([[0.  , 0.  , 0.  ],
               [1.  , 0.75, 0.5 ]])
    """
    table, classes = as_floats("probabilities", probabilities).double().cpu().numpy(), validate_classes("y", y)
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


def calibration_error(probabilities: Numbers, y: Numbers, bins: int = 15) -> float:
    """Returns the expected calibration error Σ_b share_b |accuracy_b − confidence_b| over the bins of a calibration.

    The arguments and errors are those of :func:`calibration`.

    Reference: Guo et al., 2017 (arXiv:1706.04599), equation 3.

    Examples:
        >>> from pyro_vmonf.evaluation import calibration_error
        >>> calibration_error([[0.75, 0.25], [0.75, 0.25]], [0, 1])
        0.25
    """
    share, confidence, right = calibration(probabilities, y, bins).T
    return float((share * np.abs(right - confidence)).sum())


def validate_classes(name: str, values: object) -> npt.NDArray[np.int64]:
    """Returns ``values`` as an array ``(N,)``, N ≥ 1; raises ``ValueError`` if they are no integers from 0."""
    array = as_numbers(name, values).cpu().numpy()
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise ValueError(f"{name}: expected integers from 0, shape (N,) with N ≥ 1, got {array.dtype} {array.shape}")
    return array.astype(np.int64)
