"""The library's count of components."""

from pyro_vmonf.selection import count_components

__all__ = ["ours"]


def ours(x, most, seed):
    """What one call says with each meaning of a cluster, and why."""
    found = count_components(x, range(1, most + 1), seed=seed)
    counts = {"ours (auto)": found.n_components, "ours (modes)": found.modes, "ours (components)": found.gaussians}
    return {"counts": counts, "reasons": found.reasons}
