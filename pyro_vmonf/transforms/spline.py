"""The monotonic rational-quadratic spline, in both directions, with a derivative in closed form."""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from pyro_vmonf._validation import check_positive

__all__ = ["MAX_BINS", "rational_quadratic_spline"]

MAX_BINS = 500  # half of the width is left for the softmax to share out
LEAST = 1e-3  # the least width and height of a bin, as a share of the whole, and the least slope at a knot
LOG_2 = math.log(2)


class Knots(NamedTuple):
    """All knots, and what their derivative needs: ``knots = offset + cumulation @ shares``."""

    positions: Tensor  # (M, 2, B + 1, N): those of x, and those of y
    shares: Tensor  # (M, 2, B, N): the softmax of the raw widths and heights
    cumulation: Tensor  # (B + 1, B)


class Bin(NamedTuple):
    """The bin in which each point lies; each tensor is ``(M, 2, N)``."""

    low: Tensor  # x and y of its lower end
    high: Tensor  # x and y of its upper end
    size: Tensor  # its width w and its height h
    slopes: Tensor  # d₀ and d₁, at its lower and its upper end
    ends: Tensor  # the numbers of its two knots
    raw_slopes: Tensor  # from which d₀ and d₁ come


class Curve(NamedTuple):
    """The spline at the fraction ``t = (x − low) / w`` of a bin, each tensor ``(M, N)``.

    In terms of t, v = 1 − t, s = h / w and the slopes d₀ and d₁, all of them sums of terms that are not negative:
    ``den = s (t² + v²) + (d₀ + d₁) t v``, ``n = (s t² + d₀ t v) / den``, ``m = d₁ t² + 2 s t v + d₀ v²``,
    ``y = low + h n`` and ``slope = dy/dx = s² m / den²``. Reference: Durkan et al., 2019, equations 4 and 5.
    """

    t: Tensor
    v: Tensor
    s: Tensor
    tv: Tensor
    den: Tensor
    n: Tensor
    m: Tensor
    slope: Tensor


def place_knots(raw: Tensor, bins: int, bound: float) -> Knots:
    """Returns the knots of raw widths and heights ``(M, 2 B, N)``. Those at ``±bound`` are exact."""
    # One product in the place of a cumulative sum: its memory has the batch last, and so is its derivative's.
    least, rest = 2 * bound * LEAST, 2 * bound * (1 - LEAST * bins)
    cumulation = pad(raw.new_full((bins, bins), rest).tril(-1), (0, 0, 0, 1))  # the last row adds nothing to the bound
    first = torch.linspace(-bound, least * (bins - 1) - bound, bins, dtype=raw.dtype, device=raw.device)
    offset = pad(first, (0, 1), value=bound).unsqueeze(-1)
    shares = raw.unflatten(1, (2, bins)).softmax(2)
    flat = shares.flatten(0, 1)
    positions = torch.baddbmm(offset, cumulation.expand(len(flat), -1, -1), flat)
    return Knots(positions.unflatten(0, (-1, 2)), shares, cumulation)


def find_bin(value: Tensor, axis: int, positions: Tensor, raw: Tensor) -> Bin:
    """Returns the bin of each value ``(M, N)``, an x on axis 0 or a y on axis 1; the slopes come from raw ones."""
    inner = positions[:, axis, 1:-1]
    index = (value.unsqueeze(1) >= inner).sum(1, keepdim=True)
    index = torch.cat([index, index + 1], 1)
    ends = positions.gather(2, index.unsqueeze(1).expand(-1, 2, -1, -1))
    low, high = ends.unbind(2)
    raw_slopes = pad(raw, (0, 0, 1, 1)).gather(1, index)  # a raw slope of 0 is a slope of 1, as beyond the bounds
    slopes = softplus(raw_slopes, LOG_2) * (1 - LEAST) + LEAST
    return Bin(low, high, high - low, slopes, index, raw_slopes)


def draw_curve(t: Tensor, v: Tensor, size: Tensor, slopes: Tensor) -> Curve:
    """Returns the spline at the fractions t and v = 1 − t of a bin's width."""
    (w, h), (d0, d1) = size.unbind(1), slopes.unbind(1)
    s, tv, tt, vv = h / w, t * v, t * t, v * v
    den = torch.addcmul(s * (tt + vv), d0 + d1, tv)
    n = torch.addcmul(s * tt, d0, tv) / den
    m = torch.addcmul(d1 * tt, d0, vv).addcmul(s, tv, value=2)
    return Curve(t, v, s, tv, den, n, m, (s / den).square() * m)


def fractions_of_width(below: Tensor, above: Tensor, place: Bin) -> tuple[Tensor, Tensor]:
    """Returns t and v = 1 − t of points, given the distances of their x from the bin's lower and upper end."""
    w = place.size[:, 0]
    return below / w, above / w


