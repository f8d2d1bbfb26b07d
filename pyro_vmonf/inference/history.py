"""What a fit leaves behind: one row an epoch."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_vmonf._io import write_json

__all__ = ["History", "Row"]

Row = dict[str, float]


@dataclass
class History:
    """One row an epoch: ``epoch``, ``temperature``, ``seconds`` and, where they apply, ``elbo`` (the mean over its
    unlabelled batches; during a start the one of its responsibilities), ``evidence`` (the same for an exact posterior),
    ``labelled`` (log p(x, y) + log q(y | x), over its labelled ones), ``validation_elbo`` and ``validation_evidence``,
    all in nats per observation.

    Attributes:
        rows: the rows, oldest first.
        restarts: one row for each start that competed: ``start``, ``repetition``, ``validation_elbo``,
            ``validation_evidence``, ``seconds`` and ``chosen``; empty if there was no choice.
    """

    rows: list[Row] = field(default_factory=list)
    restarts: list[dict[str, Any]] = field(default_factory=list)

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """The epochs that have ``name``, and its values there."""
        having = [row for row in self.rows if name in row]
        return [row["epoch"] for row in having], [row[name] for row in having]

    def save(self, path: str | Path) -> None:
        """Writes rows and restarts as JSON, numbers that are not finite as null."""
        tables = {"rows": self.rows, "restarts": self.restarts}
        write_json(Path(path), {name: [plain(row) for row in table] for name, table in tables.items()})


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with None for numbers that are not finite, which JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
