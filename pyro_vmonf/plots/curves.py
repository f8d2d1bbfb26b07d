"""The curves of a fit over its epochs."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from pyro_vmonf.plots.axes import GivenAxes, axes_for
from pyro_vmonf.plots.points import Numbers, as_array

__all__ = ["HasHistory", "HasRows", "history"]

Curve: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

NO_CURVES = {"epoch", "phase", "steps", "seconds", "initial", "initial_validation_elbo", "initial_validation_evidence"}
"""What a row of a history holds beside the values of an epoch."""


@runtime_checkable
class HasRows(Protocol):
    """What a fit returns: one row an epoch, each with its ``epoch``."""

    @property
    def rows(self) -> Sequence[Mapping[str, float]]: ...


@runtime_checkable
class HasHistory(Protocol):
    """An estimator that keeps what its fit returned."""

    @property
    def history_(self) -> HasRows: ...


def history(history: HasRows | HasHistory | Mapping[str, tuple[Numbers, Numbers]], *, ax: GivenAxes = None) -> Axes:
    """Draws the curves of a fit over its epochs, in nats per observation.

    A ``temperature`` that changes is drawn as a dotted line with an axis of its own. A vertical line is at the epoch
    whose parameters were kept, where held-out points chose it.

    Args:
        history: What ``fit`` returned; an estimator that has it; or a dictionary of names with epochs and values
            ``(E,)`` each, such as ``{"elbo": history.column("elbo")}``.
        ax: The Axes to draw into.

    Returns:
        The Axes. Those of the temperature are the last of ``ax.figure``.

    Raises:
        TypeError: If ``history`` is none of these.
        ValueError: If it is that of ``fit_mixture`` or of a :class:`~pyro_vmonf.VMoNF`, which holds tries in the place
            of epochs; :func:`restarts` draws them.

    Examples:
        >>> from pyro_vmonf import plots
        >>> epochs = [0, 1, 2]
        >>> ax = plots.history({"elbo": (epochs, [-9.0, -2.0, -1.0]), "temperature": (epochs, [4.0, 2.0, 1.0])})
        >>> [ax.get_ylabel() for ax in ax.figure.axes]
        ['nats per observation', 'temperature (dotted)']
    """
    given = history.history_ if isinstance(history, HasHistory) else history
    columns = as_curves(given)
    epochs, temperature = columns.pop("temperature", (np.zeros(0), np.zeros(0)))
    drawn = axes_for(ax, (6.4, 3.6))
    for name, curve in columns.items():
        if len(curve[1]):
            drawn.plot(*curve, label=name.replace("_", " "), marker="o" if len(curve[1]) == 1 else None)
    best = getattr(given, "best_epoch", None)
    if best is not None:
        drawn.axvline(best, color="grey", linewidth=1, linestyle="--", label="kept")
    drawn.set(xlabel="epoch", ylabel="nats per observation")
    values = np.concatenate([np.zeros(0), *(values for _, values in columns.values())])
    if np.isfinite(values).any():
        drawn.set_ylim(*value_range(values[np.isfinite(values)]))
        drawn.legend(loc="best", fontsize=8)
    if len(temperature) and np.ptp(temperature) > 0:
        other = drawn.twinx()
        other.plot(epochs, temperature, color="grey", linestyle=":", linewidth=1)
        other.set_ylabel("temperature (dotted)")
    return drawn


def value_range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the range of values that is drawn: not the early ones, which lie so far below that they flatten it."""
    low, high = float(np.quantile(values, 0.2)), float(values.max())
    return low - 0.3 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9


def as_curves(history: object) -> dict[str, Curve]:
    """Returns the epochs and values of each name in a history, or in a dictionary of such columns.

    Raises:
        TypeError: If ``history`` is neither.
        ValueError: If it is that of a search.
    """
    if isinstance(history, Mapping):
        return {name: (as_array(name, epochs), as_array(name, values)) for name, (epochs, values) in history.items()}
    if not isinstance(history, HasRows):
        expected = "what fit returned, an estimator that has it, or a dictionary"
        raise TypeError(f"history: expected {expected}, got {type(history).__name__}")
    if not history.rows and getattr(history, "search", None) is not None:
        raise ValueError(f"history: expected one of epochs, got {history!r}; plots.restarts draws its tries")
    names = dict.fromkeys(name for row in history.rows for name in row if name not in NO_CURVES)
    having = {name: [row for row in history.rows if name in row] for name in names}
    return as_curves({k: ([row["epoch"] for row in own], [row[k] for row in own]) for k, own in having.items()})
