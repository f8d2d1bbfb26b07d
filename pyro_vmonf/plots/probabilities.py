"""The probabilities of components, point by point."""

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes

from pyro_vmonf._validation import as_floats, check_finite
from pyro_vmonf.plots.axes import GivenAxes, axes_for
from pyro_vmonf.plots.points import Numbers, as_array, find_names
from pyro_vmonf.plots.reading import ProbsSource, is_source, read_probs

__all__ = ["responsibilities"]


def responsibilities(
    source: ProbsSource | Numbers, x: Numbers | None = None, *, title: str = "", ax: GivenAxes = None
) -> Axes:
    """Draws the probabilities of components as a heat map, with the points down and the components across.

    The points are sorted by their most probable component, and in each by its probability, the surest first. Grey
    lines part the components, and beneath each component stands the share of the points for which it is the most
    probable one.

    Args:
        source: What gives the probabilities, as for :func:`clusters`: those of the encoder where there is one, and the
            exact ones of a model alone. Without x it is the probabilities ``(N, K)`` themselves.
        x: The points ``(N, *event)``.
        title: The title of the plot.
        ax: The Axes to draw into. The colour bar takes its place from them.

    Returns:
        The Axes of the heat map. Those of the colour bar are the last of ``ax.figure``.

    Raises:
        TypeError: If ``source`` gives no probabilities, or points are no numbers.
        ValueError: If the probabilities are not of shape ``(N, K)``, or those of a point do not sum to 1.

    Examples:
        >>> from pyro_vmonf import plots
        >>> ax = plots.responsibilities([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> ax.get_images()[0].get_array().tolist()
        [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    """
    table = check_probs(read_given(source) if x is None else read_table(source, x))
    z, (n, n_components) = table.argmax(1), table.shape
    order = np.lexsort((-table.max(1), z))
    drawn = axes_for(ax, (min(0.5 * n_components, 8) + 2.2, 4.2))
    image = drawn.imshow(table[order], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    drawn.figure.colorbar(image, ax=drawn, label="probability")
    shares = np.bincount(z, minlength=n_components) / n
    for end in np.cumsum(shares[:-1]) * n:
        drawn.axhline(end - 0.5, color="0.6", linewidth=0.8)
    if n_components <= 20:
        drawn.set_xticks(range(n_components), [f"{k}\n{100 * share:.0f} %" for k, share in enumerate(shares)])
    drawn.set(yticks=[], xlabel="component", ylabel=f"{n:,} points, by component and certainty")
    drawn.set_title(title, fontsize=10)
    return drawn


def read_given(source: object) -> npt.NDArray[np.float64]:
    """Returns probabilities that are given themselves; raises ``TypeError`` for what would give those of points."""
    if is_source(source):
        raise TypeError("x: expected the points whose probabilities source gives, got None")
    return as_array("source", source)


def read_table(source: object, x: object) -> npt.NDArray[np.float64]:
    """Returns the probabilities that something gives to points ``(N, *event)``.

    Raises:
        TypeError: If there are no probabilities, or no points.
        ValueError: If there is no point, or a value is not finite.
    """
    find_names(source, x)  # the frame must have the columns of the fit
    points = as_floats("x", x).double().cpu()
    if points.dim() < 2 or not points.numel():
        raise ValueError(f"x: expected points of shape (N, *event) with N ≥ 1, got {tuple(points.shape)}")
    check_finite("x", points)
    found: torch.Tensor = read_probs(source, points)  # type: ignore[arg-type]
    return found.double().numpy()


def check_probs(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns probabilities ``(N, K)``; raises ``ValueError`` if these are none."""
    if table.ndim != 2 or not table.size:
        raise ValueError(f"source: expected probabilities of shape (N, K) with N ≥ 1, got {table.shape}")
    if not (table.min() >= 0 and np.abs(table.sum(1) - 1).max() < 1e-3):
        raise ValueError("source: expected probabilities that sum to 1 for each point, got others")
    return table
