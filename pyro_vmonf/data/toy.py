"""Two-dimensional data: the pinwheel and the two circles."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vmonf._validation import check_count

__all__ = ["pinwheel", "pinwheel_log_prob", "two_circles", "two_circles_log_prob"]


def pinwheel(
    n_per_wing: int | Sequence[int] = 512,
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

    Args:
        n_per_wing: points in each wing, or one number for each wing.
        wings: K, where ``n_per_wing`` is one number; their number is K where it is not.
        radial_std, tangential_std: of the clouds.
        rate: how strongly the wings are bent.
        scale: of the whole.
        seed: of the draw.

    Returns:
        x ``(N, 2)`` in the default floating-point type, and the wing of each point ``(N,)``.
    """
    check_count("wings", wings)
    sizes = list(n_per_wing) if isinstance(n_per_wing, Sequence) else [n_per_wing] * wings
    wings = check_count("number of wings", len(sizes))
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(wings).repeat_interleave(torch.tensor([check_count("n_per_wing", n) for n in sizes]))
    stds = torch.tensor([radial_std, tangential_std])
    cloud = torch.randn(len(y), 2, generator=generator) * stds + torch.tensor([1.0, 0.0])
    angle = 2 * math.pi * y / wings + rate * cloud[:, 0].exp()
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=-1).reshape(-1, 2, 2)
    return scale * (rotation @ cloud.unsqueeze(-1)).squeeze(-1), y


def pinwheel_log_prob(
    x: Tensor,
    *,
    wings: int = 5,
    weights: Sequence[float] | None = None,
    radial_std: float = 0.3,
    tangential_std: float = 0.1,
    rate: float = 0.25,
    scale: float = 2.0,
) -> Tensor:
    r"""log p(x) of :func:`pinwheel` in nats: x ``(N, 2)`` → ``(N,)``.

    At radius ρ = \|x\|/scale a wing holds the point x at every angle ψ of its cloud, (r, t) = ρ (cos ψ, sin ψ), with
    ψ + rate · e^{ρ cos ψ} + 2πk/K equal to the angle of x; each adds
    N(r | 1, ·) N(t | 0, ·) / (scale² \|1 − rate e^r t\|).
    The angles are found to about 1e-7 by bracketing on a grid and bisection.

    Args:
        x: points.
        weights: of the wings; equal if not given.
        wings, radial_std, tangential_std, rate, scale: as in :func:`pinwheel`.
    """
    share = torch.full((wings,), 1 / wings) if weights is None else torch.as_tensor(weights)
    total = x.new_full((len(x),), -math.inf)
    for k in range(wings):
        point, psi = cloud_angles(x / scale, 2 * math.pi * k / wings, rate)
        rho = x[point].norm(dim=-1) / scale
        r, t = rho * psi.cos(), rho * psi.sin()
        cloud = -(((r - 1) / radial_std) ** 2) / 2 - (t / tangential_std) ** 2 / 2
        jacobian = (1 - rate * r.exp() * t).abs() * 2 * math.pi * radial_std * tangential_std * scale**2
        density = torch.zeros_like(total).index_add(0, point, (cloud - jacobian.log()).exp())
        total = torch.logaddexp(total, density.log() + share[k].log())
    return total


def cloud_angles(x: Tensor, turn: float, rate: float) -> tuple[Tensor, Tensor]:
    """All ψ with ψ + rate · e^{ρ cos ψ} + turn equal to the angle of x, and which of x ``(N, 2)`` each belongs to."""
    rho, ahead = x.norm(dim=-1), torch.atan2(x[:, 1], x[:, 0]) - turn

    def off(psi: Tensor, rho: Tensor, ahead: Tensor) -> Tensor:
        """How far ψ ends from x, within half a turn."""
        return torch.remainder(psi + rate * (rho * psi.cos()).exp() - ahead + math.pi, 2 * math.pi) - math.pi

    edges = torch.linspace(-math.pi, math.pi, 101, dtype=x.dtype, device=x.device)
    at = torch.cat(
        [off(edges, r.unsqueeze(-1), a.unsqueeze(-1)) for r, a in zip(rho.split(5000), ahead.split(5000), strict=True)]
    )
    # A zero, not the jump from half a turn to minus half a turn.
    crossing = (at[:, :-1] * at[:, 1:] <= 0) & ((at[:, :-1] - at[:, 1:]).abs() < math.pi)
    point, edge = crossing.nonzero().unbind(-1)
    low, high, sign = edges[edge], edges[edge + 1], at[point, edge].sign()
    for _ in range(20):
        middle = (low + high) / 2
        same = off(middle, rho[point], ahead[point]).sign() == sign
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return point, (low + high) / 2


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


def two_circles_log_prob(x: Tensor, *, radii: Sequence[float] = (0.8, 0.4), std: float = 0.02) -> Tensor:
    r"""log p(x) of :func:`two_circles` in nats: x ``(N, 2)`` → ``(N,)``.

    Each circle of radius R is \|x\| ~ Rice(R, std): N(x | 0, std² I) e^{−R²/2 std²} I₀(\|x\| R / std²).
    """
    rho, radius = x.norm(dim=-1, keepdim=True), torch.as_tensor(radii, dtype=x.dtype, device=x.device)
    ring = torch.special.i0e(rho * radius / std**2).log() - (rho - radius) ** 2 / (2 * std**2)
    return ring.logsumexp(-1) - math.log(2 * math.pi * std**2 * len(radius))
