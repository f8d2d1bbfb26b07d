"""The section with the densities of pairs of columns under each component."""

from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from pyro_vmonf._torch import evaluation_mode, isolated_random_state
from pyro_vmonf.estimator.rows import Array, tensor_to_array
from pyro_vmonf.report.blocks import Figure, Section
from pyro_vmonf.report.plotting import colour_of, json_numbers, plotly_text
from pyro_vmonf.report.profiles import column_order
from pyro_vmonf.report.report_data import ReportData
from pyro_vmonf.report.samples import chosen_rows

__all__ = ["pairs_section"]

MOST_COLUMNS, MOST_COMPONENTS = 4, 8
DRAWS = 4_000  # of each component
BINS, SMOOTHING = 40, 1.2
POINTS = 400
INSIDE = (0.9, 0.5)  # the shares of a component's draws that its two outlines hold


def pairs_section(data: ReportData) -> Section:
    """Returns the section with the densities of up to four columns, two at a time and alone."""
    d, k = data.rows.shape[1], len(data.weights)
    columns = column_order(data)[:MOST_COLUMNS]
    heaviest = np.sort(np.argsort(-data.weights, kind="stable")[:MOST_COMPONENTS]).tolist()
    points = chosen_rows(data, POINTS)
    sentences = [
        f"Lines are densities of the mixture, of {DRAWS:,} draws of each component: outlines hold nine tenths and half "
        f"of them, and on the diagonal stand the densities of single columns, each with the weight of its component. "
        f"Dots are {len(points):,} of the rows. Outlines where there are no dots, or dots outside of all outlines, are "
        "places where the mixture and the rows differ."
    ]
    if d > MOST_COLUMNS:
        sentences.append(f"Of {d} columns these are the {MOST_COLUMNS} that tell the components apart best.")
    if k > MOST_COMPONENTS:
        sentences.append(f"Of {k} components the {MOST_COMPONENTS} heaviest are drawn.")
    draws = {component: component_draws(data, component)[:, columns] for component in heaviest}
    n = len(columns)
    ranges = [column_range(data.rows[:, j]) for j in columns]
    traces = [trace for i in range(n) for trace in marginals(data, draws, ranges, i, n)]
    for i, j in combinations(range(n), 2):
        traces.append(dots(data, points, columns, (i, j), n))
        traces += [outlines(data, component, own, ranges, (i, j), n) for component, own in draws.items()]
    figure = Figure(
        "pairs",
        "Densities of the columns by component, two at a time and alone.",
        traces,
        pairs_layout([data.names[j] for j in columns], ranges),
        height=max(360, 190 * n + 60),
        width=170 * n,
    )
    return Section("pairs", "Pairs of columns", sentences, [figure])


@torch.no_grad()
def component_draws(data: ReportData, component: int) -> Array:
    """Returns draws ``(4000, D)`` of a component, with a seed of its own."""
    components = data.estimator.model_.components
    device = data.estimator.guide_.temperature.device
    with evaluation_mode(components), isolated_random_state(component):
        return tensor_to_array(components.sample(torch.full((DRAWS,), component, device=device)))


def column_range(values: Array) -> tuple[float, float]:
    """Returns the range of a column that is drawn: all but the outermost half per cent at each end, and some more."""
    low, high = np.quantile(values, [0.005, 0.995]).tolist()
    margin = 0.12 * (high - low) or max(1.0, abs(low)) * 0.5
    return low - margin, high + margin


def axis(name: str, i: int, j: int, n: int) -> str:
    """Returns what plotly.js calls an axis of the panel in row i and column j of n."""
    number = i * n + j + 1
    return f"{name}{number}" if number > 1 else name


def panel(i: int, j: int, n: int) -> dict[str, str]:
    """Returns the axes of a trace."""
    return {"xaxis": axis("x", i, j, n), "yaxis": axis("y", i, j, n)}


