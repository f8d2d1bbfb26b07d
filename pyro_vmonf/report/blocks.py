"""What a page is made of: sections of sentences, tables, figures and code.

All texts are plain: the page escapes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Block", "Cell", "Code", "Figure", "Grid", "Section", "Table", "cell_text", "shortened", "signed"]

Cell: TypeAlias = str | int | float | None

LONGEST = 200  # characters of a text that comes with the data


@dataclass(frozen=True)
class Table:
    """A table, the first cell of each row of which names the row.

    Attributes:
        caption: What the table shows, in a sentence.
        head: The names of the columns.
        rows: The cells; numbers are written with four digits, None as a dash.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Figure:
    """A figure that plotly.js draws.

    Attributes:
        name: Its name on the page, of letters and hyphens.
        caption: What it shows, in a sentence.
        traces: The traces of plotly.js.
        layout: The layout of plotly.js, without colours, which the theme of the page gives.
        height: Its height in pixels.
        width: The least width at which it can be read; on a narrower screen it is scrolled.
        plain: Whether it is too small for a legend and buttons.
    """

    name: str
    caption: str
    traces: Sequence[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 420
    width: int = 0
    plain: bool = False


@dataclass(frozen=True)
class Grid:
    """Small figures or tables side by side, as many as the screen has room for."""

    blocks: Sequence[Figure | Table]


@dataclass(frozen=True)
class Code:
    """Lines of code, with a sentence about them."""

    caption: str
    text: str


Block: TypeAlias = Table | Figure | Grid | Code


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: Its name in links, of letters and hyphens.
        title: Its heading.
        sentences: What is to be seen, in plain words.
        blocks: Its tables, figures and code.
    """

    name: str
    title: str
    sentences: Sequence[str]
    blocks: Sequence[Block] = ()

    @property
    def figures(self) -> list[Figure]:
        """All figures of the section, those of grids too."""
        found: list[Block] = []
        for block in self.blocks:
            found += block.blocks if isinstance(block, Grid) else [block]
        return [block for block in found if isinstance(block, Figure)]


def cell_text(cell: Cell) -> str:
    """Returns a cell as text: integers in full, other numbers with four digits, NaN and None as a dash."""
    if isinstance(cell, str):
        return shortened(cell)
    if cell is None or cell != cell:
        return "–"
    if isinstance(cell, int):
        return f"{cell:,}".replace("-", "−")
    small_enough = cell == 0 or 1e-4 <= abs(cell) < 1e7
    plain = f"{cell:,.0f}" if small_enough and abs(cell) >= 1e4 else f"{cell:.4g}"
    return plain.replace("-", "−")


def signed(value: float, digits: int) -> str:
    """Returns a number with so many digits after the point, a true minus, and none before 0.

    Examples:
        >>> signed(-1.25, 1), signed(-0.0001, 2)
        ('−1.2', '0.00')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def shortened(text: str, longest: int = LONGEST) -> str:
    """Returns a text, or its beginning where it is longer than 200 characters, or as many as asked for."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
