"""The number of components, where the user leaves it to the data."""

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
    numbers = range(1, most + 1)
    if settings is None:
        return count_components(rows, numbers, sample_weight=weight, seed=seed)
    return count_components(
        rows,
        numbers,
        clusters="components" if settings.components == FLOWS["gaussian"] else "auto",
        sample_weight=weight,
        components=settings.components,
        config=settings.config,
        device=settings.device,
        seed=seed,
    )
