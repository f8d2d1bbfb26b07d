"""A page as text: the template, the style, the script, plotly.js and the figures in one."""

import json
from collections.abc import Sequence
from importlib import resources

from pyro_vmonf.report.blocks import Block, Code, Figure, Grid, Section, Table, cell_text
from pyro_vmonf.report.optional import optional_module

__all__ = ["check_libraries", "page_text"]


def check_libraries() -> None:
    """Raises ``ImportError`` saying what to install, if jinja2 or plotly is not there."""
    for name in ("jinja2", "plotly.offline"):
        optional_module(name)


def page_text(title: str, about: str, sections: Sequence[Section]) -> str:
    """Returns the HTML of a page that needs no other file and no network.

    Args:
        title: The heading of the page.
        about: A sentence under it.
        sections: Its sections.

    Raises:
        ImportError: If jinja2 or plotly is not installed.
    """
    jinja2, markup = optional_module("jinja2"), optional_module("markupsafe").Markup
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["cell"] = cell_text
    environment.filters["kind"] = kind_of
    return str(
        environment.from_string(own_file("page.html.j2")).render(
            title=title,
            about=about,
            sections=sections,
            # These are this library's and plotly's own files, and JSON that is escaped below.
            style=markup(own_file("page.css")),
            script=markup(own_file("page.js")),
            plotly=markup(optional_module("plotly.offline").get_plotlyjs()),
            figures=markup(figures_json([figure for section in sections for figure in section.figures])),
        )
    )


def own_file(name: str) -> str:
    """Returns the text of a file beside this one."""
    return resources.files("pyro_vmonf.report").joinpath("templates", name).read_text(encoding="utf-8")


def kind_of(block: Block) -> str:
    """Returns what the template calls a block."""
    return {Table: "table", Figure: "figure", Grid: "grid", Code: "code"}[type(block)]


def figures_json(figures: Sequence[Figure]) -> str:
    """Returns the figures as JSON that can stand in a script element: no text in it can end that."""
    found = {
        figure.name: {
            "data": list(figure.traces),
            "layout": figure.layout,
            "height": figure.height,
            "plain": figure.plain,
        }
        for figure in figures
    }
    text = json.dumps(found, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
