"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.covariances import covariance_types
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Folds, folds_of
from pyro_vmonf.automatic.marginals import gaussians_behind
from pyro_vmonf.automatic.samples import sample_of
from pyro_vmonf.automatic.starts import Candidate, gaussians_on
from pyro_vmonf.automatic.training import EnsembleData, Schedule, Trained, block_of, elbos, train, train_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours

__all__ = ["Search"]

NOISE = 0.07  # the deviation of the noise, in those of a cluster
NEIGHBOURS = 10
NATS_PER_EDGE = 10.0  # by which a warp's held-out ELBO is lowered for each share of neighbour edges that its labels cut
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
        warmup: The number of steps of the warm-up at which it was best.
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
        return self.values + NATS_PER_EDGE * self.cut


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
        log_units: The sum of the logarithms of the features' deviations, by which densities in the units of x differ.
        seed: The seed.
        progress: Called with a sentence before each part.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        candidates: Sequence[Candidate],
        *,
        log_units: float = 0.0,
        seed: int = 0,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.x, self.weight, self.candidates, self.seed, self.progress = x, weight, list(candidates), seed, progress
        self.log_units = log_units
        self.k = candidates[0].responsibilities.shape[1]
        self.folds: Folds = folds_of(len(x), seed)
        tied = next((c for c in candidates if c.covariance_type == "tied"), candidates[0])
        spread = cluster_gaussians(x, tied.responsibilities, covariance_type="tied", weight=weight)[2][0]
        self.noise = (NOISE * torch.linalg.cholesky(spread).mT).to(torch.get_default_dtype())
        self.seen = sample_of(len(x), seed)
        self.near = nearest_neighbours(x[self.seen].numpy(), NEIGHBOURS)
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
        if ensemble.marginal:
            ensemble.set_gaussians(gaussians_behind(ensemble, chosen, self.x, self.weight, parts))
        else:
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

    def graph_points(self, size: int) -> Tensor:
        """Returns the points of the graph, for each of so many mixtures."""
        return self.x[self.seen].to(torch.get_default_dtype()).expand(size, -1, -1)

    # ---- scores

    def cut_of(self, labels: Tensor) -> tuple[float, float]:
        """Returns the share of the graph's edges that labels of its points cut: of all, and of the worst cluster."""
        z = labels.numpy()
        whole = float((z[self.near] != z[:, None]).mean())
        used = np.unique(z, return_inverse=True)[1]
        return whole, float(edge_cut(self.x[self.seen].numpy(), used, self.near).max())

    @torch.no_grad()
    def cut_by(self, ensemble: Ensemble, start: int) -> float:
        """Returns the share of neighbour edges that the encoders' labels of a start cut, the mean over the folds."""
        parts = self.graph_points(ensemble.size).to(ensemble.log_weights).split(block_of(ensemble), 1)
        labels = torch.cat([ensemble(x)[1].argmax(1) for x in parts], 1).unflatten(0, (len(self.folds), -1))[:, start]
        return float(np.mean([self.cut_of(one)[0] for one in labels]))

    def scored(self, warp: str, ensemble: Ensemble, trained: Trained | None, start: int) -> Try:
        """Returns how a start does with the warp of an ensemble."""
        values = self.held_elbos(ensemble)[:, start]
        cut = self.cut_by(ensemble, start)
        warmup, steps = (0, 0) if trained is None else (int(trained.warmup[start]), int(trained.steps[start]))
        return Try(warp, values - NATS_PER_EDGE * cut, self.mean(values), warmup, steps, cut)

    # ---- the competition

    def with_covariances(self) -> list[Candidate]:
        """Returns the candidates, each hard clustering with the type of covariances whose held-out ELBO is greatest."""
        found: list[Candidate] = []
        for one in self.candidates:
            kinds = [one.covariance_type] if one.is_mixture else covariance_types(self.x.shape[1])
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
        return train(ensemble, data, held_out, self.noise, schedule, len(self.folds))

    def compete(self, warp: str) -> tuple[Ensemble, Trained]:
        """Trains all candidates with one warp."""
        self.progress(f"{len(self.candidates)} starts, warp {warp}")
        ensemble = self.build(warp, self.candidates, self.folds.kept)
        return ensemble, self.trained(ensemble, self.candidates, SHORT)

    def run(self) -> tuple[Ensemble, SearchReport]:
        """Returns the chosen mixture, trained on all points, and what was tried."""
        with isolated_random_state(self.seed):
            self.candidates = self.with_covariances()
            start = self.build("N", self.candidates, self.folds.kept)
            results = {warp: self.compete(warp) for warp in ("P", "A")}
            chosen, reasons = self.nominate(results)
            tries = {"N": self.scored("N", start, None, chosen)}
            affine = results["A"][0]
            for warp in ("A", "P", "S", "M", "AP", "AS"):
                tries[warp], trained = self.alone(warp, self.candidates[chosen], affine)
                affine = trained if warp == "A" else affine
            best, one = self.simplest(tries), self.candidates[chosen]
            self.rows += [self.row(one, t.warp, t.elbo, self.steps_of(tries, t.warp), t.cut) for t in tries.values()]
            if (other := self.best_mixture(start)) and not self.is_better(tries[best].plain, other[1]):
                one, best = other[0], "N"
                self.rows.append(self.row(one, "N", self.mean(other[1]), 0, self.cut_of(one.labels[self.seen])[0]))
            if best == "N":
                reasons.append("No warp is better than the start on held-out points: a Gaussian mixture does as well.")
            final = self.refit(one, tries, best)
        report = SearchReport(
            Choice(one.name, one.covariance_type, best, self.steps_of(tries, best)),
            self.rows,
            len(self.folds),
            len(self.x),
            reasons,
        )
        return final, report

    def row(self, one: Candidate, warp: str, elbo: float, steps: int, cut: float) -> Row:
        """Returns a row of the report, with the ELBO in the units of x."""
        return Row(one.name, warp, elbo - self.log_units, steps, cut)

    def nominate(self, results: dict[str, tuple[Ensemble, Trained]]) -> tuple[int, list[str]]:
        """Returns the number of the start that is chosen, and why.

        Nominated are the best start by A, the best by P, and each whose clusters hardly touch. Of the nominees, the one
        whose worst cluster has the fewest edges to others is chosen.
        """
        count = len(self.candidates)
        cut, worst = zip(*(self.cut_of(one.labels[self.seen]) for one in self.candidates), strict=True)
        level = {warp: self.fold_means(ensemble) for warp, (ensemble, _) in results.items()}
        for warp, (_, trained) in results.items():
            for i, one in enumerate(self.candidates):
                steps = int(trained.warmup[i] + trained.steps[i])
                self.rows.append(self.row(one, warp, float(level[warp][i]), steps, cut[i]))
        nominees = {int(level["A"].argmax()), int(level["P"].argmax())}
        nominees |= {i for i in range(count) if worst[i] < TOUCHING}
        named = min(nominees, key=lambda i: (worst[i], -float(level["A"][i])))
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
        return self.scored(warp, ensemble, trained, 0), ensemble

    @staticmethod
    def steps_of(tries: dict[str, Try], warp: str) -> int:
        """Returns the number of steps of a warp, with those of the warp on which it was grown."""
        own = tries[warp].warmup + tries[warp].steps
        return own + (tries["A"].warmup + tries["A"].steps if len(warp) == 2 else 0)

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
