"""Mixtures of several numbers of components, fitted to the same points and judged by others, in several processes."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from joblib import Parallel, delayed
from torch import Tensor

from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.fitting import fit_mixture
from pyro_vmonf.automatic.table import Table
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.evaluation.evaluating import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.selection.merging import halves, of_one, overlaps

__all__ = ["Parts", "Trial", "Trials", "in_parallel", "parts_of", "path_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """Points to fit, and others to judge by.

    Attributes:
        x: The points ``(N, D)`` in their own units.
        weight: Their weights ``(N,)``.
        held_out: Further points ``(M, D)``.
        held_weight: Their weights ``(M,)``.
    """

    x: Tensor
    weight: Tensor
    held_out: Tensor
    held_weight: Tensor


@dataclass(frozen=True)
class Trial:
    """One number of components, fitted to a part of the points.

    Attributes:
        model: The model.
        guide: Its guide.
        history: What its fit tried.
        values: The evidence log p(x) of each held-out point in nats, in the units of x, ``(M,)``.
        overlap: The points that the two components which share most share, for the size of the smaller, 0 to 1, by the
            exact posterior (Hennig, 2010, *Advances in Data Analysis and Classification* 4).
        seconds: How long the fit took.
    """

    model: FlowMixture
    guide: SoftmaxEncoder
    history: History
    values: Tensor
    overlap: float
    seconds: float


@dataclass(frozen=True)
class Trials:
    """How the mixtures of several numbers of components are fitted.

    Attributes:
        parts: The points.
        components: What may be added to Gaussians, as :func:`~pyro_vmonf.fit_mixture` takes it.
        config: The numbers of each search.
        checkpoint: A file beside which each number has one of its own, or None.
        device: Where mixtures are trained.
        seed: The seed of all that is random.
    """

    parts: Parts
    components: str | Sequence[str] = "auto"
    config: SearchConfig | None = None
    checkpoint: Path | None = None
    device: str = "cpu"
    seed: int = 0

    def __call__(self, n_components: int) -> Trial:
        """Fits the mixture of a number of components."""
        began, parts = time.monotonic(), self.parts
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the fit of the number that is chosen warns of the columns
            model, guide, history = fit_mixture(
                parts.x,
                n_components,
                sample_weight=parts.weight,
                components=self.components,
                config=self.config,
                checkpoint=path_of(self.checkpoint, n_components),
                device=self.device,
                seed=self.seed,
                progress=False,
            )
        values = evaluate(model, guide, parts.held_out).evidence
        shared = float(overlaps(evaluate(model, guide, parts.x).responsibilities).max())
        return Trial(model, guide, history, values.cpu(), shared, time.monotonic() - began)

    def mean(self, trial: Trial) -> float:
        """Returns the weighted mean evidence of the held-out points."""
        weight = self.parts.held_weight
        return float((weight * trial.values).sum() / weight.sum())

    def standard_error(self, trial: Trial) -> float:
        """Returns the standard error of that mean."""
        share = self.parts.held_weight / self.parts.held_weight.sum()
        spread = (share * (trial.values - self.mean(trial)).square()).sum()
        return float((spread * share.square().sum()).sqrt())


def path_of(path: Path | None, name: object) -> Path | None:
    """Returns the checkpoint of one fit."""
    return None if path is None else of_one(path, name)


def parts_of(points: Tensor, table: Table, fraction: float, seed: int) -> Parts:
    """Returns distinct points to fit, and a fraction of them to judge by.

    Args:
        points: All rows ``(N, D)`` in their own units.
        table: Their distinct points.
        fraction: The fraction that is held out.
        seed: The seed of what is drawn.

    Raises:
        ValueError: If the fraction is not between 0 and 1, or holds out fewer than two points.
    """
    kept, held = (part.sort().values for part in halves(torch.arange(len(table.x)), fraction, seed))
    x, weight = points[table.rows], table.weight
    return Parts(x[kept], weight[kept], x[held], weight[held])


def in_parallel(function: Callable[[int], T], numbers: Sequence[int], n_jobs: int | None) -> Iterator[T]:
    """Yields what a function returns for each number, in their order, computed in so many processes at once.

    Args:
        function: The function, which processes can be given.
        numbers: The numbers.
        n_jobs: The number of processes as scikit-learn takes it: None for one, and −1 for one for each core.
    """
    if n_jobs in (None, 1):
        yield from map(function, numbers)
        return
    results: Any = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(function)(number) for number in numbers)
    yield from results
