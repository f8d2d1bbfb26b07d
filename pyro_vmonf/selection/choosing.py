"""Which number of components is chosen, where modes and Gaussians are not equally many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyro_vmonf.automatic.config import Schedule, SearchConfig
from pyro_vmonf.automatic.judge import is_better
from pyro_vmonf.selection.criteria import Criteria
from pyro_vmonf.selection.rules import count_gaussians, count_modes, told_counts
from pyro_vmonf.selection.trials import Trial, Trials

__all__ = ["CLUSTERS", "Count", "count"]

CLUSTERS = ("auto", "modes", "components")
SHORT = Schedule(300, 400, 100)  # of flows that are to be told from Gaussians, not to be kept
FLOWS = ("N", "S", "P")
STANDARD_ERRORS = 0.5  # by which flows must be better than Gaussians


@dataclass(frozen=True)
class Count:
    """The number of components and why.

    Attributes:
        n_components: The number chosen.
        modes: The number by modes.
        gaussians: The number by components.
        reasons: Sentences that say why.
    """

    n_components: int
    modes: int
    gaussians: int
    reasons: list[str]


def count(rows: Sequence[Criteria], clusters: str, trials: Trials, fitted: Mapping[int, Trial] | None = None) -> Count:
    """Returns the number of components by what a cluster is.

    Where that is left to the data, the modes count; but if there are more Gaussians, and flows with a component for
    each mode do not describe held-out points better than these, the Gaussians count.

    Args:
        rows: The criteria of each number.
        clusters: What a cluster is: ``"modes"``, ``"components"`` or ``"auto"``.
        trials: How mixtures are fitted.
        fitted: Those that are fitted already.
    """
    modes, gaussians = count_modes(rows), count_gaussians(rows)
    reasons = told_counts(rows, modes, gaussians)
    if clusters == "components":
        return Count(gaussians, modes, gaussians, reasons)
    if clusters == "modes" or gaussians <= modes:
        return Count(modes, modes, gaussians, reasons)
    short = replace(trials.config or SearchConfig(), short=SHORT, long=SHORT)
    quick = replace(trials, config=short, components=FLOWS, checkpoint=None)
    flows = (fitted or {}).get(modes) or quick(modes)
    plain = replace(quick, components="N")(gaussians)
    is_flow = is_better(flows.values, plain.values, trials.parts.held_weight, STANDARD_ERRORS)
    flow = "one flow" if modes == 1 else f"{modes} flows"
    told = f"{trials.mean(flows):.3f} nats with {flow}, {trials.mean(plain):.3f} with {gaussians} Gaussians"
    reasons.append(f"Held-out evidence: {told}, so that {'the modes' if is_flow else 'the Gaussians'} count.")
    return Count(modes if is_flow else gaussians, modes, gaussians, reasons)
