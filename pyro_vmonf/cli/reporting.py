"""``pyro-vmonf report``: a page about a fitted mixture."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyro_vmonf.cli.points import complete_points, is_missing
from pyro_vmonf.cli.runs import Run, finished
from pyro_vmonf.estimator import VMoNF
from pyro_vmonf.report import write_report
from pyro_vmonf.tables import read_columns, table_of

__all__ = ["report_file"]


def without_blanks(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns labels with None where a row has none."""
    return np.array([None if is_missing(label) else label for label in labels.tolist()], dtype=object)


def report_file(folder: Path, data: Path | None, out: Path | None) -> dict[str, Any]:
    """Writes a page about a mixture and the rows of a file, by default those that it was fitted to.

    Args:
        folder: The folder of the fit.
        data: The file of the rows, which has labels where it has the column of labels of the fit.
        out: The page to write, by default ``report.html`` in the folder.
    """
    saved, run = finished(folder), Run.read(folder)
    path, page = run.file(data, shlex.join(["pyro-vmonf", "report", str(folder)])), out or folder / "report.html"
    whole = read_columns(path)
    label_column = run.label_column if run.label_column in whole else None
    table = table_of(path, whole, columns=run.columns, label_column=label_column)
    points = complete_points(table, path)
    mixture = VMoNF.from_modules(saved.model, saved.guide, saved.history)
    labels = None if table.labels is None else without_blanks(table.labels)
    write_report(page, mixture, points, names=table.names, labels=labels, title=path.stem, command=run.command(folder))
    return {"rows": len(points), "out": str(page)}
