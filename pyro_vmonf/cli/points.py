"""The points of a file as a fit and a fitted mixture take them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.multiclass import type_of_target
from torch import Tensor

from pyro_vmonf._io import Json
from pyro_vmonf.architecture import digest
from pyro_vmonf.automatic.columns import check_complete
from pyro_vmonf.tables import Table, read_columns, read_table, table_of

if TYPE_CHECKING:
    from pyro_vmonf.persistence import SavedMixture

__all__ = ["Columns", "Rows", "classes_of", "complete_points", "is_missing", "named_columns", "points_for", "rows_of"]

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """The columns of a file that are read, as options name them.

    Attributes:
        chosen: Those to read, all if there are none: a name, or several with commas between, each.
        ignored: Those to leave out, likewise.
        label: That of the labels, or None.
    """

    chosen: Sequence[str] = ()
    ignored: Sequence[str] = ()
    label: str | None = None

    def read(self, path: Path) -> Table:
        """Returns the table of a file; raises as :func:`~pyro_vmonf.tables.read_table` does."""
        whole = read_columns(path)
        chosen, ignored = named_columns(self.chosen, whole), named_columns(self.ignored, whole)
        return table_of(path, whole, columns=chosen or None, ignore=ignored, label_column=self.label)


class NamedPoints(np.ndarray[Any, np.dtype[np.float64]]):
    """Points ``(N, D)`` whose columns have names, by which warnings call them."""

    columns: list[str]


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        points: The points ``(N, D)``.
        names: The names of their columns.
        classes: The classes among the labels, sorted.
        numbers: The number of each row's class ``(N,)``, −1 where it has no label; None without labels.
    """

    points: Tensor
    names: list[str]
    classes: list[Json]
    numbers: Numbers | None

    @property
    def named_points(self) -> NamedPoints:
        """The points with the names of their columns."""
        points = self.points.numpy().view(NamedPoints)
        points.columns = self.names
        return points

    @property
    def checksum(self) -> str:
        """A checksum of the points and the numbers of their classes."""
        return digest(self.points) + ("" if self.numbers is None else digest(torch.as_tensor(self.numbers)))


def rows_of(table: Table, path: Path) -> Rows:
    """Returns the rows of a table that was read from a file.

    Raises:
        ValueError: If columns have missing values, or labels are no classes.
    """
    classes, numbers = ([], None) if table.labels is None else classes_of(table.labels)
    return Rows(complete_points(table, path), table.names, classes, numbers)


def complete_points(table: Table, path: Path) -> Tensor:
    """Returns the points of a table ``(N, D)``; raises ``ValueError`` that names columns with missing values."""
    points = torch.as_tensor(table.x)
    check_complete(str(path), points, table.names)
    return points


def points_for(saved: SavedMixture, path: Path) -> Tensor:
    """Returns the points of a file in the columns that a mixture was fitted to, found by their names.

    Raises:
        OSError, ValueError: If the file cannot be read, lacks a column, or has missing values.
    """
    columns: Any = saved.header["columns"]
    try:
        table = read_table(path, columns=columns)
    except ValueError as error:  # which names the argument, where the user gave a file alone
        if not str(error).startswith("columns:"):
            raise
        raise ValueError(f"{path}:{str(error).removeprefix('columns:')}") from error
    return complete_points(table, path)


def named_columns(given: Sequence[str], names: Collection[str]) -> list[str]:
    """Returns the columns that an option names.

    Args:
        given: What the option was given, each time: the name of a column, or several with commas between.
        names: The names of all columns of the file, which may have commas themselves.
    """
    each = ([text] if text in names else text.split(",") for text in given)
    return [name if name in names else name.strip() for parts in each for name in parts if name.strip()]


def classes_of(labels: npt.NDArray[Any]) -> tuple[list[Json], Numbers]:
    """Returns the classes among labels, sorted, and the number of each row's class, −1 where it has no label.

    Args:
        labels: The labels ``(N,)``; None, NaN and empty texts stand for none.

    Raises:
        ValueError: If they are numbers with fractions, not classes.
    """
    given = labels.tolist()
    if type_of_target([label for label in given if not is_missing(label)] or [0]).startswith("continuous"):
        raise ValueError("--label-column: expected classes, got numbers with fractions")
    classes = sorted({label for label in given if not is_missing(label)}, key=lambda label: (str(type(label)), label))
    numbers = {label: i for i, label in enumerate(classes)}
    return list(classes), np.array([numbers.get(label, -1) for label in given])


def is_missing(label: Any) -> bool:
    """Returns whether a label stands for none."""
    return label is None or label == "" or bool(label != label)
