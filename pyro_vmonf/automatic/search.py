"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Folds, folds_of
from pyro_vmonf.automatic.starts import Candidate, gaussians_on
from pyro_vmonf.automatic.training import EnsembleData, Schedule, elbos, train, train_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours
from pyro_vmonf.moments import COVARIANCE_TYPES

__all__ = ["Search"]

NOISE = 0.07  # the deviation of the noise, in those of a cluster
NEIGHBOURS = 10
TOUCHING = 0.005  # clusters of which less of the neighbour edges lead out hardly touch
EPOCHS = {"A": 120, "P": 160, "S": 120, "AP": 120, "AS": 120}
PATIENCE = {"A": 25, "P": 30, "S": 25, "AP": 25, "AS": 25}
WARMUP = 30
LONG = ((2400, 60, 500), (400, 20, 150), (250, 25, 60))  # steps, least and most epochs: P of the chosen start


@dataclass(frozen=True)
class Try:
    """One start with one warp.

    Attributes:
        warp: The warp.
        values: The held-out ELBO of each point of each fold ``(F, m)``, less what the clusters cut.
        elbo: Its mean without that.
        steps: The step at which it was best, the median of the folds.
        schedule: With which it was trained.
        cut: The share of neighbour edges that the labels cut.
    """

    warp: str
    values: Tensor
    elbo: float
    steps: int
    schedule: Schedule
    cut: float

    @property
    def plain(self) -> Tensor:
        """The held-out ELBO of each point alone."""
        return self.values + NEIGHBOURS * self.cut


def is_better(a: Tensor, b: Tensor, weight: Tensor) -> bool:
    """Returns whether held-out values a are above b, by more than one paired standard error of their weighted mean."""
    d, share = (a - b).double(), weight.double() / weight.sum()
    mean = (share * d).sum()
    error = ((share * (d - mean).square()).sum() * share.square().sum()).sqrt()
    return bool(mean > error)


