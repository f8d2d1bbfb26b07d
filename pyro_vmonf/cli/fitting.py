"""``pyro-vmonf fit``: a mixture of the rows of a file, in a folder."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyro_vmonf._io import Json
from pyro_vmonf.cli.output import Output
from pyro_vmonf.cli.points import Columns, Rows, rows_of
from pyro_vmonf.cli.runs import CHECKPOINT, MIXTURE, Run, checkpoints

if TYPE_CHECKING:
    from pyro_vmonf.checkpointing import History
    from pyro_vmonf.guides import SoftmaxEncoder
    from pyro_vmonf.models import FlowMixture

__all__ = ["fit_file", "fitted", "kept"]


def fit_file(
    data: Path, out: Path, components: int | None, columns: Columns, *, seed: int, device: str, output: Output
) -> dict[str, Any]:
    """Fits a mixture to a file, writes it to a folder, and returns what is to be said of it.

    Args:
        data: The file.
        out: The folder.
        components: The number of components, or None for that which the points choose, with labels their classes.
        columns: The columns to read.
        seed: The seed.
        device: Where mixtures are trained.
        output: What is shown meanwhile.

    Raises:
        ValueError: If there are fewer components than classes.
    """
    rows = rows_of(columns.read(data), data)
    if components is not None and len(rows.classes) > components:
        raise ValueError(
            f"--components: expected at least {len(rows.classes)}, the number of classes, got {components}"
        )
    number = components or len(rows.classes) or None
    run = Run(str(data.resolve()), number, rows.names, columns.label, seed, device, rows.checksum)
    run.begin(out)
    return fitted(run, out, rows, output)


def fitted(run: Run, folder: Path, rows: Rows, output: Output) -> dict[str, Any]:
    """Fits the mixture of a run, writes it to the folder, and returns what is to be said of it."""
    from pyro_vmonf.automatic import fit_mixture
    from pyro_vmonf.checkpointing.history import report_of

    number, reasons = (run.components, run.reasons) if run.components else counted(rows, run.seed, output)
    run = replace(run, components=number, reasons=reasons)
    run.write(folder)
    model, guide, history = fit_mixture(
        rows.named_points,
        number,
        rows.numbers,
        checkpoint=folder / CHECKPOINT,
        device=run.device,
        seed=run.seed,
        progress=output.shows_progress,
    )
    output.note(str(report_of(history)))
    return kept(run, folder, rows, rows.classes, model, guide, history)


def counted(rows: Rows, seed: int, output: Output) -> tuple[int, list[str]]:
    """Returns the number of components that the points choose, and why."""
    from pyro_vmonf.estimator.component_count import MOST_COMPONENTS, choose_components

    output.note(f"choosing the number of components, up to {MOST_COMPONENTS} …")
    found = choose_components(rows.named_points, None, seed)
    counts = f"{found.modes} by modes, {found.gaussians} by Gaussian components"
    output.note(f"{found.n_components} chosen ({counts}); for all criteria: pyro-vmonf select")
    return found.n_components, found.reasons


def kept(
    run: Run, folder: Path, rows: Rows, classes: list[Json], model: FlowMixture, guide: SoftmaxEncoder, history: History
) -> dict[str, Any]:
    """Writes the mixture of a run to its folder, and returns what is to be said of it.

    Args:
        run: The run.
        folder: Its folder.
        rows: Its rows.
        classes: The classes that the first components are.
        model: The model.
        guide: Its guide.
        history: What its fit tried.
    """
    from pyro_vmonf.checkpointing.history import report_of
    from pyro_vmonf.evaluation import evaluate
    from pyro_vmonf.persistence import save

    search = report_of(history)
    search.reasons[:0] = run.reasons
    save(folder / MIXTURE, model, guide, history, columns=list(rows.names), classes=classes)
    for path in checkpoints(folder):
        path.unlink()
    return {
        "run": str(folder),
        "rows": len(rows.points),
        "columns": rows.names,
        "components": model.n_components,
        "classes": classes,
        "weights": [round(weight, 6) for weight in shares(guide, model)],
        "start": search.choice.start,
        "flows": search.choice.warp,
        "log_density": float(evaluate(model, guide, rows.points).evidence.mean()),
        "next": shlex.join(["pyro-vmonf", "predict", str(folder), run.data, "--out", "predictions.csv"]),
    }


@torch.no_grad()
def shares(guide: Any, model: Any) -> list[float]:
    """Returns the weights of the components."""
    from pyro_vmonf.models.weights import log_mean

    own = guide.log_weights()
    return (log_mean(model.weights) if own is None else own).exp().tolist()
