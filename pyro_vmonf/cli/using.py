"""``pyro-vmonf predict``, ``score`` and ``sample``: what a fitted mixture says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.cli.output import Result
from pyro_vmonf.cli.points import points_for
from pyro_vmonf.cli.runs import finished
from pyro_vmonf.tables import check_target, csv_text, write_table

__all__ = ["predict_file", "sample_file", "score_file"]


def predict_file(folder: Path, data: Path, out: Path | None, device: str = "cpu") -> Result:
    """Returns or writes each row's component or class, its probability, all probabilities and the log-density.

    Args:
        folder: The folder of the fit.
        data: The file of the rows.
        out: The file to write, or None for the standard output.
        device: Where they are computed.
    """
    from pyro_vmonf.evaluation import evaluate

    check_out(out)
    saved = finished(folder, device)
    evaluation = evaluate(saved.model, saved.guide, points_for(saved, data))
    probs = evaluation.encoder_probs.cpu().numpy()
    names = names_of(saved.header["classes"], probs.shape[1])
    chosen = probs.argmax(1)
    columns: dict[str, Any] = {"component": chosen}
    if saved.header["classes"]:
        columns = {"class": np.array([names[i] for i in chosen])}
    columns |= {"probability": probs.max(1), "log_density": evaluation.evidence.cpu().numpy()}
    columns |= {f"p_{name}": probs[:, i] for i, name in enumerate(names)}
    return written(columns, out)


def check_out(out: Path | None) -> None:
    """Raises where a table cannot be written to a file, before any work."""
    if out is not None:
        check_target(out)


def written(columns: dict[str, Any], out: Path | None) -> Result:
    """Writes columns to a file, if there is one to write, and returns what is to be printed: else the columns."""
    if out is None:
        return Result({name: column.tolist() for name, column in columns.items()}, csv_text(columns).rstrip("\n"))
    write_table(out, columns)
    return Result({"rows": len(next(iter(columns.values()))), "out": str(out)})


def names_of(classes: Any, count: int) -> list[str]:
    """Returns the names of components: those of classes, and numbers for the others."""
    return [str(name) for name in classes] + [str(i) for i in range(len(classes), count)]


def score_file(folder: Path, data: Path, device: str = "cpu") -> dict[str, Any]:
    """Returns the mean log-density of the rows in nats, their ELBO, and the lowest log-density."""
    from pyro_vmonf.evaluation import evaluate

    saved = finished(folder, device)
    evaluation = evaluate(saved.model, saved.guide, points_for(saved, data))
    lowest = int(evaluation.evidence.argmin())
    return {
        "rows": len(evaluation.evidence),
        "log_density": float(evaluation.evidence.mean()),
        "elbo": float(evaluation.elbo.mean()),
        "lowest_log_density": float(evaluation.evidence[lowest]),
        "lowest_row": lowest,
    }


def sample_file(folder: Path, count: int, out: Path | None, seed: int, device: str = "cpu") -> Result:
    """Returns or writes rows drawn from the mixture, with their components.

    Args:
        folder: The folder of the fit.
        count: The number of rows.
        out: The file to write, or None for the standard output.
        seed: The seed.
        device: Where they are drawn.
    """
    check_out(out)
    saved = finished(folder, device)
    with isolated_random_state(seed):
        x, z = saved.model.sample(count, saved.guide.log_weights())
    points, columns = x.cpu().numpy(), saved.header["columns"]
    named = {str(name): points[:, i] for i, name in enumerate(columns)}  # type: ignore[arg-type]
    own = "component" if "component" not in named else "component_of_mixture"
    return written({**named, own: z.cpu().numpy()}, out)
