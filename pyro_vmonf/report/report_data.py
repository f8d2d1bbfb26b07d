"""What a report is about: rows, and what a fitted estimator says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pyro_vmonf.estimator.classes import Targets
from pyro_vmonf.estimator.rows import Array, evaluation_of, read_rows, tensor_to_array
from pyro_vmonf.evaluation.evaluating import Evaluation
from pyro_vmonf.models.weights import log_mean
from pyro_vmonf.report.targets import label_text, read_report_labels

__all__ = ["ReportData", "read_report_data"]


@dataclass(frozen=True)
class ReportData:
    """Rows, and what a fitted estimator says of them.

    Attributes:
        estimator: The estimator, which has ``model_`` and ``guide_``.
        rows: The rows ``(N, D)``, in the units of the user.
        names: The names of the columns, ``(D,)``.
        evaluation: The log-densities of the rows.
        encoder: The encoder's probabilities of the components, ``(N, K)``.
        exact: The exact ones, ``(N, K)``.
        evidence: The log-density of each row in nats, ``(N,)``.
        weights: The weights of the components, ``(K,)``.
        targets: The labels of the rows, or None.
    """

    estimator: Any
    rows: Array
    names: Sequence[str]
    evaluation: Evaluation
    encoder: Array
    exact: Array
    evidence: Array
    weights: Array
    targets: Targets | None

    @property
    def components(self) -> npt.NDArray[np.int64]:
        """The most probable component of each row by the encoder, ``(N,)``."""
        found: npt.NDArray[np.int64] = self.encoder.argmax(1)
        return found

    @property
    def component_names(self) -> list[str]:
        """The names of the components: their numbers, and for a classifier their classes."""
        k = len(self.weights)
        classes = getattr(self.estimator, "classes_", None)
        if classes is None:
            return [f"component {i}" for i in range(k)]
        per_class = k // len(classes)
        return [f"component {i} ({label_text(classes[i // per_class])})" for i in range(k)]

    @property
    def units(self) -> Array:
        """The standard deviation of each column, 1 where it is 0, ``(D,)``."""
        found: Array = self.rows.std(0)
        # The deviation of a constant column is that of its rounding.
        return np.where(found > 1e-12 * np.abs(self.rows).max(0), found, 1.0)


def read_report_data(estimator: Any, X: object, names: Sequence[str] | None, labels: object) -> ReportData:  # noqa: N803
    """Returns rows and what a fitted estimator says of them.

    Args:
        estimator: The estimator.
        X: The rows ``(N, D)``, of any kind that the estimator takes.
        names: The names of the columns, or None for those of the fit or of X, or numbers.
        labels: The labels ``(N,)`` of any type, or None.

    Raises:
        TypeError: For an estimator that has no model and guide.
        ValueError: For rows that the estimator refuses, or another number of names or labels.
    """
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(f"estimator: expected a VMoNF or a VMoNFClassifier, got {type(estimator).__name__}")
    evaluation = evaluation_of(estimator, X)
    rows = read_rows(estimator, X, reset=False)
    own = estimator.guide_.log_weights()
    with torch.no_grad():
        weights = (log_mean(estimator.model_.weights) if own is None else own).exp()
    return ReportData(
        estimator=estimator,
        rows=rows,
        names=column_titles(estimator, X, names, rows.shape[1]),
        evaluation=evaluation,
        encoder=tensor_to_array(evaluation.encoder_probs),
        exact=tensor_to_array(evaluation.responsibilities),
        evidence=tensor_to_array(evaluation.evidence),
        weights=tensor_to_array(weights),
        targets=None if labels is None else read_report_labels(labels, len(rows), estimator),
    )


def column_titles(estimator: Any, X: Any, names: Sequence[str] | None, features: int) -> list[str]:  # noqa: N803
    """Returns the names of the columns: given ones, those of the fit or of a frame, or numbers.

    Raises:
        ValueError: If other than ``features`` names are given.
    """
    if names is not None:
        if isinstance(names, str) or len(names) != features:
            raise ValueError(f"names: expected {features} names, one for each column of X, got {names!r}")
        return [str(name) for name in names]
    for found in (getattr(estimator, "feature_names_in_", None), getattr(X, "columns", None)):
        if found is not None and len(found) == features:
            return [str(name) for name in found]
    return [f"column {i}" for i in range(features)]
