"""The points as a search sees them: distinct, sorted, standardised, and divided into folds."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Folds", "Scale", "by_range", "distinct", "first_of", "fold_count", "folds_of", "ranges_of"]

FEW, SOME = 500, 2000  # up to so many points there are five folds, and three; above, one part is held out
MOST_HELD_OUT = 4000  # points: so many tell flows apart, and are scored often


@dataclass(frozen=True)
class Scale:
    """The mean and standard deviation of each feature, ``(D,)``; a constant feature has the deviation 1."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor, weight: Tensor) -> "Scale":
        """Returns those of weighted points ``(N, D)``."""
        share = (weight / weight.sum()).unsqueeze(-1)
        mean = (share * x).sum(0)
        centred = x - mean
        most = centred.abs().amax(0)  # so that no square is too large or too small for a float
        most = torch.where(most > 0, most, torch.ones_like(most))
        deviation = most * (share * (centred / most).square()).sum(0).sqrt()
        least = 1e-12 * mean.abs().clamp(min=torch.finfo(x.dtype).tiny)
        return cls(mean, torch.where(deviation > least, deviation, torch.ones_like(deviation)))

    def standardized(self, x: Tensor) -> Tensor:
        """Returns ``(x − mean) / deviation``."""
        return (x - self.mean) / self.deviation


def ranges_of(x: Tensor) -> Tensor:
    """Returns the range of each feature of points ``(N, D)``, and 1 for a constant one, ``(D,)``."""
    ranges = x.amax(0) - x.amin(0)
    return torch.where(ranges > 0, ranges, torch.ones_like(ranges))


def by_range(x: Tensor) -> Tensor:
    """Returns points ``(N, D)``, each feature divided by its range, if it is not constant.

    So distances say more of clusters than with the standard deviation as the unit, which is great where a feature
    tells clusters apart (Milligan and Cooper, 1988, *Journal of Classification* 5).
    """
    return x / ranges_of(x)


def distinct(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the distinct points in lexicographic order, the sum of the weights of each, and each row's point.

    So repeated rows equal weights, and the order of rows is no matter.

    Args:
        x: The points ``(N, D)``.
        weight: Their weights, above 0, ``(N,)``.
    """
    points, index = torch.unique(x + 0.0, dim=0, return_inverse=True)  # −0 becomes 0
    return points, weight.new_zeros(len(points)).index_add_(0, index, weight), index


def first_of(index: Tensor, count: int) -> Tensor:
    """Returns the first row of each of ``count`` points, given the point of each row."""
    rows = torch.arange(len(index))
    return torch.full((count,), len(index)).scatter_reduce_(0, index, rows, "amin")


@dataclass(frozen=True)
class Folds:
    """The points that each fold trains on, and those that it holds out."""

    kept: list[Tensor]
    held_out: list[Tensor]

    def __len__(self) -> int:
        return len(self.kept)


def fold_count(n: int) -> int:
    """Returns the number of folds of n points: five up to 500, three up to 2,000, and one above."""
    return 5 if n <= FEW else 3 if n <= SOME else 1


def folds_of(n: int, seed: int, fraction: float | None = None) -> Folds:
    """Returns folds of n points in a random order, each of which holds out another fifth, but never more than 4,000.

    Args:
        n: The number of points.
        seed: The seed of their order.
        fraction: If it is given, that fraction of the points is held out once.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    count = fold_count(n) if fraction is None else 1
    size = min(max(1, n // 5), MOST_HELD_OUT) if fraction is None else round(n * fraction)
    cuts = [slice(i * size, (i + 1) * size) for i in range(count)]
    kept = [torch.cat([order[: cut.start], order[cut.stop :]]) for cut in cuts]
    return Folds(kept, [order[cut] for cut in cuts])
