"""Two-dimensional data: the pinwheel and the two circles."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vmonf._checks import check_count

__all__ = ["pinwheel", "two_circles"]


def pinwheel(
    n_per_wing: int = 512,
    *,
    wings: int = 5,
    radial_std: float = 0.3,
    tangential_std: float = 0.1,
    rate: float = 0.25,
    scale: float = 2.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Gaussian clouds, sheared around the origin into the wings of a pinwheel.

    ``x = scale · R(2πk/K + rate · e^r) (r, t)``, r ~ N(1, radial_std²), t ~ N(0, tangential_std²), R a rotation.
    Reference: Johnson et al., 2016 (arXiv:1603.06277), section 6.

    Returns:
        x ``(N, 2)`` in the default floating-point type, and the wing of each point ``(N,)``.
    """
    check_count("n_per_wing", n_per_wing)
    check_count("wings", wings)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(wings).repeat_interleave(n_per_wing)
    stds = torch.tensor([radial_std, tangential_std])
    cloud = torch.randn(len(y), 2, generator=generator) * stds + torch.tensor([1.0, 0.0])
    angle = 2 * math.pi * y / wings + rate * cloud[:, 0].exp()
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=-1).reshape(-1, 2, 2)
    return scale * (rotation @ cloud.unsqueeze(-1)).squeeze(-1), y


def two_circles(
    n_per_circle: int = 512, *, radii: Sequence[float] = (0.8, 0.4), std: float = 0.02, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Concentric circles blurred by Gaussian noise of standard deviation ``std`` in each coordinate.

    Returns:
        x ``(N, 2)`` in the default floating-point type, and each point's circle ``(N,)``, in the order of ``radii``.
    """
    check_count("n_per_circle", n_per_circle)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(len(radii)).repeat_interleave(n_per_circle)
    angle = 2 * math.pi * torch.rand(len(y), generator=generator)
    circle = torch.tensor(radii)[y].unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], dim=-1)
    return circle + std * torch.randn(len(y), 2, generator=generator), y
