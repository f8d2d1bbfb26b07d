"""The number of components by the criteria: how many modes stand alone, and how many Gaussians there are."""

import math
from collections.abc import Sequence

from pyro_vmonf.selection.criteria import DEPTH, LEAST_POINTS, STABLE, Criteria

__all__ = ["count_gaussians", "count_modes", "told_counts"]


def count_modes(rows: Sequence[Criteria]) -> int:
    """Returns the greatest number of clusters that valleys of density part, and that halves of the points find again.

    If no number given has such clusters, the least is returned.
    """
    return max((row.n_components for row in rows if row.has_modes), default=rows[0].n_components)


def count_gaussians(rows: Sequence[Criteria]) -> int:
    """Returns the number with the least Bayesian information criterion, of those whose Gaussians are found again.

    If no number given has such Gaussians, the least is returned.
    """
    stable = [row for row in rows if row.has_stable_gaussians]
    return min(stable or rows[:1], key=lambda row: row.bic).n_components


def told_counts(rows: Sequence[Criteria], modes: int, gaussians: int) -> list[str]:
    """Returns sentences that say how many modes and Gaussians there are, and what that means."""
    found = [told_modes(rows, modes), told_gaussians(rows, gaussians)]
    unknown = [row.n_components for row in rows if math.isnan(row.bic)]
    if unknown:
        found.append(f"{unknown[0]} or more were not asked: there are not {LEAST_POINTS} distinct points for each.")
    return found


def told_modes(rows: Sequence[Criteria], modes: int) -> str:
    """Returns what is to be said of the number of modes."""
    if not any(row.has_modes for row in rows):
        return f"{modes} by modes: the least number tried, since none has clusters that valleys part."
    return (
        f"{modes} by modes: the most clusters that gaps part, or valleys of density {DEPTH} nats deep, and that "
        f"halves of the points find again (mean Jaccard coefficient {STABLE})."
    )


def told_gaussians(rows: Sequence[Criteria], gaussians: int) -> str:
    """Returns what is to be said of the number of Gaussians."""
    if not any(row.has_stable_gaussians for row in rows):
        return f"{gaussians} by components: the least number tried, since the Gaussians of none are found again."
    told = f"{gaussians} by components: the least BIC of Gaussian mixtures whose components are found again"
    least = min((row for row in rows if not math.isnan(row.bic)), key=lambda row: row.bic).n_components
    return f"{told}." if least == gaussians else f"{told}; of all it is least with {least}."
