"""The data of a fit: points, labels, weights and responsibilities, checked."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pyro_vmonf.labels import is_labelled
from pyro_vmonf.objectives import Batch

__all__ = ["TrainingData"]


@dataclass(frozen=True)
class TrainingData:
    """N points and what is known of them; tensors stay where they are until a batch is taken.

    Attributes:
        x: The points ``(N, *event)``.
        y: The labels ``(N,)`` or soft labels ``(N, C)``, −1 where there is none; None for none at all.
        weight: The weights ``(N,)``, above 0; None where all are 1.
        target: An initializer's responsibilities ``(N, K)``.
        rows: The numbers of the points ``(N,)`` among those that the user gave; None where they are all of them.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.training import TrainingData
        >>> data = TrainingData(torch.zeros(10, 2), weight=torch.full((10,), 0.5))
        >>> used, held_out = data.split(0.3, seed=0)
        >>> len(used), len(held_out), data.total_weight
        (7, 3, 5.0)
    """

    x: Tensor
    y: Tensor | None = None
    weight: Tensor | None = None
    target: Tensor | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def total_weight(self) -> float:
        """The sum of the weights, or N."""
        return float(len(self)) if self.weight is None else float(self.weight.sum())

    @cached_property
    def has_label(self) -> Tensor:
        """Whether each point has a label, ``(N,)``, on the host."""
        return torch.zeros(len(self.x), dtype=torch.bool) if self.y is None else is_labelled(self.y).cpu()

    @cached_property
    def labelled(self) -> Tensor:
        """The indices of the points with a label."""
        return self.has_label.nonzero().squeeze(-1)

    @cached_property
    def unlabelled(self) -> Tensor:
        """The indices of the points without."""
        return (~self.has_label).nonzero().squeeze(-1)

    def subset(self, indices: Tensor) -> "TrainingData":
        """Returns the points at ``indices``."""
        y, weight, target = (None if t is None else t[indices.to(t.device)] for t in (self.y, self.weight, self.target))
        rows = indices.cpu() if self.rows is None else self.rows[indices.cpu()]
        return TrainingData(self.x[indices.to(self.x.device)], y, weight, target, rows)

    def split(self, fraction: float, seed: int) -> "tuple[TrainingData, TrainingData]":
        """Returns the points that are used, and a fraction of all (one at least) that is held out, by a seed."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        size = max(1, int(len(self) * fraction))
        return self.subset(order[size:]), self.subset(order[:size])

    def with_target(self, target: Tensor | None) -> "TrainingData":
        """Returns the same points with these responsibilities."""
        return replace(self, target=target)

    def batch(self, indices: Tensor, device: torch.device) -> Batch:
        """Returns the points at ``indices`` on a device; y is None if none of them has a label."""
        chosen = self.subset(indices)
        x = chosen.x.to(device)
        y, weight = (None if t is None else t.to(device) for t in (chosen.y, chosen.weight))
        n_labelled = int(self.has_label[indices].sum())
        # A batch that repeats labelled points may be larger than the data set.
        size = max(len(self), len(indices)) if weight is None else self.total_weight
        target = None if chosen.target is None else chosen.target.to(x)
        return Batch(x, size, y if n_labelled else None, weight, target, n_labelled == len(indices))
