"""Bijections of R^D and the networks that condition them; all accept a leading component axis."""

from pyro_vmonf.transforms.affine import PLUAffine
from pyro_vmonf.transforms.elementwise import ActNorm, BatchNorm, PReLU
from pyro_vmonf.transforms.inverse import Inverse
from pyro_vmonf.transforms.networks import MADE, Dense, Linear
from pyro_vmonf.transforms.permutation import Permutation, Reversal
from pyro_vmonf.transforms.recipes import coupling, masked_autoregressive
from pyro_vmonf.transforms.stacking import Stacked, clear_caches, select

__all__ = [
    "MADE",
    "ActNorm",
    "BatchNorm",
    "Dense",
    "Inverse",
    "Linear",
    "PLUAffine",
    "PReLU",
    "Permutation",
    "Reversal",
    "Stacked",
    "clear_caches",
    "coupling",
    "masked_autoregressive",
    "select",
]
