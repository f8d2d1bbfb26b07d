"""The rows that an estimator is given, as an array of float64 and whatever they were before."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from pyro_vmonf._validation import as_numbers, check_weights, has_nullable_numbers
from pyro_vmonf.automatic.columns import check_complete, column_names
from pyro_vmonf.evaluation.evaluating import Evaluation, evaluate

__all__ = ["Array", "evaluation_of", "read_rows", "read_weights", "tensor_to_array"]

Array: TypeAlias = npt.NDArray[np.float64]


def read_rows(estimator: BaseEstimator, X: object, *, reset: bool) -> Array:  # noqa: N803  (scikit-learn's name)
    """Returns the rows ``(N, D)`` in float64, and keeps or compares the number and the names of the features.

    Args:
        estimator: The estimator that is given the rows.
        X: A tensor, an array, nested lists, or a frame of pandas, polars or pyarrow.
        reset: Whether this is a fit, of two rows or more, whose features are kept; else they must be those of the fit.

    Raises:
        TypeError: For sparse matrices.
        ValueError: For missing, masked, infinite or complex values, text, or other features than those of the fit.
    """
    plain = as_plain(X)
    check_no_text(plain)
    # scikit-learn's message on missing values would not say in which columns they are.
    least = 2 if reset else 1
    given: Any = validate_data(
        estimator, plain, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=least, reset=reset
    )
    rows: Array = np.ascontiguousarray(given)  # torch takes no negative strides
    check_complete("X", torch.tensor(rows), column_names(plain, rows.shape[1]))
    return rows


def as_plain(X: Any) -> Any:  # noqa: N803
    """Returns tensors as arrays, lazy frames collected, and frames of pyarrow or of nullable types as those of numpy's.

    Raises:
        ValueError: For an array with masked values, whose mask scikit-learn would drop.
    """
    if np.ma.is_masked(X):
        count = int(np.ma.count_masked(X))
        raise ValueError(f"X: expected finite values, got {count} masked ones. Leave their rows out, or fill them in.")
    if isinstance(X, Tensor):
        return tensor_to_array(X)
    if type(X).__name__ == "LazyFrame":
        return X.collect()
    if type(X).__module__.startswith("pyarrow"):
        return as_plain(X.to_pandas())
    if has_nullable_numbers(X):
        return type(X)(X.to_numpy(dtype=np.float64, na_value=np.nan), columns=X.columns, index=X.index)
    return X


def tensor_to_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Returns a tensor as an array: real numbers in float64, complex ones as they are."""
    here = tensor.detach().cpu()
    return (here if here.is_complex() else here.double()).numpy()


def check_no_text(frame: Any) -> None:
    """Raises ``ValueError`` if columns of a data frame hold no numbers, and says which."""
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        return
    found = [str(name) for name in frame.columns if not holds_numbers(frame[name])]
    if found:
        raise ValueError(f"X: expected numbers, got others in columns {found}. Leave these out, or encode them.")


def holds_numbers(column: Any) -> bool:
    """Returns whether a column of a frame can be read as numbers."""
    if getattr(getattr(column, "dtype", None), "kind", "O") in "fiub":
        return True
    try:
        np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return True


def read_weights(sample_weight: object, rows: Array) -> Array | None:
    """Returns the weights of rows ``(N,)`` in float64, or None where all are equal.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If their number is not that of the rows, one is negative or not finite, or all are 0.
    """
    if sample_weight is None:
        return None
    given = as_numbers("sample_weight", sample_weight)
    if given.numel() and not bool(given.any()):
        raise ValueError("sample_weight: expected a weight above 0, got zero for all rows")  # as scikit-learn says it
    return tensor_to_array(check_weights("sample_weight", given, torch.tensor(rows)))


def evaluation_of(estimator: Any, X: object) -> Evaluation:  # noqa: N803
    """Returns what a fitted estimator says of rows, in nats and in the units of X."""
    check_is_fitted(estimator)
    return evaluate(estimator.model_, estimator.guide_, read_rows(estimator, X, reset=False))
