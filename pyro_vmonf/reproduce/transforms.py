"""What the elementary transformations do to the plane (thesis, figs 3.1-3.3)."""

import math
from typing import cast

import torch
from matplotlib.figure import Figure
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.transforms import PLUAffine, PReLU, affine_coupling

__all__ = ["draw_transforms"]


@torch.no_grad()
def draw_transforms() -> dict[str, Figure]:
    """A standard normal cloud and a grid before and after an affine (3.1), a PReLU (3.2) and a coupling (3.3)."""
    affine = PLUAffine(2)
    affine.lower[1, 0] = 0.8
    affine.upper[0, 1] = -0.6
    affine.raw_log_scale.copy_(torch.tensor([0.4, -0.5]))
    affine.shift.copy_(torch.tensor([0.5, -0.5]))
    prelu = PReLU(2)
    prelu.raw_log_slope.fill_(math.log(0.3))
    with isolated_random_state(3):
        bend = affine_coupling(2, (16,))
        for parameter in bend.parameters():
            parameter.mul_(1.5)
        for parameter in list(bend.parameters())[-2:]:
            parameter.mul_(10)
        cloud = torch.randn(1500, 2)
    return {
        "affine": before_and_after(affine, cloud, "affine: $y = P L (U + diag(e^s)) x + b$"),
        "prelu": before_and_after(prelu, cloud, r"PReLU: $y = \max(x, 0) + \alpha\,\min(x, 0)$"),
        "coupling": before_and_after(bend, cloud, "affine coupling: $y_2 = e^{s(x_1)} x_2 + t(x_1)$"),
    }


def before_and_after(transform: TransformModule, cloud: Tensor, title: str) -> Figure:
    """The cloud and a grid on the left, their images on the right, coloured by log|det J|."""
    image = cast(Tensor, transform(cloud))
    log_det = transform.log_abs_det_jacobian(cloud, image)
    reach = max(float(log_det.abs().max()), 0.1)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for ax, points in ((left, cloud), (right, image)):
        dots = ax.scatter(*points.T.numpy(), c=log_det.numpy(), s=5, lw=0, cmap="coolwarm", vmin=-reach, vmax=reach)
        ax.set_aspect("equal", adjustable="datalim")
    for line in grid_lines():
        left.plot(*line.T.numpy(), color="black", linewidth=0.4, alpha=0.6)
        right.plot(*cast(Tensor, transform(line)).T.numpy(), color="black", linewidth=0.4, alpha=0.6)
    left.set_title("x ~ N(0, I)", fontsize=10)
    right.set_title(title, fontsize=10)
    figure.colorbar(dots, ax=right, label="log |det J|")
    return figure


def grid_lines(reach: float = 3.0, count: int = 13) -> list[Tensor]:
    """Lines of a square grid, each ``(200, 2)``."""
    along = torch.linspace(-reach, reach, 200)
    lines = []
    for at in torch.linspace(-reach, reach, count):
        across = torch.full_like(along, float(at))
        lines += [torch.stack([along, across], -1), torch.stack([across, along], -1)]
    return lines
