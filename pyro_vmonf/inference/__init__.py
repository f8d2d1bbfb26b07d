"""Fitting a (model, guide) pair, and reading it."""

from pyro_vmonf.inference.fit import fit
from pyro_vmonf.inference.history import History
from pyro_vmonf.inference.reading import Reading, read
from pyro_vmonf.inference.run import NonFiniteError
from pyro_vmonf.inference.temperature import Temperature

__all__ = ["History", "NonFiniteError", "Reading", "Temperature", "fit", "read"]
