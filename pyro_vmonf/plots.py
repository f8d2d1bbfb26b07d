"""Pictures: tensors in, matplotlib figures out. None of them touches pyplot's global state."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

__all__ = [
    "assignments",
    "contingency",
    "history",
    "image_rows",
    "predictive_checks",
    "probability_integral_transforms",
    "reliability",
    "replications",
    "selection",
]


def component_colours(k: int) -> list[Any]:
    """k colours that tell components apart."""
    return [colormaps["tab10" if k <= 10 else "tab20"](i % 20) for i in range(k)]


def assignments(
    panels: Sequence[tuple[str, Tensor, Tensor]],
    choose: Callable[[Tensor], Tensor],
    n_components: int,
    marked: Tensor | None = None,
) -> Figure:
    """Two-dimensional points coloured by component, over the regions where ``choose`` picks each component.

    Args:
        panels: a title, points ``(N, 2)`` and their components ``(N,)`` each.
        choose: maps points ``(N, 2)`` to components ``(N,)``; draws the regions.
        n_components: K.
        marked: points ``(N, 2)`` to mark with crosses in the first panel, such as the labelled ones.
    """
    figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
    first = panels[0][1]
    middle, reach = (first.amax(0) + first.amin(0)) / 2, 0.6 * float((first.amax(0) - first.amin(0)).max())
    palette = component_colours(n_components)
    for ax, (title, points, components) in zip(axes, panels, strict=True):
        draw_regions(ax, choose, middle.tolist(), reach, palette)
        ax.scatter(*points.T.numpy(), c=[palette[k] for k in components.tolist()], s=4, linewidths=0)
        ax.set_title(title, fontsize=10)
        ax.set_aspect("equal")
    if marked is not None:
        axes[0].scatter(*marked.T.numpy(), c="black", marker="x", s=24, linewidths=1)
    axes[0].set_xlim(float(middle[0]) - reach, float(middle[0]) + reach)
    axes[0].set_ylim(float(middle[1]) - reach, float(middle[1]) + reach)
    return figure


def draw_regions(
    ax: Axes, choose: Callable[[Tensor], Tensor], middle: list[float], reach: float, palette: list[Any], side: int = 300
) -> None:
    """Shades the plane by the component that ``choose`` picks."""
    across = torch.linspace(middle[0] - reach, middle[0] + reach, side)
    up = torch.linspace(middle[1] - reach, middle[1] + reach, side)
    grid = torch.cartesian_prod(up, across).flip(-1)
    ax.imshow(
        choose(grid).reshape(side, side).numpy(),
        extent=(float(across[0]), float(across[-1]), float(up[0]), float(up[-1])),
        origin="lower",
        cmap=ListedColormap(palette),
        vmin=-0.5,
        vmax=len(palette) - 0.5,
        alpha=0.2,
        interpolation="nearest",
    )


def image_rows(images: Tensor, title: str) -> Figure:
    """Grey images ``(K, n, height, width)`` with values 0 … 1, one row for each component."""
    rows, columns, height, width = images.shape
    sheet = torch.ones(rows, columns, height + 1, width + 1)
    sheet[..., :height, :width] = 1 - images
    whole = sheet.permute(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    figure = Figure(figsize=(0.62 * columns + 0.6, 0.62 * rows + 0.4), layout="constrained")
    ax = figure.subplots()
    ax.imshow(whole.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks([(k + 0.5) * (height + 1) for k in range(rows)], [str(k) for k in range(rows)])
    ax.set_xticks([])
    ax.set_ylabel("component")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=10)
    return figure


def history(columns: dict[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Curves over the epochs, in nats per observation: name → (epochs, values); a temperature gets its own axis."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.subplots()
    for name, (epochs, column) in columns.items():
        if name != "temperature" and column:
            ax.plot(epochs, column, label=name.replace("_", " "))
    values = [v for name, (_, column) in columns.items() if name != "temperature" for v in column if np.isfinite(v)]
    if values:  # early values, far below the rest, would flatten it
        low, high = float(np.quantile(values, 0.2)), max(values)
        ax.set_ylim(low - 0.3 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
    ax.set_xlabel("epoch")
    ax.set_ylabel("nats per observation")
    if values:
        ax.legend(loc="lower right", fontsize=8)
    if columns.get("temperature", ([], []))[1]:
        other = ax.twinx()
        other.plot(*columns["temperature"], color="grey", linestyle=":", linewidth=1)
        other.set_ylabel("temperature (dotted)")
    return figure


def contingency(table: Any, class_names: Sequence[str]) -> Figure:
    """A normalized contingency table: classes down, components across."""
    values = np.asarray(table)
    figure = Figure(figsize=(0.7 * values.shape[1] + 1.4, 0.5 * values.shape[0] + 1), layout="constrained")
    ax = figure.subplots()
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 0.6 else "black")
    ax.set_xticks(range(values.shape[1]))
    ax.set_yticks(range(values.shape[0]), list(class_names))
    ax.set_xlabel("component")
    ax.set_ylabel("class")
    return figure


def selection(rows: Sequence[dict[str, Any]]) -> Figure:
    """The overlap that is left, and the validation evidence with its standard error, against the number of components.

    Args:
        rows: those of a ``Selection``.
    """
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = sorted(rows, key=lambda row: row["n_components"])
    k, evidence, errors = ([row[c] for row in rows] for c in ("n_components", "validation_evidence", "standard_error"))
    chosen = next(row for row in rows if row["chosen"])
    left.plot(k, [row["overlap"] for row in rows], marker="o", markersize=4, linewidth=1)
    left.set_yscale("symlog", linthresh=1e-3)
    left.set_ylabel("greatest overlap of two components")
    right.errorbar(k, evidence, errors, marker="o", markersize=4, capsize=2, linewidth=1)
    right.set_ylabel("validation evidence, nats")
    for ax, column in ((left, "overlap"), (right, "validation_evidence")):
        ax.plot(chosen["n_components"], chosen[column], "o", color="C3", markersize=9, label="chosen")
        ax.set_xticks(k)
        ax.set_xlabel("components")
        ax.legend(loc="lower right", fontsize=8)
    return figure


def reliability(tables: dict[str, Any]) -> Figure:
    """Confidence against accuracy, a curve for each name; the larger a dot, the more points are in its bin.

    Args:
        tables: name → what :func:`pyro_vmonf.evaluation.calibration` returns, ``(bins, 3)``.
    """
    if not isinstance(tables, dict):
        raise TypeError(f"tables: expected a dictionary of names and calibrations, got {type(tables).__name__}")
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    for name, table in tables.items():
        share, confidence, right = np.asarray(table)[np.asarray(table)[:, 0] > 0].T
        error = float((share * np.abs(right - confidence)).sum())
        (line,) = ax.plot(confidence, right, linewidth=1, label=f"{name}, calibration error {error:.3f}")
        ax.scatter(confidence, right, s=10 + 150 * share, color=line.get_color(), alpha=0.7)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.05), ylim=(-0.05, 1.05))
    ax.legend(loc="best", fontsize=8)
    return figure


def predictive_checks(rows: Sequence[dict[str, Any]], columns: int = 4) -> Figure:
    """A histogram of each statistic's replications, with a line at what was observed, and its p-value.

    Args:
        rows: of ``predictive_checks``.
        columns: of the grid.
    """
    columns = max(1, min(columns, len(rows)))
    down = max(1, -(-len(rows) // columns))
    figure = Figure(figsize=(2.5 * columns, 2.0 * down), layout="constrained")
    axes = figure.subplots(down, columns, squeeze=False).flatten()
    for ax in axes[len(rows) :]:
        ax.axis("off")
    for ax, row in zip(axes, rows, strict=False):
        ax.hist(row["replicated"], bins=20, color="C0", alpha=0.5)
        ax.axvline(row["observed"], color="C3")
        ax.set_title(f"{row['statistic']}, p = {row['p']:.2f}", fontsize=8)
        ax.set_yticks([])
        ax.locator_params(axis="x", nbins=4)
        ax.tick_params(labelsize=7)
    return figure


def replications(data: tuple[Tensor, Tensor], drawn: Sequence[tuple[Tensor, Tensor]], n_components: int) -> Figure:
    """Two-dimensional data beside replicated data sets, coloured by component.

    Args:
        data: points ``(N, 2)`` and their components ``(N,)``.
        drawn: the same of each replicated data set.
        n_components: K.
    """
    if data[0].dim() != 2 or data[0].shape[1] != 2:
        raise ValueError(f"data: expected points of shape (N, 2), got {tuple(data[0].shape)}")
    panels = [("data", *data), *((f"replicated {i + 1}", *one) for i, one in enumerate(drawn))]
    figure = Figure(figsize=(3.2 * len(panels), 3.3), layout="constrained")
    palette = component_colours(n_components)
    for ax, (title, points, z) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        ax.scatter(*points.T.numpy(), c=[palette[k] for k in z.tolist()], s=3, linewidths=0)
        ax.set_title(title, fontsize=10)
        ax.set_aspect("equal")
        low, high = data[0].amin(0), data[0].amax(0)
        margin = 0.15 * float((high - low).max())
        ax.set_xlim(float(low[0]) - margin, float(high[0]) + margin)
        ax.set_ylim(float(low[1]) - margin, float(high[1]) + margin)
    return figure


def probability_integral_transforms(values: Tensor, z: Tensor, n_components: int, bins: int = 10) -> Figure:
    """Histograms of probability integral transforms by component, all coordinates together; flat if the model is right.

    The band holds 95 % of the bars of uniform values.

    Args:
        values: ``(N, D)``, of ``probability_integral_transform``.
        z: ``(N,)``.
        n_components: K.
        bins: of each histogram.
    """
    figure = Figure(figsize=(2.2 * n_components, 2.0), layout="constrained")
    for k, ax in enumerate(figure.subplots(1, n_components, squeeze=False)[0]):
        own = values[z == k].flatten().numpy()
        expected = max(len(own), 1) / bins
        spread = 1.96 * np.sqrt(expected * (1 - 1 / bins))
        ax.axhspan((expected - spread) / expected, (expected + spread) / expected, color="grey", alpha=0.3, linewidth=0)
        counts, edges = np.histogram(own, bins, (0, 1))
        ax.stairs(counts / expected, edges, fill=True, color=component_colours(n_components)[k], alpha=0.6)
        ax.set_ylim(0, max(2.0, 1.1 * counts.max() / expected) if len(own) else 2.0)
        ax.set_title(f"component {k}", fontsize=9)
        ax.set_xticks([0, 1])
    return figure
