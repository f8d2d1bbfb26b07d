"""What the tries of a fit scored: the restarts of ``fit``, and the search of ``fit_mixture``."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from matplotlib.axes import Axes

from pyro_vmonf.plots.axes import GivenAxes, axes_for
from pyro_vmonf.plots.curves import HasHistory

__all__ = ["HasTries", "restarts"]


class Added(Protocol):
    """What a search adds to a start: a warp and noise."""

    @property
    def start(self) -> str: ...

    @property
    def warp(self) -> str: ...

    @property
    def noise(self) -> float: ...


class SearchRow(Added, Protocol):
    """One try of a search."""

    @property
    def elbo(self) -> float: ...


class Search(Protocol):
    """What a search tried and chose."""

    @property
    def choice(self) -> Added: ...

    @property
    def rows(self) -> Sequence[SearchRow]: ...


@runtime_checkable
class HasTries(Protocol):
    """What a fit returned."""

    @property
    def restarts(self) -> Sequence[Mapping[str, float | str]]: ...

    @property
    def search(self) -> Search | None: ...


Given: TypeAlias = HasTries | HasHistory

LEAST_SPAN = 0.05
"""The least range of scores that is drawn, in nats: smaller differences mean nothing."""


class Try(NamedTuple):
    """What one try scored, in nats; −inf if it failed."""

    name: str
    score: float
    is_chosen: bool
    is_copy: bool


def restarts(history: Given, *, ax: GivenAxes = None) -> Axes:
    """Draws the held-out score of each try of a fit, a row for each, in nats per observation.

    A star is the try that was chosen, and a ring one that was not run, as its clusters are those of an earlier try,
    whose score it has. A triangle at the left edge stands for a try that scored far less than the others, and a cross
    for one that failed. A try of ``fit_mixture`` is called by its start, by the letters of the flows that were added,
    which ``print(history.search)`` explains, and by the noise that was added to the points of a step.

    Args:
        history: What ``fit_mixture`` returned, or ``fit`` with several initializers, or an estimator.
        ax: The Axes to draw into.

    Returns:
        The Axes.

    Raises:
        TypeError: If ``history`` is none of these.
        ValueError: If there was no choice among tries.

    Examples:
        >>> from pyro_vmonf import plots
        >>> from pyro_vmonf.training import History
        >>> scores = {"gmm": -1.5, "spectral": -1.2}
        >>> tries = [
        ...     {"initializer": name, "repetition": 0, "validation_elbo": score, "validation_evidence": score + 0.1,
        ...      "seconds": 1.0, "chosen": name == "spectral"}
        ...     for name, score in scores.items()
        ... ]
        >>> ax = plots.restarts(History(restarts=tries))
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['1: gmm', '2: spectral']
    """
    given = history.history_ if isinstance(history, HasHistory) else history
    if not isinstance(given, HasTries):
        raise TypeError(f"history: expected what a fit returned, or an estimator, got {type(history).__name__}")
    tries, score = read_tries(given)
    if not tries:
        raise ValueError(f"history: expected one of several tries, got {given!r}")
    drawn = axes_for(ax, (6.4, 0.24 * len(tries) + 1.0))
    low, high = score_range([one.score for one in tries])
    for i, one in enumerate(tries):
        draw_try(drawn, i, one, low)
    drawn.set_yticks(range(len(tries)), [f"{i + 1}: {one.name}" for i, one in enumerate(tries)], fontsize=8)
    margin = 0.06 * (high - low)
    drawn.set(xlabel=f"{score}, nats", xlim=(low - margin, high + margin), ylim=(len(tries) - 0.4, -0.6))
    drawn.ticklabel_format(axis="x", style="plain", useOffset=False)
    drawn.locator_params(axis="x", nbins=5)
    drawn.grid(axis="x", linewidth=0.5, alpha=0.5)
    drawn.set_axisbelow(True)
    return drawn


def read_tries(history: HasTries) -> tuple[list[Try], str]:
    """Returns the tries of a fit, and the name of their score."""
    if history.search is not None:
        return search_tries(history.search), "held-out ELBO"
    rows = history.restarts
    score = "validation_elbo" if ranks_by(rows, "validation_elbo") else "validation_evidence"
    is_repeated = any(row["repetition"] for row in rows)
    tries = [
        Try(restart_name(row, is_repeated=is_repeated), float(row[score]), bool(row["chosen"]), "same_as" in row)
        for row in rows
    ]
    return tries, {"validation_elbo": "held-out ELBO", "validation_evidence": "held-out log p(x)"}[score]


def restart_name(row: Mapping[str, float | str], *, is_repeated: bool) -> str:
    """Returns what a restart is called; of several repetitions it has a number."""
    return f"{row['initializer']}, repetition {row['repetition']}" if is_repeated else str(row["initializer"])


def ranks_by(rows: Sequence[Mapping[str, float | str]], score: str) -> bool:
    """Whether the chosen row has the greatest score of a name."""
    known = [float(row[score]) for row in rows if not math.isnan(float(row[score]))]
    return any(bool(row["chosen"]) and float(row[score]) == max(known) for row in rows) if known else False


def search_tries(search: Search) -> list[Try]:
    """Returns the tries of a search. Of equal ones the last is the chosen one, as it was trained on."""
    own = kind_of(search.choice)
    last = max((i for i, row in enumerate(search.rows) if kind_of(row) == own), default=-1)
    return [Try(name_of(row), row.elbo, i == last, False) for i, row in enumerate(search.rows)]


def name_of(row: Added) -> str:
    """Returns what a try of a search is called."""
    noise = f", noise {row.noise:.3g}" if row.noise else ""
    return f"{row.start} + {row.warp}{noise}"


def kind_of(added: Added) -> tuple[str, str, float]:
    """Returns what tells a try from others."""
    return added.start, added.warp, added.noise


def score_range(scores: Sequence[float]) -> tuple[float, float]:
    """Returns the range of scores that is drawn, from five times the typical distance below the best one.

    It is at least 0.05 nats wide, so that nearly equal scores look equal, and those a little below them are seen.
    """
    finite = np.array([score for score in scores if math.isfinite(score)] or [0.0])
    high, typical = float(finite.max()), float(finite.max() - np.median(finite))
    low = max(float(finite.min()), high - max(5 * typical, LEAST_SPAN)) if typical > 0 else float(finite.min())
    margin = max(0.0, LEAST_SPAN - (high - low)) / 2
    return low - margin, high + margin


def draw_try(ax: Axes, row: int, one: Try, low: float) -> None:
    """Draws the score of one try."""
    if not math.isfinite(one.score):
        ax.plot(low, row, "x", color="C3", markersize=6)
        ax.annotate("failed", (low, row), (8, 0), textcoords="offset points", va="center", fontsize=7, color="C3")
    elif one.score < low:
        ax.plot(low, row, "<", color="C0", markersize=6)
        text = f"{one.score:.4g}"
        ax.annotate(text, (low, row), (8, 0), textcoords="offset points", va="center", fontsize=7, color="0.4")
    elif one.is_chosen:
        ax.plot(one.score, row, "*", color="C1", markersize=12)
    else:
        ax.plot(one.score, row, "o", color="C0", markersize=6, fillstyle="none" if one.is_copy else "full")
