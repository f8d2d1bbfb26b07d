"""The section on what each component is like: its mean and deviation of each column."""

import numpy as np

from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.report.blocks import Figure, Section, Table, cell_text
from pyro_vmonf.report.plotting import json_numbers, plotly_text
from pyro_vmonf.report.report_data import ReportData

__all__ = ["column_order", "component_moments", "profile_section", "separations"]

MOST_COLUMNS = 30
MOST_TEXTS = 300  # cells of a heat map whose numbers can be read
MOST_COMPONENTS = 30


def profile_section(data: ReportData) -> Section:
    """Returns the section with the means and deviations of the columns by component, as a heat map and a table."""
    d = data.rows.shape[1]
    columns = column_order(data)[:MOST_COLUMNS]
    means, deviations = component_moments(data)
    heaviest = np.sort(np.argsort(-data.weights, kind="stable")[:MOST_COMPONENTS]).tolist()
    sentences = [
        "Each component is described by the rows it has, each with its probability under the exact posterior.",
        "The columns that tell the components apart best stand first."
        + (f" Of {d} columns these are {MOST_COLUMNS}." if d > MOST_COLUMNS else ""),
    ]
    if len(heaviest) < len(data.weights):
        sentences.append(f"Of {len(data.weights)} components the {MOST_COMPONENTS} heaviest are shown.")
    rows = [
        [
            data.names[j],
            f"{cell_text(float(data.rows[:, j].mean()))} ± {cell_text(float(data.rows[:, j].std()))}",
            *(f"{cell_text(float(means[k, j]))} ± {cell_text(float(deviations[k, j]))}" for k in heaviest),
        ]
        for j in columns
    ]
    table = Table(
        "Mean ± standard deviation of each column, in the units of the data.",
        ["column", "all rows", *(data.component_names[k] for k in heaviest)],
        rows,
    )
    return Section(
        "profiles", "What each component is like", sentences, [heat_map(data, means, columns, heaviest), table]
    )


def component_moments(data: ReportData) -> tuple[Array, Array]:
    """Returns the means and deviations ``(K, D)`` of the rows of each component; NaN where it has next to none."""
    mass = data.exact.sum(0)[:, None]
    safe = np.where(mass > 1e-9, mass, np.nan)
    centre, units = data.rows.mean(0), data.units
    scaled = (data.rows - centre) / units  # the squares of the values themselves might overflow
    means = data.exact.T @ scaled / safe
    squares = data.exact.T @ scaled**2 / safe
    return means * units + centre, np.sqrt(np.maximum(squares - means**2, 0)) * units


def separations(data: ReportData) -> Array:
    """Returns for each column the share of its variance that lies between the components, ``(D,)``."""
    means, _ = component_moments(data)
    mass = data.exact.mean(0)[:, None]
    between: Array = np.nansum(mass * ((means - data.rows.mean(0)) / data.units) ** 2, axis=0)
    return between


def column_order(data: ReportData) -> list[int]:
    """Returns the numbers of the columns, those first that tell the components apart best."""
    order: list[int] = np.argsort(-separations(data), kind="stable").tolist()
    return order


def heat_map(data: ReportData, means: Array, columns: list[int], components: list[int]) -> Figure:
    """Returns the means of components, less those of all rows, in deviations of all rows."""
    values = ((means - data.rows.mean(0)) / data.units)[np.ix_(components, columns)].T
    known = values[values == values]
    most = max(1.0, float(np.abs(known).max()) if known.size else 1.0)
    names = [plotly_text(data.names[j]) for j in columns]
    trace = {
        "type": "heatmap",
        "x": [plotly_text(data.component_names[k]) for k in components],
        # The numbers of columns, as two columns may have the same name.
        "y": list(range(len(columns))),
        "z": json_numbers(values, 4),
        "zmin": -most,
        "zmax": most,
        "customdata": [[name] * len(components) for name in names],
        "meta": "diverging",
        "hovertemplate": "%{customdata}, %{x}: %{z} deviations<extra></extra>",
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "colorbar": {"title": {"text": "deviations", "side": "right"}, "thickness": 14},
    }
    if values.size <= MOST_TEXTS:
        trace |= {"texttemplate": "%{z:.1f}"}
    shown = [plotly_text(data.names[j], 24) for j in columns]
    layout = {
        "yaxis": {
            "autorange": "reversed",
            "tickmode": "array",
            "tickvals": list(range(len(columns))),
            "ticktext": shown,
            "showgrid": False,
        },
        "xaxis": {"type": "category", "showgrid": False},
    }
    caption = (
        "How far the mean of each component lies above (red) or below (blue) that of all rows, in standard deviations "
        "of all rows."
    )
    return Figure(
        "profile-map",
        caption,
        [trace],
        layout,
        height=110 + 30 * len(columns),
        width=220 + 56 * len(components),
        plain=True,
    )
