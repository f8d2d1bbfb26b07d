"""What a fit leaves behind: one row an epoch."""

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

    def save(self, path: Path) -> None:
        """Writes the rows as JSON."""
        write_json(path, self.rows)
