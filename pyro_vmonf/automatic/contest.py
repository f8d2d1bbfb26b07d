"""Which start is chosen: by the graph of neighbours, and where clusters touch also by held-out points."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.judge import Judge
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.training import Trained

__all__ = ["Contest", "nominate", "undecided"]

FEWER = 0.5  # of the edges of the best start's worst cluster, with which another start is nominated


@dataclass(frozen=True)
class Contest:
    """Starts that were trained at once, with one warp.

    Attributes:
        numbers: The numbers of the candidates.
        warp: The warp, N where none of those that compete was asked for, and nothing was trained.
        ensemble: The mixtures, those of each fold together.
        trained: The steps of each.
    """

    numbers: list[int]
    warp: str
    ensemble: Ensemble
    trained: Trained

    def level(self, chosen: int) -> float:
        """Returns the held-out ELBO of a candidate."""
        return float(self.trained.elbo[self.numbers.index(chosen)])

    def copied_to(self, ensemble: Ensemble, chosen: int) -> Trained:
        """Gives an ensemble of one candidate what it was trained to be, and returns its steps."""
        i = self.numbers.index(chosen)
        ensemble.copy_from(self.ensemble, range(i, self.ensemble.size, len(self.numbers)))
        return self.trained.of(i)


def undecided(judge: Judge, candidates: Sequence[Candidate], touching: float) -> tuple[list[int], list[str]]:
    """Returns the numbers of the starts that compete, and a sentence where not all do.

    Where the clusters of some hardly touch, the graph alone decides, and only those with the least cut compete.

    Args:
        judge: The graph.
        candidates: The starts.
        touching: The share of its edges that lead out of a cluster which hardly touches others.
    """
    everyone = list(range(len(candidates)))
    worst = [judge.cut_of(one)[1] for one in candidates]
    if judge.problem.labels is not None or min(worst) >= touching or len(everyone) == 1:
        return everyone, []
    some = [i for i in everyone if worst[i] == min(worst)]
    if some == everyone:
        return some, []
    return some, [f"Of all starts the clusters of {', '.join(candidates[i].name for i in some)} touch least."]


def nominate(judge: Judge, some: Sequence[Candidate], contest: Contest, config: SearchConfig) -> tuple[int, str]:
    """Returns the number of the candidate that is chosen, and why.

    Nominated are the best, those whose clusters hardly touch, and those whose worst cluster has less than half the
    edges to others that the best's has. Of these, the one whose worst cluster has the fewest is chosen; with labels,
    the one that tells most of those held out, and of these the one with the fewest edges.

    Args:
        judge: The graph and the held-out points.
        some: The candidates that compete.
        contest: What became of them.
        config: The numbers of the search.
    """
    worst = [judge.cut_of(one)[1] for one in some]
    level = judge.fold_means(contest.ensemble, some)
    right = [share or 0.0 for share in judge.accuracies(contest.ensemble)]
    best = int(level.argmax())
    nominees = {i for i, cut in enumerate(worst) if cut < config.touching or cut < FEWER * worst[best]} | {best}
    named = min(nominees, key=lambda i: (-right[i], worst[i], -float(level[i])))
    why = "cuts the fewest neighbour edges" if max(right) == 0 else "tells most of the held-out labels"
    names, name = ", ".join(some[i].name for i in sorted(nominees)), some[named].name
    return contest.numbers[named], f"Nominated: {names}; {name} {why}." if len(nominees) > 1 else f"Nominated: {name}."
