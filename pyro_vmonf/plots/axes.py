"""The Axes that plots draw into: those that are given, or those of a new figure."""

import io
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_vmonf._validation import check_count

__all__ = ["AxesArray", "GivenAxes", "PlotAxes", "axes_for", "grid_for", "panels_for", "png_of"]

GivenAxes: TypeAlias = Axes | Sequence[Axes] | npt.NDArray[np.object_] | None


def png_of(figure: Figure) -> bytes | None:
    """Returns a figure as PNG, or None if it is one of ``pyplot``, which a notebook shows by itself."""
    if figure.canvas.manager is not None:
        return None
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


class PlotAxes(Axes):
    """Axes of a figure that ``pyplot`` does not know. A notebook shows the figure where a cell ends with them."""

    def _repr_png_(self) -> bytes | None:
        return png_of(self.figure.figure)


class AxesArray(np.ndarray[Any, np.dtype[np.object_]]):
    """An array of Axes that all stand in one figure. A notebook shows it where a cell ends with the array."""

    @property
    def figure(self) -> Figure:
        """The figure of the Axes."""
        first: Any = self.flat[0]
        return first.figure.figure

    def _repr_png_(self) -> bytes | None:
        return png_of(self.figure)


def axes_for(ax: GivenAxes, size: tuple[float, float]) -> Axes:
    """Returns the Axes that are given, or those of a new figure of ``size`` inches.

    Raises:
        TypeError: If other things than Axes are given.
        ValueError: If several are given.
    """
    found: Axes = panels_for(ax, 1, size)[0]
    return found


def panels_for(
    ax: GivenAxes, count: int, size: tuple[float, float], columns: int | None = None, *, shared: bool = False
) -> AxesArray:
    """Returns the Axes of ``count`` panels, ``(count,)``: those given, or those of a new figure.

    Args:
        ax: The Axes that are given, or None.
        count: The number of panels.
        size: The width and height of each panel of a new figure, in inches.
        columns: The number of columns of a grid, in which Axes beyond ``count`` are left empty; all panels stand in
            one row if it is not given.
        shared: Whether the panels of a new figure share their axes.

    Raises:
        TypeError: If other things than Axes are given.
        ValueError: If there are no panels, or other than ``count`` Axes are given; more may be, with ``columns``.
    """
    check_count("number of panels", count)
    if ax is None:
        wide = count if columns is None else min(columns, count)
        found = new_axes(-(-count // wide), wide, size, shared=shared)
    else:
        found = given_axes(ax)
    if len(found) < count or (len(found) > count and columns is None):
        raise ValueError(f"ax: expected {count} Axes, one for each panel, got {len(found)}")
    for empty in found[count:]:
        empty.axis("off")
    return found[:count].view(AxesArray)


def grid_for(ax: GivenAxes, side: int, size: tuple[float, float]) -> AxesArray:
    """Returns the Axes of a square of panels, ``(side, side)``: those given, or those of a new figure.

    Raises:
        TypeError: If other things than Axes are given.
        ValueError: If other than side² Axes are given.
    """
    found = new_axes(side, side, size) if ax is None else given_axes(ax)
    if len(found) != side * side:
        expected = f"{side} × {side} Axes, as of plt.subplots({side}, {side})"
        raise ValueError(f"ax: expected {expected}, got {len(found)}")
    return found.reshape(side, side).view(AxesArray)


def new_axes(rows: int, columns: int, size: tuple[float, float], *, shared: bool = False) -> AxesArray:
    """Returns the Axes of a new figure, row by row."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    kind = {"axes_class": PlotAxes}
    return as_axes_array(figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared, subplot_kw=kind))


def given_axes(ax: object) -> AxesArray:
    """Returns Axes that are given, alone or in a sequence or an array, in their order.

    Raises:
        TypeError: If other things are given.
    """
    found = as_axes_array(ax)
    if strange := [one for one in found if not isinstance(one, Axes)]:
        raise TypeError(f"ax: expected the Axes of matplotlib, got {type(strange[0]).__name__}")
    return found


def as_axes_array(ax: object) -> AxesArray:
    """Returns one thing or several as an array ``(n,)`` of objects."""
    return np.ravel(np.asarray(ax, dtype=object)).view(AxesArray)
