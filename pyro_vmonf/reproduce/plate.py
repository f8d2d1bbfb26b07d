"""The plate diagram (thesis, fig. 4.1), drawn from the Pyro program itself."""

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from pyro.infer.inspect import get_model_relations

from pyro_vmonf._torch import isolated_parameter_store
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["draw_plate"]

Point = tuple[float, float]


def draw_plate(model: FlowMixture, *, labelled: bool = False) -> Figure:
    """Sites, dependencies and plates of ``model`` as Pyro's ``get_model_relations`` finds them; the observed are grey.

    For graphviz users ``pyro.render_model(model, (x, y))`` draws the same.

    Args:
        model: the program.
        labelled: whether to show it with labels.
    """
    x = torch.zeros(2, *model.components.event_shape)
    y = torch.zeros(2, dtype=torch.long) if labelled else None
    with isolated_parameter_store():  # the user's store stays as it is
        relations = get_model_relations(model, (x, y))
    sites: list[str] = [name for name in relations["sample_sample"] if name not in relations["plate_sample"]]
    positions = {name: (0.0, -1.6 * i) for i, name in enumerate(n for n in sites if n != "y")}
    if labelled:
        positions["y"] = (-1.3, positions["x"][1])
    figure = Figure(
        figsize=(3.4 if labelled else 2.6, 1.5 * len(positions) + 0.6 - 1.5 * labelled), layout="constrained"
    )
    ax = figure.subplots()
    for site, (across, up) in positions.items():
        colour = "lightgrey" if site in relations["observed"] else "white"
        ax.add_patch(Circle((across, up), 0.45, facecolor=colour, edgecolor="black"))
        ax.text(across, up, site, ha="center", va="center", fontsize=13 if len(site) == 1 else 9, style="italic")
        for parent in parents(relations, site):
            start, end = between(positions[parent], (across, up))
            ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "black"})
    for plate, members in relations["plate_sample"].items():
        enclosed = [positions[name] for name in members]
        left, right = min(x for x, _ in enclosed) - 1.0, max(x for x, _ in enclosed) + 1.0
        low, high = min(y for _, y in enclosed) - 1.0, max(y for _, y in enclosed) + 0.7
        ax.add_patch(FancyBboxPatch((left, low), right - left, high - low, boxstyle="round,pad=0.05", fill=False))
        ax.text(right - 0.05, low + 0.08, f"{plate}: n = 1 … N", ha="right", va="bottom", fontsize=9)
    ax.set_xlim(min(x for x, _ in positions.values()) - 1.4, 1.4)
    ax.set_ylim(min(y for _, y in positions.values()) - 1.3, 1.0)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return figure


def between(start: Point, end: Point, radius: float = 0.47) -> tuple[Point, Point]:
    """The ends of a line between two circles."""
    length = math.dist(start, end)
    across, up = (radius * (e - s) / length for s, e in zip(start, end, strict=True))
    return (start[0] + across, start[1] + up), (end[0] - across, end[1] - up)


def parents(relations: dict[str, Any], site: str) -> list[str]:
    """The sites that ``site`` depends on."""
    return [name for name in relations["sample_sample"][site] if name != site]
