"""The first section: how many components, and how great they are."""

import numpy as np

from pyro_vmonf.report.blocks import Section, Table
from pyro_vmonf.report.report_data import ReportData

__all__ = ["summary_section"]


def summary_section(data: ReportData) -> Section:
    """Returns the section that says what the mixture is."""
    n, d = data.rows.shape
    k = len(data.weights)
    counts = np.bincount(data.components, minlength=k)
    order = np.argsort(-data.weights, kind="stable").tolist()
    rows = [[data.component_names[i], float(data.weights[i]), int(counts[i]), float(counts[i] / n)] for i in order]
    caption = "The components, the heaviest first. Rows count for the component that is most probable by the encoder."
    empty = [data.component_names[i] for i in range(k) if not counts[i]]
    sentences = [
        f"The mixture has {k} {'components' if k > 1 else 'component'}. It was asked about {n:,} rows of {d} "
        f"{'columns' if d > 1 else 'column'}.",
        "The weight of a component is the share of rows that the mixture expects it to make; beside it stands the "
        "share of these rows that it was given.",
    ]
    if empty:
        sentences.append(f"No row was given to {', '.join(empty)}.")
    return Section(
        "components", "The mixture", sentences, [Table(caption, ["component", "weight", "rows", "share"], rows)]
    )
