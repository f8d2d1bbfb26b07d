"""The rows as points of a plane, coloured by component, with their own columns under the pointer."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from pyro_vmonf.estimator.classes import Targets
from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.report.blocks import Figure, Section
from pyro_vmonf.report.optional import optional_module
from pyro_vmonf.report.plotting import colour_of, json_numbers, plotly_text, symbol_of
from pyro_vmonf.report.report_data import ReportData
from pyro_vmonf.report.samples import chosen_rows
from pyro_vmonf.report.targets import label_text

__all__ = ["scatter_section"]

MOST_POINTS = 50_000
UMAP_POINTS = 5_000
WEBGL_ABOVE = 10_000  # points, as the browser draws more of them one by one too slowly
MOST_HOVER = 20  # columns


def scatter_section(data: ReportData, *, umap: bool = False) -> Section:
    """Returns the section with the rows in a plane.

    Args:
        data: The rows and what the estimator says of them.
        umap: Whether the plane is that of UMAP; else it is that of the principal components.

    Raises:
        ImportError: If UMAP is asked for and not installed.
    """
    n = len(data.rows)
    shown = chosen_rows(data, UMAP_POINTS if umap else MOST_POINTS)
    points, axes, how = in_umap(data, shown) if umap else in_plane(data, shown)
    which = f"All {n:,} rows" if len(shown) == n else f"A random sample of {len(shown):,} of {n:,} rows"
    looks = "in the colour" if len(shown) > WEBGL_ABOVE else "in the colour and with the symbol"
    caption = (
        f"{which}, each {looks} of its most probable component. A press on a name in the legend hides or shows a "
        "component."
    )
    sentences = [
        how,
        "Pointing at a row shows its number, counted from 0, its columns, and what the mixture says of it.",
    ]
    if data.rows.shape[1] > MOST_HOVER:
        sentences.append(f"Of its columns the first {MOST_HOVER} are shown.")
    figure = Figure(
        "plane",
        caption,
        [trace for k in range(len(data.weights)) for trace in traces_of(data, k, shown, points)],
        {"xaxis": {"title": {"text": axes[0]}}, "yaxis": {"title": {"text": axes[1]}}, "hovermode": "closest"},
        height=560,
    )
    return Section("clusters", "The rows in a plane", sentences, [figure])


def in_plane(data: ReportData, shown: npt.NDArray[Any]) -> tuple[Array, tuple[str, str], str]:
    """Returns points ``(M, 2)`` of chosen rows, the names of the axes, and a sentence on them."""
    d = data.rows.shape[1]
    if d == 1:
        points = np.stack([data.rows[shown, 0], data.evidence[shown]], axis=1)
        return points, (plotly_text(data.names[0], 50), "log p(x), nats"), "The only column is drawn against log p(x)."
    if d == 2:
        return (
            data.rows[shown],
            (plotly_text(data.names[0], 50), plotly_text(data.names[1], 50)),
            "The two columns as they are.",
        )
    scaled = (data.rows - data.rows.mean(0)) / data.units
    method = PCA(2, svd_solver="covariance_eigh" if d < 1000 else "auto", random_state=0).fit(scaled)
    first, second = (100 * method.explained_variance_ratio_).tolist()
    how = (
        f"The plane is that of the first two principal components of the columns, each divided by its deviation. It "
        f"keeps {first + second:.0f} % of their variance: clusters that overlap here may be apart in what is left out."
    )
    axes = (f"principal component 1 ({first:.0f} %)", f"principal component 2 ({second:.0f} %)")
    return method.transform(scaled[shown]), axes, how


def in_umap(data: ReportData, shown: npt.NDArray[Any]) -> tuple[Array, tuple[str, str], str]:
    """Returns the same by UMAP."""
    method = optional_module("umap", "umap").UMAP(random_state=0, n_jobs=1)
    points = method.fit_transform((data.rows[shown] - data.rows.mean(0)) / data.units)
    how = "The plane is UMAP's: neighbours stay together, but distances and densities between clusters mean little."
    return points, ("UMAP 1", "UMAP 2"), how


def traces_of(data: ReportData, k: int, shown: npt.NDArray[Any], points: Array) -> list[dict[str, Any]]:
    """Returns the points of one component, or nothing where none is shown."""
    own = data.components[shown] == k
    if not own.any():
        return []
    rows, is_dense = shown[own], len(shown) > WEBGL_ABOVE
    return [
        {
            "type": "scattergl" if is_dense else "scatter",
            "mode": "markers",
            "name": plotly_text(data.component_names[k]),
            "x": json_numbers(points[own, 0]),
            "y": json_numbers(points[own, 1]),
            "customdata": hover_values(data, rows),
            "hovertemplate": hover_text(data),
            "marker": {
                "color": colour_of(k),
                # Points that small have no shape to be seen, and circles are drawn much faster.
                "symbol": "circle" if is_dense else symbol_of(k),
                "size": 4 if is_dense else 6,
                "opacity": 0.6 if len(shown) > 1000 else 0.8,
            },
        }
    ]


def hover_values(data: ReportData, rows: npt.NDArray[Any]) -> list[list[Any]]:
    """Returns what is shown under the pointer: row, probability, log p(x), the label where there are any, columns."""
    table = json_numbers(data.rows[rows, :MOST_HOVER])
    probability, evidence = json_numbers(data.encoder[rows].max(1), 3), json_numbers(data.evidence[rows], 4)
    labels = [[]] * len(rows) if data.targets is None else [[name] for name in label_names(data.targets, rows)]
    numbers = rows.tolist()
    return [[numbers[i], probability[i], evidence[i], *labels[i], *table[i]] for i in range(len(rows))]


def label_names(targets: Targets, rows: npt.NDArray[Any]) -> list[str]:
    """Returns the labels of rows as texts, with a dash where there is none."""
    names = [*(plotly_text(label_text(name)) for name in targets.classes), "–"]  # the last is that of −1
    return [names[code] for code in targets.codes[rows].tolist()]


def hover_text(data: ReportData) -> str:
    """Returns the template of what is shown under the pointer."""
    known = ["row", "probability of its component", "log p(x)", *([] if data.targets is None else ["label"])]
    lines = [*known, *(plotly_text(name) for name in data.names[:MOST_HOVER])]
    return "<br>".join(f"{name}: %{{customdata[{i}]}}" for i, name in enumerate(lines))
