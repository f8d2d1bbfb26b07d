"""The colours that tell components apart."""

from typing import TypeAlias

from matplotlib import colormaps

__all__ = ["UNKNOWN", "Colour", "component_colours", "point_colours"]

Colour: TypeAlias = tuple[float, float, float, float]

UNKNOWN: Colour = (0.75, 0.75, 0.75, 1.0)
"""The grey of points whose component is not known."""


def component_colours(n_components: int) -> list[Colour]:
    """Returns a colour for each of ``n_components``; from the twenty-first on they repeat."""
    return [colormaps["tab10" if n_components <= 10 else "tab20"](k % 20) for k in range(n_components)]


def point_colours(z: list[int], n_components: int) -> list[Colour]:
    """Returns the colour of each point by its component; −1 is grey."""
    palette = [*component_colours(n_components), UNKNOWN]
    return [palette[k] for k in z]
