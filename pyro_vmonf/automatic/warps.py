"""What flows add to the Gaussians of a start: splines of each component, and couplings and splines that all share."""

from dataclasses import dataclass

import torch
from pyro.distributions.torch_transform import TransformModule

from pyro_vmonf.transforms.affine import BoundedLogScale
from pyro_vmonf.transforms.coupling import Coupling, coupling_transform
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.marginal import MarginalSpline
from pyro_vmonf.transforms.networks import ConditionerMLP
from pyro_vmonf.transforms.permutation import Reverse
from pyro_vmonf.transforms.spline_transforms import SplineCoupling, spline_autoregressive
from pyro_vmonf.transforms.whitening import Whitening

__all__ = ["WARPS", "Warp"]

BINS, BOUND = 6, 5.0
MARGINAL_BINS = 8
HIDDEN, ACTIVATION = (16, 16), torch.tanh  # smoother than a ReLU, and better on held-out points
MAX_LOG_SCALE = 2.0


@dataclass(frozen=True)
class Warp:
    """The numbers of transforms of each kind.

    Attributes:
        private: The number of splines that each component has of its own, next to the base.
        splines: The number of splines that all components share, next to the data.
        affine: The number of affine couplings that all components share, between these and the components' Gaussians.
        marginal: 1 for a spline of each feature next to the data, which all components and the encoder share, else 0.
    """

    private: int = 0
    splines: int = 0
    affine: int = 0
    marginal: int = 0

    def private_parts(self, features: int, components: int) -> list[TransformModule]:
        """Returns the transforms of each component, from the base on: splines, then a Whitening."""
        splines = [spline(features, components) for _ in range(self.private)]
        return [*alternating(splines), Whitening(features, components=components)]

    def marginal_parts(self, features: int, stack: int | None = None) -> list[TransformModule]:
        """Returns the splines of single features; ``stack`` sets of them at once."""
        return [MarginalSpline(features, components=stack, bins=MARGINAL_BINS) for _ in range(self.marginal)]

    def shared_parts(self, features: int, stack: int | None = None) -> list[TransformModule]:
        """Returns the transforms that all components share, from the base on; ``stack`` sets of them at once."""
        splines = [spline(features, stack) for _ in range(self.splines)]
        affine = [affine_map(features, stack) for _ in range(self.affine)] if features > 1 else []
        return alternating([*affine, *splines])


def alternating(transforms: list[TransformModule]) -> list[TransformModule]:
    """Returns transforms with a reversal of the features after each, and one more where their number is odd."""
    # Each pair of reversals is the identity, so that a map at its start changes nothing.
    parts: list[TransformModule] = []
    for transform in transforms:
        parts += [transform, Reverse()]
    return parts + ([Reverse()] if len(transforms) % 2 else [])


def spline(features: int, components: int | None) -> TransformModule:
    """Returns one spline coupling, or for one feature a spline."""
    if features == 1:
        return spline_autoregressive(1, (), components=components, bins=BINS, bound=BOUND)

    def univariate(half: int, network: ConditionerMLP) -> TransformModule:
        return Inverse(SplineCoupling(half, network, BOUND))

    return coupling_transform(
        features, HIDDEN, univariate, [(3 * BINS - 1,)], components=components, activation=ACTIVATION
    )


def affine_map(features: int, components: int | None) -> TransformModule:
    """Returns one affine coupling."""

    def univariate(half: int, network: ConditionerMLP) -> TransformModule:
        bounded = BoundedLogScale(network, MAX_LOG_SCALE)
        return Coupling(half, bounded, log_scale_min_clip=-MAX_LOG_SCALE, log_scale_max_clip=MAX_LOG_SCALE)

    return coupling_transform(features, HIDDEN, univariate, components=components, activation=ACTIVATION)


WARPS = {
    "N": Warp(),
    "P": Warp(private=2),
    "PP": Warp(private=4),
    "S": Warp(splines=2),
    "A": Warp(affine=4),
    "AP": Warp(private=2, affine=4),
    "M": Warp(marginal=1),
}
"""Each warp by its name.

N adds nothing, P own splines, PP twice as many, S shared ones, A shared couplings, AP both A and P, M splines of
features.
"""
