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
from pyro_vmonf.automatic.training import EnsembleData, Schedule, Trained, elbos, train, train_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours
from pyro_vmonf.moments import COVARIANCE_TYPES

__all__ = ["Search"]

NOISE = 0.07  # the deviation of the noise, in those of a cluster
NEIGHBOURS = 10
TOUCHING = 0.005  # clusters of which less of the neighbour edges lead out hardly touch
# Steps of the warm-up and after it, and those of patience; first while starts compete, then of the chosen start alone.
SHORT, LONG = Schedule(600, 500, 120), Schedule(2000, 1600, 200)


@dataclass(frozen=True)
class Try:
    """One start with one warp.

    Attributes:
        warp: The warp.
        values: The held-out ELBO of each point of each fold ``(F, m)``, less what the clusters cut.
        elbo: Its mean without that.
        warmup: The number of steps of the warm-up at which it was best, the median of the folds.
        steps: The number of steps after it.
        cut: The share of neighbour edges that the labels cut.
    """

    warp: str
    values: Tensor
    elbo: float
    warmup: int
    steps: int
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


def middle(steps: Tensor) -> int:
    """Returns the median of numbers of steps."""
    return int(steps.double().median())


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

    def scored(self, warp: str, ensemble: Ensemble, trained: Trained | None, rows: Sequence[int]) -> Try:
        """Returns how some mixtures of an ensemble, one a fold, do as one try."""
        values = self.held_elbos(ensemble).flatten(0, 1)[list(rows)]
        cut = self.cut_by(ensemble, rows)
        warmup, steps = (0, 0) if trained is None else (middle(t[list(rows)]) for t in (trained.warmup, trained.steps))
        return Try(warp, values - NEIGHBOURS * cut, self.mean(values), warmup, steps, cut)

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

    def trained(self, ensemble: Ensemble, chosen: Sequence[Candidate], schedule: Schedule) -> Trained:
        """Trains the chosen candidates in each fold."""
        data, held_out = self.data(chosen, self.folds.kept), self.data(chosen, self.folds.held_out)
        return train(ensemble, data, held_out, self.noise, schedule)

    def compete(self, warp: str) -> tuple[Ensemble, Trained]:
        """Trains all candidates with one warp."""
        self.progress(f"{len(self.candidates)} starts, warp {warp}")
        ensemble = self.build(warp, self.candidates, self.folds.kept)
        return ensemble, self.trained(ensemble, self.candidates, SHORT)

    def run(self) -> tuple[Ensemble, Candidate, SearchReport]:
        """Returns the chosen mixture trained on all points, the chosen start, and what was tried."""
        with isolated_random_state(self.seed):
            self.candidates = self.with_covariances()
            count = len(self.candidates)
            start = self.build("N", self.candidates, self.folds.kept)
            results = {warp: self.compete(warp) for warp in ("P", "A")}
            chosen, reasons = self.nominate(results)
            picked = [fold * count + chosen for fold in range(len(self.folds))]
            tries = {"N": self.scored("N", start, None, picked)}
            affine = results["A"][0]
            for warp in ("A", "P", "S", "AP", "AS"):
                tries[warp], trained = self.alone(warp, self.candidates[chosen], affine)
                affine = trained if warp == "A" else affine
            best, one = self.simplest(tries), self.candidates[chosen]
            self.rows += [Row(one.name, t.warp, t.elbo, t.warmup + t.steps, t.cut) for t in tries.values()]
            if (other := self.best_mixture(start)) and not self.is_better(tries[best].plain, other[1]):
                one, best = other[0], "N"
            if best == "N":
                reasons.append("No warp is better than the start on held-out points: a Gaussian mixture does as well.")
            final = self.refit(one, tries, best)
        report = SearchReport(
            Choice(one.name, one.covariance_type, best, tries[best].warmup + tries[best].steps),
            self.rows,
            len(self.folds),
            len(self.x),
            reasons,
        )
        return final, one, report

    def nominate(self, results: dict[str, tuple[Ensemble, Trained]]) -> tuple[int, list[str]]:
        """Returns the number of the start that the jury names, and why.

        Nominated are the best start by A, the best by P, and each whose clusters hardly touch. Of the nominees, the one
        whose worst cluster has the fewest edges to others is named.
        """
        count, folds = len(self.candidates), len(self.folds)
        worst = [self.cut_of(one.labels)[1] for one in self.candidates]
        level = {warp: self.fold_means(ensemble) for warp, (ensemble, _) in results.items()}
        affine = results["A"][0]
        whole = elbos(affine, self.everything(affine.size)).view(folds, count, -1).mean((0, 2))
        for warp, (_, trained) in results.items():
            steps = (trained.warmup + trained.steps).view(folds, count)
            for i, one in enumerate(self.candidates):
                self.rows.append(Row(one.name, warp, float(level[warp][i]), middle(steps[:, i]), worst[i]))
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

    def alone(self, warp: str, one: Candidate, affine: Ensemble) -> tuple[Try, Ensemble]:
        """Trains the chosen start with a warp, grown on a trained A where the warp contains it."""
        self.progress(f"{one.name}, warp {warp}")
        ensemble = self.build(warp, [one], self.folds.kept)
        if len(warp) == 2:
            ensemble.copy_from(affine, range(len(self.folds)))
        trained = self.trained(ensemble, [one], replace(LONG, warmup=0) if len(warp) == 2 else LONG)
        return self.scored(warp, ensemble, trained, range(len(self.folds))), ensemble

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
        train_for(ensemble, data, self.noise, LONG, tries[base].warmup, tries[base].steps)
        if warp != base:
            grown = self.build(warp, [one], whole)
            grown.copy_from(ensemble, [0])
            train_for(grown, data, self.noise, LONG, 0, tries[warp].steps)
            return grown
        return ensemble
