"""Couplings, whose conditioner holds one or K sets of weights; the affine one is Pyro's."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions.torch_transform import TransformModule
from pyro.distributions.transforms import AffineCoupling
from torch import Tensor, nn

from pyro_vmonf._validation import check_count
from pyro_vmonf.transforms.affine import MAX_LOG_SCALE, BoundedLogScale
from pyro_vmonf.transforms.networks import AFFINE_SHAPES, ConditionerMLP

__all__ = ["affine_coupling", "coupling_transform"]


class Coupling(AffineCoupling):
    """Pyro's transform of vectors, whose results have the batch last in memory, as its conditioner's have.

    The conditioner bounds the log-scale, so that Pyro's clip has nothing to do.
    """

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the first half of x and the second ``(…, features, N)``, and the second's mean and log-scale."""
        first, second = x.mT.split([self.split_dim, x.shape[-1] - self.split_dim], dim=-2)
        mean, log_scale = self.nn(first.mT)
        self._cached_log_scale = log_scale
        return first, second, mean.mT, log_scale.mT

    def _call(self, x: Tensor) -> Tensor:
        first, second, mean, log_scale = self.halves(x)
        return torch.cat([first, torch.addcmul(mean, second, log_scale.exp())], dim=-2).mT

    def _inverse(self, y: Tensor) -> Tensor:
        first, second, mean, log_scale = self.halves(y)
        return torch.cat([first, (second - mean) * (-log_scale).exp()], dim=-2).mT


def coupling_transform(
    features: int,
    hidden_features: Sequence[int],
    univariate: Callable[[int, ConditionerMLP], TransformModule],
    shapes: Sequence[Sequence[int]] = AFFINE_SHAPES,
    *,
    components: int | None = None,
    activation: Callable[[Tensor], Tensor] = torch.relu,
) -> TransformModule:
    r"""Returns a coupling: ``y₁ = x₁`` and ``y₂ = g(x₂; θ(x₁))``, where x₁ is the first half and θ a perceptron.

    Args:
        features: The number D of features, at least 2.
        hidden_features: The widths of the perceptron's hidden layers.
        univariate: The map g of each feature. It is called with the number of features of x₁ and the conditioner, which
            returns one tensor ``(…, N, D₂, *shape)`` for each of ``shapes``, and returns the transform, as Pyro's
            ``AffineCoupling`` does.
        shapes: The shape of each parameter of g for one feature; by default two numbers, a mean and a log-scale.
        components: The number K of components, or None for one set of weights.
        activation: The function after each hidden layer of the perceptron.

    Raises:
        ValueError: If a count, a width or a shape is not valid.

    Examples:
        >>> import torch
        >>> from pyro.distributions.transforms import AffineCoupling
        >>> from pyro_vmonf.transforms import coupling_transform
        >>> transform = coupling_transform(4, (8,), AffineCoupling, components=3)
        >>> transform(torch.zeros(3, 10, 4)).shape
        torch.Size([3, 10, 4])
    """
    half = check_count("features", features, 2) // 2
    network = ConditionerMLP(
        half, hidden_features, features - half, shapes, components=components, activation=activation
    )
    return univariate(half, network)


def affine_coupling(
    features: int,
    hidden_features: Sequence[int] = (8,),
    *,
    components: int | None = None,
    max_log_scale: float = MAX_LOG_SCALE,
) -> TransformModule:
    r"""Returns an affine coupling: ``y₁ = x₁`` and ``y₂ = e^{s(x₁)} ⊙ x₂ + t(x₁)``, where x₁ is the first half.

    log|det J| = Σ s. s and t are two outputs of one multilayer perceptron.
    Reference: Dinh et al., *RealNVP*, 2017 (arXiv:1605.08803), equations 4–6.

    Args:
        features: The number D of features, at least 2.
        hidden_features: The widths of the perceptron's hidden layers.
        components: The number K of components, or None for one set of weights.
        max_log_scale: The bound of the absolute value of s.

    Raises:
        ValueError: If a count, a width or the bound is not valid.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import affine_coupling
        >>> transform = affine_coupling(4, components=3)
        >>> x = torch.ones(3, 10, 4)
        >>> bool((transform(x)[..., :2] == x[..., :2]).all())
        True
    """

    def univariate(half: int, network: ConditionerMLP) -> TransformModule:
        bounded = BoundedLogScale(network, max_log_scale)
        return Coupling(half, bounded, log_scale_min_clip=-max_log_scale, log_scale_max_clip=max_log_scale)

    return coupling_transform(features, hidden_features, univariate, components=components)
