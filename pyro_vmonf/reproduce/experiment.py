"""What an experiment is, and how one is run: data, fit, evaluation, files."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyro
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vmonf import plots
from pyro_vmonf._io import Json, atomic_write, read_tensors, writable_folder, write_json, write_tensors
from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.architecture import describe
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.state import read_modules, write_modules
from pyro_vmonf.data.images import Logit
from pyro_vmonf.evaluation import metrics
from pyro_vmonf.evaluation.evaluating import Evaluation, evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.reproduce.recipes import Recipe, train_by_recipe

__all__ = ["Data", "Experiment", "load", "run"]

MODEL_FILE, KIND = "model.safetensors", "pyro_vmonf.experiment"


@dataclass(frozen=True)
class Data:
    """An experiment's data.

    Attributes:
        x: training points ``(N, D)``.
        y: labels the fit may see ``(N,)``, −1 where none; None for none at all.
        x_test: test points.
        y_test: their classes, for scores alone.
        logit: how pixels became x, for images.
        side: height and width of an image, 0 for points in the plane.
    """

    x: Tensor
    y: Tensor | None
    x_test: Tensor
    y_test: Tensor
    logit: Logit | None = None
    side: int = 0


@dataclass(frozen=True)
class Experiment:
    """One of the thesis's experiments.

    Attributes:
        name: Its name on the command line.
        summary: One line for the reader.
        data: Makes the data from a seed.
        build: Makes an untrained model and guide.
        recipe: How they are trained.
        start: Sets data-dependent starts, if any.
    """

    name: str
    summary: str
    data: Callable[[int], Data]
    build: Callable[[], tuple[FlowMixture, SoftmaxEncoder]]
    recipe: Recipe
    start: Callable[[FlowMixture, Data], None] = field(default=lambda model, data: None)


def run(
    experiment: Experiment,
    out: str | Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Json]:
    """Runs an experiment, and writes ``metrics.json``, ``history.json``, ``model.safetensors`` and figures to ``out``.

    A run that was broken off goes on from ``checkpoint.safetensors`` in the same folder.

    Args:
        experiment: The experiment.
        out: The folder, made if need be.
        seed: The seed of the data, the initial parameters and the fit.
        epochs: The number of epochs in place of the experiment's own; supervised pretraining shrinks in proportion.
        device: Where to train.
        progress: Whether to show a progress bar.

    Returns:
        What ``metrics.json`` says.

    Raises:
        OSError: If ``out`` cannot be written, before any training.
        FileNotFoundError: If the data are not there.
    """
    folder, began = writable_folder("--out", out), time.monotonic()
    recipe = experiment.recipe if epochs is None else experiment.recipe.shortened(epochs)
    data = experiment.data(seed)
    model, guide = prepared(experiment, data, seed)
    nn.ModuleDict({"model": model, "guide": guide}).to(device)
    history = train_by_recipe(
        model,
        guide,
        data.x,
        data.y,
        recipe=recipe,
        validation=data.x_test,
        checkpoint=folder / "checkpoint.safetensors",
        seed=seed,
        progress=progress,
    )
    model.to("cpu")
    guide.to("cpu")
    evaluation = evaluate(model, guide, data.x_test)
    scores: dict[str, Json] = {
        "experiment": experiment.name,
        "seed": seed,
        "recipe": describe(recipe),
        "points": {"train": len(data.x), "test": len(data.x_test)},
        "test": scores_of(evaluation, data),
        "weights": [round(float(w), 6) for w in model.weights().exp()],
        "seconds": {
            "training": round(sum(row["seconds"] for row in history.rows), 1),
            "this run": round(time.monotonic() - began, 1),
        },
        "versions": {"torch": torch.__version__, "pyro": pyro.__version__, "python": platform.python_version()},
        "device": device,
        "threads": torch.get_num_threads(),
    }
    write_tensors(folder / MODEL_FILE, read_modules(nn.ModuleDict({"model": model, "guide": guide})), KIND, {})
    history.save(folder / "history.json")
    for name, figure in draw(experiment, model, guide, data, evaluation, history, seed).items():
        save_figure(folder / f"{name}.png", figure)
    write_json(folder / "metrics.json", scores)
    return scores


def prepared(experiment: Experiment, data: Data, seed: int) -> tuple[FlowMixture, SoftmaxEncoder]:
    """Returns an untrained model and guide, drawn by the seed and started from the data."""
    with isolated_random_state(seed):
        model, guide = experiment.build()
        experiment.start(model, data)
    return model, guide


def load(experiment: Experiment, folder: str | Path) -> tuple[FlowMixture, SoftmaxEncoder]:
    """Returns the fitted model and guide that :func:`run` left in ``folder``."""
    model, guide = experiment.build()
    tensors, _ = read_tensors(Path(folder) / MODEL_FILE, KIND)
    write_modules(nn.ModuleDict({"model": model, "guide": guide}), tensors)
    return model.eval(), guide.eval()


def scores_of(evaluation: Evaluation, data: Data) -> dict[str, Json]:
    """Test scores: agreement with the classes, and nats per observation.

    A model that saw labels answers in classes, so its accuracy needs no matching.
    """
    matched = data.y is None
    scores: dict[str, Json] = {}
    for name, table in (("encoder", evaluation.encoder_probs), ("posterior", evaluation.responsibilities)):
        chosen = table.argmax(-1)
        hit = metrics.accuracy(data.y_test, chosen) if matched else float((chosen == data.y_test).double().mean())
        scores[name] = {
            "accuracy": hit,
            "normalized_mutual_information": metrics.normalized_mutual_information(data.y_test, chosen),
            "adjusted_rand": metrics.adjusted_rand(data.y_test, chosen),
            "contingency": metrics.contingency(data.y_test, chosen, normalized=True).tolist(),
        }
    scores["evidence"] = float(evaluation.evidence.mean())
    scores["elbo"] = float(evaluation.elbo.mean())
    scores["inference_gap"] = float(evaluation.inference_gap.mean())
    if data.logit is not None:
        scores["bits_per_dim"] = float(data.logit.bits_per_dim(data.x_test, evaluation.evidence).mean())
    return scores


def draw(
    experiment: Experiment,
    model: FlowMixture,
    guide: SoftmaxEncoder,
    data: Data,
    evaluation: Evaluation,
    history: History,
    seed: int,
) -> dict[str, Figure]:
    """The experiment's figures by file name."""
    names = ("elbo", "labelled_elbo", "validation_elbo", "validation_evidence", "temperature")
    figures = {"history": plots.history({name: history.column(name) for name in names}).figure.figure}
    with isolated_random_state(seed):
        if data.logit is None:
            figures[experiment.name] = draw_plane(model, guide, data)
        else:
            k = model.n_components
            x = model.components.sample(torch.arange(k).repeat_interleave(10))
            images = data.logit.images(x).reshape(k, 10, data.side, data.side)
            figures[experiment.name] = plots.image_rows(images, "samples, one component a row").figure.figure
            table = metrics.contingency(data.y_test, evaluation.encoder_probs.argmax(-1), normalized=True)
            figures["contingency"] = plots.contingency(table).figure.figure
    return figures


@torch.no_grad()
def draw_plane(model: FlowMixture, guide: SoftmaxEncoder, data: Data) -> Figure:
    """Test data and samples, coloured by component over the encoder's regions."""

    def choose(points: Tensor) -> Tensor:
        return guide.log_probs(points).argmax(-1)

    z = torch.multinomial(model.weights().exp(), len(data.x_test), replacement=True)
    panels = [
        ("test data, by the encoder's component", data.x_test, choose(data.x_test)),
        ("samples, by their component", model.components.sample(z), z),
    ]
    labelled = None if data.y is None else data.x[data.y >= 0]
    return plots.assignments(panels, choose, model.n_components, labelled).figure


def save_figure(path: Path, figure: Figure) -> None:
    """Writes a figure as PNG, whole or not at all."""
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=110))
