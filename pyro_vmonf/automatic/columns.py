"""The columns of a table: their names, and those that have no density of their own."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "ColumnWarning",
    "check_complete",
    "column_names",
    "constant_columns",
    "dependent_columns",
    "listed",
    "tied_columns",
    "warn_of_columns",
]

MOST_LISTED = 8  # columns that a message names
MOST_VALUES, POINTS_A_VALUE, ATOM = 20, 10, 0.25  # of a column in which many points share values
DEPENDENT = 1e-6  # the standard deviation of what others leave of a column; rounding leaves far less


class ColumnWarning(UserWarning):
    """Columns in which the data have no density: constant ones, linear functions of others, few values."""


def column_names(x: object, features: int) -> list[str]:
    """Returns the names of the columns of a data frame, and the numbers of those of anything else.

    Args:
        x: What the user gave.
        features: The number D of columns.
    """
    columns = getattr(x, "columns", None)
    names = [] if columns is None else [repr(name) for name in columns]
    return names if len(names) == features else [str(i) for i in range(features)]


def listed(which: Tensor, names: Sequence[str]) -> str:
    """Returns the names of some columns for a message, of the first eight where there are more.

    Args:
        which: Whether each column is among them, ``(D,)``.
        names: The names of all columns.
    """
    chosen = [str(names[i]) for i in which.nonzero().flatten().tolist()]
    more = [f"{len(chosen) - MOST_LISTED} more"] if len(chosen) > MOST_LISTED else []
    return ", ".join([*chosen[:MOST_LISTED], *more])


def check_complete(name: str, x: Tensor, names: Sequence[str]) -> None:
    """Raises ``ValueError`` if points have missing (NaN) or infinite values, and says in which columns and what to do.

    Args:
        name: What the caller calls the points.
        x: The points ``(N, D)``.
        names: The names of the columns.
    """
    missing, infinite = x.isnan(), x.isinf()
    found = [
        f"{int(bad.sum())} {kind} in {int(bad.any(1).sum())} of {len(x)} rows, columns {listed(bad.any(0), names)}"
        for kind, bad in (("missing (NaN)", missing), ("infinite", infinite))
        if bool(bad.any())
    ]
    if found:
        advice = "Leave these rows out"
        if bool(missing.any()):
            advice += ", or fill the missing values in, as sklearn.impute.SimpleImputer and KNNImputer do"
        raise ValueError(f"{name}: expected finite values, got {', and '.join(found)}. {advice}.")


def constant_columns(x: Tensor) -> Tensor:
    """Returns whether each column of points ``(N, D)`` has one value alone, ``(D,)``."""
    return (x == x[:1]).all(0)


def dependent_columns(x: Tensor) -> Tensor:
    """Returns whether each column is a linear function of those before it, as a copy is; ``(D,)``.

    Nothing is said of tables with no more rows than columns, where the last ones always are.

    Args:
        x: Standardised points ``(N, D)``.
    """
    n, d = x.shape
    if n <= d:
        return torch.zeros(d, dtype=torch.bool, device=x.device)
    # A diagonal entry of R is the norm of what the columns before leave of one.
    left = torch.linalg.qr(x - x.mean(0), mode="r")[1].diagonal().abs() / n**0.5
    return left < DEPENDENT


def tied_columns(x: Tensor, weight: Tensor) -> Tensor:
    """Returns whether many points share values in each column, ``(D,)``.

    It is so where a quarter of the points have one value, or where there are at most 20 values with ten points to each
    or more; not in a constant column.

    Args:
        x: The points ``(N, D)``.
        weight: Their weights ``(N,)``, by which points are counted.
    """
    return torch.tensor([is_tied(column, weight) for column in x.mT], dtype=torch.bool, device=x.device)


def is_tied(column: Tensor, weight: Tensor) -> bool:
    """Returns whether many points share values in one column."""
    values, index = column.unique(return_inverse=True)
    if len(values) == 1:
        return False
    if len(values) <= MOST_VALUES and float(weight.sum()) >= POINTS_A_VALUE * len(values):
        return True
    shares = weight.new_zeros(len(values)).index_add_(0, index, weight) / weight.sum()
    return float(shares.max()) >= ATOM


def warn_of_columns(x: Tensor, weight: Tensor, names: Sequence[str]) -> None:
    """Warns of columns that are constant, that are linear functions of others, or in which many points share values.

    Args:
        x: The standardised points ``(N, D)``.
        weight: Their weights ``(N,)``.
        names: The names of the columns.
    """
    constant = constant_columns(x)
    dependent = dependent_columns(x) & ~constant
    parts = [(constant, "constant"), (dependent, "linear functions of columns before them")]
    found = [f"columns {listed(which, names)} are {what}" for which, what in parts if bool(which.any())]
    if found:
        warnings.warn(
            f"x: {', and '.join(found)}. The data have no density there: the components get a small variance instead, "
            "and log-likelihoods depend on it. Leave the columns out to compare these.",
            ColumnWarning,
            stacklevel=4,
        )
    tied = tied_columns(x, weight)
    if bool(tied.any()):
        warnings.warn(
            f"x: in columns {listed(tied, names)} many points share values (at most {MOST_VALUES} values, or one for a "
            "quarter of the points). A density of such data has no bound: log-likelihoods say how narrow the "
            "components are there, and clusters may follow single values. For the density of counts, add to each value "
            "uniform noise of the distance between values, to these points and to all that are scored later.",
            ColumnWarning,
            stacklevel=4,
        )
