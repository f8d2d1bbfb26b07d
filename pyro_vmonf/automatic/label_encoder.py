"""Encoders that learn a start's responsibilities and labels before any flow does."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.config import Schedule
from pyro_vmonf.automatic.data import EnsembleData
from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.training import Ascent, Score, ascend, interval_of
from pyro_vmonf.automatic.values import label_term
from pyro_vmonf.steps.rows import RowAdam

__all__ = ["EncoderAscent", "TaughtEncoders", "copy_encoders", "teach_encoders", "teach_encoders_for"]


@dataclass(frozen=True)
class TaughtEncoders:
    """Encoders of the folds that learned the responsibilities of a start.

    Attributes:
        ensemble: Mixtures with these encoders and others.
        rows: Which of the mixtures, one for each fold.
        start: The start, with the type of covariances from which they began.
        steps: The number of steps for which they learned.
    """

    ensemble: Ensemble
    rows: Sequence[int]
    start: Candidate
    steps: int


class EncoderAscent(Ascent):
    """Steps of Adam on Σ r(z) log q(z | x), and on log q(y | x) of labelled points, for the encoders alone.

    The arguments are those of :class:`~pyro_vmonf.automatic.training.Ascent`.
    """

    def adam(self) -> RowAdam:
        """Returns the optimizer of the encoders."""
        return RowAdam([list(self.ensemble.encoder.parameters())], [self.schedule.encoder_rate], self.ensemble.size)

    def gradient(self, x: Tensor, target: Tensor, weight: Tensor, *more: Tensor) -> list[Tensor]:
        """Sets the gradient of a batch, and returns the objective."""
        self.optimizer.write()
        _, points, labels, mass = more
        value = said(self.ensemble, x + torch.randn_like(x) @ self.noise, target)
        value = (weight * value).sum(-1) / weight.sum(-1)
        value = value + label_term(self.ensemble, points + torch.randn_like(points) @ self.noise, labels, mass)
        self.optimizer.set_gradient(torch.autograd.grad(value.sum(), self.optimizer.parameters))
        return [value.detach()]


class EncoderScore(Score):
    """The mean Σ r(z) log q(z | x) of held-out points, pooled over folds.

    The arguments are those of :class:`~pyro_vmonf.automatic.training.Score`.
    """

    @torch.no_grad()
    def each(self, x: Tensor, target: Tensor, taught: Tensor) -> list[Tensor]:
        """Returns the score of each point of a block, ``(V, m)``."""
        return [said(self.ensemble, x, target)]


def said(ensemble: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Returns Σ r(z) log q(z | x) of points, ``(V, N)``."""
    return (target.mT * ensemble.log_q(x)).sum(1)


def teach_encoders(
    ensemble: Ensemble, data: EnsembleData, held_out: EnsembleData, noise: Tensor, schedule: Schedule, folds: int
) -> tuple[Tensor, Tensor]:
    """Teaches encoders the responsibilities of their starts, until held-out points say no more.

    Args:
        ensemble: The mixtures: F folds of C starts, folds first.
        data: Their points, some of them with labels.
        held_out: Other points of theirs.
        noise: The matrix ``(D, D)`` of the noise that is added to the points.
        schedule: The numbers of the training; the greatest number of steps is that of the warm-up.
        folds: The number F of folds.

    Returns:
        The step at which each start was best, and the mean Σ r(z) log q(z | x) of held-out points, both ``(C,)``.
    """
    steps = schedule.warmup
    score = EncoderScore(ensemble, held_out, folds, steps // interval_of(data))
    at, best = ascend(EncoderAscent(ensemble, data, noise, schedule, steps), score, True, steps)
    return at[0], best[0]


def teach_encoders_for(ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule, steps: int) -> None:
    """Teaches encoders for a number of steps; for the other arguments see :func:`teach_encoders`."""
    ascent = EncoderAscent(ensemble, data, noise, schedule, steps)
    ascent.begin(True)
    for _, rows in zip(range(steps), ascent.batches(), strict=False):
        ascent.advance(rows)
    ascent.optimizer.write_means()


@torch.no_grad()
def copy_encoders(ensemble: Ensemble, other: Ensemble, rows: Sequence[int]) -> None:
    """Gives the mixtures of an ensemble the encoders of some of another, as many as it has mixtures."""
    theirs = dict(tensors_of(other))
    for name, tensor in tensors_of(ensemble):
        if name.startswith("encoder"):
            tensor.copy_(theirs[name][list(rows)])
