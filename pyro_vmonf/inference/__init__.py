"""Fitting a (model, guide) pair."""

from pyro_vmonf.inference.consistency import Consistency
from pyro_vmonf.inference.fit import DeadComponentWarning, fit
from pyro_vmonf.inference.history import History
from pyro_vmonf.inference.opening import StartWarning
from pyro_vmonf.inference.run import NonFiniteError
from pyro_vmonf.inference.selection import Selection, select_components
from pyro_vmonf.inference.start import Start
from pyro_vmonf.inference.temperature import Temperature

__all__ = [
    "Consistency",
    "DeadComponentWarning",
    "History",
    "NonFiniteError",
    "Selection",
    "Start",
    "StartWarning",
    "Temperature",
    "fit",
    "select_components",
]
