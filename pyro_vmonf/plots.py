"""Pictures: tensors or arrays in, matplotlib figures out. None of them touches pyplot's global state.

Every function draws into ``axes``, where those are given, and returns their figure. Otherwise it makes a figure, which
a notebook shows and ``savefig`` writes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf._validation import as_floats, as_numbers, check_count, check_finite, check_labels

__all__ = [
    "assignments",
    "clusters",
    "contingency",
    "history",
    "image_rows",
    "predictive_checks",
    "probability_integral_transforms",
    "reliability",
    "replications",
    "selection",
]

Numbers: TypeAlias = Tensor | npt.ArrayLike
Pair: TypeAlias = tuple[Numbers, Numbers]
Panel: TypeAlias = tuple[str, str, Numbers, Numbers]
Panels: TypeAlias = Sequence[Axes] | npt.NDArray[np.object_]
Function: TypeAlias = Callable[[Tensor], Numbers]
Four: TypeAlias = tuple[float, float, float, float]

UNKNOWN: Four = (0.75, 0.75, 0.75, 1.0)
NO_CURVES = {"epoch", "phase", "steps", "seconds"}


class HasRows(Protocol):
    """What a fit returns: one row an epoch, each with its ``epoch``."""

    @property
    def rows(self) -> Sequence[Mapping[str, float]]: ...


def clusters(
    probs: Function, x: Numbers, *, marked: Numbers | None = None, title: str = "", axes: Axes | None = None
) -> Figure:
    """Draws two-dimensional points, coloured by component, over the regions where each component is most probable.

    Args:
        probs: A function from points ``(N, 2)`` to the probabilities of their components ``(N, K)``, such as
            ``guide.probs``, ``model.responsibilities``, or ``predict_proba`` of a scikit-learn mixture. The method of a
            module is called in evaluation mode, with points of the module's type on its device; another function
            receives points of the default floating-point type.
        x: The points ``(N, 2)``.
        marked: Points ``(M, 2)`` that are marked with crosses, such as the labelled ones.
        title: The title of the picture.
        axes: The axes to draw into.

    Returns:
        The figure.

    Raises:
        ValueError: If points are not of shape ``(N, 2)``, or what ``probs`` returns is not of shape ``(N, K)``.

    Examples:
        >>> from pyro_vmonf import SoftmaxEncoder, mlp, plots
        >>> guide = SoftmaxEncoder(mlp(2, 3), 3)
        >>> figure = plots.clusters(guide.probs, [[0.0, 1.0], [2.0, 3.0]], title="two points")
        >>> figure.axes[0].get_title()
        'two points'
    """
    points = as_plane("x", x)
    table = call("probs", probs, points)
    if table.dim() != 2 or len(table) != len(points):
        expected = f"a function such as guide.probs that returns shape ({len(points)}, K)"
        raise ValueError(f"probs: expected {expected}, got one that returns shape {tuple(table.shape)}")

    def choose(grid: Tensor) -> Tensor:
        return call("probs", probs, grid).argmax(-1)

    return assignments([(title, points, table.argmax(-1))], choose, table.shape[1], marked, axes=axes)


def assignments(
    panels: Sequence[tuple[str, Numbers, Numbers]],
    choose: Function,
    n_components: int,
    marked: Numbers | None = None,
    *,
    axes: Axes | Panels | None = None,
) -> Figure:
    """Draws two-dimensional points, coloured by component, over the regions where ``choose`` picks each component.

    Args:
        panels: The title, the points ``(N, 2)`` and their components ``(N,)`` of each panel. Points of component −1 are
            grey.
        choose: A function from points ``(N, 2)`` to components ``(N,)``, by which the regions are drawn. A module, or
            its method, is called as :func:`clusters` calls it.
        n_components: The number of components.
        marked: Points ``(M, 2)`` that are marked with crosses in the first panel, such as the labelled ones.
        axes: The axes to draw into, one for each panel.

    Returns:
        The figure.

    Raises:
        TypeError: If points are no numbers, or components no integers.
        ValueError: If points are not of shape ``(N, 2)``, or components not of shape ``(N,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import plots
        >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
        >>> figure = plots.assignments([("sides", x, [0, 1])], lambda points: (points[:, 0] > 0).long(), 2)
        >>> len(figure.axes)
        1
    """
    crosses = None if marked is None else as_plane("marked", marked)
    drawn = draw_points([(f"panels[{i}]", *p) for i, p in enumerate(panels)], n_components, axes, 4.5, choose)
    if crosses is not None:
        drawn[0].scatter(crosses[:, 0], crosses[:, 1], c="black", marker="x", s=24, linewidths=1)
    return figure_of(drawn)


def draw_regions(ax: Axes, choose: Function, extent: Four, n_components: int, side: int = 300) -> None:
    """Shades the plane by the component that ``choose`` picks."""
    grid = torch.cartesian_prod(torch.linspace(*extent[2:], side), torch.linspace(*extent[:2], side)).flip(-1)
    ax.imshow(
        check_labels("choose", call("choose", choose, grid), side**2, n_components).reshape(side, side).numpy(),
        extent=extent,
        origin="lower",
        cmap=ListedColormap(component_colours(n_components)),
        vmin=-0.5,
        vmax=n_components - 0.5,
        alpha=0.2,
        interpolation="nearest",
    )


def draw_points(
    panels: Sequence[Panel], n_components: int, axes: object, size: float, choose: Function | None = None
) -> list[Axes]:
    """Draws points in the colours of their components, over regions where these are given, and returns the axes.

    A panel is what the caller calls it, its title, points ``(N, 2)`` and components ``(N,)``.
    """
    points = [as_plane(name, x) for name, _, x, _ in panels]
    z = [check_labels(f"{p[0]}, components", p[3], len(x), n_components) for p, x in zip(panels, points, strict=True)]
    drawn = as_panels(axes, len(panels), (size, size), shared=True)
    extent, palette = square(points[0]), [*component_colours(n_components), UNKNOWN]
    for ax, panel, x, components in zip(drawn, panels, points, z, strict=True):
        if choose is not None:
            draw_regions(ax, choose, extent, n_components)
        ax.scatter(x[:, 0], x[:, 1], c=[palette[k] for k in components.tolist()], s=4, linewidths=0)
        ax.set_title(panel[1], fontsize=10)
        ax.set(aspect="equal", xlim=extent[:2], ylim=extent[2:])
    return drawn


def image_rows(images: Numbers, title: str = "", *, axes: Axes | None = None) -> Figure:
    """Draws grey images, one row for each component.

    Args:
        images: The images ``(K, n, height, width)``, with values from 0 to 1.
        title: The title of the picture.
        axes: The axes to draw into.

    Returns:
        The figure.

    Raises:
        ValueError: If ``images`` has another number of dimensions.

    Examples:
        >>> import numpy as np
        >>> from pyro_vmonf import plots
        >>> figure = plots.image_rows(np.zeros((3, 10, 8, 8)), "samples")
        >>> figure.axes[0].get_ylabel()
        'component'
    """
    given = as_floats("images", images).cpu()
    if given.dim() != 4 or not given.numel():
        raise ValueError(f"images: expected shape (K, n, height, width), got {tuple(given.shape)}")
    rows, columns, height, width = given.shape
    sheet = torch.ones(rows, columns, height + 1, width + 1)
    sheet[..., :height, :width] = 1 - given
    whole = sheet.permute(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    (ax,) = as_panels(axes, 1, (0.62 * columns + 0.6, 0.62 * rows + 0.4))
    ax.imshow(whole.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks([(k + 0.5) * (height + 1) for k in range(rows)], [str(k) for k in range(rows)])
    ax.set(xticks=[], ylabel="component")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=10)
    return figure_of([ax])


def history(history: HasRows | Mapping[str, Pair], *, axes: Axes | None = None) -> Figure:
    """Draws the curves of a fit over its epochs, in nats per observation.

    A ``temperature`` that changes is drawn as a dotted line with an axis of its own.

    Args:
        history: What ``fit`` returned, or a dictionary of names with epochs and values ``(E,)`` each, such as
            ``{"elbo": history.column("elbo")}``.
        axes: The axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If ``history`` is neither.

    Examples:
        >>> from pyro_vmonf import plots
        >>> epochs = [0, 1, 2]
        >>> figure = plots.history({"elbo": (epochs, [-9.0, -2.0, -1.0]), "temperature": (epochs, [4.0, 2.0, 1.0])})
        >>> [ax.get_ylabel() for ax in figure.axes]
        ['nats per observation', 'temperature (dotted)']
    """
    columns = as_columns(history)
    epochs, temperature = columns.pop("temperature", (np.zeros(0), np.zeros(0)))
    (ax,) = as_panels(axes, 1, (6.4, 3.6))
    for name, column in columns.items():
        if len(column[1]):
            ax.plot(*column, label=name.replace("_", " "))
    values = np.concatenate([np.zeros(0), *(column for _, column in columns.values())])
    values = values[np.isfinite(values)]
    ax.set(xlabel="epoch", ylabel="nats per observation")
    if len(values):  # early values, far below the rest, would flatten it
        low, high = np.quantile(values, 0.2), values.max()
        ax.set_ylim(low - 0.3 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
        ax.legend(loc="lower right", fontsize=8)
    if len(temperature) and np.ptp(temperature) > 0:
        other = ax.twinx()
        other.plot(epochs, temperature, color="grey", linestyle=":", linewidth=1)
        other.set_ylabel("temperature (dotted)")
    return figure_of([ax])


def as_columns(history: object) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Returns the epochs and values of each name in a history, or in a dictionary of such columns."""
    rows = getattr(history, "rows", None)
    if isinstance(history, Mapping):
        return {name: (as_array(name, epochs), as_array(name, values)) for name, (epochs, values) in history.items()}
    if rows is None:
        raise TypeError(f"history: expected what fit returned, or a dictionary, got {type(history).__name__}")
    names = dict.fromkeys(name for row in rows for name in row if name not in NO_CURVES)
    having = {name: [row for row in rows if name in row] for name in names}
    return as_columns({k: ([row["epoch"] for row in own], [row[k] for row in own]) for k, own in having.items()})


def contingency(table: Numbers, class_names: Sequence[str] | None = None, *, axes: Axes | None = None) -> Figure:
    """Draws a normalized contingency table with the classes down and the components across.

    Args:
        table: The table ``(classes, components)`` with values from 0 to 1, as
            :func:`pyro_vmonf.evaluation.contingency` returns it with ``normalized=True``.
        class_names: The names of the classes. They are numbers from 0 if they are not given.
        axes: The axes to draw into.

    Returns:
        The figure.

    Raises:
        ValueError: If the table has another number of dimensions, or there is not one name for each class.

    Examples:
        >>> from pyro_vmonf import plots
        >>> figure = plots.contingency([[0.9, 0.1], [0.2, 0.8]], ["cats", "dogs"])
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['cats', 'dogs']
    """
    values = as_array("table", table)
    if values.ndim != 2:
        raise ValueError(f"table: expected shape (classes, components), got {values.shape}")
    names = [str(i) for i in range(len(values))] if class_names is None else list(class_names)
    if len(names) != len(values):
        raise ValueError(f"class_names: expected {len(values)} names, one for each row of the table, got {len(names)}")
    (ax,) = as_panels(axes, 1, (0.7 * values.shape[1] + 1.4, 0.5 * values.shape[0] + 1))
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 0.6 else "black")
    ax.set_yticks(range(values.shape[0]), names)
    ax.set(xticks=range(values.shape[1]), xlabel="component", ylabel="class")
    return figure_of([ax])


