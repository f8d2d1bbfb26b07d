"""Pyro's affine coupling, with a conditioner that holds one or K sets of weights."""

from collections.abc import Sequence

from pyro.distributions.torch_transform import TransformModule
from pyro.distributions.transforms import AffineCoupling

from pyro_vmonf._validation import check_count
from pyro_vmonf.transforms.networks import MAX_LOG_SCALE, ConditionerMLP

__all__ = ["affine_coupling"]


def affine_coupling(
    features: int,
    hidden_features: Sequence[int] = (8,),
    *,
    components: int | None = None,
    max_log_scale: float = MAX_LOG_SCALE,
) -> TransformModule:
    r"""Affine coupling: ``y₁ = x₁``, ``y₂ = e^{s(x₁)} ⊙ x₂ + t(x₁)`` with x₁ the first half; log|det J| = Σ s.

    s and t are two outputs of one multilayer perceptron, s bounded by ``max_log_scale``.
    Reference: Dinh et al., *RealNVP*, 2017 (arXiv:1605.08803), equations 4–6.

    Args:
        features: D, at least 2.
        hidden_features: widths of the conditioner's hidden layers.
        components: K, or None for one set of weights.
        max_log_scale: bound of |s|.
    """
    half = check_count("features", features, 2) // 2
    network = ConditionerMLP(half, hidden_features, features - half, components=components, max_log_scale=max_log_scale)
    return AffineCoupling(half, network, log_scale_min_clip=-max_log_scale, log_scale_max_clip=max_log_scale)
