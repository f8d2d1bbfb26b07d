"""The ``pyro-vmonf`` command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pyro_vmonf._io import writable_folder
from pyro_vmonf.models import DirichletWeights, FlowMixture
from pyro_vmonf.reproduce import EXPERIMENTS, draw_plate, draw_transforms, run
from pyro_vmonf.reproduce.experiment import save_figure

__all__ = ["main"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("pyro-vmonf", description="Variational mixtures of normalizing flows.")
    commands = top.add_subparsers(dest="command", required=True)
    lines = [f"  {name:20} {e.summary}" for name, e in EXPERIMENTS.items()]
    lines += [f"  {'transforms':20} what the transformations do to the plane (figs 3.1-3.3)"]
    lines += [f"  {'plate':20} the plate diagram of the Pyro program (fig. 4.1)"]
    reproduce = commands.add_parser(
        "reproduce",
        help="run an experiment of the thesis",
        description="experiments:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reproduce.add_argument("experiment", choices=[*EXPERIMENTS, "transforms", "plate"], metavar="EXPERIMENT")
    reproduce.add_argument("--out", required=True, type=Path, help="folder for metrics, history, model and figures")
    reproduce.add_argument("--seed", type=int, default=0, help="of data, initial parameters and fit (default 0)")
    reproduce.add_argument("--epochs", type=int, help="instead of the experiment's own number")
    reproduce.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, …")
    reproduce.add_argument("--threads", type=int, help="processor threads to use")
    reproduce.add_argument("--quiet", action="store_true", help="no progress bar")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with a message if the input cannot be used."""
    given = parser().parse_args(arguments)
    torch.set_flush_denormal(True)  # dying weights would otherwise slow the arithmetic tenfold
    try:
        if given.threads is not None:
            torch.set_num_threads(given.threads)
        reproduce(given)
    except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"pyro-vmonf: {error}", file=sys.stderr)
        return 2
    return 0


def reproduce(given: argparse.Namespace) -> None:
    """``pyro-vmonf reproduce``."""
    if given.experiment in EXPERIMENTS:
        experiment = EXPERIMENTS[given.experiment]
        print(f"{experiment.name}: {experiment.summary}")
        scores = run(
            experiment, given.out, seed=given.seed, epochs=given.epochs, device=given.device, progress=not given.quiet
        )
        report(scores)
    else:
        folder = writable_folder("--out", given.out)
        for name, figure in figures(given.experiment).items():
            save_figure(folder / f"{name}.png", figure)
    for path in sorted(given.out.iterdir()):
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
