"""Contingency tables of classes and components."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from pyro_vmonf._validation import check_labels
from pyro_vmonf.plots.axes import GivenAxes, axes_for
from pyro_vmonf.plots.points import Numbers, as_array

__all__ = ["contingency"]

MOST_COLUMNS = 20
"""The greatest number of columns whose numbers are written into the table."""


def contingency(
    y: Numbers | Sequence[str],
    z: Numbers | None = None,
    *,
    class_names: Sequence[str] | None = None,
    ax: GivenAxes = None,
) -> Axes:
    """Draws what shares of each class the components have, with the classes down and the components across.

    Args:
        y: The class of each point ``(N,)``, integers or names, of which −1 and None stand for none: such points are
            left out. Without z it is a table ``(classes, components)`` with values from 0 to 1, as
            :func:`pyro_vmonf.evaluation.contingency` returns it with ``normalized=True``.
        z: The component of each point ``(N,)``, integers from 0.
        class_names: The names of the classes, in the order of their numbers. They are those in y if they are not given.
        ax: The Axes to draw into.

    Returns:
        The Axes.

    Raises:
        TypeError: If z holds anything but integers.
        ValueError: If the table has another shape or other values, y and z differ in length, there is no point with a
            class, or there is not one name for each class.

    Examples:
        >>> from pyro_vmonf import plots
        >>> ax = plots.contingency(["cat", "cat", "dog"], [0, 1, 1])
        >>> [text.get_text() for text in ax.texts]
        ['0.50', '0.50', '0.00', '1.00']
        >>> ax = plots.contingency([[0.9, 0.1], [0.2, 0.8]], class_names=["cats", "dogs"])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['cats', 'dogs']
    """
    table, known = (check_table(as_array("y", y)), None) if z is None else count_classes(y, z)
    names = [str(i) for i in range(len(table))] if known is None else known
    if class_names is not None:
        names = [str(name) for name in class_names]
    if len(names) != len(table):
        raise ValueError(f"class_names: expected {len(table)} names, one for each class, got {len(names)}")
    drawn = axes_for(ax, (0.7 * min(table.shape[1], MOST_COLUMNS) + 1.4, 0.5 * min(len(table), MOST_COLUMNS) + 1))
    drawn.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if table.shape[1] <= MOST_COLUMNS:
        for (i, j), value in np.ndenumerate(table):
            colour = "white" if value > 0.6 else "black"
            drawn.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
        drawn.set_xticks(range(table.shape[1]))
    drawn.set_yticks(range(len(table)), names)
    drawn.set(xlabel="component", ylabel="class")
    return drawn


def check_table(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns a table of shares; raises ``ValueError`` if it is none."""
    if table.ndim != 2 or not table.size:
        raise ValueError(f"y: expected a table (classes, components), or classes (N,) beside z, got {table.shape}")
    if not (table.min() >= 0 and table.max() <= 1 + 1e-6):
        raise ValueError(
            f"y: expected a table of shares from 0 to 1 (normalized=True), got {table.min():g} to {table.max():g}"
        )
    return table


def count_classes(y: object, z: object) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Returns the share of each class that each component has, and the names of the classes.

    Raises:
        TypeError: If z holds anything but integers.
        ValueError: If y and z are no labels of one length, or no point has a class.
    """
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"y: expected classes of shape (N,) with N ≥ 1 beside z, got {values.shape}")
    chosen = check_labels("z", z, len(values), 2**31).cpu().numpy()
    if chosen.min() < 0:
        raise ValueError("z: expected the component of each point, got −1")
    known = np.array([value is not None and value == value and value != -1 for value in values.tolist()])
    if not known.any():
        raise ValueError(f"y: expected a class of at least one point, got none of {len(values)}")
    classes, numbers = np.unique(np.array(values[known].tolist()), return_inverse=True)
    counts = np.zeros((len(classes), int(chosen.max()) + 1))
    np.add.at(counts, (numbers, chosen[known]), 1)
    return counts / counts.sum(1, keepdims=True), [str(name) for name in classes]
