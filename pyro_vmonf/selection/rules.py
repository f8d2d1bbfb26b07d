"""The number of components by the criteria: how many modes stand alone, and how many Gaussians there are."""

from collections.abc import Sequence

from pyro_vmonf.selection.criteria import DEPTH, STABLE, Criteria

__all__ = ["count_gaussians", "count_modes", "told_counts"]


def count_modes(rows: Sequence[Criteria]) -> int:
    """Returns the greatest number of clusters that valleys of density part, and that halves of the points find again.

    If there is none that is 1, or the least number given.
    """
    least = min(row.n_components for row in rows)
    return max((row.n_components for row in rows if row.has_modes), default=least)


def count_gaussians(rows: Sequence[Criteria]) -> int:
    """Returns the number with the least Bayesian information criterion, of those whose Gaussians are found again.

    If there is none that is 1, or the least number given.
    """
    stable = [row for row in rows if row.has_stable_gaussians]
    found = min(stable or rows[:1], key=lambda row: row.bic)
    return found.n_components


def told_counts(modes: int, gaussians: int) -> list[str]:
    """Returns sentences that say how many modes and Gaussians there are, and what that means."""
    return [
        f"{modes} by modes: the most clusters that gaps part, or valleys of density {DEPTH} nats deep, and that "
        f"halves of the points find again (mean Jaccard coefficient {STABLE}).",
        f"{gaussians} by components: the least BIC of Gaussian mixtures whose components are found again.",
    ]
