"""The section on how sure the assignments are, by the encoder and by the exact posterior."""

import math

import numpy as np

from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.evaluation.agreement import MAX_DISAGREEMENT, disagreement
from pyro_vmonf.report.blocks import Cell, Figure, Section, Table, signed
from pyro_vmonf.report.plotting import json_numbers
from pyro_vmonf.report.report_data import ReportData

__all__ = ["certainty_section"]

BINS = 20
SURE = 0.9


def certainty_section(data: ReportData) -> Section:
    """Returns the section with the greatest probability of each row, and the agreement of encoder and posterior."""
    k = len(data.weights)
    if k == 1:
        return Section(
            "certainty", "How sure the assignments are", ["There is one component, to which each row belongs."]
        )
    kinds = {"encoder q(z | x)": data.encoder.max(1), "exact posterior p(z | x)": data.exact.max(1)}
    unsure = [float((best < SURE).mean()) for best in kinds.values()]
    differ, gap = disagreement(data.evaluation), float(data.evaluation.inference_gap.double().mean())
    trust = (
        "They agree, so that either may be used."
        if differ <= MAX_DISAGREEMENT
        else "Where they differ, the exact posterior is the one to trust: predict_proba(X, posterior='exact')."
    )
    sentences = [
        f"For {100 * unsure[0]:.1f} % of the rows the most probable component has a probability below {SURE} by the "
        f"encoder, which predict uses, and for {100 * unsure[1]:.1f} % by the exact posterior.",
        f"The two choose different components for {100 * differ:.1f} % of the rows; the mean inference gap is "
        f"{signed(gap, 3)} nats. {trust}",
    ]
    rows: list[list[Cell]] = [
        [name, *(float((best >= level).mean()) for level in (0.5, SURE, 0.99))] for name, best in kinds.items()
    ]
    table = Table(
        "The share of rows whose most probable component has at least this probability.",
        ["by", "0.5", "0.9", "0.99"],
        rows,
    )
    return Section("certainty", "How sure the assignments are", sentences, [histogram(kinds, 1 / k), table])


def histogram(kinds: dict[str, Array], least: float) -> Figure:
    """Returns the histograms of the greatest probabilities, which are at least ``least``."""
    edges, rows = np.linspace(least, 1, BINS + 1), len(next(iter(kinds.values())))
    traces = []
    for i, (name, best) in enumerate(kinds.items()):
        counts, _ = np.histogram(np.clip(best, least, 1), edges)
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": json_numbers((edges[1:] + edges[:-1]) / 2),
                "y": json_numbers(counts / len(best)),
                "marker": {"color": ("#3b7dd8", "#d9730d")[i], "pattern": {"shape": ("", "/")[i]}},
                "hovertemplate": "about %{x:.2f}: %{y:.1%} of the rows",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "greatest probability"}},
        "yaxis": {
            "title": {"text": "share of rows"},
            "type": "log",
            "range": [math.log10(0.5 / rows), 0.1],  # from half a row to all
            "dtick": 1,
            "tickformat": "~%",
        },
        "barmode": "group",
        "bargap": 0.1,
    }
    caption = (
        "How probable the most probable component of each row is: the more at the right, the surer. The axis of shares "
        "is logarithmic."
    )
    return Figure("certainty-histogram", caption, traces, layout, height=360)
