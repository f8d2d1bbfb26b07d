"""Bijections of R^D and the networks that condition them; all accept a leading component axis."""

from pyro_vmonf.transforms.affine import PLUAffine
from pyro_vmonf.transforms.autoregressive import affine_autoregressive, masked_autoregressive_transform
from pyro_vmonf.transforms.coupling import affine_coupling, coupling_transform
from pyro_vmonf.transforms.elementwise import ActNorm, BatchNorm, PReLU
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.marginal import MarginalSpline
from pyro_vmonf.transforms.networks import MADE, ConditionerMLP, Linear
from pyro_vmonf.transforms.permutation import Permutation, Reverse
from pyro_vmonf.transforms.spline import rational_quadratic_spline
from pyro_vmonf.transforms.spline_transforms import spline_autoregressive, spline_coupling
from pyro_vmonf.transforms.stacking import Stacked, clear_caches, select
from pyro_vmonf.transforms.standardize import Standardize
from pyro_vmonf.transforms.whitening import Whitening

__all__ = [
    "MADE",
    "ActNorm",
    "BatchNorm",
    "ConditionerMLP",
    "Inverse",
    "Linear",
    "MarginalSpline",
    "PLUAffine",
    "PReLU",
    "Permutation",
    "Reverse",
    "Stacked",
    "Standardize",
    "Whitening",
    "affine_autoregressive",
    "affine_coupling",
    "clear_caches",
    "coupling_transform",
    "masked_autoregressive_transform",
    "rational_quadratic_spline",
    "select",
    "spline_autoregressive",
    "spline_coupling",
]
