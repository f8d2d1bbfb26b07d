"""Pyro's own coupling and autoregressive transforms, with conditioners that hold one or K sets of weights."""

from collections.abc import Sequence

import torch
from pyro.distributions.torch_transform import TransformModule
from pyro.distributions.transforms import AffineAutoregressive, AffineCoupling
from torch import Tensor
from torch.nn.functional import pad

from pyro_vmonf._checks import check_count
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.networks import LIMIT, MADE, Dense

__all__ = ["coupling", "masked_autoregressive"]


def coupling(
    features: int, hidden_features: Sequence[int] = (8,), *, components: int | None = None, limit: float = LIMIT
) -> TransformModule:
    r"""Affine coupling: ``y₁ = x₁``, ``y₂ = e^{s(x₁)} ⊙ x₂ + t(x₁)`` with x₁ the first half; log|det J| = Σ s.

    s and t are two outputs of one multilayer perceptron, s bounded by ``limit``.
    Reference: Dinh et al., *RealNVP*, 2017 (arXiv:1605.08803), equations 4–6.

    Args:
        features: D, at least 2.
        hidden_features: widths of the conditioner's hidden layers.
        components: K, or None for one set of weights.
        limit: bound of |s|.
    """
    half = check_count("features", features, 2) // 2
    network = Dense(half, hidden_features, features - half, components=components, limit=limit)
    return AffineCoupling(half, network, log_scale_min_clip=-limit, log_scale_max_clip=limit)


class Autoregressive(AffineAutoregressive):
    """Pyro's transform, with an inverse that keeps the input's floating-point type; Pyro's takes the default type."""

    def _inverse(self, y: Tensor) -> Tensor:
        x = y[..., :0]
        for d in range(y.shape[-1]):
            mean, log_scale = self.arn(pad(x, (0, y.shape[-1] - d)))
            x = torch.cat([x, ((y - mean) * (-log_scale).exp())[..., d : d + 1]], dim=-1)
        self._cached_log_scale = None  # log_abs_det_jacobian computes it from the whole of x
        return x


def masked_autoregressive(
    features: int, hidden_features: Sequence[int] = (64,), *, components: int | None = None, limit: float = LIMIT
) -> TransformModule:
    r"""Masked autoregressive transform, whose inverse is ``x_d = e^{s_d(y_{<d})} y_d + m_d(y_{<d})``.

    The inverse, which scores data, costs one pass; sampling costs D. s is bounded by ``limit``.
    Reference: Papamakarios et al., *MAF*, 2017 (arXiv:1705.07057), equations 3–5.

    Args:
        features: D.
        hidden_features: widths of the MADE's hidden layers.
        components: K, or None for one set of weights.
        limit: bound of |s|.
    """
    check_count("features", features)
    network = MADE(features, hidden_features, components=components, limit=limit)
    return Inverse(Autoregressive(network, log_scale_min_clip=-limit, log_scale_max_clip=limit))
