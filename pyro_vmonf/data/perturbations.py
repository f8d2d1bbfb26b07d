"""Perturbations: functions of a batch that return one of the same shape, whose points keep their components."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

from pyro_vmonf._validation import check_count, check_nonnegative

__all__ = ["NeighbourSwap", "Noise", "RandomAffineElastic", "apply_perturbation"]


@torch.no_grad()
def apply_perturbation(name: str, perturb: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns ``perturb(x)`` of a copy of x.

    Args:
        name: What the caller calls the function, for errors.
        perturb: The function of a batch.
        x: The batch ``(N, *event)``.

    Raises:
        ValueError: If the function returns anything but a tensor of the shape and type of x.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.data.perturbations import apply_perturbation
        >>> apply_perturbation("augment", torch.neg, torch.tensor([[1.0, 2.0]]))
        tensor([[-1., -2.]])
    """
    perturbed = perturb(x.clone())
    if not isinstance(perturbed, Tensor) or perturbed.shape != x.shape:
        got = tuple(perturbed.shape) if isinstance(perturbed, Tensor) else type(perturbed).__name__
        raise ValueError(f"{name}: expected a function that keeps the batch's shape {tuple(x.shape)}, got {got}")
    if perturbed.dtype != x.dtype:
        raise ValueError(f"{name}: expected a function that keeps the batch's type {x.dtype}, got {perturbed.dtype}")
    return perturbed


class Noise(nn.Module):
    """Adds Gaussian noise: x + std · ε, ε ~ N(0, I).

    Args:
        std: The standard deviation of the noise, in the units of x.

    Raises:
        ValueError: If ``std`` is negative or not finite.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.data import Noise
        >>> Noise(0.1)(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(self, std: float = 0.1) -> None:
        super().__init__()
        self.std = check_nonnegative("std", std)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x)

    def extra_repr(self) -> str:
        return f"std={self.std}"


class NeighbourSwap(nn.Module):
    """Replaces each point by one of its nearest neighbours in a data set, at random.

    Args:
        data: The data set ``(N, *event)``, of which the points are a part.
        neighbours: The number of nearest neighbours to draw from, the point itself not counted.

    Raises:
        ValueError: If ``neighbours`` is below 1, or there are no more points than that.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.data import NeighbourSwap
        >>> data = torch.tensor([[0.0], [1.0], [5.0]])
        >>> NeighbourSwap(data, neighbours=1)(data)
        tensor([[1.],
                [0.],
                [1.]])
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
    """Shifts, rotates, scales, shears and bends images, each by a random amount.

    Pixels from outside an image are those of its border, so pixels may be on any scale, such as logits.

    Args:
        height: The height of an image in pixels. Each x holds the rows of its image one after the other.
        width: The width of an image in pixels.
        shift: The standard deviation of the shift in pixels, in each direction.
        rotate: The standard deviation of the rotation, in degrees.
        scale: The standard deviation of the logarithm of the magnification.
        shear: The standard deviation of the shear.
        elastic: The standard deviation of a smooth displacement in pixels, which is drawn on a 4×4 grid.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.data import RandomAffineElastic
        >>> RandomAffineElastic(8, 8, elastic=0.5)(torch.zeros(5, 64)).shape
        torch.Size([5, 64])
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
        self.shift = check_nonnegative("shift", shift)
        self.rotate = check_nonnegative("rotate", rotate)
        self.scale = check_nonnegative("scale", scale)
        self.shear = check_nonnegative("shear", shear)
        self.elastic = check_nonnegative("elastic", elastic)

    def forward(self, x: Tensor) -> Tensor:
        if math.prod(x.shape[1:]) != math.prod(self.size):
            raise ValueError(f"x: expected images of {self.size} pixels, got a batch of shape {tuple(x.shape)}")
        images = x.reshape(len(x), 1, *self.size)
        grid = affine_grid(self.affine(x), list(images.shape), align_corners=False)
        if self.elastic:
            grid = grid + self.bend(x)
        return grid_sample(images, grid, padding_mode="border", align_corners=False).reshape(x.shape)

    def affine(self, x: Tensor) -> Tensor:
        """Returns a random affine map for each image, ``(N, 2, 3)``."""
        angle, log_scale, shear, right, down = x.new_empty(5, len(x)).normal_().unbind()
        angle, shear = math.radians(self.rotate) * angle, self.shear * shear
        cos, sin = angle.cos(), angle.sin()
        magnify = (-self.scale * log_scale).exp()
        height, width = self.size
        # The grid's coordinates are from −1 to 1 in both directions, for an image of any shape.
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
        """Returns a smooth random displacement for each image, ``(N, height, width, 2)``."""
        height, width = self.size
        coarse = x.new_empty(len(x), 2, 4, 4).normal_()
        smooth = interpolate(coarse, size=self.size, mode="bicubic", align_corners=True).movedim(1, -1)
        return 2 * self.elastic * smooth / x.new_tensor([width, height])
