"""The softmax temperature's schedule."""

from dataclasses import dataclass

from pyro_vmonf._validation import check_fraction, check_positive

__all__ = ["Temperature"]


@dataclass(frozen=True)
class Temperature:
    """``T(e) = max(floor, start · decay^e)`` in epoch e.

    Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.2.

    Attributes:
        start: T in the first epoch.
        decay: factor from one epoch to the next, above 0 and at most 1.
        floor: the least T.

    Raises:
        ValueError: if a temperature is not positive, or the decay out of range.
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
