"""Tables in files, as points and labels: CSV, TSV, NPY, NPZ and Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pyro_vmonf._io import atomic_write

__all__ = ["Table", "check_target", "csv_text", "read_columns", "read_table", "table_of", "write_table"]

Array: TypeAlias = npt.NDArray[Any]

SHOWN = 5  # values that a message quotes


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        x: The points ``(N, D)`` in float64; missing values are NaN.
        names: The names of their columns; of arrays without names, the numbers from 0 as text.
        labels: The label of each row ``(N,)``, None where there is none; or None without a column of labels.
    """

    x: npt.NDArray[np.float64]
    names: list[str]
    labels: npt.NDArray[np.object_] | None = None


def read_table(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    label_column: str | None = None,
) -> Table:
    """Reads a file whose rows are points.

    CSV and TSV files have a first line with the names of the columns. NPY files hold an array ``(N, D)``, NPZ files one
    such array, or ``x`` and the names of its columns, ``columns``. No code of a file is executed.

    Args:
        path: The file; its ending says what it is: ``.csv``, ``.tsv``, ``.npy``, ``.npz`` or ``.parquet``.
        columns: The names of the columns to read, in this order; all by default.
        ignore: The names of columns to leave out.
        label_column: The name of the column of labels, which may hold text.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such file, if a column is not there, or if one holds text.
        ImportError: If pyarrow is missing, which reads CSV, TSV and Parquet.
    """
    return table_of(path, read_columns(path), columns=columns, ignore=ignore, label_column=label_column)


def table_of(
    path: str | Path,
    whole: dict[str, Array],
    *,
    columns: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    label_column: str | None = None,
) -> Table:
    """Returns points and labels from the columns of a file, as :func:`read_table` does."""
    check_names("label_column", [] if label_column is None else [label_column], whole)
    check_names("columns", columns or [], whole)
    check_names("ignore", ignore, whole)
    left_out = {*ignore, label_column}
    names = [name for name in (whole if columns is None else columns) if name not in left_out]
    if not names:
        raise ValueError(f"{path}: expected columns of numbers, but none is left of {', '.join(whole)}")
    x = np.column_stack([numbers(whole, name) for name in names])
    labels = None if label_column is None else whole[label_column].astype(object)
    return Table(x, names, labels)


def write_table(path: str | Path, columns: dict[str, Array]) -> None:
    """Writes columns of one length to a file of the kind that its ending says, whole or not at all.

    Args:
        path: The file, ``.csv``, ``.tsv``, ``.npz`` or ``.parquet``.
        columns: The columns by their names.

    Raises:
        ValueError: If the ending says nothing that can be written.
        OSError: If the file cannot be written.
        ImportError: If pyarrow is missing, which writes CSV, TSV and Parquet.
    """
    write, target = check_target(path), Path(path)
    atomic_write(target, lambda file: write(file, columns))


def check_target(path: str | Path) -> Callable[[Any, dict[str, Array]], None]:
    """Returns what writes columns to a file of a kind; raises as :func:`write_table` does where it cannot be written.

    Args:
        path: The file.
    """
    target = Path(path)
    write = WRITERS.get(target.suffix.lower())
    if write is None:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(WRITERS)}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}; make it first")
    return write


def csv_text(columns: dict[str, Array]) -> str:
    """Returns columns as the text of a CSV file; raises ``ImportError`` if pyarrow is missing."""
    file = io.BytesIO()
    write_delimited(file, columns, ",")
    return file.getvalue().decode()


def read_columns(path: str | Path) -> dict[str, Array]:
    """Returns the columns of a file by their names; raises as :func:`read_table` does."""
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{path}: expected a file that ends in one of {', '.join(READERS)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    found = read(path)
    if not found or not len(next(iter(found.values()))):
        raise ValueError(f"{path}: expected rows of numbers, but the file has none")
    return found


def read_delimited(path: Path, delimiter: str) -> dict[str, Array]:
    """Returns the columns of a text file."""
    arrow = pyarrow()
    from pyarrow import csv

    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path}: cannot be read as a table: {error}") from error
    if table.num_columns == 1 and any(mark in table.column_names[0] for mark in ";\t,"):
        what = "commas" if delimiter == "," else "tabs"
        raise ValueError(f"{path}: expected columns with {what} between them, got one named {table.column_names[0]!r}")
    return columns_of(path, table)


def read_parquet(path: Path) -> dict[str, Array]:
    """Returns the columns of a Parquet file."""
    arrow = pyarrow()
    from pyarrow import parquet

    try:
        return columns_of(path, parquet.read_table(path))
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path}: is no Parquet file: {error}") from error


