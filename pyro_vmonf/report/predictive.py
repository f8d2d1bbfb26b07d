"""The section that compares draws of the mixture with the rows, column by column."""

from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp

from pyro_vmonf._torch import evaluation_mode, isolated_random_state
from pyro_vmonf.estimator.rows import Array, tensor_to_array
from pyro_vmonf.report.blocks import Cell, Figure, Grid, Section, Table
from pyro_vmonf.report.plotting import json_numbers
from pyro_vmonf.report.report_data import ReportData

__all__ = ["predictive_section"]

DRAWS = 10_000
MOST_COLUMNS = 12
BINS = 40


def predictive_section(data: ReportData) -> Section:
    """Returns the section with the distributions of the columns, of draws and of the rows."""
    n, d = data.rows.shape
    drawn = model_draws(data)
    distances = [distribution_distance(data.rows[:, j], drawn[:, j]) for j in range(d)]
    order = sorted(range(d), key=lambda j: -distances[j])[:MOST_COLUMNS]
    chance = 1.36 * float(np.sqrt(1 / n + 1 / DRAWS))
    far = sum(distance > chance for distance in distances)
    sentences = [
        f"The mixture drew {DRAWS:,} rows of its own. Where the two curves of a column differ, it does not describe "
        "that column as it is.",
        f"The distance is Kolmogorov's and Smirnov's: the greatest difference of the shares of rows and of draws below "
        f"a value. Two samples of one distribution stay below {chance:.3f} in 19 of 20 columns; here {far} of {d} "
        f"{'lies' if far == 1 else 'lie'} above.",
    ]
    if d > MOST_COLUMNS:
        sentences.append(f"Of {d} columns the {MOST_COLUMNS} with the greatest distances are shown.")
    rows: list[list[Cell]] = [
        [
            data.names[j],
            distances[j],
            *(float(f(values[:, j])) for f in (np.median, np.std) for values in (data.rows, drawn)),
        ]
        for j in order
    ]
    head = ["column", "distance", "median of rows", "median of draws", "deviation of rows", "deviation of draws"]
    table = Table("Rows and draws, the columns that differ most first.", head, rows)
    figures = [marginal(data, drawn, j, i) for i, j in enumerate(order)]
    return Section("predictive", "Does it draw rows like these?", sentences, [Grid(figures), table])


def distribution_distance(one: Array, other: Array) -> float:
    """Returns Kolmogorov's and Smirnov's distance of two samples."""
    found: Any = ks_2samp(one, other, method="asymp")  # its type does not say what it has
    return float(found.statistic)


@torch.no_grad()
def model_draws(data: ReportData) -> Array:
    """Returns draws ``(10000, D)`` of the mixture, with seed 0."""
    model, guide = data.estimator.model_, data.estimator.guide_
    with evaluation_mode(model), isolated_random_state(0):
        return tensor_to_array(model.sample(DRAWS, guide.log_weights())[0])


def marginal(data: ReportData, drawn: Array, j: int, number: int) -> Figure:
    """Returns the histograms of one column, of the rows as bars and of the draws as a line."""
    low, high = np.quantile(data.rows[:, j], [0.002, 0.998]).tolist()
    margin = 0.05 * (high - low) or max(1.0, abs(low)) * 0.5
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    shares = [np.histogram(values[:, j], edges)[0] / len(values) for values in (data.rows, drawn)]
    middles = json_numbers((edges[1:] + edges[:-1]) / 2)
    traces = [
        {"type": "bar", "name": "rows", "marker": {"color": "#7f8792", "opacity": 0.6}},
        {"type": "scatter", "mode": "lines", "name": "draws", "line": {"color": "#d9730d", "width": 2, "shape": "hvh"}},
    ]
    for trace, share in zip(traces, shares, strict=True):
        trace |= {"x": middles, "y": json_numbers(share), "hovertemplate": "%{x}: %{y:.1%}"}
    layout = {
        "xaxis": {"nticks": 5},
        "yaxis": {"tickformat": ".0%", "nticks": 4, "rangemode": "tozero"},
        "bargap": 0,
    }
    return Figure(
        f"marginal-{number}", f"{data.names[j]}: rows (bars) and draws (line).", traces, layout, height=190, plain=True
    )
