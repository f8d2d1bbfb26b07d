"""Rational-quadratic splines as couplings and as masked autoregressive transforms."""

from collections.abc import Sequence
from typing import cast

import torch
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.transforms.autoregressive import masked_autoregressive_transform
from pyro_vmonf.transforms.base import VectorTransform
from pyro_vmonf.transforms.coupling import coupling_transform
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.networks import MADE, ConditionerMLP
from pyro_vmonf.transforms.spline import MAX_BINS, rational_quadratic_spline

__all__ = ["spline_autoregressive", "spline_coupling"]


class Spline(VectorTransform):
    """A spline from data x to y, whose logarithm of the slope is kept until it is asked for.

    Args:
        network: The conditioner, which returns one tensor ``(…, N, features, 3 B − 1)``.
        bound: The identity begins at ``±bound``.
    """

    _cached_log_det: tuple[Tensor, Tensor, Tensor] | None

    def __init__(self, network: nn.Module, bound: float) -> None:
        super().__init__(cache_size=1)
        self.network, self.bound = network, bound
        self._cached_log_det = None

    def map(self, x: Tensor, *, given: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Returns the images of x, and the logarithms of the slopes, ``(…, features, N)`` each.

        Args:
            x: The points ``(…, features, N)``, batch last as the conditioner's results lie in memory.
            given: The input of the conditioner, ``(…, N, inputs)``.
            inverse: Whether x is mapped from y to data.
        """
        (raw,) = self.network(given)
        return rational_quadratic_spline(x, raw.movedim(-3, -1), self.bound, inverse=inverse)

    def score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns y and log|det J| for data x."""
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        y, log_det = self.score(x)
        self._cached_log_det = (x, y, log_det)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the sum of the logarithms of the slopes, in the shape of x ``(N, D)`` without its last axis."""
        kept = self._cached_log_det
        if kept is not None and kept[0] is x and kept[1] is y:
            return kept[2]
        return self.score(x)[1]

    def extra_repr(self) -> str:
        """Returns the bound."""
        return f"bound={self.bound}"


class SplineCoupling(Spline):
    """The first ``split_dim`` features condition a spline of each of the others."""

    def __init__(self, split_dim: int, network: nn.Module, bound: float) -> None:
        super().__init__(network, bound)
        self.split_dim = split_dim

    def couple(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Returns the images of x, and log|det J| in that direction."""
        first, rest = x.mT.split([self.split_dim, x.shape[-1] - self.split_dim], dim=-2)
        image, log_slope = self.map(rest, given=first.mT, inverse=inverse)
        return torch.cat([first, image], dim=-2).mT, log_slope.sum(-2)

    def score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns y and log|det J| for data x."""
        return self.couple(x, inverse=False)

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_det = self.couple(y, inverse=True)
        self._cached_log_det = (x, y, -log_det)
        return x


class SplineAutoregressive(Spline):
    """The features before each one condition its spline."""

    def score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns y and log|det J| for data x."""
        image, log_slope = self.map(x.mT, given=x)
        return image.mT, log_slope.sum(-2)

    def _inverse(self, y: Tensor) -> Tensor:
        given = y.mT

        def solve(d: int, raw: Tensor) -> Tensor:
            points = given[..., d, :]
            raw = raw.expand(*points.shape[:-1], -1, points.shape[-1])
            return rational_quadratic_spline(points, raw, self.bound, inverse=True)[0].unsqueeze(-2)

        return cast(MADE, self.network).sequential(solve, y.shape[-1])


def check_bins(bins: object) -> int:
    """Returns ``bins`` if it is a number of bins; raises ``ValueError`` otherwise."""
    count = check_count("bins", bins)
    if count > MAX_BINS:
        raise ValueError(f"bins: expected an integer of at most {MAX_BINS}, got {bins!r}")
    return count


def spline_coupling(
    features: int,
    hidden_features: Sequence[int] = (16, 16),
    *,
    components: int | None = None,
    bins: int = 8,
    bound: float = 4.0,
) -> TransformModule:
    r"""Returns a coupling of splines: ``y₁ = x₁`` and ``y₂ = g⁻¹(x₂; θ(x₁))``, where x₁ is the first half.

    g is the :func:`~pyro_vmonf.transforms.rational_quadratic_spline`, the identity beyond ``±bound``, and θ a
    multilayer perceptron. The inverse, which scores data, evaluates the formula of g; sampling solves it for x.
    Reference: Durkan et al., *Neural Spline Flows*, 2019 (arXiv:1906.04032), section 3.

    Args:
        features: The number D of features, at least 2.
        hidden_features: The widths of the perceptron's hidden layers.
        components: The number K of components, or None for one set of weights.
        bins: The number B of bins of each spline, at most 500. The perceptron has 3 B − 1 outputs for each feature.
        bound: The splines are the identity beyond ``±bound``.

    Raises:
        ValueError: If a count, a width or the bound is not valid.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import spline_coupling
        >>> transform = spline_coupling(4, components=3)
        >>> x = torch.randn(3, 10, 4)
        >>> y = transform(x)
        >>> bool((y[..., :2] == x[..., :2]).all()), torch.allclose(transform.inv(y.clone()), x, atol=1e-5)
        (True, True)
    """
    shapes, bound = [(3 * check_bins(bins) - 1,)], check_positive("bound", bound)

    def univariate(half: int, network: ConditionerMLP) -> TransformModule:
        return Inverse(SplineCoupling(half, network, bound))

    return coupling_transform(features, hidden_features, univariate, shapes, components=components)


def spline_autoregressive(
    features: int,
    hidden_features: Sequence[int] = (64,),
    *,
    components: int | None = None,
    bins: int = 8,
    bound: float = 4.0,
) -> TransformModule:
    r"""Returns a masked autoregressive transform of splines, whose inverse is ``x_d = g(y_d; θ_d(y_{<d}))``.

    g is the :func:`~pyro_vmonf.transforms.rational_quadratic_spline`, the identity beyond ``±bound``, and θ a MADE. The
    inverse, which scores data, needs one pass; sampling finds one feature after another.
    Reference: Durkan et al., *Neural Spline Flows*, 2019 (arXiv:1906.04032), section 3.

    Args:
        features: The number D of features. For one feature, θ are free parameters.
        hidden_features: The widths of the MADE's hidden layers.
        components: The number K of components, or None for one set of weights.
        bins: The number B of bins of each spline, at most 500. The MADE has 3 B − 1 outputs for each feature.
        bound: The splines are the identity beyond ``±bound``.

    Raises:
        ValueError: If a count, a width or the bound is not valid.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import spline_autoregressive
        >>> transform = spline_autoregressive(4, components=3)
        >>> y = torch.randn(3, 10, 4)
        >>> torch.allclose(transform(transform.inv(y).clone()), y, atol=1e-5)
        True
    """
    shapes, bound = [(3 * check_bins(bins) - 1,)], check_positive("bound", bound)

    def univariate(network: MADE) -> TransformModule:
        return SplineAutoregressive(network, bound)

    return masked_autoregressive_transform(features, hidden_features, univariate, shapes, components=components)
