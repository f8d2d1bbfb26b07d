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
    """Draws Gaussian clouds that are sheared around the origin into the wings of a pinwheel.

    ``x = scale · R(2πk/K + rate · e^r) (r, t)``, r ~ N(1, radial_std²), t ~ N(0, tangential_std²), R a rotation.

    Reference: Johnson et al., 2016 (arXiv:1603.06277), section 6.

    Args:
        n_per_wing: The number of points in each wing, or one number for each wing.
        wings: The number of wings K. It is that of the numbers where ``n_per_wing`` has one for each wing.
        radial_std: The standard deviation of a cloud along the radius.
        tangential_std: The standard deviation of a cloud across the radius.
        rate: The rate at which wings turn with the exponential of the radius.
        scale: The factor by which all points are scaled.
        seed: The seed of the draw.

    Returns:
        The points x ``(N, 2)`` in the default floating-point type, and the wing of each point ``(N,)``.

    Raises:
        ValueError: If a number of wings or points is below 1.

    Examples:
        >>> from pyro_vmonf.data import pinwheel
        >>> x, y = pinwheel(100, wings=3)
        >>> x.shape, y.bincount()
        (torch.Size([300, 2]), tensor([100, 100, 100]))
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
    r"""Returns log p(x) of :func:`pinwheel` in nats: x ``(N, 2)`` → ``(N,)``.

    With ρ = \|x\|/scale, wing k contains the point x at every angle ψ of its cloud, (r, t) = ρ (cos ψ, sin ψ), for
    which ψ + rate · e^{ρ cos ψ} + 2πk/K equals the angle of x; each of these adds
    N(r | 1, ·) N(t | 0, ·) / (scale² \|1 − rate e^r t\|).
    The angles are found to about 1e-7 by bracketing on a grid and bisection.

    Args:
        x: The points ``(N, 2)``.
        wings: The number of wings K.
        weights: The weights of the wings, K numbers. They are equal if they are not given.
        radial_std: The standard deviation of a cloud along the radius.
        tangential_std: The standard deviation of a cloud across the radius.
        rate: The rate at which wings turn with the exponential of the radius.
        scale: The factor by which all points are scaled.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.data import pinwheel_log_prob
        >>> pinwheel_log_prob(torch.tensor([[1.555, 1.257]]), wings=3).round(decimals=2)
        tensor([-0.8200])
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
    """Returns all ψ with ψ + rate · e^{ρ cos ψ} + turn equal to the angle of an x of ``(N, 2)``, after its index."""
    rho, ahead = x.norm(dim=-1), torch.atan2(x[:, 1], x[:, 0]) - turn

    def off(psi: Tensor, rho: Tensor, ahead: Tensor) -> Tensor:
        """Returns the angle from x to the image of ψ, within half a turn."""
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
    """Draws concentric circles with Gaussian noise.

    Args:
        n_per_circle: The number of points on each circle.
        radii: The radii of the circles, two or any other number of them.
        std: The standard deviation of the noise in each coordinate.
        seed: The seed of the draw.

    Returns:
        The points x ``(N, 2)`` in the default floating-point type, and the circle of each point ``(N,)``, in the order
        of ``radii``.

    Raises:
        ValueError: If ``n_per_circle`` is below 1.

    Examples:
        >>> from pyro_vmonf.data import two_circles
        >>> x, y = two_circles(100, std=0.0)
        >>> x[:100].norm(dim=1).mean()
        tensor(0.8000)
    """
    check_count("n_per_circle", n_per_circle)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(len(radii)).repeat_interleave(n_per_circle)
    angle = 2 * math.pi * torch.rand(len(y), generator=generator)
    circle = torch.tensor(radii)[y].unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], dim=-1)
    return circle + std * torch.randn(len(y), 2, generator=generator), y


def two_circles_log_prob(x: Tensor, *, radii: Sequence[float] = (0.8, 0.4), std: float = 0.02) -> Tensor:
    r"""Returns log p(x) of :func:`two_circles` in nats: x ``(N, 2)`` → ``(N,)``.

    On each circle of radius R, \|x\| ~ Rice(R, std): N(x | 0, std² I) e^{−R²/2 std²} I₀(\|x\| R / std²).

    Args:
        x: The points ``(N, 2)``.
        radii: The radii of the circles.
        std: The standard deviation of the noise in each coordinate, above 0.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.data import two_circles_log_prob
        >>> two_circles_log_prob(torch.tensor([[0.8, 0.0]])).round(decimals=2)
        tensor([0.6900])
    """
    rho, radius = x.norm(dim=-1, keepdim=True), torch.as_tensor(radii, dtype=x.dtype, device=x.device)
    ring = torch.special.i0e(rho * radius / std**2).log() - (rho - radius) ** 2 / (2 * std**2)
    return ring.logsumexp(-1) - math.log(2 * math.pi * std**2 * len(radius))