def selection(rows: Sequence[Mapping[str, float]], *, axes: Panels | None = None) -> Figure:
    """Draws the overlap that is left, and the validation evidence, against the number of components.

    Args:
        rows: The rows of a ``Selection``: ``n_components``, ``overlap``, ``validation_evidence`` in nats,
            ``standard_error`` and ``chosen``.
        axes: The two axes to draw into.

    Returns:
        The figure.

    Examples:
        >>> from pyro_vmonf import plots
        >>> names = ["n_components", "overlap", "validation_evidence", "standard_error", "chosen"]
        >>> rows = [dict(zip(names, row)) for row in [(2, 0.3, -2.0, 0.1, False), (1, 0.0, -2.5, 0.1, True)]]
        >>> len(plots.selection(rows).axes)
        2
    """
    left, right = as_panels(axes, 2, (4.2, 3.4))
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
        ax.set(xticks=k, xlabel="components")
        ax.legend(loc="lower right", fontsize=8)
    return figure_of([left])


def reliability(tables: Mapping[str, Numbers], *, axes: Axes | None = None) -> Figure:
    """Draws confidence against accuracy, one curve for each name. The larger a dot, the more points are in its bin.

    Args:
        tables: The names, each with what :func:`pyro_vmonf.evaluation.calibration` returns, ``(bins, 3)``.
        axes: The axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If ``tables`` is no dictionary.
        ValueError: If a table has another shape.

    Examples:
        >>> from pyro_vmonf import plots
        >>> from pyro_vmonf.evaluation import calibration
        >>> figure = plots.reliability({"encoder": calibration([[0.75, 0.25], [0.75, 0.25]], [0, 1])})
        >>> figure.axes[0].get_legend().get_texts()[0].get_text()
        'encoder, calibration error 0.250'
    """
    if not isinstance(tables, Mapping):
        raise TypeError(f"tables: expected a dictionary of names and calibrations, got {type(tables).__name__}")
    arrays = {name: as_array(f"tables[{name!r}]", table) for name, table in tables.items()}
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != 3:
            raise ValueError(f"tables[{name!r}]: expected shape (bins, 3), got {array.shape}")
    (ax,) = as_panels(axes, 1, (4.2, 4.2))
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    for name, array in arrays.items():
        share, confidence, right = array[array[:, 0] > 0].T
        label = f"{name}, calibration error {(share * np.abs(right - confidence)).sum():.3f}"
        (line,) = ax.plot(confidence, right, linewidth=1, label=label)
        ax.scatter(confidence, right, s=10 + 150 * share, color=line.get_color(), alpha=0.7)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.05), ylim=(-0.05, 1.05))
    ax.legend(loc="best", fontsize=8)
    return figure_of([ax])


