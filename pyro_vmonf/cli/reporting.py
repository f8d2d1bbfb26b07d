"""``pyro-vmonf report``: a page about a fitted mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.cli.points import complete_points
from pyro_vmonf.cli.runs import Run, finished
from pyro_vmonf.estimator import VMoNF
from pyro_vmonf.report import write_report
from pyro_vmonf.tables import read_table

__all__ = ["report_file"]


def report_file(folder: Path, data: Path | None, out: Path | None) -> dict[str, Any]:
    """Writes a page about a mixture and the rows of a file, by default those that it was fitted to.

    Args:
        folder: The folder of the fit.
        data: The file of the rows; labels are read where it has the column of labels.
        out: The page to write, by default ``report.html`` in the folder.
    """
    saved, run = finished(folder), Run.read(folder)
    path, page = data or Path(run.data), out or folder / "report.html"
    table = read_table(path, columns=run.columns, label_column=run.label_column)
    points = complete_points(table, path)
    mixture = VMoNF.from_modules(saved.model, saved.guide)
    mixture.history_ = saved.history or History()
    write_report(page, mixture, points, names=table.names, labels=table.labels, title=path.stem)
    return {"rows": len(points), "out": str(page)}
