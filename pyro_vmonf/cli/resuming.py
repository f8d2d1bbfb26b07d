"""``pyro-vmonf resume``: a fit or a selection that was interrupted goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyro_vmonf.cli.fitting import fitted
from pyro_vmonf.cli.output import Output, Result
from pyro_vmonf.cli.points import Rows, rows_of
from pyro_vmonf.cli.runs import MIXTURE, Run, RunError, resuming
from pyro_vmonf.cli.selecting import selected
from pyro_vmonf.tables import read_table

__all__ = ["resume_run"]


def resume_run(folder: Path, data: Path | None, output: Output) -> Result:
    """Goes on with a run that was interrupted, and returns what is to be said of it.

    Args:
        folder: The folder of the run.
        data: The file of its points, if that is at another place than at its beginning.
        output: What is shown meanwhile.

    Raises:
        RunError: If the folder has no run, or a finished one, or if the file of its points is not there or has changed.
    """
    run = Run.read(folder)
    if (folder / MIXTURE).exists():
        raise RunError(f"{folder}: the fit is finished")
    rows = rows_again(run, folder, data)
    if data is not None:
        run = replace(run, data=str(data.resolve()))
        run.write(folder)
    if run.choosing is not None:
        return selected(run, run.choosing, folder, rows, output)
    return Result(fitted(run, folder, rows, output))


def rows_again(run: Run, folder: Path, data: Path | None) -> Rows:
    """Returns the rows that a run began with; raises ``RunError`` where they are others now."""
    path = run.file(data, resuming(folder))
    rows = rows_of(read_table(path, columns=run.columns, label_column=run.label_column), path)
    if rows.checksum != run.points:
        raise RunError(f"{path}: the points are others than those that the fit in {folder} began with")
    return rows