def predictive_checks(
    rows: Sequence[Mapping[str, object]], columns: int = 4, *, axes: Axes | Panels | None = None
) -> Figure:
    """Draws a histogram of each statistic's replications, with a line at what was observed, and its p-value.

    Args:
        rows: The rows of :func:`pyro_vmonf.evaluation.predictive_checks`, at least one.
        columns: The number of columns in the grid of a figure of its own.
        axes: The axes to draw into, one for each row or more.

    Returns:
        The figure.

    Examples:
        >>> from pyro_vmonf import plots
        >>> row = {"statistic": "mean", "observed": 0.5, "replicated": [0.1, 0.4, 0.6, 0.7], "p": 1.0}
        >>> plots.predictive_checks([row]).axes[0].get_title()
        'mean, p = 1.00'
    """
    drawn = as_panels(axes, len(rows), (2.5, 2.0), check_count("columns", columns))
    for ax, row in zip(drawn, rows, strict=True):
        replicated, observed, p = (as_array(name, row[name]) for name in ("replicated", "observed", "p"))
        ax.hist(replicated, bins=20, color="C0", alpha=0.5)
        ax.axvline(float(observed), color="C3")
        ax.set_title(f"{row['statistic']}, p = {float(p):.2f}", fontsize=8)
        ax.set_yticks([])
        ax.locator_params(axis="x", nbins=4)
        ax.tick_params(labelsize=7)
    return figure_of(drawn)


