"""The colours that tell components apart."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

__all__ = ["UNKNOWN", "Colour", "component_colours", "draw_legend", "point_colours", "share_entries"]

Colour: TypeAlias = tuple[float, float, float, float]

UNKNOWN: Colour = (0.75, 0.75, 0.75, 1.0)
"""The grey of points whose component is not known."""

MOST_ENTRIES = 40
"""The greatest number of components that a legend names."""


def component_colours(n_components: int) -> list[Colour]:
    """Returns a colour for each of ``n_components``; from the twenty-first on they repeat."""
    return [colormaps["tab10" if n_components <= 10 else "tab20"](k % 20) for k in range(n_components)]


def point_colours(z: list[int], n_components: int) -> list[Colour]:
    """Returns the colour of each point by its component; −1 is grey."""
    palette = [*component_colours(n_components), UNKNOWN]
    return [palette[k] for k in z]


def draw_legend(ax: Axes, entries: Sequence[tuple[str, Colour]], loc: Literal["best", "upper right"] = "best") -> None:
    """Names components, each by a text and its colour, ten in a column; more than 40 are not named."""
    if len(entries) <= MOST_ENTRIES:
        handles = [Line2D([], [], color=colour, linewidth=3, label=text) for text, colour in entries]
        columns = 1 + (len(handles) - 1) // 10
        ax.legend(handles=handles, loc=loc, fontsize=7, title="component", title_fontsize=7, ncols=columns)


def share_entries(
    shown: npt.NDArray[np.int64], z: npt.NDArray[np.int64], n_components: int
) -> list[tuple[str, Colour]]:
    """Returns the entries of a legend, each a number of a component, its share of the points, and its colour.

    Args:
        shown: The components that are named, in any order, repeated or not; −1 is named "none".
        z: The component of each point ``(N,)``.
        n_components: The number of components.
    """
    palette = [*component_colours(n_components), UNKNOWN]
    return [
        (f"{k if k >= 0 else 'none'}: {100 * (z == k).mean():.0f} %", palette[k]) for k in np.unique(shown).tolist()
    ]
