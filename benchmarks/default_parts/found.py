"""What a method says of test points, and what every rival sees: standardised points."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Found", "scale_of", "standardized", "validation"]


@dataclass
class Found:
    """What a method says of test points.

    Attributes:
        log_prob: The log-densities ``(N,)`` in nats, in the units of the standardised training points, or None.
        labels: The clusters ``(N,)``, or None.
        notes: What else is worth keeping: names and numbers.
    """

    log_prob: np.ndarray | None = None
    labels: np.ndarray | None = None
    notes: dict[str, str | float | int] = field(default_factory=dict)


def scale_of(x):
    """The mean and the standard deviation of each column, 1 where a column is constant."""
    scale = x.std(0)
    return x.mean(0), np.where(scale > 0, scale, 1.0)


def standardized(method):
    """A method of raw points that gives another one training and test points in units of the training points."""

    def run(x, k, x_test, seed):
        mean, scale = scale_of(x)
        return method((x - mean) / scale, k, (x_test - mean) / scale, seed)

    return run


def validation(x, seed, share=0.2):
    """Two parts of the training points: to learn from, and to choose by."""
    order = np.random.default_rng([seed, 1]).permutation(len(x))
    count = max(1, round(share * len(x)))
    return x[order[count:]], x[order[:count]]