def replications(data: Pair, drawn: Sequence[Pair], n_components: int, *, axes: Axes | Panels | None = None) -> Figure:
    """Draws two-dimensional data beside replicated data sets, coloured by component.

    Args:
        data: The points ``(N, 2)`` and their components ``(N,)``.
        drawn: The same of each replicated data set.
        n_components: The number of components.
        axes: The axes to draw into, one for the data and one for each replicated data set.

    Returns:
        The figure.

    Raises:
        ValueError: If points are not of shape ``(N, 2)``, or components not of shape ``(N,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import plots
        >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
        >>> figure = plots.replications((x, [0, 1]), [(x + 0.1, [0, 1]), (x - 0.1, [1, 0])], 2)
        >>> [ax.get_title() for ax in figure.axes]
        ['data', 'replicated 1', 'replicated 2']
    """
    panels = [("data", "data", *data)]
    panels += [(f"drawn[{i}]", f"replicated {i + 1}", *one) for i, one in enumerate(drawn)]
    return figure_of(draw_points(panels, n_components, axes, 3.2))


def probability_integral_transforms(
    values: Numbers, z: Numbers, n_components: int, bins: int = 10, *, axes: Axes | Panels | None = None
) -> Figure:
    """Draws histograms of probability integral transforms by component, flat if the model is right.

    A histogram counts all coordinates together. The band holds 95 % of the bars of uniform values.

    Args:
        values: The transforms ``(N, D)``, as :func:`pyro_vmonf.evaluation.probability_integral_transform` returns them.
        z: The components ``(N,)``.
        n_components: The number of components.
        bins: The number of bins in each histogram.
        axes: The axes to draw into, one for each component.

    Returns:
        The figure.

    Raises:
        ValueError: If ``values`` is not of shape ``(N, D)``, or z not of shape ``(N,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import plots
        >>> figure = plots.probability_integral_transforms(torch.rand(100, 2), torch.arange(100) % 2, 2)
        >>> [ax.get_title() for ax in figure.axes]
        ['component 0', 'component 1']
    """
    table = as_array("values", values)
    if table.ndim != 2:
        raise ValueError(f"values: expected shape (N, D), got {table.shape}")
    drawn, components = as_panels(axes, n_components, (2.2, 2.0)), check_labels("z", z, len(table), n_components)
    for k, ax in enumerate(drawn):
        own = table[(components == k).cpu().numpy()].flatten()
        expected = max(len(own), 1) / bins
        spread = 1.96 * np.sqrt((1 - 1 / bins) / expected)
        ax.axhspan(1 - spread, 1 + spread, color="grey", alpha=0.3, linewidth=0)
        counts, edges = np.histogram(own, bins, (0, 1))
        ax.stairs(counts / expected, edges, fill=True, color=component_colours(n_components)[k], alpha=0.6)
        ax.set(ylim=(0, max(2.0, 1.1 * counts.max() / expected)), xticks=[0, 1])
        ax.set_title(f"component {k}", fontsize=9)
    return figure_of(drawn)


