"""Named flows, K at once: RealNVP, MAF and NSF, and the base that they share."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol, TypeAlias

from pyro.distributions.torch_transform import TransformModule

from pyro_vmonf._validation import check_count
from pyro_vmonf.components.stacked import StackedFlow, StandardNormal
from pyro_vmonf.transforms.affine import PLUAffine
from pyro_vmonf.transforms.autoregressive import affine_autoregressive
from pyro_vmonf.transforms.coupling import affine_coupling
from pyro_vmonf.transforms.elementwise import ActNorm, BatchNorm
from pyro_vmonf.transforms.permutation import Reverse
from pyro_vmonf.transforms.spline_transforms import spline_autoregressive, spline_coupling

__all__ = ["MAF", "NSF", "AlternatingFlow", "Normalization", "RealNVP", "TransformFactory"]

Normalization: TypeAlias = Literal["act", "batch"] | None
NORMALIZATIONS: dict[str, Callable[..., TransformModule]] = {"act": ActNorm, "batch": BatchNorm}


class TransformFactory(Protocol):
    """A function that returns one transform of a recipe, such as :func:`~pyro_vmonf.transforms.affine_coupling`.

    Examples:
        >>> from pyro_vmonf.components.recipes import TransformFactory
        >>> from pyro_vmonf.transforms import affine_coupling
        >>> factory: TransformFactory = affine_coupling
        >>> factory(2, (8,), components=3).bijective
        True
    """

    def __call__(
        self, features: int, hidden_features: Sequence[int], *, components: int | None = None
    ) -> TransformModule:
        """Returns a transform of R^features whose conditioner has hidden layers of the given widths.

        Args:
            features: The number D of features.
            hidden_features: The widths of the conditioner's hidden layers.
            components: The number K of components, or None for one set of weights.
        """
        ...


class AlternatingFlow(StackedFlow):
    """K flows in which transforms of one kind alternate with reversals of the features.

    A recipe is a subclass that says which transforms these are. For another univariate map than the affine one, it
    passes a ``partial`` of :func:`~pyro_vmonf.transforms.coupling_transform` or
    :func:`~pyro_vmonf.transforms.masked_autoregressive_transform` with its own ``univariate`` and ``shapes``.

    Args:
        features: The number D of features.
        components: The number K of components.
        transform: The function that returns each transform.
        transforms: The number of transforms.
        hidden_features: The widths of the hidden layers of each conditioner.
        shared: The number of transforms, counted from the base, that all components share.
        normalization: The normalisation after each transform: ``"act"`` for :class:`~pyro_vmonf.transforms.ActNorm`,
            ``"batch"`` for :class:`~pyro_vmonf.transforms.BatchNorm`, or None.
        whiten: Whether the last transform of each component is a :class:`~pyro_vmonf.transforms.PLUAffine` of its own,
            which holds D² numbers. A fit begins with it as the component's Gaussian.
        warp: The number of further transforms, between these affine maps and x, that all components share.

    Raises:
        ValueError: If a count is too small, or the normalization is unknown.

    Examples:
        >>> from pyro_vmonf.components.recipes import AlternatingFlow
        >>> from pyro_vmonf.transforms import affine_coupling
        >>> flow = AlternatingFlow(2, 3, affine_coupling, transforms=1, hidden_features=(8,), whiten=False)
        >>> flow
        AlternatingFlow(
          n_components=3, event_shape=(2,)
          (base): StandardNormal()
          (transforms): ModuleList(
            (0): Coupling(
              (nn): BoundedLogScale(
                max_log_scale=1.0
                (network): ConditionerMLP(
                  shapes=((), ())
                  (layers): ModuleList(
                    (0): Linear(components=3, in_features=1, out_features=8)
                    (1): Linear(components=3, in_features=8, out_features=2)
                  )
                )
              )
            )
          )
        )
    """

    def __init__(
        self,
        features: int,
        components: int,
        transform: TransformFactory,
        *,
        transforms: int,
        hidden_features: Sequence[int],
        shared: int = 0,
        normalization: Normalization = None,
        whiten: bool = True,
        warp: int = 0,
    ) -> None:
        check_count("features", features)
        check_count("components", components)
        warp = check_count("warp", warp, 0)
        # A shared warp of Gaussians needs no transforms of the components' own.
        check_count("transforms", transforms, 0 if warp and whiten else 1)
        if normalization is not None and normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization: expected None or one of {sorted(NORMALIZATIONS)}, got {normalization!r}")
        if isinstance(shared, bool) or not isinstance(shared, int) or not 0 <= shared < max(transforms, 1):
            most = max(transforms - 1, 0)
            raise ValueError(f"shared: expected an integer from 0 to transforms - 1 = {most}, got {shared!r}")

        def alternating(owners: Sequence[int | None]) -> list[TransformModule]:
            parts: list[TransformModule] = []
            for i, k in enumerate(owners):
                parts += [Reverse()] if i else []
                parts.append(transform(features, hidden_features, components=k))
                parts += [NORMALIZATIONS[normalization](features, components=k)] if normalization else []
            return parts

        parts = alternating([None if i < shared else components for i in range(transforms)])
        parts += [PLUAffine(features, components=components)] if whiten else []
        parts += alternating([None] * warp)
        super().__init__(StandardNormal(features), parts)


class RealNVP(AlternatingFlow):
    """K flows of affine couplings; the features are reversed between two couplings, so that the halves alternate.

    Reference: Dinh et al., *RealNVP*, 2017 (arXiv:1605.08803); thesis, section 3.3.

    Args:
        features: The number D of features, at least 2.
        components: The number K of components.
        transforms: The number of couplings.
        hidden_features: The widths of the hidden layers of each conditioner.
        shared: The number of couplings, counted from the base, that all components share.
        normalization: The normalisation after each coupling: ``"act"`` for :class:`~pyro_vmonf.transforms.ActNorm`,
            ``"batch"`` for :class:`~pyro_vmonf.transforms.BatchNorm`, or None.
        whiten: Whether the last transform of each component is a :class:`~pyro_vmonf.transforms.PLUAffine` of its own,
            which holds D² numbers. A fit begins with it as the component's Gaussian.
        warp: The number of further transforms, between these affine maps and x, that all components share.

    Raises:
        ValueError: If a count is too small, or the normalization is unknown.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import RealNVP
        >>> flows = RealNVP(2, 3, transforms=4)
        >>> flows.log_prob(torch.zeros(10, 2)).shape  # log p(x | z) for each component and point
        torch.Size([3, 10])
        >>> flows.sample(torch.tensor([0, 0, 2])).shape
        torch.Size([3, 2])
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
        warp: int = 0,
    ) -> None:
        super().__init__(
            features,
            components,
            affine_coupling,
            transforms=transforms,
            hidden_features=hidden_features,
            shared=shared,
            normalization=normalization,
            whiten=whiten,
            warp=warp,
        )


