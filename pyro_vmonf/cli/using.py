"""``pyro-vmonf predict``, ``score`` and ``sample``: what a fitted mixture says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.cli.points import points_for
from pyro_vmonf.cli.runs import finished
from pyro_vmonf.tables import write_table

__all__ = ["predict_file", "sample_file", "score_file"]


def predict_file(folder: Path, data: Path, out: Path, device: str = "cpu") -> dict[str, Any]:
    """Writes each row's component or class, its probability, all probabilities and the log-density to a file."""
    from pyro_vmonf.evaluation import evaluate

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
    write_table(out, columns)
    return {"rows": len(probs), "out": str(out)}


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


def sample_file(folder: Path, count: int, out: Path, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Writes rows drawn from the mixture, with their components, to a file."""
    saved = finished(folder, device)
    with isolated_random_state(seed):
        x, z = saved.model.sample(count, saved.guide.log_weights())
    points, columns = x.cpu().numpy(), saved.header["columns"]
    named = {str(name): points[:, i] for i, name in enumerate(columns)}  # type: ignore[arg-type]
    own = "component" if "component" not in named else "component_of_mixture"
    write_table(out, {**named, own: z.cpu().numpy()})
    return {"rows": count, "out": str(out)}
