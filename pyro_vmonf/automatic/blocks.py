"""Points that are scored block by block, so that memory does not grow with their number."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Blocks", "points_at_once"]

FEWEST, MOST = 64, 2048  # points of a block
NUMBERS = 2**20  # of one tensor of all mixtures, components, points and features; a hundred such are held at once


def points_at_once(mixtures: int, components: int, features: int) -> int:
    """Returns how many points are scored at once: from 64 to 2,048, so that a tensor has about a million numbers.

    Args:
        mixtures: The number V of mixtures.
        components: The number K of components of each.
        features: The number D of features.
    """
    return max(FEWEST, min(MOST, NUMBERS // (mixtures * components * features)))


class Blocks:
    """Tensors ``(V, N, …)`` in blocks of so many points, each of which is copied to the same memory in turn.

    Args:
        tensors: The tensors.
        size: The number of points of a block.

    Attributes:
        inputs: The memory, tensors ``(V, size, …)``, or the tensors themselves if they have no more points.
    """

    def __init__(self, tensors: Sequence[Tensor], size: int) -> None:
        self.tensors, self.points = list(tensors), tensors[0].shape[1]
        self.size = min(size, self.points)
        self.inputs = self.tensors if len(self) == 1 else [tensor[:, : self.size].clone() for tensor in tensors]

    def __len__(self) -> int:
        return -(-self.points // self.size)

    def joined(self, function: Callable[[], Tensor]) -> Tensor:
        """Returns what a function of ``inputs`` gives for all points, ``(…, N)``.

        Args:
            function: Returns ``(…, size)``. The next call may overwrite what it returned.
        """
        if len(self) == 1:
            return function()
        parts = []
        for first in range(0, self.points, self.size):
            count = min(self.size, self.points - first)
            # What the last block does not fill keeps the values of the block before it, which are left out.
            for own, whole in zip(self.inputs, self.tensors, strict=True):
                own[:, :count].copy_(whole[:, first : first + count])
            parts.append(function()[..., :count].clone())
        return torch.cat(parts, -1)
