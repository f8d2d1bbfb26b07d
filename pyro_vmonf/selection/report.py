"""What a search for the number of components found, as a table."""

import math
from dataclasses import dataclass

from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.selection.criteria import Criteria
from pyro_vmonf.selection.trials import Trial

__all__ = ["Selection", "SelectionRow"]

LEGEND = """\
valley: nats by which the density between two clusters is lower than within them, where it is lowest by least; negative
  where a mode is cut, inf where no clusters touch
stability, Gaussian stability: how well the worst cluster is found again in halves of the points (mean Jaccard
  coefficient), by the method named and by a Gaussian mixture; BIC: of Gaussian mixtures, the least is best
held-out evidence: mean log p(x) of points that the mixture of flows was not fitted to, the greatest is best
overlap: of the two components that share most points, the share of the smaller"""


@dataclass(frozen=True)
class SelectionRow:
    """One number of components.

    Attributes:
        criteria: What the points say of it, before any flow is trained.
        validation_evidence: The mean log p(x) of held-out points in nats, in the units of x; None where no mixture was
            fitted.
        standard_error: The standard error of that mean.
        overlap: The points that the two components which share most share, for the size of the smaller, 0 to 1.
        seconds: How long the fit took.
    """

    criteria: Criteria
    validation_evidence: float | None = None
    standard_error: float | None = None
    overlap: float | None = None
    seconds: float | None = None

    @property
    def n_components(self) -> int:
        """The number of components."""
        return self.criteria.n_components

    def as_dict(self) -> dict[str, float | str | None]:
        """Returns all numbers by their names."""
        return {**vars(self.criteria), **{name: value for name, value in vars(self).items() if name != "criteria"}}


@dataclass(frozen=True)
class Selection:
    """What a search for the number of components found; it prints as a table.

    Attributes:
        n_components: The number chosen.
        modes: The number of modes that stand alone.
        gaussians: The number of Gaussian components that are found again.
        rows: The criteria of each number, the least first.
        reasons: Why, in sentences.
        model: The mixture with the number chosen, fitted to all points.
        guide: Its guide.
        history: What its fit tried.
        trials: The mixtures that were fitted to a part of the points, by their numbers of components.
    """

    n_components: int
    modes: int
    gaussians: int
    rows: list[SelectionRow]
    reasons: list[str]
    model: FlowMixture
    guide: SoftmaxEncoder
    history: History
    trials: dict[int, Trial]

    @property
    def table(self) -> list[dict[str, float | str | None]]:
        """All criteria of each number, by their names."""
        return [row.as_dict() for row in self.rows]

    def __str__(self) -> str:
        head = " K  valley  by        stability        BIC  Gaussian stability  held-out evidence, nats  overlap"
        lines = [self.line(row) for row in self.rows]
        return "\n".join([head, *lines, LEGEND, *self.reasons])

    def line(self, row: SelectionRow) -> str:
        """Returns a row of the table."""
        own, evidence = row.criteria, row.validation_evidence
        numbers = f"{row.n_components:2}  {told(own.valley, 2):>6}  {own.method:8}  {told(own.stability, 2):>9}"
        gaussians = f"{told(own.bic, 0):>9}  {told(own.gaussian_stability, 2):>18}"
        flows = "" if evidence is None else f"{evidence:.3f} ± {row.standard_error:.3f}"
        overlap = "" if row.overlap is None else f"{row.overlap:.3f}"
        counts = {"modes": self.modes, "components": self.gaussians, "chosen": self.n_components}
        marks = ", ".join(name for name, k in counts.items() if k == row.n_components)
        return f"{numbers}  {gaussians}  {flows:>23}  {overlap:>7}  {marks}".rstrip()


def told(value: float, digits: int) -> str:
    """Returns a number as text, nothing where there is none."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"
