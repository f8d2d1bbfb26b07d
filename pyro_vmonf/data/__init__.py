"""Data sets and preprocessing of the experiments."""

from pyro_vmonf.data.images import Logit, digits, mnist, mnist_folder
from pyro_vmonf.data.toy import pinwheel, two_circles

__all__ = ["Logit", "digits", "mnist", "mnist_folder", "pinwheel", "two_circles"]
