"""The labels of a report's rows."""

from typing import Any

import numpy as np

from pyro_vmonf.estimator.classes import Targets, read_targets

__all__ = ["label_text", "read_report_labels"]


def read_report_labels(labels: Any, size: int, estimator: Any) -> Targets | None:
    """Returns labels as numbers of classes, or None where no row has one.

    NaN, None and NA stand for none, and so do what the estimator calls unlabelled, and −1 among other integers than 1.

    Args:
        labels: The labels ``(N,)`` of any type.
        size: The number N of rows.
        estimator: The estimator.

    Raises:
        ValueError: If their number is not that of the rows.
    """
    values = np.asarray(labels)
    unlabelled = getattr(estimator, "unlabelled", None)
    if unlabelled is None and values.dtype.kind == "i" and not set(np.unique(values)) <= {-1, 1}:
        unlabelled = -1
    if len(values) == size and bool((values == unlabelled).all()):
        return None
    targets = read_targets(values, size, unlabelled)
    return targets if targets.is_labelled.any() else None


def label_text(label: object) -> str:
    """Returns a label as text; integers that missing values beside them made floats are written as integers.

    Examples:
        >>> label_text(3.0), label_text("3.0")
        ('3', '3.0')
    """
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
