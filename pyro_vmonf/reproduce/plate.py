"""The plate diagram (thesis, fig. 4.1), drawn from the Pyro program itself."""

from typing import Any

import pyro
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from pyro.infer.inspect import get_model_relations

from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["draw_plate"]


def draw_plate(model: FlowMixture) -> Figure:
    """Sites, dependencies and plates of ``model`` as Pyro's ``get_model_relations`` finds them; the observed are grey.

    For graphviz users ``pyro.render_model(model, (x,))`` draws the same.
    """
    with pyro.get_param_store().scope():  # the user's store stays as it is
        relations = get_model_relations(model, (torch.zeros(2, *model.components.event_shape),))
    sites: list[str] = [name for name in relations["sample_sample"] if name not in relations["plate_sample"]]
    height = {name: -1.6 * i for i, name in enumerate(sites)}
    figure = Figure(figsize=(2.6, 1.5 * len(sites) + 0.6), layout="constrained")
    ax = figure.subplots()
    for site in sites:
        observed = site in relations["observed"]
        ax.add_patch(Circle((0, height[site]), 0.45, facecolor="lightgrey" if observed else "white", edgecolor="black"))
        ax.text(0, height[site], site, ha="center", va="center", fontsize=13, style="italic")
    for site in sites:
        for parent in parents(relations, site):
            ax.annotate(
                "",
                xy=(0, height[site] + 0.47),
                xytext=(0, height[parent] - 0.47),
                arrowprops={"arrowstyle": "-|>", "color": "black"},
            )
    for plate, members in relations["plate_sample"].items():
        inside = [height[name] for name in members]
        low, high = min(inside) - 1.0, max(inside) + 0.7
        ax.add_patch(FancyBboxPatch((-1.0, low), 2.0, high - low, boxstyle="round,pad=0.05", fill=False))
        ax.text(0.95, low + 0.08, f"{plate}: n = 1 … N", ha="right", va="bottom", fontsize=9)
    ax.set_xlim(-1.4, 1.4)
    ax.set_ylim(min(height.values()) - 1.3, max(height.values()) + 1.0)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return figure


def parents(relations: dict[str, Any], site: str) -> list[str]:
    """The sites that ``site`` depends on."""
    return [name for name in relations["sample_sample"][site] if name != site]
