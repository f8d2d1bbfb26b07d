"""The points of a fit as a search takes them, from what the user gave."""

from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from pyro_vmonf._validation import as_floats, check_fraction, check_weights
from pyro_vmonf.automatic.columns import check_complete, column_names, warn_of_columns
from pyro_vmonf.automatic.folds import Folds, Scale, distinct, first_of, folds_of

__all__ = ["Table", "collapsed", "held_out", "least_points", "table_of"]


@dataclass(frozen=True)
class Table:
    """Distinct points in an order of their own, standardised.

    Attributes:
        x: The points ``(N, D)``, in float64.
        weight: The sum of the weights of the rows that are equal to each, ``(N,)``, about 1.
        scale: The mean and deviation of each column.
        index: The point of each row of weight above 0.
        kept: These rows.
        given_weight: Their weights, about 1.
        total: The number of all rows.
    """

    x: Tensor
    weight: Tensor
    scale: Scale
    index: Tensor
    kept: Tensor
    given_weight: Tensor
    total: int

    @property
    def rows(self) -> Tensor:
        """The first row that is equal to each point."""
        return self.kept[first_of(self.index, len(self.x))]


def points_of(name: str, x: object) -> tuple[Tensor, list[str]]:
    """Returns points ``(N, D)`` in float64 and the names of their columns; raises where they cannot be used."""
    points = as_floats(name, x).double().cpu()
    if points.dim() != 2 or not points.shape[1]:
        raise ValueError(f"{name}: expected shape (N, D), got {tuple(points.shape)}")
    names = column_names(x, points.shape[1])
    check_complete(name, points, names)
    return points, names


def table_of(x: object, sample_weight: object, n_components: int) -> Table:
    """Returns the points of a fit.

    Args:
        x: The points ``(N, D)``: a tensor, an array, a data frame or rows of numbers.
        sample_weight: Their weights ``(N,)``, or None.
        n_components: The number K of components.

    Raises:
        TypeError, ValueError: If they cannot be used, or there are too few.
    """
    table, names = collapsed(x, sample_weight)
    count, least = len(table.x), least_points(n_components)
    if count < least:
        raise ValueError(f"x: expected at least {least} distinct points for n_components = {n_components}, got {count}")
    warn_of_columns(table.x, table.weight, names)
    return table


def least_points(n_components: int) -> int:
    """Returns the least number of distinct points that folds of K components take: each keeps more than K of them."""
    return max(5, n_components + 1 + n_components // 4)


def about_one(weight: Tensor) -> Tensor:
    """Returns weights ``(N,)`` as 1 where all are equal, and else divided by the power of two next to their mean.

    A power of two leaves all digits as they are, so that repeated rows and rows with weights lead to the same bits.
    """
    if bool((weight == weight[0]).all()):
        return torch.ones_like(weight)
    return weight / weight.mean().log2().round().exp2()


def collapsed(x: object, sample_weight: object) -> tuple[Table, list[str]]:
    """Returns the points of a fit, however few, and the names of their columns.

    Args:
        x: The points ``(N, D)``.
        sample_weight: Their weights ``(N,)``, or None.

    Raises:
        TypeError, ValueError: If they cannot be used.
    """
    given, names = points_of("x", x)
    weight = torch.ones(len(given)) if sample_weight is None else check_weights("sample_weight", sample_weight, given)
    kept = (weight.cpu() > 0).nonzero().squeeze(-1)
    weight = weight.cpu()[kept].double()
    given_weight = about_one(weight)
    points, weight, index = distinct(given[kept], given_weight)
    scale = Scale.of(points, weight)
    return Table(scale.standardized(points), weight, scale, index, kept, given_weight, len(given)), names


def held_out(validation: object, table: Table, n_components: int, seed: int) -> tuple[Folds, Tensor]:
    """Returns what each fold trains on and holds out, and further standardised points that the last of them are.

    Args:
        validation: Points to hold out ``(M, D)``, the fraction of x to hold out, or None for the folds by default.
        table: The points.
        n_components: The number K of components.
        seed: The seed of the folds.

    Raises:
        TypeError, ValueError: If they cannot be used.
    """
    n, features = table.x.shape
    if validation is None:
        return folds_of(n, seed), table.x[:0]
    if isinstance(validation, Real):
        fraction = check_fraction("validation", validation, below_one=True)
        least, size = n_components + 1, round(n * fraction)
        if size < 1 or n - size < least:
            raise ValueError(
                f"validation: expected a fraction that holds out a point or more, and leaves {least} or more of {n} "
                f"distinct ones, got {validation!r}"
            )
        return folds_of(n, seed, fraction), table.x[:0]
    more, _ = points_of("validation", validation)
    if more.shape[1] != features or not len(more):
        raise ValueError(f"validation: expected points of {features} features, got shape {tuple(more.shape)}")
    rows = torch.arange(n + len(more))
    return Folds([rows[:n]], [rows[n:]]), table.scale.standardized(more)
