"""One call that chooses everything: starts, warps and the number of steps, by the data."""

from pyro_vmonf.automatic.agreement import SearchWarning
from pyro_vmonf.automatic.columns import ColumnWarning
from pyro_vmonf.automatic.config import Schedule, SearchConfig
from pyro_vmonf.automatic.fitting import fit_mixture

__all__ = ["ColumnWarning", "Schedule", "SearchConfig", "SearchWarning", "fit_mixture"]
