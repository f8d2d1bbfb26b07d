"""Perturbations: functions from a batch to another of the same shape, whose points should keep their components."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

from pyro_vmonf._validation import check_count

__all__ = ["NeighbourSwap", "Noise", "RandomAffineElastic", "apply_perturbation"]


@torch.no_grad()
def apply_perturbation(name: str, perturb: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``perturb(x)`` of a copy of x; raises ``ValueError`` with the argument's ``name`` if shape or type change."""
    moved = perturb(x.clone())
    if not isinstance(moved, Tensor) or moved.shape != x.shape:
        got = tuple(moved.shape) if isinstance(moved, Tensor) else type(moved).__name__
        raise ValueError(f"{name}: expected a function that keeps the batch's shape {tuple(x.shape)}, got {got}")
    if moved.dtype != x.dtype:
        raise ValueError(f"{name}: expected a function that keeps the batch's type {x.dtype}, got {moved.dtype}")
    return moved


def check_amount(name: str, value: float) -> float:
    """Returns ``value`` if it is a finite number of at least 0; raises ``ValueError`` otherwise."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")
    return float(value)


class Noise(nn.Module):
    """``x + std · ε``, ε ~ N(0, I).

    Args:
        std: in x's units.
    """

    def __init__(self, std: float = 0.1) -> None:
        super().__init__()
        self.std = check_amount("std", std)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x)

    def extra_repr(self) -> str:
        return f"std={self.std}"


class NeighbourSwap(nn.Module):
    """Another point of the data set: one of the nearest neighbours, at random.

    Args:
        data: the data set ``(N, *event)``.
        neighbours: how many of the nearest to choose from, the point itself not counted.
    """

    data: Tensor

    def __init__(self, data: Tensor, neighbours: int = 10) -> None:
        super().__init__()
        self.neighbours = check_count("neighbours", neighbours)
        if len(data) <= neighbours:
            raise ValueError(f"data: expected more than neighbours = {neighbours} points, got {len(data)}")
        self.register_buffer("data", data.detach())

    def forward(self, x: Tensor) -> Tensor:
        data = self.data.to(x)
        nearest = torch.cdist(x.flatten(1), data.flatten(1)).topk(self.neighbours + 1, largest=False).indices
        chosen = torch.randint(1, self.neighbours + 1, (len(x), 1), device=x.device)
        return data[nearest.gather(1, chosen).squeeze(1)]

    def extra_repr(self) -> str:
        return f"neighbours={self.neighbours}, points={len(self.data)}"


class RandomAffineElastic(nn.Module):
    """Images moved a little: shifted, rotated, scaled, sheared and bent, each by a random amount.

    What comes in from beyond the border repeats it, so pixels may be on any scale, logits among them.

    Args:
        height, width: of the image, whose rows x holds one after the other.
        shift: standard deviation of the shift in pixels, in each direction.
        rotate: standard deviation of the rotation, in degrees.
        scale: standard deviation of the log of the magnification.
        shear: standard deviation of the shear.
        elastic: standard deviation in pixels of a smooth displacement, drawn on a 4×4 grid.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        shift: float = 1.5,
        rotate: float = 10.0,
        scale: float = 0.1,
        shear: float = 0.1,
        elastic: float = 0.0,
    ) -> None:
        super().__init__()
        self.size = check_count("height", height), check_count("width", width)
        self.shift = check_amount("shift", shift)
        self.rotate = check_amount("rotate", rotate)
        self.scale = check_amount("scale", scale)
        self.shear = check_amount("shear", shear)
        self.elastic = check_amount("elastic", elastic)

    def forward(self, x: Tensor) -> Tensor:
        if math.prod(x.shape[1:]) != math.prod(self.size):
            raise ValueError(f"x: expected images of {self.size} pixels, got a batch of shape {tuple(x.shape)}")
        images = x.reshape(len(x), 1, *self.size)
        grid = affine_grid(self.affine(x), list(images.shape), align_corners=False)
        if self.elastic:
            grid = grid + self.bend(x)
        return grid_sample(images, grid, padding_mode="border", align_corners=False).reshape(x.shape)

    def affine(self, x: Tensor) -> Tensor:
        """A random affine map for each image: ``(N, 2, 3)``."""
        angle, log_scale, shear, right, down = x.new_empty(5, len(x)).normal_().unbind()
        angle, shear = math.radians(self.rotate) * angle, self.shear * shear
        cos, sin = angle.cos(), angle.sin()
        magnify = (-self.scale * log_scale).exp()
        height, width = self.size
        # The grid goes from −1 to 1 in both directions, whatever the image's shape.
        aspect = height / width
        rows = [
            torch.stack([magnify * cos, magnify * (shear - sin) * aspect, 2 * self.shift / width * right], -1),
            torch.stack([magnify * sin / aspect, magnify * cos, 2 * self.shift / height * down], -1),
        ]
        return torch.stack(rows, 1)

    def extra_repr(self) -> str:
        amounts = {name: getattr(self, name) for name in ("shift", "rotate", "scale", "shear", "elastic")}
        return f"{self.size[0]}, {self.size[1]}, " + ", ".join(f"{name}={value}" for name, value in amounts.items())

    def bend(self, x: Tensor) -> Tensor:
        """A smooth random displacement for each image: ``(N, height, width, 2)``."""
        height, width = self.size
        coarse = x.new_empty(len(x), 2, 4, 4).normal_()
        smooth = interpolate(coarse, size=self.size, mode="bicubic", align_corners=True).movedim(1, -1)
        return 2 * self.elastic * smooth / x.new_tensor([width, height])
