"""When a fit ends: the best held-out epoch so far, and how many epochs there have been since."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pyro_vmonf.checkpointing.history import Row

__all__ = ["BestEpoch", "best_epoch"]


@dataclass(frozen=True)
class BestEpoch:
    """The epoch with the greatest held-out score.

    Attributes:
        epoch: Its number; −1 for the state before epoch 0.
        since: The number of epochs of the last phase with a score after it, none of which is better.
    """

    epoch: int
    since: int


def best_epoch(rows: Sequence[Row], score: str, last_phase: int) -> BestEpoch | None:
    """Returns the epoch with the greatest score, the first of several, or None where no row has a score.

    A score that is NaN is never the greatest.

    Args:
        rows: The rows of a history.
        score: The column, such as ``"validation_elbo"``. The first row that has it may have ``initial_validation_elbo``
            too, the score before that epoch, which is that of the epoch before.
        last_phase: The index of the last phase, whose epochs alone are counted.

    Examples:
        >>> from pyro_vmonf.training.stopping import best_epoch
        >>> scores = [-3.0, -1.0, -2.0]
        >>> rows = [{"epoch": i, "phase": 0, "validation_elbo": score} for i, score in enumerate(scores)]
        >>> best_epoch(rows, "validation_elbo", last_phase=0)
        BestEpoch(epoch=1, since=1)
    """
    having = [row for row in rows if score in row]
    if not having:
        return None
    best, epoch, since = finite(having[0].get(f"initial_{score}", -math.inf)), int(having[0]["epoch"]) - 1, 0
    for row in having:
        if finite(row[score]) > best:
            best, epoch, since = row[score], int(row["epoch"]), 0
        elif row["phase"] == last_phase:
            since += 1
    return BestEpoch(epoch, since)


def finite(value: float) -> float:
    """Returns a score, and −∞ in the place of NaN."""
    return -math.inf if math.isnan(value) else value
