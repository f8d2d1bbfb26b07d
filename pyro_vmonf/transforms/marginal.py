"""One monotonic spline for each feature, begun from the quantiles of data."""

import math

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_count
from pyro_vmonf.transforms.base import VectorTransform
from pyro_vmonf.transforms.spline import LEAST, MAX_BINS, rational_quadratic_spline
from pyro_vmonf.transforms.stacking import Stacked

__all__ = ["MarginalSpline", "smoothed_quantiles"]

BOUND = 6.0  # the splines are the identity beyond
INNER, TAIL = (
    2.0,
    2.8,
)  # normal quantiles: of the outermost knots within the data, and by which the slopes beyond are set
BANDWIDTH = 0.15  # of the kernel that smooths the distribution of a feature, in its standard deviations
STEEPEST = 4.0  # of a normal quantile by a standard deviation, and its inverse the flattest
GRID, MOST = 512, 4000  # where the distribution is evaluated, and the points that it is taken from


class MarginalSpline(VectorTransform, Stacked):
    r"""``x_d = g_d((y_d − c_d) / s_d)``, a monotonic rational-quadratic spline for each feature of data y.

    g is the :func:`~pyro_vmonf.transforms.rational_quadratic_spline`, the identity beyond ±6, and centre c and scale s
    are buffers. It begins as a shift and a scale, or by :meth:`set_quantiles` as the map under which each feature of
    the data is about N(0, 1). In the direction of the library's transforms, from x to the data y,
    log|det J| = Σ_d (log s_d − log g_d′).

    Args:
        features: The number D of features.
        components: The number K of components, or None for one set of splines.
        bins: The number B of bins of a spline, at least 4, which has 3 B − 1 parameters.

    Raises:
        ValueError: If a count is out of its range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import MarginalSpline
        >>> transform = MarginalSpline(1)
        >>> y = torch.linspace(0.01, 0.99, 99).unsqueeze(-1).log()  # far from normal
        >>> transform.set_quantiles(y, torch.ones(99))
        >>> x = transform.inv(y).detach()
        >>> float(x.mean().abs()) < 0.1, 0.8 < float(x.std()) < 1.1
        (True, True)
    """

    centre: Tensor
    scale: Tensor
    _cached_log_det: tuple[Tensor, Tensor, Tensor] | None

    def __init__(self, features: int, *, components: int | None = None, bins: int = 8) -> None:
        VectorTransform.__init__(self, cache_size=1)
        Stacked.__init__(self, components)
        self.features, self.bins = check_count("features", features), check_count("bins", bins, 4)
        if bins > MAX_BINS:
            raise ValueError(f"bins: expected an integer of at most {MAX_BINS}, got {bins!r}")
        self.register_buffer("centre", torch.zeros(self.stack(features)))
        self.register_buffer("scale", torch.ones(self.stack(features)))
        self.raw = nn.Parameter(torch.zeros(self.stack(features, 3 * bins - 1)))
        self._cached_log_det = None

    def reset_parameters(self) -> None:
        """Sets the splines to the identity."""
        nn.init.zeros_(self.raw)

    @torch.no_grad()
    def set_quantiles(self, y: Tensor, weights: Tensor) -> None:
        """Sets centre, scale and splines so that quantiles of weighted points become those of N(0, 1).

        The distribution of each feature is smoothed by a normal kernel of .15 of its standard deviation, and no slope
        is above 4 or below ¼ per standard deviation, so that values which many points share are not spread out.

        Args:
            y: The points ``(N, D)``, or ``(K, N, D)`` of each component.
            weights: Their weights ``(N,)`` or ``(K, N)``.
        """
        inner = torch.linspace(-INNER, INNER, self.bins - 1, dtype=y.dtype, device=y.device)
        sets = zip(y, weights, strict=True) if y.dim() == 3 else [(y, weights)]
        found = [quantile_knots(points, weight, inner) for points, weight in sets]
        for own, parts in zip((self.centre, self.scale, self.raw), zip(*found, strict=True), strict=True):
            own.copy_(torch.stack(parts).view(own.shape))

    def splines(self, points: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Returns the images of points ``(…, N, D)`` under the splines, and the logarithms of the slopes."""
        last = points.mT  # with the batch last in memory
        raw = self.raw.unsqueeze(-1).expand(*last.shape[:-1], -1, last.shape[-1])
        image, log_slope = rational_quadratic_spline(last, raw, BOUND, inverse=inverse)
        return image.mT, log_slope.mT

    def score(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x and log|det J| of data y."""
        x, log_slope = self.splines((y - self.centre.unsqueeze(-2)) / self.scale.unsqueeze(-2))
        return x, self.scale.log().sum(-1, keepdim=True) - log_slope.sum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_det = self.score(y)
        self._cached_log_det = (x, y, log_det)
        return x

    def _call(self, x: Tensor) -> Tensor:
        return self.splines(x, inverse=True)[0] * self.scale.unsqueeze(-2) + self.centre.unsqueeze(-2)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns Σ_d (log s_d − log g_d′) in the shape of x ``(…, N, D)`` without its last axis."""
        kept = self._cached_log_det
        if kept is not None and kept[0] is x and kept[1] is y:
            return kept[2]
        return self.score(y)[1]


def quantile_knots(y: Tensor, weight: Tensor, inner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns centre ``(D,)``, scale ``(D,)`` and raw parameters ``(D, 3 B − 1)`` of the splines of weighted points.

    Args:
        y: The points ``(N, D)``.
        weight: Their weights ``(N,)``.
        inner: The normal quantiles at the knots within the data, ``(B − 1,)``.
    """
    share = (weight / weight.sum()).to(y)
    mean = share @ y
    deviation = (share @ (y - mean).square()).sqrt()
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    slope = quantile_slopes((y - mean) / deviation, share, inner)
    # Beyond the inner knots the slope of the tails goes on as far as to the bound.
    height = torch.cat([BOUND + inner[:1], inner.diff(), BOUND - inner[-1:]])
    width = height / slope
    total, middle = width.sum(1), smoothed_quantiles((y - mean) / deviation, share, inner[:1])[:, 0]
    centre = middle - width[:, 0] + total / 2
    scale = total / (2 * BOUND)
    at_knots = (slope[:, :-1] * width[:, 1:] + slope[:, 1:] * width[:, :-1]) / (width[:, 1:] + width[:, :-1])
    raw = [
        raw_sizes(width / scale.unsqueeze(1)),
        raw_sizes(height.expand_as(width)),
        raw_slopes(at_knots * scale.unsqueeze(1)),
    ]
    return mean + deviation * centre, deviation * scale, torch.cat(raw, 1)


def quantile_slopes(z: Tensor, share: Tensor, inner: Tensor) -> Tensor:
    """Returns the slopes ``(D, B)`` between quantiles of standardised features and those of N(0, 1), and beyond."""
    tail = torch.full_like(inner[:1], TAIL)
    levels = torch.cat([-tail, inner, tail])
    rise = levels.diff() / smoothed_quantiles(z, share, levels).diff(dim=1).clamp(min=1e-9)
    return rise.clamp(1 / STEEPEST, STEEPEST)


def raw_sizes(size: Tensor) -> Tensor:
    """Returns the raw parameters ``(D, B)`` of bins of the given widths or heights, which sum to twice the bound."""
    least, bins = 2 * BOUND * LEAST, size.shape[1]
    return ((size - least) / (2 * BOUND - least * bins)).clamp(min=1e-6).log()


def raw_slopes(slope: Tensor) -> Tensor:
    """Returns the raw parameters whose slopes at the knots are given, see ``rational_quadratic_spline``."""
    wanted = ((slope - LEAST) / (1 - LEAST)).clamp(min=1e-6)
    return torch.where(wanted > 20, wanted, torch.expm1(wanted.clamp(max=20) * math.log(2)).log2())


def smoothed_quantiles(z: Tensor, share: Tensor, levels: Tensor) -> Tensor:
    """Returns the quantiles ``(D, L)`` of features smoothed by a normal kernel, where the normal ones are ``levels``.

    Args:
        z: The standardised features ``(N, D)``.
        share: The share of each point, ``(N,)``.
        levels: Normal quantiles in ascending order, ``(L,)``.
    """
    some = torch.linspace(0, len(z) - 1, min(MOST, len(z)), device=z.device).long()
    z, share = z[some], share[some] / share[some].sum()
    wanted = torch.special.ndtr(levels)
    rows = []
    for feature in z.mT:
        ends = feature.min() - 4 * BANDWIDTH, feature.max() + 4 * BANDWIDTH
        grid = ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, GRID).to(feature)
        below = share @ torch.special.ndtr((grid - feature.unsqueeze(-1)) / BANDWIDTH)
        right = torch.searchsorted(below.contiguous(), wanted).clamp(1, GRID - 1)
        rise = (below[right] - below[right - 1]).clamp(min=1e-12)
        part = ((wanted - below[right - 1]) / rise).clamp(0, 1)
        rows.append(grid[right - 1] + part * (grid[right] - grid[right - 1]))
    return torch.stack(rows)