class Search:
    """A competition of starts and warps on distinct, standardised points.

    Args:
        x: The points ``(N, D)``, in float64.
        weight: Their weights ``(N,)``.
        candidates: The starts.
        seed: The seed.
        progress: Called with a sentence before each part.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        candidates: Sequence[Candidate],
        *,
        seed: int = 0,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.x, self.weight, self.candidates, self.seed, self.progress = x, weight, list(candidates), seed, progress
        self.k = candidates[0].responsibilities.shape[1]
        self.folds: Folds = folds_of(len(x), seed)
        tied = next((c for c in candidates if c.covariance_type == "tied"), candidates[0])
        spread = cluster_gaussians(x, tied.responsibilities, covariance_type="tied", weight=weight)[2][0]
        self.noise = (NOISE * torch.linalg.cholesky(spread).mT).to(torch.get_default_dtype())
        self.near = nearest_neighbours(x.numpy(), NEIGHBOURS)
        self.held = torch.stack([x[rows] for rows in self.folds.held_out])
        self.held_weight = torch.stack([weight[rows] for rows in self.folds.held_out])
        self.rows: list[Row] = []

    # ---- parts of an ensemble

    def build(self, warp: str, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> Ensemble:
        """Returns the chosen candidates on each part of the points, parts first, with the same networks in all.

        Without a warp it is in float64, since nothing trains it.
        """
        size = len(chosen) * len(parts)
        with isolated_random_state(self.seed):
            ensemble = Ensemble(self.x.shape[1], self.k, WARPS[warp], size)
        if warp == "N":
            ensemble.double()
        with torch.no_grad():
            for parameter in ensemble.parameters():
                rows = parameter.view(size, -1)
                rows.copy_(rows[:1].clone().expand_as(rows))
        found = [gaussians_on(one, self.x, self.weight, rows) for rows in parts for one in chosen]
        ensemble.set_gaussians(Gaussians.joined(found))
        return ensemble

    def data(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> EnsembleData:
        """Returns the points of the chosen candidates on each part."""
        pairs, dtype = [(rows, one) for rows in parts for one in chosen], torch.get_default_dtype()
        return EnsembleData(
            torch.stack([self.x[rows] for rows, _ in pairs]).to(dtype),
            torch.stack([one.responsibilities[rows] for rows, one in pairs]).to(dtype),
            torch.stack([self.weight[rows] for rows, _ in pairs]).to(dtype),
        )

    def everything(self, size: int) -> Tensor:
        """Returns all points, for each of so many mixtures."""
        return self.x.to(torch.get_default_dtype()).expand(size, -1, -1)

    # ---- scores

    def schedule(self, warp: str) -> Schedule:
        """Returns how long a warp is trained while starts compete."""
        epoch = self.steps_an_epoch()
        warmup = 0 if len(warp) == 2 else WARMUP * epoch
        return Schedule(EPOCHS[warp] * epoch, warmup, PATIENCE[warp] * epoch)

    def long_schedule(self) -> Schedule:
        """Returns how long splines of the components are trained for the chosen start."""
        epoch = self.steps_an_epoch()
        steps, warmup, patience = (min(max(n, least * epoch), most * epoch) for n, least, most in LONG)
        return Schedule(steps, warmup, patience)

    def steps_an_epoch(self) -> int:
        """Returns the number of steps in which the points of a fold are seen once."""
        return max(1, len(self.folds.kept[0]) // self.data(self.candidates[:1], self.folds.kept[:1]).batch_size)

    def cut_of(self, labels: Tensor) -> tuple[float, float]:
        """Returns the share of neighbour edges that labels cut: of all, and of the worst cluster."""
        z = labels.numpy()
        whole = float((z[self.near] != z[:, None]).mean())
        used = np.unique(z, return_inverse=True)[1]
        return whole, float(edge_cut(self.x.numpy(), used, self.near).max())

    @torch.no_grad()
    def cut_by(self, ensemble: Ensemble, rows: Sequence[int]) -> float:
        """Returns the share of neighbour edges that the encoders' labels cut, the mean over some mixtures."""
        labels = ensemble(self.everything(ensemble.size).to(ensemble.log_weights))[1].argmax(1)
        return float(np.mean([self.cut_of(labels[i])[0] for i in rows]))

    def scored(self, warp: str, ensemble: Ensemble, steps: Tensor, rows: Sequence[int], schedule: Schedule) -> Try:
        """Returns how some mixtures of an ensemble, one a fold, do as one try."""
        values = self.held_elbos(ensemble).flatten(0, 1)[list(rows)]
        cut = self.cut_by(ensemble, rows)
        middle = int(steps[list(rows)].double().median())
        return Try(warp, values - NEIGHBOURS * cut, self.mean(values), middle, schedule, cut)

    # ---- the competition

    def with_covariances(self) -> list[Candidate]:
        """Returns the candidates, each hard clustering with the type of covariances whose held-out ELBO is greatest."""
        found: list[Candidate] = []
        for one in self.candidates:
            kinds = [one.covariance_type] if one.is_mixture else COVARIANCE_TYPES
            options = [replace(one, covariance_type=kind) for kind in kinds]
            scores = self.fold_means(self.build("N", options, self.folds.kept))
            found.append(options[int(scores.argmax())])
        return found

    def held_elbos(self, ensemble: Ensemble) -> Tensor:
        """Returns the ELBO of the held-out points of each fold under its mixtures, ``(F, C, m)``."""
        count = ensemble.size // len(self.folds)
        return elbos(ensemble, self.held.repeat_interleave(count, 0)).view(len(self.folds), count, -1).double()

    def mean(self, values: Tensor) -> float:
        """Returns the weighted mean of held-out values ``(F, m)``."""
        return float((self.held_weight * values).sum() / self.held_weight.sum())

    def fold_means(self, ensemble: Ensemble) -> Tensor:
        """Returns the mean held-out ELBO of each of the candidates in an ensemble."""
        return torch.tensor([self.mean(values) for values in self.held_elbos(ensemble).unbind(1)])

    def trained(self, ensemble: Ensemble, chosen: Sequence[Candidate], schedule: Schedule) -> Tensor:
        """Trains the chosen candidates in each fold, and returns the best step of each."""
        data, held = self.data(chosen, self.folds.kept), self.held.repeat_interleave(len(chosen), 0)
        weight = self.held_weight.repeat_interleave(len(chosen), 0)
        return train(ensemble, data, (held, weight), self.noise, schedule).steps

    def compete(self, warp: str) -> tuple[Ensemble, Tensor]:
        """Trains all candidates with one warp; returns the ensemble and the best step of each."""
        self.progress(f"{len(self.candidates)} starts, warp {warp}")
        ensemble = self.build(warp, self.candidates, self.folds.kept)
        return ensemble, self.trained(ensemble, self.candidates, self.schedule(warp))

    def run(self) -> tuple[Ensemble, Candidate, SearchReport]:
        """Returns the chosen mixture trained on all points, the chosen start, and what was tried."""
        with isolated_random_state(self.seed):
            self.candidates = self.with_covariances()
            count = len(self.candidates)
            start = self.build("N", self.candidates, self.folds.kept)
            results = {warp: self.compete(warp) for warp in ("P", "A")}
            chosen, reasons = self.nominate(results)
            picked = [fold * count + chosen for fold in range(len(self.folds))]
            nothing = torch.zeros(start.size)
            tries = {"N": self.scored("N", start, nothing, picked, Schedule(0, 0, 0))}
            affine, steps = results["A"]
            tries["A"] = self.scored("A", affine, steps, picked, self.schedule("A"))
            for warp in ("P", "S", "AP", "AS"):
                tries[warp] = self.alone(warp, self.candidates[chosen], affine, picked)
            best, one = self.simplest(tries), self.candidates[chosen]
            self.rows += [Row(one.name, t.warp, t.elbo, t.steps, t.cut) for t in tries.values()]
            if (other := self.best_mixture(start)) and not self.is_better(tries[best].plain, other[1]):
                one, best = other[0], "N"
            if best == "N":
                reasons.append("No warp is better than the start on held-out points: a Gaussian mixture does as well.")
            final = self.refit(one, tries, best)
        report = SearchReport(
            Choice(one.name, one.covariance_type, best, tries[best].steps),
            self.rows,
            len(self.folds),
            len(self.x),
            reasons,
        )
        return final, one, report

    def nominate(self, results: dict[str, tuple[Ensemble, Tensor]]) -> tuple[int, list[str]]:
        """Returns the number of the start that the jury names, and why.

        Nominated are the best start by A, the best by P, and each whose clusters hardly touch. Of the nominees, the one
        whose worst cluster has the fewest edges to others is named.
        """
        count, folds = len(self.candidates), len(self.folds)
        worst = [self.cut_of(one.labels)[1] for one in self.candidates]
        level = {warp: self.fold_means(ensemble) for warp, (ensemble, _) in results.items()}
        affine = results["A"][0]
        whole = elbos(affine, self.everything(affine.size)).view(folds, count, -1).mean((0, 2))
        for warp, (_, steps) in results.items():
            for i, one in enumerate(self.candidates):
                middle = int(steps.view(folds, count)[:, i].double().median())
                self.rows.append(Row(one.name, warp, float(level[warp][i]), middle, worst[i]))
        by_a, by_p = int(level["A"].argmax()), int(level["P"].argmax())
        # Points in training flatter what follows them closely, but one fold alone holds out few points.
        ranked = whole if folds == 1 else level["A"]
        nominees = {by_a} if by_a == by_p else {int(ranked.argmax()), by_p}
        nominees |= {i for i in range(count) if worst[i] < TOUCHING}
        named = min(nominees, key=lambda i: (worst[i], -float(ranked[i])))
        names = ", ".join(self.candidates[i].name for i in sorted(nominees))
        return named, [f"Nominated: {names}; {self.candidates[named].name} cuts the fewest neighbour edges."]

    def best_mixture(self, start: Ensemble) -> tuple[Candidate, Tensor] | None:
        """Returns the Gaussian mixture among the starts with the greatest held-out ELBO, and that of each point."""
        values = self.held_elbos(start)
        mixtures = [i for i, one in enumerate(self.candidates) if one.is_mixture]
        best = max(mixtures, key=lambda i: self.mean(values[:, i]), default=None)
        return None if best is None else (self.candidates[best], values[:, best])

    def alone(self, warp: str, one: Candidate, affine: Ensemble, picked: Sequence[int]) -> Try:
        """Trains the chosen start with a warp, grown on the trained A where the warp contains it."""
        self.progress(f"{one.name}, warp {warp}")
        ensemble = self.build(warp, [one], self.folds.kept)
        schedule = self.long_schedule() if warp == "P" else self.schedule(warp)
        if len(warp) == 2:
            ensemble.copy_from(affine, picked)
        steps = self.trained(ensemble, [one], schedule)
        return self.scored(warp, ensemble, steps, range(len(self.folds)), schedule)

    def is_better(self, a: Tensor, b: Tensor) -> bool:
        """Returns whether held-out values a are above b by a standard error."""
        return is_better(a, b, self.held_weight)

    def simplest(self, tries: dict[str, Try]) -> str:
        """Returns the best warp, or a simpler one if it is not better by one standard error."""
        best = max(tries, key=lambda warp: self.mean(tries[warp].values))
        if best != "N" and not self.is_better(tries[best].values, tries["N"].values):
            return "N"
        if best not in ("N", "A") and not self.is_better(tries[best].values, tries["A"].values):
            return "A" if self.is_better(tries["A"].values, tries["N"].values) else best
        return best

    def refit(self, one: Candidate, tries: dict[str, Try], warp: str) -> Ensemble:
        """Returns the chosen start and warp trained on all points for the number of steps found."""
        self.progress(f"{one.name}, warp {warp}, on all points")
        whole = [torch.arange(len(self.x))]
        data, base = self.data([one], whole), "A" if len(warp) == 2 else warp
        ensemble = self.build(base, [one], whole)
        if warp == "N":
            return ensemble
        train_for(ensemble, data, self.noise, tries[base].schedule, tries[base].steps)
        if warp != base:
            grown = self.build(warp, [one], whole)
            grown.copy_from(ensemble, [0])
            train_for(grown, data, self.noise, tries[warp].schedule, tries[warp].steps)
            return grown
        return ensemble
