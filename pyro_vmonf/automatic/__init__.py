"""One call that chooses everything: starts, warps and the number of steps, by the data."""

from pyro_vmonf.automatic.fitting import fit_mixture

__all__ = ["fit_mixture"]
