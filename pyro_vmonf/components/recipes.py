"""Named flows: RealNVP and MAF, K at once."""

from collections.abc import Callable, Sequence
from typing import Literal

from pyro.distributions.torch_transform import TransformModule

from pyro_vmonf._validation import check_count
from pyro_vmonf.components.stacked import StackedFlow, StandardNormal, private_from
from pyro_vmonf.transforms.affine import PLUAffine
from pyro_vmonf.transforms.autoregressive import affine_autoregressive
from pyro_vmonf.transforms.coupling import affine_coupling
from pyro_vmonf.transforms.elementwise import ActNorm, BatchNorm
from pyro_vmonf.transforms.permutation import Reverse

__all__ = ["MAF", "Normalization", "RealNVP"]

Normalization = Literal["act", "batch"] | None
NORMALIZATIONS: dict[str, Callable[..., TransformModule]] = {"act": ActNorm, "batch": BatchNorm}


class RealNVP(StackedFlow):
    """K flows of affine couplings; the features are turned round between them, so that the halves alternate.

    Reference: Dinh et al., *RealNVP*, 2017 (arXiv:1605.08803); thesis, section 3.3.

    Args:
        features: D, at least 2.
        components: K.
        transforms: number of couplings.
        hidden_features: widths of each conditioner's hidden layers.
        shared: how many couplings, counted from the base, all components share.
        normalization: ``"act"`` or ``"batch"`` puts an ActNorm or a batch normalisation after each coupling.
        whiten: whether each component ends, next to the data, in an affine map of its own (``PLUAffine``), which a fit
            starts by whitening the component's share of the data. It holds D² numbers.

    Raises:
        ValueError: for a count that is too small, or an unknown normalization.
    """

    def __init__(
        self,
        features: int,
        components: int,
        *,
        transforms: int = 8,
        hidden_features: Sequence[int] = (8,),
        shared: int = 0,
        normalization: Normalization = None,
        whiten: bool = True,
    ) -> None:
        def step(k: int | None) -> TransformModule:
            return affine_coupling(features, hidden_features, components=k)

        super().__init__(*chain(step, features, components, transforms, shared, normalization, whiten))


class MAF(StackedFlow):
    """K masked autoregressive flows; the features are turned round between the steps.

    Scoring costs one pass a step, sampling D. Reference: Papamakarios et al., 2017 (arXiv:1705.07057).

    Args:
        features: D.
        components: K.
        transforms: number of masked autoregressive steps.
        hidden_features: widths of each MADE's hidden layers.
        shared: how many steps, counted from the base, all components share.
        normalization: ``"act"`` or ``"batch"`` puts an ActNorm or a batch normalisation after each step.
        whiten: whether each component ends, next to the data, in an affine map of its own (``PLUAffine``), which a fit
            starts by whitening the component's share of the data. It holds D² numbers.

    Raises:
        ValueError: for a count that is too small, or an unknown normalization.
    """

    def __init__(
        self,
        features: int,
        components: int,
        *,
        transforms: int = 5,
        hidden_features: Sequence[int] = (64,),
        shared: int = 0,
        normalization: Normalization = None,
        whiten: bool = True,
    ) -> None:
        def step(k: int | None) -> TransformModule:
            return affine_autoregressive(features, hidden_features, components=k)

        super().__init__(*chain(step, features, components, transforms, shared, normalization, whiten))


def chain(
    step: Callable[[int | None], TransformModule],
    features: int,
    components: int,
    transforms: int,
    shared: int,
    normalization: Normalization,
    whiten: bool,
) -> tuple[StandardNormal, list[TransformModule]]:
    """The base, and ``transforms`` steps with reversals between them, normalisations and a whitening map after them."""
    check_count("features", features)
    check_count("components", components)
    check_count("transforms", transforms)
    if normalization is not None and normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization: expected None or one of {sorted(NORMALIZATIONS)}, got {normalization!r}")
    parts: list[TransformModule] = []
    for i, k in enumerate(private_from(shared, transforms, components)):
        parts += [Reverse()] if i else []
        parts.append(step(k))
        parts += [NORMALIZATIONS[normalization](features, components=k)] if normalization else []
    parts += [PLUAffine(features, components=components)] if whiten else []
    return StandardNormal(features), parts
