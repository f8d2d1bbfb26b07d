"""``pyro-vmonf select``: how many components the rows of a file have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyro_vmonf.cli.fitting import kept
from pyro_vmonf.cli.output import Output, Result, lines_of
from pyro_vmonf.cli.points import Columns, Rows, rows_of
from pyro_vmonf.cli.runs import CHECKPOINT, Choosing, Run
from pyro_vmonf.cli.words import in_words_of_the_shell

if TYPE_CHECKING:
    from pyro_vmonf.selection import Selection

__all__ = ["select_file", "selected"]

DOUBT = "n_components:"  # with which a SelectionWarning begins


def select_file(
    data: Path, out: Path | None, columns: Columns, choosing: Choosing, *, seed: int, device: str, output: Output
) -> Result:
    """Chooses the number of components of the rows of a file, and returns the table of all numbers.

    Args:
        data: The file.
        out: The folder for the mixture with the number chosen, or None.
        columns: The columns to read. Labels neither choose nor are fitted; the clusters are compared with them.
        choosing: What is tried.
        seed: The seed.
        device: Where mixtures are trained.
        output: What is shown meanwhile.

    Raises:
        OSError, ValueError: If no picture can be written where one is asked for, before any work.
    """
    if choosing.plot is not None:
        check_picture(Path(choosing.plot))
    rows = rows_of(columns.read(data), data)
    run = Run(str(data.resolve()), None, rows.names, columns.label, seed, device, rows.checksum, choosing)
    if out is not None:
        run.begin(out)
    return selected(run, choosing, out, rows, output)


def check_picture(path: Path) -> None:
    """Raises ``ValueError`` or ``OSError`` for a file to which matplotlib cannot write a picture."""
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise ValueError(f"--plot: expected a name that ends in one of .{', .'.join(kinds)}, got {path.name}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--plot: there is no folder {path.parent}; make it first")


def selected(run: Run, choosing: Choosing, folder: Path | None, rows: Rows, output: Output) -> Result:
    """Chooses the number of components of a run, and writes the mixture to its folder, if it has one."""
    from pyro_vmonf.plots import selection
    from pyro_vmonf.selection import select_components

    found = select_components(
        rows.named_points,
        range(choosing.least, choosing.most + 1),
        clusters=choosing.clusters,
        fit_all=not choosing.quick,
        checkpoint=None if folder is None else folder / CHECKPOINT,
        device=run.device,
        n_jobs=choosing.jobs,
        seed=run.seed,
        progress=output.shows_progress,
    )
    if choosing.plot is not None:
        selection(found).figure.savefig(choosing.plot)
    reasons = [in_words_of_the_shell(reason) for reason in found.reasons]
    values = told(replace(run, components=found.n_components, reasons=reasons), found, folder, rows)
    counts = {"modes": found.modes, "gaussians": found.gaussians, "table": found.table, "reasons": reasons}
    return Result({**values, **counts}, f"{table_of(found, output)}\n{lines_of(values)}")


def told(run: Run, found: Selection, folder: Path | None, rows: Rows) -> dict[str, Any]:
    """Returns what is to be said of the mixture with the number chosen, once it is written if there is a folder."""
    more = agreement(found, rows)
    if run.choosing is not None and run.choosing.plot is not None:
        more["plot"] = run.choosing.plot
    if folder is None:
        fit = replace(run, choosing=None, label_column=None).command(Path("run"))
        values = {"rows": len(rows.points), "columns": rows.names, "components": found.n_components}
        return {**values, **more, "next": fit}
    run.write(folder)
    values = kept(run, folder, rows, [], found.model, found.guide, found.history)
    return {**values, **more, "next": values.pop("next")}


def agreement(found: Selection, rows: Rows) -> dict[str, Any]:
    """Returns how well the clusters agree with labels, 1 where they are the same, if there are some."""
    from pyro_vmonf.evaluation import adjusted_rand, evaluate

    if not rows.classes or rows.numbers is None:
        return {}
    is_labelled = rows.numbers >= 0
    clusters = evaluate(found.model, found.guide, rows.points[torch.as_tensor(is_labelled)]).predict()
    return {"adjusted_rand_index": adjusted_rand(rows.numbers[is_labelled], clusters)}


def table_of(found: Selection, output: Output) -> str:
    """Returns the table with its reasons, without those of which a warning was printed."""
    own = [reason for reason in found.reasons if output.is_quiet or not reason.startswith(DOUBT)]
    return str(replace(found, reasons=[in_words_of_the_shell(reason) for reason in own]))