def read_npy(path: Path) -> dict[str, Array]:
    """Returns the columns of an array in a file, by their numbers."""
    return by_number(path, loaded(path))


def read_npz(path: Path) -> dict[str, Array]:
    """Returns the columns of the array in an archive, by the names that it gives, or their numbers."""
    with loaded(path) as archive:
        arrays = {name: archive_entry(path, archive, name) for name in archive.files}
    names = arrays.pop("columns", None)
    if names is None and all(array.ndim == 1 for array in arrays.values()) and len(arrays) > 1:
        return arrays
    if len(arrays) != 1:
        raise ValueError(f"{path}: expected one array (N, D) beside 'columns', got {', '.join(arrays) or 'none'}")
    found = by_number(path, next(iter(arrays.values())))
    if names is None:
        return found
    if len(names) != len(found):
        raise ValueError(f"{path}: expected {len(found)} names in 'columns', got {len(names)}")
    return dict(zip(map(str, names), found.values(), strict=True))


def loaded(path: Path) -> Any:
    """Returns what NumPy reads from a file, of which no code is executed."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: is no file of plain NumPy arrays: {error}") from error


def archive_entry(path: Path, archive: Any, name: str) -> Array:
    """Returns an array of an archive."""
    try:
        return np.asarray(archive[name])
    except ValueError as error:  # of objects, which only executed code could rebuild
        raise ValueError(f"{path}: {name} is no plain array: {error}") from error


def by_number(path: Path, array: Array) -> dict[str, Array]:
    """Returns the columns of an array ``(N, D)`` or ``(N,)`` by their numbers."""
    if array.ndim not in (1, 2):
        raise ValueError(f"{path}: expected an array (N, D), got shape {array.shape}")
    return {str(i): column for i, column in enumerate(array.reshape(len(array), -1).T)}


def columns_of(path: Path, table: Any) -> dict[str, Array]:
    """Returns the columns of an Arrow table; numbers in float64 with NaN where one is missing, else objects."""
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: expected columns of different names, got more than one {', '.join(twice)}")
    return {name: array_of(table.column(name)) for name in names}


def array_of(column: Any) -> Array:
    """Returns an Arrow column as an array."""
    types = pyarrow().types
    kind = column.type
    if types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind):
        return np.array([np.nan if v is None else v for v in column.to_pylist()], dtype=float)
    return np.array(column.to_pylist(), dtype=object)


def numbers(columns: dict[str, Array], name: str) -> npt.NDArray[np.float64]:
    """Returns a column as numbers.

    Raises:
        ValueError: If it holds text; the message says what to do.
    """
    column = columns[name]
    if column.dtype != object:
        return column.astype(np.float64)
    try:
        return np.array([np.nan if value is None else float(value) for value in column])
    except (TypeError, ValueError):
        seen = list(dict.fromkeys(str(value) for value in column if value is not None))[:SHOWN]
        raise ValueError(
            f"column {name!r}: expected numbers, got text such as {', '.join(map(repr, seen))} in {len(column)} rows. "
            "Leave it out (--ignore), name it as the labels (--label-column), or turn it into numbers"
        ) from None


def check_names(argument: str, names: Sequence[str], columns: dict[str, Array]) -> None:
    """Raises ``ValueError`` where there is no column of a name."""
    if missing := [name for name in names if name not in columns]:
        raise ValueError(f"{argument}: there is no column {', '.join(missing)}; there are {', '.join(columns)}")


def pyarrow() -> Any:
    """Returns the package that reads and writes CSV, TSV and Parquet files."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError("CSV, TSV and Parquet files need pyarrow: pip install 'pyro-vmonf[files]'") from error
    return pa


def write_delimited(file: Any, columns: dict[str, Array], delimiter: str) -> None:
    """Writes columns as text."""
    arrow = pyarrow()
    from pyarrow import csv

    options = csv.WriteOptions(delimiter=delimiter)
    csv.write_csv(arrow.table(columns), file, options)


def write_parquet(file: Any, columns: dict[str, Array]) -> None:
    """Writes columns as Parquet."""
    arrow = pyarrow()
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns), file)


def write_npz(file: Any, columns: dict[str, Array]) -> None:
    """Writes columns as arrays of an archive."""
    arrays: dict[str, Any] = dict(columns)
    np.savez(file, **arrays)


READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".csv": lambda path: read_delimited(path, ","),
    ".tsv": lambda path: read_delimited(path, "\t"),
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
}
WRITERS: dict[str, Callable[[Any, dict[str, Array]], None]] = {
    ".csv": lambda file, columns: write_delimited(file, columns, ","),
    ".tsv": lambda file, columns: write_delimited(file, columns, "\t"),
    ".npz": write_npz,
    ".parquet": write_parquet,
}