def fractions_of_height(below: Tensor, above: Tensor, place: Bin) -> tuple[Tensor, Tensor]:
    """Returns t and v = 1 − t of points, given the distances of their y from the bin's lower and upper end.

    With the fractions η and ζ = 1 − η of the height, t / v is the positive root r of
    ``ζ s r² + β r − η s = 0``, where ``β = d₀ ζ − d₁ η``. Of the two forms of the root, the one is taken in which no
    two terms of different sign are added, so that no digits are lost.
    """
    (w, h), (d0, d1) = place.size.unbind(1), place.slopes.unbind(1)
    s, eta, zeta = h / w, below / h, above / h
    beta = torch.addcmul(d0 * zeta, d1, eta, value=-1)
    positive = beta >= 0
    root = beta.abs() + torch.hypot(beta, 2 * s * (eta * zeta).sqrt())
    product = 2 * s * torch.where(positive, eta, zeta)
    whole = root + product
    root, product = root / whole, product / whole
    return torch.where(positive, product, root), torch.where(positive, root, product)


def log_slope_by_x(curve: Curve, size: Tensor, slopes: Tensor) -> Tensor:
    """Returns the derivative of log dy/dx by x, ``(M, N)``."""
    t, v, s, _, den, _, m, _ = curve
    d0, d1 = slopes.unbind(1)
    by_m = torch.addcmul(d1 * t, d0, v, value=-1).addcmul(s, v - t) / m
    by_den = (d0 + d1 - 2 * s) * (t - v) / den
    return 2 * (by_m + by_den) / size[:, 0]


