"""Points of the plane, coloured by component, over the regions where each component is most probable."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from torch import Tensor

from pyro_vmonf._validation import check_labels
from pyro_vmonf.plots.axes import AxesArray, GivenAxes, axes_for, panels_for
from pyro_vmonf.plots.colours import component_colours, draw_legend, point_colours, share_entries
from pyro_vmonf.plots.points import Extent, Numbers, as_plane, find_names, label_axes
from pyro_vmonf.plots.reading import ProbsSource, read_choice, read_probs

__all__ = ["assignments", "clusters", "replications"]

Choose: TypeAlias = Callable[[Tensor], Tensor]

SIDE = 300
"""The number of cells along each side of the plane."""


def clusters(
    source: ProbsSource, x: Numbers, *, marked: Numbers | None = None, title: str = "", ax: GivenAxes = None
) -> Axes:
    """Draws two-dimensional points, coloured by component, over the regions where each component is most probable.

    The two axes have one scale, unless one feature varies more than four times as much as the other. The legend names
    the components that have points or a region, and the share of the points that each has.

    Args:
        source: What gives the probabilities of the components: a fitted estimator, a guide, a model, or a pair
            (model, guide). They are those of the encoder where there is one, and the exact ones of a model alone. For
            a :class:`~pyro_vmonf.VMoNFClassifier` they are those of components too; its ``predict_proba`` gives
            classes. A function from points ``(N, 2)`` to probabilities ``(N, K)`` receives points of the default
            floating-point type, or of the type of the module whose method it is.
        x: The points ``(N, 2)``.
        marked: Points ``(M, 2)`` that are marked with crosses, such as the labelled ones.
        title: The title of the plot.
        ax: The Axes to draw into.

    Returns:
        The Axes.

    Raises:
        TypeError: If ``source`` gives no probabilities, or points are no numbers.
        ValueError: If points are not of shape ``(N, 2)``, or the probabilities not of shape ``(N, K)``.

    Examples:
        >>> from pyro_vmonf import SoftmaxEncoder, mlp, plots
        >>> guide = SoftmaxEncoder(mlp(2, 3), 3)
        >>> ax = plots.clusters(guide, [[0.0, 1.0], [2.0, 3.0]], title="two points")
        >>> ax.get_title()
        'two points'
        >>> ax.get_legend().get_title().get_text()
        'component'
    """
    points, names = as_plane("x", x), find_names(source, x)
    crosses = None if marked is None else as_plane("marked", marked)
    table = read_probs(source, points)
    drawn, extent, n_components = axes_for(ax, (4.5, 4.5)), Extent.around(points), table.shape[1]
    z = table.argmax(-1)
    regions = draw_regions(drawn, lambda grid: read_probs(source, grid).argmax(-1), extent, n_components)
    draw_points(drawn, points, z, n_components, extent, title)
    draw_crosses(drawn, crosses)
    draw_legend(drawn, share_entries(np.union1d(z.numpy(), regions.numpy()), z.numpy(), n_components))
    label_axes(drawn, names)
    return drawn


def assignments(
    panels: Sequence[tuple[str, Numbers, Numbers]],
    choose: ProbsSource,
    n_components: int,
    marked: Numbers | None = None,
    *,
    ax: GivenAxes = None,
) -> AxesArray:
    """Draws sets of two-dimensional points, coloured by given components, over the regions of the components.

    Args:
        panels: The title, the points ``(N, 2)`` and their components ``(N,)`` of each panel. Points of component −1 are
            grey. All panels show the part of the plane around the first one's points.
        choose: What draws the regions: a function from points ``(N, 2)`` to components ``(N,)``, or anything else that
            :func:`clusters` takes.
        n_components: The number of components.
        marked: Points ``(M, 2)`` that are marked with crosses in the first panel, such as the labelled ones.
        ax: The Axes to draw into, one for each panel.

    Returns:
        The Axes, one for each panel.

    Raises:
        TypeError: If points are no numbers, or components no integers.
        ValueError: If points are not of shape ``(N, 2)``, or components not of shape ``(N,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import plots
        >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
        >>> axes = plots.assignments([("sides", x, [0, 1])], lambda points: (points[:, 0] > 0).long(), 2)
        >>> axes.shape
        (1,)
    """
    crosses = None if marked is None else as_plane("marked", marked)
    named = [(f"panels[{i}]", *panel) for i, panel in enumerate(panels)]
    drawn = draw_panels(named, n_components, ax, 4.5, lambda grid: read_choice("choose", choose, grid, n_components))
    draw_crosses(drawn[0], crosses)
    return drawn


def replications(
    data: tuple[Numbers, Numbers], drawn: Sequence[tuple[Numbers, Numbers]], n_components: int, *, ax: GivenAxes = None
) -> AxesArray:
    """Draws two-dimensional data beside replicated data sets, coloured by component.

    Args:
        data: The points ``(N, 2)`` and their components ``(N,)``.
        drawn: The same of each replicated data set.
        n_components: The number of components.
        ax: The Axes to draw into, one for the data and one for each replicated data set.

    Returns:
        The Axes, first those of the data.

    Raises:
        TypeError: If points are no numbers, or components no integers.
        ValueError: If points are not of shape ``(N, 2)``, or components not of shape ``(N,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import plots
        >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
        >>> axes = plots.replications((x, [0, 1]), [(x + 0.1, [0, 1]), (x - 0.1, [1, 0])], 2)
        >>> [ax.get_title() for ax in axes]
        ['data', 'replicated 1', 'replicated 2']
    """
    panels = [("data", "data", *data)]
    panels += [(f"drawn[{i}]", f"replicated {i + 1}", *one) for i, one in enumerate(drawn)]
    return draw_panels(panels, n_components, ax, 3.2)


def draw_panels(
    panels: Sequence[tuple[str, str, Numbers, Numbers]],
    n_components: int,
    ax: GivenAxes,
    size: float,
    choose: Choose | None = None,
) -> AxesArray:
    """Draws points in the colours of their components, over regions where ``choose`` gives these.

    A panel is what the caller calls it, its title, points ``(N, 2)`` and components ``(N,)``.
    """
    points = [as_plane(name, x) for name, _, x, _ in panels]
    z = [check_labels(f"{p[0]}, components", p[3], len(x), n_components) for p, x in zip(panels, points, strict=True)]
    drawn = panels_for(ax, len(panels), (size, size), shared=True)
    extent = Extent.around(points[0])
    for one, panel, x, own in zip(drawn, panels, points, z, strict=True):
        if choose is not None:
            draw_regions(one, choose, extent, n_components)
        draw_points(one, x, own, n_components, extent, panel[1])
    return drawn


def draw_regions(ax: Axes, choose: Choose, extent: Extent, n_components: int) -> Tensor:
    """Shades the plane by the component that ``choose`` picks, and returns that of each cell ``(SIDE²,)``."""
    chosen = choose(extent.grid(SIDE))
    ax.imshow(
        chosen.reshape(SIDE, SIDE).numpy(),
        extent=extent.sides,
        origin="lower",
        cmap=ListedColormap(component_colours(n_components)),
        vmin=-0.5,
        vmax=n_components - 0.5,
        alpha=0.2,
        interpolation="nearest",
    )
    return chosen


def draw_points(ax: Axes, x: Tensor, z: Tensor, n_components: int, extent: Extent, title: str) -> None:
    """Draws points in the colours of their components."""
    ax.scatter(x[:, 0], x[:, 1], c=point_colours(z.tolist(), n_components), s=4, linewidths=0)
    ax.set_title(title, fontsize=10)
    extent.apply(ax)


def draw_crosses(ax: Axes, x: Tensor | None) -> None:
    """Marks points with crosses, if there are any."""
    if x is not None:
        ax.scatter(x[:, 0], x[:, 1], c="black", marker="x", s=24, linewidths=1)
