"""What p(x | z) is made of: the seam ``Components``, its two kinds, and named recipes."""

from pyro_vmonf.components.base import Components, ConditionalDistribution
from pyro_vmonf.components.listed import FlowList
from pyro_vmonf.components.recipes import MAF, RealNVP
from pyro_vmonf.components.stacked import StackedFlow, StandardNormal

__all__ = ["MAF", "Components", "ConditionalDistribution", "FlowList", "RealNVP", "StackedFlow", "StandardNormal"]
