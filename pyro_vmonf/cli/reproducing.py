"""``pyro-vmonf reproduce``: the experiments of the thesis."""

from pathlib import Path
from typing import Any

import torch

from pyro_vmonf._io import writable_folder
from pyro_vmonf.models import DirichletWeights, FlowMixture
from pyro_vmonf.reproduce import EXPERIMENTS, draw_plate, draw_transforms, run
from pyro_vmonf.reproduce.experiment import save_figure

__all__ = ["reproduce_experiment"]

DRAWINGS = {
    "transforms": "what the transformations do to the plane (figs 3.1-3.3)",
    "plate": "the plate diagram of the Pyro program (fig. 4.1)",
}


def reproduce_experiment(
    name: str, out: Path, *, seed: int, epochs: int | None, device: str, threads: int | None, progress: bool
) -> None:
    """Runs an experiment, writes what it found to a folder, and prints its scores.

    Raises:
        ValueError: If there is no experiment of that name; the message lists all.
    """
    if name not in (*EXPERIMENTS, *DRAWINGS):
        lines = [f"  {each:20} {one.summary}" for each, one in EXPERIMENTS.items()]
        lines += [f"  {each:20} {summary}" for each, summary in DRAWINGS.items()]
        raise ValueError("\n".join([f"expected one of the following experiments, got {name!r}:", *lines]))
    if threads is not None:
        torch.set_num_threads(threads)
    if name in EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        print(f"{experiment.name}: {experiment.summary}")
        report(run(experiment, out, seed=seed, epochs=epochs, device=device, progress=progress))
    else:
        folder = writable_folder("--out", out)
        for each, figure in figures(name).items():
            save_figure(folder / f"{each}.png", figure)
    for path in sorted(out.iterdir()):
        print(f"  {path}")


def figures(name: str) -> dict[str, Any]:
    """The figures of an experiment that trains nothing."""
    if name == "transforms":
        return draw_transforms()
    model, _ = EXPERIMENTS["pinwheel"].build()
    prior = FlowMixture(model.components, DirichletWeights(1.0, model.n_components))
    return {
        "plate": draw_plate(model),
        "plate-labels": draw_plate(model, labelled=True),
        "plate-prior": draw_plate(prior),
    }


def report(scores: dict[str, Any]) -> None:
    """Prints the test scores."""
    test = scores["test"]
    print(
        f"test accuracy: encoder {test['encoder']['accuracy']:.4f}, exact posterior {test['posterior']['accuracy']:.4f}"
    )
    print(
        f"nats per observation: evidence {test['evidence']:.4f}, ELBO {test['elbo']:.4f}, "
        f"inference gap {test['inference_gap']:.4f}"
    )
    if "bits_per_dim" in test:
        print(f"bits per dimension: {test['bits_per_dim']:.4f}")
    print(f"training: {scores['seconds']['training']:.0f} s on {scores['device']}, {scores['threads']} threads")
