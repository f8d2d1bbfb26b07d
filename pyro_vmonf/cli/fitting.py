"""``pyro-vmonf fit`` and ``pyro-vmonf resume``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pyro_vmonf.cli.output import Output
from pyro_vmonf.cli.points import Numbers, checksum, classes_of, complete_points, named_columns
from pyro_vmonf.cli.runs import CHECKPOINT, MIXTURE, Run, RunError
from pyro_vmonf.tables import Table, read_columns, read_table, table_of

__all__ = ["fit_file", "resume_run"]


def fit_file(
    data: Path,
    out: Path,
    components: int | None,
    *,
    columns: list[str],
    ignore: list[str],
    label_column: str | None,
    seed: int,
    device: str,
    output: Output,
) -> dict[str, Any]:
    """Fits a mixture to a file, writes it to a folder, and returns what is to be said of it.

    Args:
        data: The file.
        out: The folder.
        components: The number of components, or None for that which the points choose, with labels their classes.
        columns: The columns to read, all if there are none: a name, or several with commas between, each.
        ignore: Those to leave out, likewise.
        label_column: That of the labels, or None.
        seed: The seed.
        device: Where mixtures are trained.
        output: What is shown meanwhile.
    """
    from pyro_vmonf.estimator.component_count import choose_components

    whole = read_columns(data)
    chosen, left_out = named_columns(columns, whole), named_columns(ignore, whole)
    table = table_of(data, whole, columns=chosen or None, ignore=left_out, label_column=label_column)
    points, classes, numbers = points_and_classes(table, data)
    if components is None:
        components = len(classes) or choose_components(points.numpy(), None, seed).n_components
    run = Run(str(data.resolve()), components, table.names, label_column, seed, device, checksum(points, numbers))
    run.begin(out)
    return searched(run, out, points, classes, numbers, output)


def resume_run(folder: Path, data: Path | None, output: Output) -> dict[str, Any]:
    """Goes on with a fit that was interrupted, and returns what is to be said of it.

    Args:
        folder: The folder of the fit.
        data: The file of its points, if that is at another place than at its beginning.
        output: What is shown meanwhile.

    Raises:
        RunError: If the folder has no fit, or a finished one, or if the file of its points is not there or has changed.
    """
    run = Run.read(folder)
    if (folder / MIXTURE).exists():
        raise RunError(f"{folder}: the fit is finished")
    path = run.file(data, f"pyro-vmonf resume {folder}")
    table = read_table(path, columns=run.columns, label_column=run.label_column)
    points, classes, numbers = points_and_classes(table, path)
    if checksum(points, numbers) != run.points:
        raise RunError(f"{path}: the points are others than those that the fit in {folder} began with")
    if data is not None:
        run = replace(run, data=str(data.resolve()))
        run.write(folder)
    return searched(run, folder, points, classes, numbers, output)


def points_and_classes(table: Table, path: Path) -> tuple[torch.Tensor, list[Any], Numbers | None]:
    """Returns the points of a table, the classes among its labels, and the number of each row's class."""
    classes, numbers = ([], None) if table.labels is None else classes_of(table.labels)
    return complete_points(table, path), classes, numbers


def searched(
    run: Run, folder: Path, points: torch.Tensor, classes: list[Any], numbers: Numbers | None, output: Output
) -> dict[str, Any]:
    """Fits a mixture and writes it to the folder of a run."""
    from pyro_vmonf.automatic import fit_mixture
    from pyro_vmonf.checkpointing.history import report_of
    from pyro_vmonf.evaluation import evaluate
    from pyro_vmonf.persistence import save

    if len(classes) > run.components:
        raise ValueError(f"--components: expected at least {len(classes)}, the number of classes, got {run.components}")
    checkpoint = folder / CHECKPOINT
    model, guide, history = fit_mixture(
        points,
        run.components,
        numbers,
        checkpoint=checkpoint,
        device=run.device,
        seed=run.seed,
        progress=output.shows_progress,
    )
    save(folder / MIXTURE, model, guide, history, columns=list(run.columns), classes=classes)
    checkpoint.unlink(missing_ok=True)
    evidence, search = evaluate(model, guide, points).evidence.mean(), report_of(history)
    output.note(str(search))
    return {
        "run": str(folder),
        "rows": len(points),
        "columns": list(run.columns),
        "components": run.components,
        "classes": classes,
        "weights": [round(float(weight), 6) for weight in shares(guide, model)],
        "start": search.choice.start,
        "flows": search.choice.warp,
        "log_density": float(evidence),
        "next": f"pyro-vmonf predict {folder} {run.data} --out predictions.csv",
    }


@torch.no_grad()
def shares(guide: Any, model: Any) -> list[float]:
    """Returns the weights of the components."""
    from pyro_vmonf.models.weights import log_mean

    own = guide.log_weights()
    return (log_mean(model.weights) if own is None else own).exp().tolist()
