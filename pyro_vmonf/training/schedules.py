"""What changes from epoch to epoch: the learning rate and the softmax temperature."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pyro_vmonf._validation import check_count, check_fraction, check_positive

__all__ = ["ConstantRate", "CosineRate", "Schedule", "Temperature"]

Schedule: TypeAlias = Callable[[int], float]
"""A function of the number of an epoch within its phase, from 0."""


@dataclass(frozen=True)
class ConstantRate:
    """The learning rate ``rate`` throughout.

    Attributes:
        rate: The learning rate, above 0.

    Examples:
        >>> from pyro_vmonf.training import ConstantRate
        >>> ConstantRate(0.1)(7)
        0.1
    """

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", check_positive("rate", self.rate))

    def __call__(self, epoch: int) -> float:
        return self.rate


@dataclass(frozen=True)
class CosineRate:
    """``rate · (1 + cos(π e / epochs)) / 2`` in epoch e: the learning rate falls to zero over the epochs.

    Reference: Loshchilov and Hutter, 2017 (arXiv:1608.03983), equation 5.

    Attributes:
        rate: The learning rate of the first epoch, above 0.
        epochs: The number of epochs over which it falls.

    Examples:
        >>> from pyro_vmonf.training import CosineRate
        >>> [round(CosineRate(1.0, 4)(epoch), 3) for epoch in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """

    rate: float
    epochs: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", check_positive("rate", self.rate))
        object.__setattr__(self, "epochs", check_count("epochs", self.epochs, 0))

    def __call__(self, epoch: int) -> float:
        return self.rate if epoch <= 0 else self.rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True)
class Temperature:
    """``T(e) = max(floor, start · decay^e)`` in epoch e.

    Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.2.

    Attributes:
        start: The temperature of the first epoch.
        decay: The factor from one epoch to the next, above 0 and at most 1.
        floor: The least temperature.

    Raises:
        ValueError: If a temperature is not positive, or the decay is out of range.

    Examples:
        >>> from pyro_vmonf.training import Temperature
        >>> [Temperature(8.0, 0.5)(epoch) for epoch in range(5)]
        [8.0, 4.0, 2.0, 1.0, 1.0]
    """

    start: float = 1.0
    decay: float = 0.98
    floor: float = 1.0

    def __post_init__(self) -> None:
        check_positive("start", self.start)
        check_positive("floor", self.floor)
        check_fraction("decay", self.decay)

    def __call__(self, epoch: int) -> float:
        return max(self.floor, self.start * self.decay**epoch)
