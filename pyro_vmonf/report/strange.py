"""The section with the rows that the mixture finds least probable."""

import numpy as np

from pyro_vmonf.report.blocks import Cell, Figure, Section, Table, signed
from pyro_vmonf.report.plotting import json_numbers
from pyro_vmonf.report.profiles import component_moments
from pyro_vmonf.report.report_data import ReportData

__all__ = ["strange_section"]

MOST_ROWS, MOST_COLUMNS = 15, 12
BINS = 60


def strange_section(data: ReportData) -> Section:
    """Returns the section with the rows of the least log p(x), and what is unusual in each."""
    n, d = data.rows.shape
    order = np.argsort(data.evidence, kind="stable")[:MOST_ROWS].tolist()
    means, deviations = component_moments(data)
    columns = range(min(d, MOST_COLUMNS))
    rows: list[list[Cell]] = []
    for i in order:
        k = int(data.components[i])
        rows.append(
            [
                str(i),
                float(data.evidence[i]),
                data.component_names[k],
                unusual(data, i, k, means[k], deviations[k]),
                *(float(data.rows[i, j]) for j in columns),
            ]
        )
    typical, least = (signed(float(f(data.evidence)), 2) for f in (np.median, np.min))
    sentences = [
        f"The rows with the least log p(x) are those that the mixture did not expect: errors in the data, rare cases, "
        f"or places that it describes badly. The median row has {typical} nats, the strangest {least}.",
        "That a row is in the table does not make it wrong: some row is always the least probable.",
    ]
    if d > MOST_COLUMNS:
        sentences.append(f"Of {d} columns the first {MOST_COLUMNS} are in the table.")
    caption = (
        f"The {len(order)} strangest of {n:,} rows, by their number counted from 0. Deviations are those of the "
        "component that the row is given to."
    )
    head = ["row", "log p(x)", "component", "farthest from its component", *(data.names[j] for j in columns)]
    return Section("strange", "Strange rows", sentences, [Table(caption, head, rows), histogram(data)])


def unusual(data: ReportData, i: int, k: int, mean: np.ndarray, deviation: np.ndarray) -> str:
    """Returns which column of a row is farthest from the mean of its component, and by how many deviations."""
    safe = np.where(deviation > 1e-9 * data.units, deviation, data.units)
    distance = np.nan_to_num((data.rows[i] - mean) / safe)
    j = int(np.abs(distance).argmax())
    side = "above" if distance[j] > 0 else "below"
    return f"{data.names[j]}: {abs(distance[j]):.1f} deviations {side}"


def histogram(data: ReportData) -> Figure:
    """Returns the histogram of log p(x), with all that is far below in the first bin."""
    low, high = np.quantile(data.evidence, [0.001, 1]).tolist()
    low = max(low, float(np.median(data.evidence)) - 30)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts, _ = np.histogram(np.clip(data.evidence, edges[0], edges[-1]), edges)
    trace = {
        "type": "bar",
        "x": json_numbers((edges[1:] + edges[:-1]) / 2),
        "y": counts.tolist(),
        "marker": {"color": "#3b7dd8"},
        "showlegend": False,
        "hovertemplate": "about %{x} nats: %{y} rows<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "log p(x), nats"}},
        "yaxis": {"title": {"text": "rows"}},
        "bargap": 0.05,
    }
    caption = "How probable the rows are. The first bar also holds what lies farther to the left."
    return Figure("evidence-histogram", caption, [trace], layout, height=320)
