"""Data sets, preprocessing and perturbations."""

from pyro_vmonf.data.images import Logit, digits, mnist, mnist_folder
from pyro_vmonf.data.perturbations import NeighbourSwap, Noise, RandomAffineElastic
from pyro_vmonf.data.toy import pinwheel, pinwheel_log_prob, two_circles, two_circles_log_prob

__all__ = [
    "Logit",
    "NeighbourSwap",
    "Noise",
    "RandomAffineElastic",
    "digits",
    "mnist",
    "mnist_folder",
    "pinwheel",
    "pinwheel_log_prob",
    "two_circles",
    "two_circles_log_prob",
]
