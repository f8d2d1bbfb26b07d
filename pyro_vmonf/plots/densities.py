"""Densities in the plane: of the whole mixture, and of each component."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyro_vmonf.plots.axes import GivenAxes, axes_for
from pyro_vmonf.plots.colours import Colour, component_colours, draw_legend
from pyro_vmonf.plots.points import Extent, Numbers, as_plane, find_names, label_axes
from pyro_vmonf.plots.reading import (
    DensitySource,
    MixtureSource,
    read_component_log_densities,
    read_log_density,
    read_weights,
)

__all__ = ["components", "density"]

SIDE = 200
"""The number of cells along each side of the plane."""

INSIDE = (0.9, 0.5)
"""The shares of a component's mass that its outlines hold."""

LEVELS = 20
"""The greatest number of shades of a density."""


def density(
    source: DensitySource,
    x: Numbers,
    *,
    show_points: bool = True,
    title: str = "log p(x)",
    ax: GivenAxes = None,
) -> Axes:
    """Draws the log-density log p(x) in nats around two-dimensional points, as filled contours with a colour bar.

    Where log p(x) is more than 2 nats below that of 99 % of the points, it has the lightest colour.

    Args:
        source: What gives the density: a fitted estimator, by its ``score_samples``; a model; a pair (model, guide);
            or a function from points ``(N, 2)`` to log p(x) ``(N,)``.
        x: The points ``(N, 2)``, which say what part of the plane is drawn.
        show_points: Whether the points are drawn too.
        title: The title of the plot.
        ax: The Axes to draw into. The colour bar takes its place from them.

    Returns:
        The Axes of the density. Those of the colour bar are the last of ``ax.figure``.

    Raises:
        TypeError: If ``source`` gives no density, or points are no numbers.
        ValueError: If points are not of shape ``(N, 2)``, or what ``source`` returns is not of shape ``(N,)``.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP, plots
        >>> ax = plots.density(FlowMixture(RealNVP(2, 3)), [[0.0, 1.0], [2.0, 3.0]])
        >>> ax.figure.axes[-1].get_ylabel()
        'log p(x), nats'
    """
    points, names = as_plane("x", x), find_names(source, x)
    extent = Extent.around(points)
    grid = extent.grid(SIDE)
    own, values = read_log_density(source, points).numpy(), read_log_density(source, grid).numpy()
    levels = density_levels(own, values)
    drawn = axes_for(ax, (5.4, 4.5))
    across, up = grid[:SIDE, 0].numpy(), grid[::SIDE, 1].numpy()
    shown = np.clip(np.nan_to_num(values, nan=-np.inf), levels[0] - 1, levels[-1])
    filled = drawn.contourf(across, up, shown.reshape(SIDE, SIDE), levels=levels, cmap="Blues", extend="min")
    drawn.figure.colorbar(filled, ax=drawn, label="log p(x), nats")
    if show_points:
        drawn.scatter(points[:, 0], points[:, 1], c="black", s=2, alpha=0.5, linewidths=0)
    drawn.set_title(title, fontsize=10)
    extent.apply(drawn)
    label_axes(drawn, names)
    return drawn


def density_levels(own: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns round log-densities at which colours change: from what nearly all points have to the greatest.

    Args:
        own: The log-densities of the points.
        values: Those of the grid.

    Raises:
        ValueError: If none is finite.
    """
    finite = own[np.isfinite(own)]
    every = np.concatenate([finite, values[np.isfinite(values)]])
    if not len(every):
        raise ValueError("source: expected finite values of log p(x), got none at the points and around them")
    low = np.quantile(finite if len(finite) else every, 0.01) - 2
    return np.asarray(MaxNLocator(LEVELS, steps=[1, 2, 5, 10]).tick_values(low, max(float(every.max()), low + 1)))


def components(source: MixtureSource, x: Numbers, *, title: str = "", ax: GivenAxes = None) -> Axes:
    """Draws outlines of each component's density p(x | z = k) around two-dimensional points.

    Of the mass that a component has in the part of the plane that is drawn, the outlines hold 50 % and 90 %. The legend
    names the components and their weights. A component whose density is 0 there, or that is narrower than a 200th of
    that part, has no outlines.

    Args:
        source: A fitted :class:`~pyro_vmonf.VMoNF` or :class:`~pyro_vmonf.VMoNFClassifier`, a model, or a pair (model,
            guide), whose weights are those of the guide's posterior where it has one.
        x: The points ``(N, 2)``, which say what part of the plane is drawn.
        title: The title of the plot.
        ax: The Axes to draw into.

    Returns:
        The Axes.

    Raises:
        TypeError: If ``source`` has no model, or points are no numbers.
        ValueError: If points are not of shape ``(N, 2)``.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP, plots
        >>> model = FlowMixture(RealNVP(2, 2), weights=[0.7, 0.3])
        >>> ax = plots.components(model, [[0.0, 1.0], [2.0, 3.0]])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['0: 70 %', '1: 30 %']
    """
    points, names, weights = as_plane("x", x), find_names(source, x), read_weights(source)
    extent, colours = Extent.around(points), component_colours(len(weights))
    grid = extent.grid(SIDE)
    table = read_component_log_densities(source, grid).numpy()
    drawn = axes_for(ax, (4.5, 4.5))
    drawn.scatter(points[:, 0], points[:, 1], c="0.6", s=3, linewidths=0)
    for colour, column in zip(colours, table.T, strict=True):
        draw_outlines(drawn, column, grid.numpy(), colour)
    draw_legend(drawn, [(f"{k}: {100 * weight:.0f} %", colours[k]) for k, weight in enumerate(weights.tolist())])
    drawn.set_title(title, fontsize=10)
    extent.apply(drawn)
    label_axes(drawn, names)
    return drawn


def draw_outlines(
    ax: Axes, log_density: npt.NDArray[np.float64], grid: npt.NDArray[np.float64], colour: Colour
) -> None:
    """Draws the outlines of a density on a grid, if there is anything to outline."""
    if levels := outline_levels(log_density):
        relative = np.exp(log_density - log_density.max()).reshape(SIDE, SIDE)
        ax.contour(grid[:SIDE, 0], grid[::SIDE, 1], relative, levels=levels, colors=[colour], linewidths=(0.8, 1.6))


def outline_levels(log_density: npt.NDArray[np.float64]) -> list[float]:
    """Returns the shares of the greatest density at which the outlines run; none where there is nothing to outline."""
    greatest = float(log_density.max())
    if not np.isfinite(greatest):
        return []
    falling = np.sort(np.exp(log_density - greatest))[::-1]
    mass = np.cumsum(falling)
    levels = [float(falling[np.searchsorted(mass, share * mass[-1])]) for share in INSIDE]
    return levels if falling[-1] < levels[0] < levels[1] < 1 else []
