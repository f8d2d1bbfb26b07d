"""The choice of the number of components."""

from collections.abc import Mapping, Sequence

from pyro_vmonf.plots.axes import AxesArray, GivenAxes, panels_for

__all__ = ["selection"]


def selection(rows: Sequence[Mapping[str, float]], *, ax: GivenAxes = None) -> AxesArray:
    """Draws the overlap that is left, and the validation evidence, against the number of components.

    Args:
        rows: The rows of a ``Selection``: ``n_components``, ``overlap``, ``validation_evidence`` in nats,
            ``standard_error`` and ``chosen``.
        ax: The two Axes to draw into.

    Returns:
        The two Axes.

    Examples:
        >>> from pyro_vmonf import plots
        >>> names = ["n_components", "overlap", "validation_evidence", "standard_error", "chosen"]
        >>> rows = [dict(zip(names, row)) for row in [(2, 0.3, -2.0, 0.1, False), (1, 0.0, -2.5, 0.1, True)]]
        >>> len(plots.selection(rows))
        2
    """
    drawn = panels_for(ax, 2, (4.2, 3.4))
    left, right = drawn
    rows = sorted(rows, key=lambda row: row["n_components"])
    k, evidence, errors = ([row[c] for row in rows] for c in ("n_components", "validation_evidence", "standard_error"))
    chosen = next(row for row in rows if row["chosen"])
    left.plot(k, [row["overlap"] for row in rows], marker="o", markersize=4, linewidth=1)
    left.set_yscale("symlog", linthresh=1e-3)
    left.set_ylabel("greatest overlap of two components")
    right.errorbar(k, evidence, errors, marker="o", markersize=4, capsize=2, linewidth=1)
    right.set_ylabel("validation evidence, nats")
    for one, column in ((left, "overlap"), (right, "validation_evidence")):
        one.plot(chosen["n_components"], chosen[column], "o", color="C3", markersize=9, label="chosen")
        one.set(xticks=k, xlabel="components")
        one.legend(loc="lower right", fontsize=8)
    return drawn
