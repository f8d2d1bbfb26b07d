"""Where a fit begins: clusterings of the data, their responsibilities, and what these set in a model and its guide."""

from pyro_vmonf.initialization.assignment import Applied, GaussianStartWarning, InitializationWarning, apply_start
from pyro_vmonf.initialization.initializer import STARTS, Initializer, Start, as_initializers
from pyro_vmonf.initialization.linkage import NoClustersError
from pyro_vmonf.initialization.mixture_settings import MixtureSettings

__all__ = [
    "STARTS",
    "Applied",
    "GaussianStartWarning",
    "InitializationWarning",
    "Initializer",
    "MixtureSettings",
    "NoClustersError",
    "Start",
    "apply_start",
    "as_initializers",
]