class MAF(AlternatingFlow):
    """K masked autoregressive flows; the features are reversed between two transforms.

    Scoring needs one pass of each transform; sampling finds one feature after another.
    Reference: Papamakarios et al., *MAF*, 2017 (arXiv:1705.07057).

    Args:
        features: The number D of features.
        components: The number K of components.
        transforms: The number of masked autoregressive transforms.
        hidden_features: The widths of the hidden layers of each MADE.
        shared: The number of transforms, counted from the base, that all components share.
        normalization: The normalisation after each transform: ``"act"`` for :class:`~pyro_vmonf.transforms.ActNorm`,
            ``"batch"`` for :class:`~pyro_vmonf.transforms.BatchNorm`, or None.
        whiten: Whether the last transform of each component is a :class:`~pyro_vmonf.transforms.PLUAffine` of its own,
            which holds D² numbers. A fit begins with it as the component's Gaussian.
        warp: The number of further transforms, between these affine maps and x, that all components share.

    Raises:
        ValueError: If a count is too small, or the normalization is unknown.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import MAF
        >>> flows = MAF(4, 3, transforms=2)
        >>> flows.log_prob(torch.zeros(10, 4)).shape  # log p(x | z) for each component and point
        torch.Size([3, 10])
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
        warp: int = 0,
    ) -> None:
        super().__init__(
            features,
            components,
            affine_autoregressive,
            transforms=transforms,
            hidden_features=hidden_features,
            shared=shared,
            normalization=normalization,
            whiten=whiten,
            warp=warp,
        )


class NSF(AlternatingFlow):
    """K neural spline flows; the features are reversed between two transforms.

    A spline bends each feature at will between ``-bound`` and ``bound``, where a :class:`RealNVP` only stretches it.
    Where ``whiten`` is set, the bound counts in standard deviations of a component's share of the data.
    Reference: Durkan et al., *Neural Spline Flows*, 2019 (arXiv:1906.04032).

    Args:
        features: The number D of features. For one feature the splines have free parameters and no conditioner.
        components: The number K of components.
        transforms: The number of transforms.
        hidden_features: The widths of the hidden layers of each conditioner.
        bins: The number of bins of each spline.
        bound: The splines are the identity beyond ``±bound``.
        autoregressive: Whether all features before each one condition its spline, as in :class:`MAF`; otherwise the
            first half of the features conditions the other, as in :class:`RealNVP`. Sampling then finds one
            after another.
        shared: The number of transforms, counted from the base, that all components share.
        normalization: The normalisation after each transform: ``"act"`` for :class:`~pyro_vmonf.transforms.ActNorm`,
            ``"batch"`` for :class:`~pyro_vmonf.transforms.BatchNorm`, or None.
        whiten: Whether the last transform of each component is a :class:`~pyro_vmonf.transforms.PLUAffine` of its own,
            which holds D² numbers. A fit begins with it as the component's Gaussian.
        warp: The number of further transforms, between these affine maps and x, that all components share.

    Raises:
        ValueError: If a count or the bound is too small, or the normalization is unknown.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import NSF
        >>> flows = NSF(2, 3)
        >>> flows.log_prob(torch.zeros(10, 2)).shape  # log p(x | z) for each component and point
        torch.Size([3, 10])
    """

    def __init__(
        self,
        features: int,
        components: int,
        *,
        transforms: int = 2,
        hidden_features: Sequence[int] = (16, 16),
        bins: int = 8,
        bound: float = 4.0,
        autoregressive: bool = False,
        shared: int = 0,
        normalization: Normalization = None,
        whiten: bool = True,
        warp: int = 0,
    ) -> None:
        alone = features == 1
        super().__init__(
            features,
            components,
            partial(spline_autoregressive if autoregressive or alone else spline_coupling, bins=bins, bound=bound),
            transforms=transforms,
            hidden_features=() if alone else hidden_features,
            shared=shared,
            normalization=normalization,
            whiten=whiten,
            warp=warp,
        )
