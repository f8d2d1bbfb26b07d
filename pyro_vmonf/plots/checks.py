"""Checks of a model against data: calibration, predictive checks and probability integral transforms."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pyro_vmonf._validation import check_count, check_labels
from pyro_vmonf.plots.axes import AxesArray, GivenAxes, axes_for, panels_for
from pyro_vmonf.plots.colours import component_colours
from pyro_vmonf.plots.points import Numbers, as_array

__all__ = ["predictive_checks", "probability_integral_transforms", "reliability"]


def reliability(tables: Mapping[str, Numbers], *, ax: GivenAxes = None) -> Axes:
    """Draws confidence against accuracy, one curve for each name. The larger a dot, the more points are in its bin.

    Args:
        tables: The names, each with what :func:`pyro_vmonf.evaluation.calibration` returns, ``(bins, 3)``.
        ax: The Axes to draw into.

    Returns:
        The Axes.

    Raises:
        TypeError: If ``tables`` is no dictionary.
        ValueError: If a table has another shape.

    Examples:
        >>> from pyro_vmonf import plots
        >>> from pyro_vmonf.evaluation import calibration
        >>> ax = plots.reliability({"encoder": calibration([[0.75, 0.25], [0.75, 0.25]], [0, 1])})
        >>> ax.get_legend().get_texts()[0].get_text()
        'encoder, calibration error 0.250'
    """
    if not isinstance(tables, Mapping):
        raise TypeError(f"tables: expected a dictionary of names and calibrations, got {type(tables).__name__}")
    arrays = {name: as_array(f"tables[{name!r}]", table) for name, table in tables.items()}
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != 3:
            raise ValueError(f"tables[{name!r}]: expected shape (bins, 3), got {array.shape}")
    drawn = axes_for(ax, (4.2, 4.2))
    drawn.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    for name, array in arrays.items():
        share, confidence, right = array[array[:, 0] > 0].T
        label = f"{name}, calibration error {(share * np.abs(right - confidence)).sum():.3f}"
        (line,) = drawn.plot(confidence, right, linewidth=1, label=label)
        drawn.scatter(confidence, right, s=10 + 150 * share, color=line.get_color(), alpha=0.7)
    drawn.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.05), ylim=(-0.05, 1.05))
    drawn.legend(loc="best", fontsize=8)
    return drawn


def predictive_checks(rows: Sequence[Mapping[str, object]], columns: int = 4, *, ax: GivenAxes = None) -> AxesArray:
    """Draws a histogram of each statistic's replications, with a line at what was observed, and its p-value.

    Args:
        rows: The rows of :func:`pyro_vmonf.evaluation.predictive_checks`, at least one.
        columns: The number of columns in the grid of a figure of its own.
        ax: The Axes to draw into, one for each row or more.

    Returns:
        The Axes, one for each row.

    Examples:
        >>> from pyro_vmonf import plots
        >>> row = {"statistic": "mean", "observed": 0.5, "replicated": [0.1, 0.4, 0.6, 0.7], "p": 1.0}
        >>> plots.predictive_checks([row])[0].get_title()
        'mean, p = 1.00'
    """
    drawn = panels_for(ax, len(rows), (2.5, 2.0), check_count("columns", columns))
    for one, row in zip(drawn, rows, strict=True):
        replicated, observed, p = (as_array(name, row[name]) for name in ("replicated", "observed", "p"))
        one.hist(replicated, bins=20, color="C0", alpha=0.5)
        one.axvline(float(observed), color="C3")
        one.set_title(f"{row['statistic']}, p = {float(p):.2f}", fontsize=8)
        one.set_yticks([])
        one.locator_params(axis="x", nbins=4)
        one.tick_params(labelsize=7)
    return drawn


def probability_integral_transforms(
    values: Numbers, z: Numbers, n_components: int, bins: int = 10, *, ax: GivenAxes = None
) -> AxesArray:
    """Draws histograms of probability integral transforms by component, flat if the model is right.

    A histogram counts all coordinates together. The band holds 95 % of the bars of uniform values.

    Args:
        values: The transforms ``(N, D)``, as :func:`pyro_vmonf.evaluation.probability_integral_transform` returns them.
        z: The components ``(N,)``.
        n_components: The number of components.
        bins: The number of bins in each histogram.
        ax: The Axes to draw into, one for each component.

    Returns:
        The Axes, one for each component.

    Raises:
        ValueError: If ``values`` is not of shape ``(N, D)``, or z not of shape ``(N,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import plots
        >>> axes = plots.probability_integral_transforms(torch.rand(100, 2), torch.arange(100) % 2, 2)
        >>> [ax.get_title() for ax in axes]
        ['component 0', 'component 1']
    """
    table = as_array("values", values)
    if table.ndim != 2:
        raise ValueError(f"values: expected shape (N, D), got {table.shape}")
    drawn, components = panels_for(ax, n_components, (2.2, 2.0)), check_labels("z", z, len(table), n_components)
    for k, one in enumerate(drawn):
        own = table[(components == k).cpu().numpy()].flatten()
        expected = max(len(own), 1) / bins
        spread = 1.96 * np.sqrt((1 - 1 / bins) / expected)
        one.axhspan(1 - spread, 1 + spread, color="grey", alpha=0.3, linewidth=0)
        counts, edges = np.histogram(own, bins, (0, 1))
        one.stairs(counts / expected, edges, fill=True, color=component_colours(n_components)[k], alpha=0.6)
        one.set(ylim=(0, max(2.0, 1.1 * counts.max() / expected)), xticks=[0, 1])
        one.set_title(f"component {k}", fontsize=9)
    return drawn
