"""What all figures share: colours, symbols, texts and numbers as plotly.js reads them."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pyro_vmonf.report.blocks import shortened

__all__ = ["colour_of", "json_numbers", "plotly_text", "symbol_of"]

# Each has a contrast of about 3 both to white and to the dark background of the page.
COLOURS = (
    "#3b7dd8",
    "#d9730d",
    "#2a9d5c",
    "#d64550",
    "#8e63ce",
    "#9c6b4a",
    "#d65fa6",
    "#7f8792",
    "#8f9a1f",
    "#1799b5",
)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


def colour_of(component: int) -> str:
    """Returns the colour of a component; ten are told apart."""
    return COLOURS[component % len(COLOURS)]


def symbol_of(component: int) -> str:
    """Returns the symbol of a component, so that colour is not all that tells it."""
    return SYMBOLS[component % len(SYMBOLS)]


def plotly_text(text: str, longest: int = 200) -> str:
    """Returns a text that plotly.js shows as it is, without reading tags, entities or templates in it.

    Args:
        text: The text.
        longest: The number of characters above which it is cut.
    """
    escaped = shortened(text, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("{", "&#123;").replace("}", "&#125;")


def json_numbers(values: npt.ArrayLike, digits: int = 5) -> list[Any]:
    """Returns numbers as lists of so many digits each, with None for those that JSON does not have.

    Examples:
        >>> json_numbers([1.23456789, float("nan")])
        [1.2346, None]
    """
    array = np.asarray(values, dtype=np.float64)
    flat = [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in array.ravel().tolist()]
    if array.ndim <= 1:
        return flat
    step = array.shape[1]
    return [flat[i : i + step] for i in range(0, len(flat), step)]