def component_colours(k: int) -> list[Four]:
    """Returns k colours that tell components apart."""
    return [colormaps["tab10" if k <= 10 else "tab20"](i % 20) for i in range(k)]


def as_panels(
    axes: object, count: int, size: tuple[float, float], columns: int | None = None, *, shared: bool = False
) -> list[Axes]:
    """Returns the axes to draw into: those given, or those of a new figure, ``size`` inches each.

    Where ``columns`` is given they form a grid, in which axes beyond ``count`` are left empty.
    """
    check_count("number of panels", count)
    if axes is None:
        wide = count if columns is None else min(columns, count)
        down = -(-count // wide)
        new = Figure(figsize=(size[0] * wide, size[1] * down), layout="constrained")
        axes = new.subplots(down, wide, squeeze=False, sharex=shared, sharey=shared)
    found = np.ravel(np.asarray(axes, dtype=object)).tolist()
    if strange := [ax for ax in found if not isinstance(ax, Axes)]:
        raise TypeError(f"axes: expected those of matplotlib, got {type(strange[0]).__name__}")
    if len(found) < count or (len(found) > count and columns is None):
        raise ValueError(f"axes: expected {count}, one for each panel, got {len(found)}")
    for ax in found[count:]:
        ax.axis("off")
    return found[:count]


def figure_of(axes: Sequence[Axes]) -> Figure:
    """Returns the whole figure of the axes, also where they are in a part of it."""
    return axes[0].figure.figure


def as_array(name: str, given: object) -> npt.NDArray[np.float64]:
    """Returns numbers as an array; raises ``TypeError`` with the ``name`` if it holds others."""
    return as_floats(name, given).double().cpu().numpy()


def as_plane(name: str, given: object) -> Tensor:
    """Returns points of the plane as a tensor ``(N, 2)``; raises ``ValueError`` for another shape."""
    x = as_floats(name, given).double().cpu()
    if x.dim() != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"{name}: expected points of shape (N, 2) with N ≥ 1, got {tuple(x.shape)}")
    check_finite(name, x)
    return x


def square(x: Tensor) -> Four:
    """Returns the left, right, lower and upper end of a square around points ``(N, 2)``, with a margin."""
    low, high = x.amin(0), x.amax(0)
    reach = 0.6 * float((high - low).max()) or 1.0
    (left, bottom), (right, top) = ((low + high) / 2 - reach).tolist(), ((low + high) / 2 + reach).tolist()
    return left, right, bottom, top


def call(name: str, function: Function, x: Tensor) -> Tensor:
    """Returns what a function returns for points ``(N, 2)``, as a tensor on the CPU.

    A module, or its method, is called in evaluation mode, with points of its type on its device.
    """
    owner = getattr(function, "__self__", function)
    module = owner if isinstance(owner, nn.Module) else nn.Module()
    like = next(module.parameters(), torch.empty(0))
    with torch.no_grad(), evaluation_mode(module):
        return torch.cat([as_numbers(name, function(part.to(like))).cpu() for part in x.split(10_000)])
