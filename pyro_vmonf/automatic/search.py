"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Folds, folds_of
from pyro_vmonf.automatic.label_encoder import TaughtEncoders, copy_encoders, teach_encoders, teach_encoders_for
from pyro_vmonf.automatic.labelled import accuracy_of, labelled_folds
from pyro_vmonf.automatic.starts import Candidate, gaussians_on
from pyro_vmonf.automatic.training import READ, EnsembleData, Schedule, Trained, elbos, kept_elbos, train, train_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours
from pyro_vmonf.moments import COVARIANCE_TYPES

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
        accuracy: Of held-out labels that are given, the share that the encoder tells, or None without labels.
        encoder_warmup: The number of steps of the encoder's own warm-up, with labels.
    """

    warp: str
    values: Tensor
    elbo: float
    warmup: int
    steps: int
    cut: float
    accuracy: float | None = None
    encoder_warmup: int | None = None

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
        labels: The labels ``(N, K)``, all 0 where there is none, or None.
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
        labels: Tensor | None = None,
        log_units: float = 0.0,
        seed: int = 0,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.x, self.weight, self.candidates, self.seed, self.progress = x, weight, list(candidates), seed, progress
        self.log_units, self.labels = log_units, labels
        self.k = candidates[0].responsibilities.shape[1]
        self.folds: Folds = folds_of(len(x), seed) if labels is None else labelled_folds(labels, seed)[0]
        tied = next((c for c in candidates if c.covariance_type == "tied"), candidates[0])
        spread = cluster_gaussians(x, tied.responsibilities, covariance_type="tied", weight=weight)[2][0]
        self.noise = (NOISE * torch.linalg.cholesky(spread).mT).to(torch.get_default_dtype())
        self.near = nearest_neighbours(x.numpy(), NEIGHBOURS)
        self.held = torch.stack([x[rows] for rows in self.folds.held_out])
        self.held_weight = torch.stack([weight[rows] for rows in self.folds.held_out])
        self.rows: list[Row] = []
        self.encoders: TaughtEncoders | None = None  # with labels

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
        found = [gaussians_on(one, self.x, self.weight, rows) for rows, one in self.pairs(chosen, parts)]
        ensemble.set_gaussians(Gaussians.joined(found))
        return ensemble

    def data(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> EnsembleData:
        """Returns the points of the chosen candidates on each part."""
        pairs, dtype = self.pairs(chosen, parts), torch.get_default_dtype()
        labels = None if self.labels is None else torch.stack([self.labels[rows] for rows, _ in pairs]).to(dtype)
        return EnsembleData(
            torch.stack([self.x[rows] for rows, _ in pairs]).to(dtype),
            torch.stack([one.responsibilities[rows] for rows, one in pairs]).to(dtype),
            torch.stack([self.weight[rows] for rows, _ in pairs]).to(dtype),
            labels,
        )

    def pairs(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> list[tuple[Tensor, Candidate]]:
        """Returns each part with each candidate, which in a fold knows no label that the fold holds out."""
        in_folds = parts is self.folds.kept or parts is self.folds.held_out
        return [(rows, one.in_fold(i) if in_folds else one) for i, rows in enumerate(parts) for one in chosen]

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
    def cut_by(self, ensemble: Ensemble, start: int) -> float:
        """Returns the share of neighbour edges that the encoders' labels of a start cut, the mean over the folds."""
        parts = self.everything(ensemble.size).to(ensemble.log_weights).split(READ, 1)
        labels = torch.cat([ensemble(x)[1].argmax(1) for x in parts], 1).unflatten(0, (len(self.folds), -1))[:, start]
        return float(np.mean([self.cut_of(one)[0] for one in labels]))

    def scored(
        self, warp: str, ensemble: Ensemble, chosen: Sequence[Candidate], trained: Trained | None, start: int
    ) -> Try:
        """Returns how a start does with the warp of an ensemble of the chosen candidates."""
        values, cut = self.held_values(ensemble, chosen)[:, start], self.cut_by(ensemble, start)
        elbo = values if self.labels is None else self.held_elbos(ensemble)[:, start]
        warmup, steps = (0, 0) if trained is None else (int(trained.warmup[start]), int(trained.steps[start]))
        accuracy = self.accuracies(ensemble)[start]
        own = None if trained is None or self.labels is None else int(trained.encoder_warmup[start])
        return Try(warp, values - NATS_PER_EDGE * cut, self.mean(elbo), warmup, steps, cut, accuracy, own)

    # ---- the competition

    def with_covariances(self) -> list[Candidate]:
        """Returns the candidates, each hard clustering with the type of covariances whose held-out ELBO is greatest."""
        found: list[Candidate] = []
        for one in self.candidates:
            kinds = [one.covariance_type] if one.is_mixture else COVARIANCE_TYPES
            options = [replace(one, covariance_type=kind) for kind in kinds]
            scores = self.fold_means(self.build("N", options, self.folds.kept), options)
            found.append(options[int(scores.argmax())])
        return found

    def held_elbos(self, ensemble: Ensemble) -> Tensor:
        """Returns the ELBO of the held-out points of each fold under its mixtures, ``(F, C, m)``."""
        count = ensemble.size // len(self.folds)
        return elbos(ensemble, self.held.repeat_interleave(count, 0)).view(len(self.folds), count, -1).double()

    def held_values(self, ensemble: Ensemble, chosen: Sequence[Candidate]) -> Tensor:
        """Returns the score of the held-out points of each fold, ``(F, C, m)``: the ELBO, and more with labels."""
        if self.labels is None:
            return self.held_elbos(ensemble)
        count = ensemble.size // len(self.folds)
        target = self.data(chosen, self.folds.held_out).target
        values = kept_elbos(ensemble, self.held.repeat_interleave(count, 0), target)
        return values.view(len(self.folds), count, -1).double()

    @torch.no_grad()
    def accuracies(self, ensemble: Ensemble) -> list[float | None]:
        """Returns the share of held-out labels that the encoders of each candidate tell, or None without labels."""
        count = ensemble.size // len(self.folds)
        if self.labels is None:
            return [None] * count
        x = self.held.repeat_interleave(count, 0).to(ensemble.log_weights)
        tables = torch.cat([ensemble.encoder.table(some) for some in x.split(READ, 1)], 2).unflatten(0, (-1, count))
        own = torch.stack([self.labels[rows] for rows in self.folds.held_out])
        return [accuracy_of(table, own, self.held_weight) for table in tables.unbind(1)]

    def mean(self, values: Tensor) -> float:
        """Returns the weighted mean of held-out values ``(F, m)``."""
        return float((self.held_weight * values).sum() / self.held_weight.sum())

    def fold_means(self, ensemble: Ensemble, chosen: Sequence[Candidate]) -> Tensor:
        """Returns the mean held-out score of each of the candidates in an ensemble."""
        return torch.tensor([self.mean(values) for values in self.held_values(ensemble, chosen).unbind(1)])

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
            chosen, reasons = self.choose()
            tries = {"N": self.unwarped(start, chosen)}
            affine = start  # until A is trained, which comes first
            for warp in ("A", "P", "S", "AP", "AS"):
                tries[warp], trained = self.alone(warp, self.candidates[chosen], affine)
                affine = trained if warp == "A" else affine
            best, one = self.simplest(tries), self.candidates[chosen]
            self.rows += [
                self.row(one, t.warp, t.elbo, self.steps_of(tries, t.warp), t.cut, t.accuracy) for t in tries.values()
            ]
            if (other := self.best_mixture(start)) and not self.is_better(tries[best].plain, other[1]):
                one, best = other[0], "N"
                self.rows.append(self.row(one, "N", self.mean(other[1]), 0, self.cut_of(one.labels)[0]))
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

    def row(self, one: Candidate, warp: str, elbo: float, steps: int, cut: float, accuracy: float | None = None) -> Row:
        """Returns a row of the report, with the ELBO in the units of x."""
        return Row(one.name, warp, elbo - self.log_units, steps, cut, accuracy)

    def choose(self) -> tuple[int, list[str]]:
        """Returns the number of the start that is chosen, and why; the only start of a search with labels is it."""
        if self.labels is not None and len(self.candidates) == 1:
            return 0, []
        return self.nominate({warp: self.compete(warp) for warp in ("P", "A")})

    def unwarped(self, start: Ensemble, chosen: int) -> Try:
        """Returns how the chosen start does without a warp; with labels, with encoders that were taught first."""
        if self.labels is None:
            return self.scored("N", start, self.candidates, None, chosen)
        one = self.candidates[chosen]
        self.encoders = self.taught_encoders(one)
        ensemble = self.build("N", [one], self.folds.kept)
        copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        return self.scored("N", ensemble, [one], None, 0)

    def taught_encoders(self, one: Candidate) -> TaughtEncoders:
        """Returns encoders that learned the start, from discriminants of the type that says held-out points best."""
        options = [replace(one, covariance_type=kind) for kind in COVARIANCE_TYPES]
        data, held_out = self.data(options, self.folds.kept), self.data(options, self.folds.held_out)
        ensemble = self.build("N", options, self.folds.kept).to(data.x.dtype)
        at, score = teach_encoders(ensemble, data, held_out, self.noise, LONG, len(self.folds))
        best = int(score.argmax())
        rows = range(best, ensemble.size, len(options))
        return TaughtEncoders(ensemble, rows, options[best], int(at[best]))

    def nominate(self, results: dict[str, tuple[Ensemble, Trained]]) -> tuple[int, list[str]]:
        """Returns the number of the start that is chosen, and why.

        Nominated are the best start by A, the best by P, and each whose clusters hardly touch. Of the nominees, the one
        whose worst cluster has the fewest edges to others is chosen; with labels, the one that tells most of those held
        out, and of these the one with the fewest edges.
        """
        count = len(self.candidates)
        cut, worst = zip(*(self.cut_of(one.labels) for one in self.candidates), strict=True)
        level = {warp: self.fold_means(ensemble, self.candidates) for warp, (ensemble, _) in results.items()}
        told = {warp: self.accuracies(ensemble) for warp, (ensemble, _) in results.items()}
        for warp, (ensemble, trained) in results.items():
            elbo = self.held_elbos(ensemble).unbind(1)
            for i, one in enumerate(self.candidates):
                steps = int(trained.warmup[i] + trained.steps[i])
                self.rows.append(self.row(one, warp, self.mean(elbo[i]), steps, cut[i], told[warp][i]))
        nominees = {int(level["A"].argmax()), int(level["P"].argmax())}
        nominees |= {i for i in range(count) if worst[i] < TOUCHING}
        right = [max(each[i] or 0.0 for each in told.values()) for i in range(count)]
        named = min(nominees, key=lambda i: (-right[i], worst[i], -float(level["A"][i])))
        names = ", ".join(self.candidates[i].name for i in sorted(nominees))
        why = "cuts the fewest neighbour edges" if self.labels is None else "tells most of the held-out labels"
        return named, [f"Nominated: {names}; {self.candidates[named].name} {why}."]

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
        if self.encoders is not None:
            copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        if len(warp) == 2:
            ensemble.copy_from(affine, range(len(self.folds)))
        trained = self.trained(ensemble, [one], replace(LONG, warmup=0) if len(warp) == 2 else LONG)
        return self.scored(warp, ensemble, [one], trained, 0), ensemble

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
        if self.encoders is not None:
            taught = self.build("N", [self.encoders.start], whole).to(data.x.dtype)
            teach_encoders_for(taught, data, self.noise, LONG, self.encoders.steps)
            copy_encoders(ensemble, taught, [0])
        if warp == "N":
            return ensemble
        first = tries[base]
        train_for(ensemble, data, self.noise, LONG, first.warmup, first.steps, first.encoder_warmup)
        if warp != base:
            grown = self.build(warp, [one], whole)
            grown.copy_from(ensemble, [0])
            train_for(grown, data, self.noise, LONG, 0, tries[warp].steps)
            return grown
        return ensemble
