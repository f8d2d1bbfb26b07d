"""The number of components, where the user leaves it to the data."""

from dataclasses import replace
from typing import Any

from pyro_vmonf.automatic.table import collapsed, least_points
from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.estimator.settings import FLOWS, Settings
from pyro_vmonf.selection import Count, count_components

__all__ = ["choose_components"]

MOST_COMPONENTS = 10
LEAST_ROWS = 10  # distinct ones, for each component


def choose_components(rows: Array, weight: Array | None, seed: int, settings: Settings | None = None) -> Count:
    """Returns the number of components by :func:`~pyro_vmonf.selection.count_components`, and why.

    Numbers from 1 to 10 compete, and fewer where there are fewer than 100 distinct rows. Where only Gaussians may be
    fitted, clusters are components of Gaussian shape.

    Args:
        rows: The rows ``(N, D)``.
        weight: Their weights ``(N,)``, or None.
        seed: The seed of all that is random.
        settings: The settings of the search, or None for those of :func:`~pyro_vmonf.fit_mixture`.
    """
    n = len(collapsed(rows, weight)[0].x)
    most = min(MOST_COMPONENTS, n // LEAST_ROWS)
    if most < 2 or n < least_points(most) + 2:
        return Count(1, 1, 1, [f"One component: {n} distinct rows are too few to find more in."])
    given: dict[str, Any] = {}
    if settings is not None:
        clusters = "components" if settings.components == FLOWS["gaussian"] else "auto"
        given = {"clusters": clusters, "components": settings.components}
        given |= {"config": settings.config, "device": settings.device}
    found = count_components(rows, range(1, most + 1), sample_weight=weight, seed=seed, **given)
    if most < MOST_COMPONENTS:
        few = f"More than {most} were not asked: {n} distinct rows are fewer than {LEAST_ROWS} for each."
        found = replace(found, reasons=[*found.reasons, few])
    return found
