"""What a fit leaves behind: one row an epoch, and one row a trial."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pyro_vmonf._io import write_json
from pyro_vmonf.checkpointing.search_report import SearchReport
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["OBJECTIVES", "EpochState", "History", "OnEpoch", "Row", "report_of"]

Row: TypeAlias = dict[str, float]

OBJECTIVES = ("elbo", "evidence", "labelled_elbo")
"""The columns that may be the objective of an epoch; where there are several, the first."""


@dataclass
class History:
    """One row an epoch, and one row for each trial of a fit that restarted.

    A row holds ``epoch``, ``phase`` (its index among the fit's phases), ``temperature``, ``steps``, ``seconds`` and,
    where they apply, the means over the epoch's batches of ``elbo`` (during a warm-up that of the initializer's
    responsibilities), ``evidence`` (of :class:`~pyro_vmonf.objectives.ExpectationMaximization`), ``labelled_elbo`` (of
    batches labelled throughout) and ``label_log_prob``, ``initial`` (in a phase's first row, the objective at its first
    step), then ``validation_elbo`` and ``validation_evidence``, all in nats per observation. Where ``config.patience``
    is given, the first row with one of these has ``initial_validation_elbo`` or ``initial_validation_evidence``, too,
    the score before that epoch.

    Attributes:
        rows: The rows, the oldest first.
        restarts: One row for each trial: ``initializer``, ``repetition``, ``validation_elbo``,
            ``validation_evidence``, ``seconds`` and ``chosen``; and ``same_as``, the number of an earlier trial, where
            the clusters were the same as there and were not tried again. It is empty if there was no choice.
        stopped: Why the fit ended: ``"epochs"`` where all were done, ``"on_epoch"`` where that returned True,
            ``"patience"`` where held-out points did not get better, and an empty text where it was interrupted.
        search: What :func:`~pyro_vmonf.fit_mixture` tried; None elsewhere.
        best_epoch: The epoch whose parameters were kept, where ``config.patience`` asks for the best by held-out
            points; −1 for those of the start. None elsewhere.

    Examples:
        >>> from pyro_vmonf.training import History
        >>> History([{"epoch": 0, "elbo": -2.0}, {"epoch": 1, "elbo": -1.5}]).column("elbo")
        ([0, 1], [-2.0, -1.5])
    """

    rows: list[Row] = field(default_factory=list)
    restarts: list[dict[str, float | str]] = field(default_factory=list)
    stopped: str = ""
    search: SearchReport | None = None
    best_epoch: int | None = None

    def __repr__(self) -> str:
        if self.search is not None:
            return f"History of a search of {len(self.search.rows)} tries, which print(history.search) shows"
        last = {
            name: value
            for name, value in (self.rows or [{}])[-1].items()
            if name in (*OBJECTIVES, "validation_evidence")
        }
        ends = "".join(f", {name} {value:.4g}" for name, value in last.items())
        ends += "" if self.best_epoch is None else f", best epoch {self.best_epoch}"
        return f"History of {len(self.rows)} epochs and {len(self.restarts)} trials{ends} (rows, restarts, column)"

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Returns the epochs that have ``name``, and its values there."""
        having = [row for row in self.rows if name in row]
        return [row["epoch"] for row in having], [row[name] for row in having]

    def save(self, path: str | Path) -> None:
        """Writes rows, restarts and the search as JSON, with null for numbers that are not finite."""
        rows, restarts = [finite_or_none(row) for row in self.rows], [finite_or_none(row) for row in self.restarts]
        found: dict[str, object] = {"rows": rows, "restarts": restarts}
        if self.search is not None:
            tries = [finite_or_none(vars(row)) for row in self.search.rows]
            found["search"] = {
                "choice": vars(self.search.choice),
                "rows": tries,
                "folds": self.search.folds,
                "points": self.search.points,
                "reasons": self.search.reasons,
            }
        write_json(Path(path), found)


def finite_or_none(row: Mapping[str, float | str]) -> dict[str, float | str | None]:
    """Returns the row with None for numbers that are not finite, which JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


class EpochState(NamedTuple):
    """What ``on_epoch`` receives at the end of an epoch; model and guide are the fit's own."""

    model: FlowMixture
    guide: SoftmaxEncoder
    phase: str
    row: Row
    history: History


OnEpoch: TypeAlias = Callable[[EpochState], bool | None]
"""Called after each epoch but those of trials; returning True ends the fit."""


def report_of(history: History) -> SearchReport:
    """Returns what a search tried; raises ``ValueError`` for the history of a fit that searched nothing."""
    if history.search is None:
        raise ValueError(f"history: expected that of fit_mixture, got {history!r}")
    return history.search
