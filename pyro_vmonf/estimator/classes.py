"""The labels of a classifier, of any type, as numbers of classes and of components."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from pyro_vmonf.automatic.folds import Scale
from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture

__all__ = ["Targets", "component_labels", "read_targets"]

Anything = npt.NDArray[Any]


@dataclass(frozen=True)
class Targets:
    """The labels of N rows.

    Attributes:
        classes: The labels that occur, sorted, ``(C,)``.
        codes: The number of each row's class, −1 where it has none, ``(N,)``.
    """

    classes: Anything
    codes: npt.NDArray[np.int64]

    @property
    def is_labelled(self) -> npt.NDArray[np.bool_]:
        """Which rows have a label, ``(N,)``."""
        return self.codes >= 0

    def values(self) -> Anything:
        """Returns the labels of the rows that have one."""
        return self.classes[self.codes[self.is_labelled]]

    def of_positive(self, weight: Array | None) -> "Targets":
        """Returns the same without the classes whose rows all have the weight 0.

        Raises:
            ValueError: If no class is left.
        """
        counted = self.is_labelled if weight is None else self.is_labelled & (weight > 0)
        kept = np.unique(self.codes[counted])
        if not len(kept):
            raise ValueError("y: expected a row of weight above 0 with a label of a class, got none")
        numbers = np.full(len(self.classes) + 1, -1)  # the last is that of −1
        numbers[kept] = np.arange(len(kept))
        return Targets(self.classes[kept], numbers[self.codes])


def read_targets(y: object, size: int, unlabelled: object = None) -> Targets:
    """Returns labels of any type as numbers of classes; NaN, None and NA stand for none.

    Args:
        y: The labels ``(N,)``.
        size: The number N of rows.
        unlabelled: A further label that stands for none, such as −1, or None.

    Raises:
        ValueError: If there are no labels, of another number than the rows, or not of one kind.

    Warns:
        UserWarning: If −1 is among other integer classes, and ``unlabelled`` is not −1.
    """
    if y is None:
        raise ValueError("This VMoNFClassifier estimator requires y to be passed, but the target y is None.")
    labels = np.asarray(column_or_1d(y.detach().cpu() if isinstance(y, Tensor) else y, warn=True))
    if len(labels) != size:
        raise ValueError(f"y: expected one label for each of {size} rows, got {len(labels)} (inconsistent numbers)")
    has_none = missing(labels)
    if unlabelled is not None:
        has_none = has_none | np.array([bool(label == unlabelled) for label in labels.tolist()], dtype=bool)
    known = of_one_kind(labels[~has_none])
    check_classification_targets(known)
    warn_of_minus_one(known)
    codes = np.full(size, -1)
    classes, codes[~has_none] = np.unique(known, return_inverse=True)
    return Targets(classes, codes)


def missing(labels: Anything) -> npt.NDArray[np.bool_]:
    """Returns which labels are NaN, None or pandas's NA, ``(N,)``."""
    if labels.dtype.kind == "f":
        return np.isnan(labels)
    if labels.dtype.kind != "O":
        return np.zeros(len(labels), dtype=bool)
    return np.array([is_missing(label) for label in labels], dtype=bool)


def is_missing(label: object) -> bool:
    """Returns whether a label is NaN, None or pandas's NA."""
    return label is None or type(label).__name__ == "NAType" or (isinstance(label, float) and label != label)


def of_one_kind(known: Anything) -> Anything:
    """Returns labels in a type of numpy's own, but texts as they are; raises ``ValueError`` for texts among others."""
    if known.dtype.kind != "O":
        return known
    are_texts = {isinstance(label, str) for label in known}
    if len(are_texts) > 1:
        raise ValueError("y: expected labels of one kind, got texts among others; None or NaN stands for no label")
    return known if are_texts == {True} else np.array(known.tolist())


def warn_of_minus_one(known: Anything) -> None:
    """Warns if −1 is a class among integers that are no pair −1 and 1."""
    if known.dtype.kind == "i" and (known == -1).any() and set(np.unique(known)) != {-1, 1}:
        message = "label -1 is taken for a class; if it means that a row has no label, set unlabelled=-1"
        warnings.warn(message, UserWarning, stacklevel=4)


def component_labels(rows: Array, targets: Targets, weight: Array | None, per_class: int, seed: int) -> Tensor:
    """Returns labels of components as :func:`~pyro_vmonf.fit_mixture` takes them.

    With one component a class these are the classes, ``(N,)``. With more, the labelled rows of each class are divided
    among its components by a Gaussian mixture of their own, with diagonal covariances: soft labels ``(N, C M)``, in
    which component c M + m is the m-th of class c.

    Args:
        rows: The rows ``(N, D)``.
        targets: Their labels.
        weight: Their weights ``(N,)``, or None.
        per_class: The number M of components of each class.
        seed: The seed of the mixtures.

    Raises:
        ValueError: If a class has fewer distinct labelled rows than components.
    """
    if per_class == 1:
        return torch.as_tensor(targets.codes)
    x, mass = torch.tensor(rows), torch.ones(len(rows)).double() if weight is None else torch.tensor(weight)
    x = Scale.of(x, mass).standardized(x)
    table = torch.full((len(rows), per_class * len(targets.classes)), -1.0, dtype=torch.float64)
    for c, name in enumerate(targets.classes):
        own = torch.as_tensor(targets.codes == c) & (mass > 0)
        if (count := len(x[own].unique(dim=0))) < per_class:
            raise ValueError(
                f"components_per_class: expected at most the number of distinct labelled rows of each class, "
                f"{count} of {str(name)!r}, got {per_class}"
            )
        parts = fit_gaussian_mixture(x[own], per_class, covariance_type="diag", weight=mass[own], seed=seed)
        shares = torch.zeros(int(own.sum()), table.shape[1], dtype=torch.float64)
        shares[:, c * per_class : (c + 1) * per_class] = parts.responsibilities
        table[own] = shares
    return table
