"""Pyro's affine autoregressive transform, with a conditioner that holds one or K sets of weights."""

from collections.abc import Sequence

import torch
from pyro.distributions.torch_transform import TransformModule
from pyro.distributions.transforms import AffineAutoregressive
from torch import Tensor
from torch.nn.functional import pad

from pyro_vmonf._validation import check_count
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.networks import MADE, MAX_LOG_SCALE

__all__ = ["affine_autoregressive"]


class Autoregressive(AffineAutoregressive):
    """Pyro's transform, with an inverse that keeps the input's floating-point type; Pyro's takes the default type."""

    def _inverse(self, y: Tensor) -> Tensor:
        x = y[..., :0]
        for d in range(y.shape[-1]):
            mean, log_scale = self.arn(pad(x, (0, y.shape[-1] - d)))
            x = torch.cat([x, ((y - mean) * (-log_scale).exp())[..., d : d + 1]], dim=-1)
        self._cached_log_scale = None  # log_abs_det_jacobian computes it from the whole of x
        return x


def affine_autoregressive(
    features: int,
    hidden_features: Sequence[int] = (64,),
    *,
    components: int | None = None,
    max_log_scale: float = MAX_LOG_SCALE,
) -> TransformModule:
    r"""Masked autoregressive transform, whose inverse is ``x_d = e^{s_d(y_{<d})} y_d + m_d(y_{<d})``.

    The inverse, which scores data, costs one pass; sampling costs D. s is bounded by ``max_log_scale``.
    Reference: Papamakarios et al., *MAF*, 2017 (arXiv:1705.07057), equations 3–5.

    Args:
        features: D.
        hidden_features: widths of the MADE's hidden layers.
        components: K, or None for one set of weights.
        max_log_scale: bound of |s|.
    """
    check_count("features", features)
    network = MADE(features, hidden_features, components=components, max_log_scale=max_log_scale)
    return Inverse(Autoregressive(network, log_scale_min_clip=-max_log_scale, log_scale_max_clip=max_log_scale))