def gradients_by_bin(
    by_y: Tensor, by_log: Tensor, by_x: Tensor, curve: Curve, size: Tensor, slopes: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the gradients by the ends of each bin ``(M, 2, 2, N)``, of x and y, and by its slopes ``(M, 2, N)``.

    Args:
        by_y: The gradient by y.
        by_log: The gradient by log dy/dx.
        by_x: The gradient by x that follows from these two.
        curve: The spline at the points.
        size: The widths and heights.
        slopes: The slopes.
    """
    t, v, s, tv, den, n, m, _ = curve
    (w, h), (d0, d1) = size.unbind(1), slopes.unbind(1)
    tt, vv = t * t, v * v
    by_n, by_m = by_y * h / den, by_log / m  # over den
    by_s = by_n / den * torch.addcmul(d1 * tt, d0, vv, value=-1) + 2 * (by_m + by_log * (d0 + d1) / (den * s))
    by_h = tv / w * by_s  # of the slope s alone
    right = torch.addcmul(by_h * s, t, by_x)
    up = torch.addcmul(by_h, by_y, n)
    ends = torch.stack([right - by_x, -right, by_y - up, up], 1).unflatten(1, (2, 2))
    common = tv * torch.addcmul(2 * by_log / den, by_n, n)
    by_slopes = torch.stack([torch.addcmul(by_n * tv, by_m, vv) - common, by_m * tt - common], 1)
    return ends, by_slopes


def gradient_by_raw(
    by_ends: Tensor, by_slopes: Tensor, index: Tensor, raw_slopes: Tensor, shares: Tensor, cumulation: Tensor
) -> Tensor:
    """Returns the gradient by the raw parameters ``(M, 3 B − 1, N)``, given those by ends and slopes of bins.

    Args:
        by_ends: The gradient by the ends of each bin.
        by_slopes: The gradient by its slopes.
        index: The numbers of its knots.
        raw_slopes: The raw slopes at its ends.
        shares: The share of each bin in the width and in the height.
        cumulation: The matrix by which these become knots.
    """
    rows, _, bins, size = shares.shape
    by_knots = by_ends.new_zeros(rows, 2, bins + 1, size)
    by_knots.scatter_(2, index.unsqueeze(1).expand(-1, 2, -1, -1), by_ends)
    flat = by_knots.flatten(0, 1)
    by_shares = torch.bmm(cumulation.T.expand(len(flat), -1, -1), flat).view(shares.shape)
    by_sizes = torch.ops.aten._softmax_backward_data(by_shares, shares, 2, shares.dtype)
    by_raw_slopes = by_slopes * torch.sigmoid(LOG_2 * raw_slopes) * (1 - LEAST)
    at_knots = by_ends.new_zeros(rows, bins + 1, size).scatter_(1, index, by_raw_slopes)
    return torch.cat([by_sizes.flatten(1, 2), at_knots[:, 1:-1]], 1)


class RationalQuadratic(torch.autograd.Function):
    """The spline from x to y, or from y to x, and the logarithm of its slope in that direction.

    Shapes: points ``(M, N)`` and raw parameters ``(M, 3 B − 1, N)`` → two tensors ``(M, N)``.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, raw: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
        """Returns the images of the points, and the logarithms of the slopes there."""
        bins = (raw.shape[1] + 1) // 3
        here, there = (1, 0) if inverse else (0, 1)  # of x and y
        clipped = points.clamp(-bound, bound)
        inside = clipped == points
        knots = place_knots(raw[:, : 2 * bins], bins, bound)
        place = find_bin(clipped, here, knots.positions, raw[:, 2 * bins :])
        below, above = clipped - place.low[:, here], place.high[:, here] - clipped
        t, v = fractions_of_height(below, above, place) if inverse else fractions_of_width(below, above, place)
        curve = draw_curve(t, v, place.size, place.slopes)
        # torch.lerp is exact at both ends of a bin.
        image = torch.lerp(place.low[:, there], place.high[:, there], t if inverse else curve.n)
        log_slope = curve.slope.log()
        ctx.inverse = inverse
        ctx.save_for_backward(inside, *knots[1:], *place[2:], *curve)
        return torch.where(inside, image, points), -log_slope if inverse else log_slope

    @staticmethod
    def backward(ctx: Any, by_image: Tensor, by_log: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients by the points and by the raw parameters.

        Those of the inverse follow from the same formulas: ``dx/dy = 1 / g'`` and ``dx/dθ = −(∂g/∂θ) / g'`` at
        ``x = g⁻¹(y; θ)``, and the logarithm of its slope is that of g with the other sign.
        """
        if torch.is_grad_enabled():
            raise NotImplementedError("rational_quadratic_spline: expected one derivative, got create_graph=True")
        inside, shares, cumulation, size, slopes, index, raw_slopes, *rest = ctx.saved_tensors
        curve = Curve(*rest)
        bend = log_slope_by_x(curve, size, slopes) * inside  # one slope of 1 beyond the bounds
        if ctx.inverse:
            by_image, by_log = (by_log * bend - by_image) / curve.slope, -by_log
        by_x = torch.addcmul(by_image * curve.slope, by_log, bend)
        by_ends, by_slopes = gradients_by_bin(by_image, by_log, by_x, curve, size, slopes)
        by_raw = gradient_by_raw(by_ends, by_slopes, index, raw_slopes, shares, cumulation)
        return -by_image if ctx.inverse else by_x, by_raw, None, None


def rational_quadratic_spline(
    points: Tensor, raw: Tensor, bound: float, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Returns the images of points under a monotonic rational-quadratic spline g, and the logarithm of its slope.

    g has B bins between ``−bound`` and ``bound``, and is the identity beyond. In the bin from ``(x_k, y_k)`` to
    ``(x_k + w, y_k + h)`` with slopes d₀ and d₁ at its ends, ``s = h / w`` and ``t = (x − x_k) / w``,

    ``g(x) = y_k + h (s t² + d₀ t (1 − t)) / (s + (d₀ + d₁ − 2 s) t (1 − t))``.

    Widths and heights are at least a thousandth of ``2 bound``, slopes at least 0.001. Raw parameters of 0 give the
    identity. The derivative is written out, for either direction: a few tensors are stored in the place of a graph.
    There are no second derivatives.
    Reference: Durkan et al., *Neural Spline Flows*, 2019 (arXiv:1906.04032), equations 4–8.

    Args:
        points: The points ``(…, N)``, of x, or of y for the inverse.
        raw: The parameters ``(…, 3 B − 1, N)``: B raw widths and B raw heights, whose softmax counts, and B − 1 raw
            slopes r at the inner knots, of which ``log₂(1 + 2^r)`` counts.
        bound: The end B bins and the beginning of the identity, above 0.
        inverse: Whether to return g⁻¹ and the logarithm of its slope.

    Returns:
        The images and the logarithms of the slopes, both ``(…, N)``.

    Raises:
        ValueError: If the shapes do not fit, there are not from 1 to 500 bins, or the bound is not valid.
        NotImplementedError: In the backward pass, if it is asked for a graph of its own.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import rational_quadratic_spline
        >>> x, raw = torch.tensor([-9.0, -1.0, 0.5, 2.0]), torch.randn(23, 4)
        >>> y, log_slope = rational_quadratic_spline(x, raw, 4.0)
        >>> again, _ = rational_quadratic_spline(y, raw, 4.0, inverse=True)
        >>> torch.allclose(again, x, atol=1e-4)
        True
    """
    check_parameters(points, raw)
    bound = check_positive("bound", bound)
    batch = raw.shape[:-2]
    flat = points.expand(*batch, -1).reshape(batch.numel(), -1).contiguous()  # memory with the batch last
    apply = cast(Any, RationalQuadratic).apply
    image, log_slope = apply(flat, raw.reshape(batch.numel(), *raw.shape[-2:]), bound, inverse)
    return image.view(*batch, -1), log_slope.view(*batch, -1)


def check_parameters(points: Tensor, raw: Tensor) -> None:
    """Raises ``ValueError`` if the shape of the raw parameters does not fit that of the points."""
    bins, remainder = divmod(raw.shape[-2] + 1, 3) if raw.dim() > 1 else (0, 0)
    if remainder or not 1 <= bins <= MAX_BINS:
        raise ValueError(f"raw: expected shape (…, 3 B - 1, N) with 1 to {MAX_BINS} bins B, got {tuple(raw.shape)}")
    if raw.shape[-1] != points.shape[-1]:
        raise ValueError(f"points: expected shape (…, {raw.shape[-1]}), as raw has, got {tuple(points.shape)}")
