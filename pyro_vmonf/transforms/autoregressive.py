"""Masked autoregressive transforms, whose conditioner holds one or K sets of weights; the affine one is Pyro's."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from pyro.distributions.torch_transform import TransformModule
from pyro.distributions.transforms import AffineAutoregressive
from torch import Tensor, nn

from pyro_vmonf._validation import check_count
from pyro_vmonf.transforms.affine import MAX_LOG_SCALE, BoundedLogScale
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.networks import AFFINE_SHAPES, MADE

__all__ = ["affine_autoregressive", "masked_autoregressive_transform"]


class Autoregressive(AffineAutoregressive):
    """Pyro's transform, whose inverse here has the input's floating-point type; Pyro's has the default type.

    The conditioner bounds the log-scale, so that Pyro's clip has nothing to do.
    """

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)

    def _call(self, x: Tensor) -> Tensor:
        mean, log_scale = self.arn(x)
        self._cached_log_scale = log_scale
        return torch.addcmul(mean, x, log_scale.exp())

    def _inverse(self, y: Tensor) -> Tensor:
        given = y.mT

        def solve(d: int, mean: Tensor, log_scale: Tensor) -> Tensor:
            return (given[..., d : d + 1, :] - mean) * (-log_scale).exp()

        self._cached_log_scale = None  # log_abs_det_jacobian computes it from the whole of x
        return cast(Tensor, self.arn.sequential(solve, y.shape[-1]))


def masked_autoregressive_transform(
    features: int,
    hidden_features: Sequence[int],
    univariate: Callable[[MADE], TransformModule],
    shapes: Sequence[Sequence[int]] = AFFINE_SHAPES,
    *,
    components: int | None = None,
) -> TransformModule:
    r"""Returns a masked autoregressive transform, whose inverse is ``x_d = g(y_d; θ_d(y_{<d}))`` with θ from a MADE.

    The inverse, which scores data, needs one pass; sampling finds one feature after another (``MADE.sequential``).

    Args:
        features: The number D of features.
        hidden_features: The widths of the MADE's hidden layers.
        univariate: The map g of each feature. It is called with the conditioner, which returns one tensor
            ``(…, N, D, *shape)`` for each of ``shapes``, and returns the transform from y to x, as Pyro's
            ``AffineAutoregressive`` does.
        shapes: The shape of each parameter of g for one feature; by default two numbers, a mean and a log-scale.
        components: The number K of components, or None for one set of weights.

    Raises:
        ValueError: If a count, a width or a shape is not valid.

    Examples:
        >>> import torch
        >>> from pyro.distributions.transforms import AffineAutoregressive
        >>> from pyro_vmonf.transforms import masked_autoregressive_transform
        >>> transform = masked_autoregressive_transform(4, (8,), AffineAutoregressive, components=3)
        >>> transform.inv(torch.zeros(3, 10, 4)).shape
        torch.Size([3, 10, 4])
    """
    check_count("features", features)
    return Inverse(univariate(MADE(features, hidden_features, shapes, components=components)))


def affine_autoregressive(
    features: int,
    hidden_features: Sequence[int] = (64,),
    *,
    components: int | None = None,
    max_log_scale: float = MAX_LOG_SCALE,
) -> TransformModule:
    r"""Returns a masked autoregressive transform, whose inverse is ``x_d = e^{s_d(y_{<d})} y_d + m_d(y_{<d})``.

    The inverse, which scores data, needs one pass; sampling finds one feature after another (``MADE.sequential``).
    Reference: Papamakarios et al., *MAF*, 2017 (arXiv:1705.07057), equations 3–5.

    Args:
        features: The number D of features.
        hidden_features: The widths of the MADE's hidden layers.
        components: The number K of components, or None for one set of weights.
        max_log_scale: The bound of the absolute value of s.

    Raises:
        ValueError: If a count, a width or the bound is not valid.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import affine_autoregressive
        >>> transform = affine_autoregressive(4, components=3)
        >>> y = torch.ones(3, 10, 4)
        >>> torch.allclose(transform(transform.inv(y).clone()), y)
        True
    """

    def univariate(network: MADE) -> TransformModule:
        bounded = BoundedLogScale(network, max_log_scale)
        return Autoregressive(bounded, log_scale_min_clip=-max_log_scale, log_scale_max_clip=max_log_scale)

    return masked_autoregressive_transform(features, hidden_features, univariate, components=components)