def marginals(
    data: ReportData, draws: dict[int, Array], ranges: list[tuple[float, float]], i: int, n: int
) -> list[dict[str, Any]]:
    """Returns the density of one column under each component, times its weight; these also make the legend."""
    edges = np.linspace(*ranges[i], 2 * BINS + 1)
    traces = []
    for component, own in draws.items():
        counts, _ = np.histogram(own[:, i], edges)
        density = gaussian_filter1d(counts / DRAWS, 2 * SMOOTHING) * data.weights[component]
        name = plotly_text(data.component_names[component])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": json_numbers((edges[1:] + edges[:-1]) / 2),
                "y": json_numbers(density, 3),
                "line": {"color": colour_of(component), "width": 2},
                "fill": "tozeroy",
                "opacity": 0.9,
                "name": name,
                "legendgroup": f"c{component}",
                "showlegend": i == 0,
                "hoverinfo": "x+name",
                **panel(i, i, n),
            }
        )
    return traces


def dots(data: ReportData, points: Any, columns: list[int], pair: tuple[int, int], n: int) -> dict[str, Any]:
    """Returns some of the rows in two columns."""
    i, j = pair
    return {
        "type": "scatter",
        "mode": "markers",
        "x": json_numbers(data.rows[points, columns[i]]),
        "y": json_numbers(data.rows[points, columns[j]]),
        "marker": {"size": 3, "opacity": 0.45, "color": [colour_of(k) for k in data.components[points].tolist()]},
        "showlegend": False,
        "hoverinfo": "skip",
        **panel(j, i, n),
    }


def outlines(
    data: ReportData, component: int, own: Array, ranges: list[tuple[float, float]], pair: tuple[int, int], n: int
) -> dict[str, Any]:
    """Returns the outlines of one component in two columns."""
    i, j = pair
    xs, ys = np.linspace(*ranges[i], BINS + 1), np.linspace(*ranges[j], BINS + 1)
    counts, _, _ = np.histogram2d(own[:, i], own[:, j], [xs, ys])
    density = gaussian_filter(counts / DRAWS, SMOOTHING)
    low, high = (level_of(density, share) for share in INSIDE)
    colour = colour_of(component)
    return {
        "type": "contour",
        "x": json_numbers((xs[1:] + xs[:-1]) / 2),
        "y": json_numbers((ys[1:] + ys[:-1]) / 2),
        "z": json_numbers(density.T, 3),
        "contours": {"coloring": "lines", "start": low, "end": high, "size": max(high - low, 1e-9)},
        "autocontour": False,
        "colorscale": [[0, colour], [1, colour]],
        "line": {"width": 1.5},
        "showscale": False,
        "showlegend": False,
        "legendgroup": f"c{component}",
        "hoverinfo": "skip",
        **panel(j, i, n),
    }


def level_of(density: Array, share: float) -> float:
    """Returns the level above which a share of a density lies."""
    falling = np.sort(density.ravel())[::-1]
    inside = np.cumsum(falling)
    at = int(np.searchsorted(inside, share * inside[-1]))
    return float(falling[min(at, len(falling) - 1)])


def pairs_layout(names: list[str], ranges: list[tuple[float, float]]) -> dict[str, Any]:
    """Returns the layout of the panels: those on and below the diagonal have axes, with names at the edges."""
    n, gap = len(names), 0.03
    side = (1 - gap * (n - 1)) / n
    layout: dict[str, Any] = {"hovermode": "closest"}
    for i in range(n):
        for j in range(i + 1):
            down, across = 1 - i * (side + gap), j * (side + gap)
            horizontal: dict[str, Any] = {
                "domain": [across, across + side],
                "anchor": axis("y", i, j, n),
                "range": list(ranges[j]),
            }
            vertical: dict[str, Any] = {"domain": [max(0.0, down - side), down], "anchor": axis("x", i, j, n)}
            horizontal |= {"showticklabels": i == n - 1, "nticks": 4, "tickangle": 0}
            vertical |= {"showticklabels": j == 0 < i, "nticks": 4}
            if i == n - 1:
                horizontal |= {"title": {"text": plotly_text(names[j], 18)}}
            if i != j:
                vertical |= {"range": list(ranges[i])}
            else:
                vertical |= {"rangemode": "tozero", "showgrid": False}
            if j == 0:
                vertical |= {"title": {"text": plotly_text(names[i], 18) if i else "density"}}
            layout[axis("xaxis", i, j, n)], layout[axis("yaxis", i, j, n)] = horizontal, vertical
    return layout
