"""The criteria by which a number of components is chosen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from pyro_vmonf.plots.axes import AxesArray, GivenAxes, panels_for

__all__ = ["selection"]

Row: TypeAlias = Mapping[str, Any]

TOP = 0.96
"""Where infinite values are drawn, as a share of the height of their panel."""


@dataclass(frozen=True)
class Panel:
    """What one panel draws: its label, the columns with the labels of their lines, and what an infinite value means."""

    label: str
    columns: Mapping[str, str]
    error: str = ""
    infinite: str = ""

    def is_in(self, rows: Sequence[Row]) -> bool:
        """Returns whether any row has something to draw."""
        return self.has_finite(rows) or bool(self.infinite_at(rows))

    def has_finite(self, rows: Sequence[Row]) -> bool:
        """Returns whether any row has a number to draw."""
        return any(np.isfinite(finite(rows, column)).any() for column in self.columns)

    def infinite_at(self, rows: Sequence[Row]) -> list[int]:
        """Returns the numbers of components of infinite values that mean something; one component has no valley."""
        found = [row for row in rows if any(row.get(column) == math.inf for column in self.columns)]
        return [row["n_components"] for row in found if row["n_components"] > 1] if self.infinite else []


PANELS = (
    Panel("shallowest valley, nats", {"valley": ""}, infinite="none touch"),
    Panel("found again in halves", {"stability": "clusters", "gaussian_stability": "Gaussians"}),
    Panel("BIC", {"bic": ""}),
    Panel("held-out evidence, nats", {"validation_evidence": ""}, "standard_error"),
    Panel("greatest overlap", {"overlap": ""}),
)


class HasTable(Protocol):
    """What both searches for the number return: the number chosen, and all criteria by their names."""

    @property
    def n_components(self) -> int: ...

    @property
    def table(self) -> Sequence[Row]: ...


def selection(found: HasTable, *, ax: GivenAxes = None) -> AxesArray:
    """Draws each criterion against the number of components, with the number chosen.

    Valleys that are infinite, as no clusters touch, are triangles at the top of their panel. One component has none.

    Args:
        found: What :func:`~pyro_vmonf.select_components` or :func:`~pyro_vmonf.selection.merge_components` returned.
        ax: The Axes to draw into, as many as there are criteria: up to five.

    Returns:
        The Axes.

    Raises:
        TypeError: If ``found`` is something else.

    Examples:
        >>> from pyro_vmonf import plots
        >>> from pyro_vmonf.selection import Merging
        >>> found = Merging([{"n_components": 2, "overlap": 0.3, "chosen": True}])
        >>> [ax.get_ylabel() for ax in plots.selection(found)]
        ['greatest overlap']
    """
    table = getattr(found, "table", None)
    if table is None:
        kind = type(found).__name__
        raise TypeError(f"found: expected what select_components or merge_components returned, got {kind}")
    rows = sorted(table, key=lambda row: row["n_components"])
    panels = [panel for panel in PANELS if panel.is_in(rows)]
    drawn = panels_for(ax, len(panels), (3.2, 3.0))
    for one, panel in zip(drawn, panels, strict=True):
        draw(one, panel, rows, found.n_components)
    return drawn


def draw(ax: Axes, panel: Panel, rows: Sequence[Row], chosen: int) -> None:
    """Draws one criterion."""
    ax.axvline(chosen, color="C3", linewidth=1, label=f"chosen: {chosen}")
    k = [row["n_components"] for row in rows]
    errors = finite(rows, panel.error) if panel.error else None
    for i, (column, label) in enumerate(panel.columns.items()):
        values = finite(rows, column)
        ax.errorbar(k, values, errors, color=f"C{2 * i}", marker="o", markersize=4, capsize=2, label=label or None)
    draw_infinite(ax, panel, rows)
    ax.set(xlabel="components", ylabel=panel.label, xticks=k[:: 1 + len(k) // 13])
    ax.legend(fontsize=8)


def draw_infinite(ax: Axes, panel: Panel, rows: Sequence[Row]) -> None:
    """Draws infinite values, if there are any, as triangles at the top, above all others."""
    if not (k := panel.infinite_at(rows)):
        return
    ax.margins(y=0.15)
    across = ax.get_xaxis_transform()
    ax.plot(k, [TOP] * len(k), "^", color="C0", markersize=6, transform=across, label=panel.infinite)
    if not panel.has_finite(rows):
        ax.set_yticks([])


def finite(rows: Sequence[Row], column: str) -> npt.NDArray[np.float64]:
    """Returns the numbers of a column, NaN where a row has none or an infinite one."""
    found = [row.get(column) for row in rows]
    return np.array([math.nan if value is None or not math.isfinite(value) else float(value) for value in found])
