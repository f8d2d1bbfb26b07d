"""What a fit leaves behind: one row an epoch."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from pyro_vmonf._files import write_json

__all__ = ["History", "Row"]

Row = dict[str, float]


@dataclass
class History:
    """One row an epoch: ``epoch``, ``temperature``, ``seconds`` and, where they apply, ``elbo`` (the mean over its
    unlabelled batches), ``labelled`` (log p(x, y) + log q(y | x), over its labelled ones), ``heldout_elbo`` and
    ``heldout_evidence``, all in nats per observation.

    Attributes:
        rows: the rows, oldest first.
    """

    rows: list[Row] = field(default_factory=list)

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """The epochs that have ``name``, and its values there."""
        having = [row for row in self.rows if name in row]
        return [row["epoch"] for row in having], [row[name] for row in having]

    def save(self, path: str | Path) -> None:
        """Writes the rows as JSON, numbers that are not finite as null."""
        write_json(Path(path), [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in self.rows])
