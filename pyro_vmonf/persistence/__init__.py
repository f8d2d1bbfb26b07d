"""A mixture and its encoder in one file, from which nothing is executed, and the classes that such a file may name."""

from pyro_vmonf.persistence.files import SavedMixture, SavedMixtureError, load, save
from pyro_vmonf.persistence.registry import register

__all__ = ["SavedMixture", "SavedMixtureError", "load", "register", "save"]
