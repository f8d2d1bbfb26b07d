"""The components p(x | z) of a mixture: their interface, its two kinds, and named flows."""

from pyro_vmonf.components.base import Components, ConditionalDistribution
from pyro_vmonf.components.listed import FlowList
from pyro_vmonf.components.recipes import MAF, NSF, RealNVP
from pyro_vmonf.components.stacked import StackedFlow, StandardNormal

__all__ = [
    "MAF",
    "NSF",
    "Components",
    "ConditionalDistribution",
    "FlowList",
    "RealNVP",
    "StackedFlow",
    "StandardNormal",
]
