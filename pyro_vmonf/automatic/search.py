"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.agreement import SearchWarning, disagreement
from pyro_vmonf.automatic.config import Schedule, SearchConfig
from pyro_vmonf.automatic.covariances import covariance_types
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Folds, folds_of
from pyro_vmonf.automatic.label_encoder import TaughtEncoders, copy_encoders, teach_encoders, teach_encoders_for
from pyro_vmonf.automatic.labelled import accuracy_of
from pyro_vmonf.automatic.marginals import gaussians_behind
from pyro_vmonf.automatic.samples import sample_of
from pyro_vmonf.automatic.starts import Candidate, gaussians_on
from pyro_vmonf.automatic.training import (
    EnsembleData,
    Trained,
    block_of,
    disagreements,
    elbos,
    kept_elbos,
    restore,
    state_of,
    train,
    train_for,
)
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.checkpointing.stages import Stages
from pyro_vmonf.evaluation.agreement import warn_of_share
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours

__all__ = ["Search"]

COMPETING = ("P", "A")  # the warps under which all starts compete
MORE = {"P": "PP", "A": "AP"}  # what is tried where another was best
FINER = 0.3  # times the noise
HOPELESS = 0.5  # nats by which a warp may be behind the best while all starts compete, and be trained for longer


@dataclass(frozen=True)
class Try:
    """One start with one warp.

    Attributes:
        warp: The warp.
        noise: The deviation of the noise, in those of a cluster.
        values: The held-out ELBO of each point of each fold ``(F, m)``.
        penalty: What is taken from it for the edges that the labels cut, and those of the start do not.
        elbo: The mean of the values.
        warmup: The number of steps of the warm-up at which it was best.
        steps: The number of steps after it.
        cut: The share of neighbour edges that the labels cut.
        accuracy: Of held-out labels that are given, the share that the encoder tells, or None without labels.
        encoder_warmup: The number of steps of the encoder's own warm-up, with labels.
        apart: The share of held-out points for which encoder and exact posterior choose different components.
    """

    warp: str
    noise: float
    values: Tensor
    penalty: float
    elbo: float
    warmup: int
    steps: int
    cut: float
    accuracy: float | None = None
    encoder_warmup: int | None = None
    apart: float = 0.0

    @property
    def judged(self) -> Tensor:
        """The values less the penalty."""
        return self.values - self.penalty


def is_better(a: Tensor, b: Tensor, weight: Tensor, standard_errors: float) -> bool:
    """Returns whether held-out values a are above b, by so many paired standard errors of their weighted mean."""
    d, share = (a - b).double(), weight.double() / weight.sum()
    mean = (share * d).sum()
    error = ((share * (d - mean).square()).sum() * share.square().sum()).sqrt()
    return bool(mean > standard_errors * error)


class Search:
    """A competition of starts and warps on distinct, standardised points.

    Args:
        x: The points ``(N, D)``, in float64.
        weight: Their weights ``(N,)``.
        candidates: The starts.
        labels: The labels ``(N, K)``, all 0 where there is none, or None.
        log_units: The sum of the logarithms of the features' deviations, by which densities in the units of x differ.
        config: The numbers of the search.
        folds: Which points are held out; by default a fifth of them, of up to 2,000 points each fifth in turn.
        warps: The names of the warps that compete.
        weights: The weights of the components ``(K,)``, the greatest first, or None where they are learned.
        device: Where mixtures are trained.
        stages: What is done already, and where the rest is kept.
        seed: The seed.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        candidates: Sequence[Candidate],
        *,
        config: SearchConfig | None = None,
        folds: Folds | None = None,
        warps: Sequence[str] = tuple(WARPS),
        weights: Tensor | None = None,
        device: torch.device | str = "cpu",
        stages: Stages | None = None,
        labels: Tensor | None = None,
        log_units: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.x, self.weight, self.candidates, self.seed = x, weight, list(candidates), seed
        self.progress: Callable[[str], None] = lambda text: None
        self.config = SearchConfig() if config is None else config
        self.refinements = [more for less, more in MORE.items() if {less, more} <= set(warps)]
        self.warps = [warp for warp in WARPS if warp in warps and warp not in self.refinements]
        self.weights, self.device, self.labels, self.log_units = weights, device, labels, log_units
        self.stages = Stages(None, {}) if stages is None else stages
        self.k = candidates[0].responsibilities.shape[1]
        self.folds: Folds = folds_of(len(x), seed) if folds is None else folds
        self.own = self.folds.union()
        tied = next((c for c in candidates if c.covariance_type == "tied"), candidates[0])
        spread = cluster_gaussians(
            x[self.own], tied.responsibilities[self.own], covariance_type="tied", weight=weight[self.own]
        )[2][0]
        self.spread = torch.linalg.cholesky(spread).mT.to(device, torch.get_default_dtype())
        self.seen = self.own[sample_of(len(self.own), seed)]
        self.near = nearest_neighbours(x[self.seen].numpy(), self.config.neighbours)
        self.held = torch.stack([x[rows] for rows in self.folds.held_out]).to(device)
        self.held_weight = torch.stack([weight[rows] for rows in self.folds.held_out]).to(device)
        self.rows: list[Row] = []
        self.encoders: TaughtEncoders | None = None  # with labels

    # ---- parts of an ensemble

    def build(self, warp: str, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> Ensemble:
        """Returns the chosen candidates on each part of the points, parts first, with the same networks in all.

        Without a warp it is in float64, since nothing trains it.
        """
        size = len(chosen) * len(parts)
        with isolated_random_state(self.seed):
            ensemble = Ensemble(self.x.shape[1], self.k, WARPS[warp], size, has_learned_weights=self.weights is None)
        if warp == "N":
            ensemble.double()
        with torch.no_grad():
            for parameter in ensemble.parameters():
                rows = parameter.view(size, -1)
                rows.copy_(rows[:1].clone().expand_as(rows))
        pairs = self.pairs(chosen, parts)
        if ensemble.marginal:
            start = gaussians_behind(ensemble, pairs, self.x, self.weight)
        else:
            start = Gaussians.joined([gaussians_on(one, self.x, self.weight, rows) for rows, one in pairs])
        ensemble.set_gaussians(start if self.weights is None else start.weighted(self.weights))
        return ensemble.to(self.device)

    def data(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> EnsembleData:
        """Returns the points of the chosen candidates on each part."""
        pairs, dtype = self.pairs(chosen, parts), torch.get_default_dtype()
        labels = None if self.labels is None else torch.stack([self.labels[rows] for rows, _ in pairs]).to(dtype)
        return EnsembleData(
            torch.stack([self.x[rows] for rows, _ in pairs]).to(self.device, dtype),
            torch.stack([one.responsibilities[rows] for rows, one in pairs]).to(self.device, dtype),
            torch.stack([self.weight[rows] for rows, _ in pairs]).to(self.device, dtype),
            None if labels is None else labels.to(self.device),
        )

    def pairs(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> list[tuple[Tensor, Candidate]]:
        """Returns each part with each candidate, which in a fold knows no label that the fold holds out."""
        in_folds = parts is self.folds.kept or parts is self.folds.held_out
        return [(rows, one.in_fold(i) if in_folds else one) for i, rows in enumerate(parts) for one in chosen]

    def graph_points(self, size: int) -> Tensor:
        """Returns the points of the graph, for each of so many mixtures."""
        return self.x[self.seen].to(self.device, torch.get_default_dtype()).expand(size, -1, -1)

    # ---- scores

    def cut_of(self, labels: Tensor) -> tuple[float, float]:
        """Returns the share of the graph's edges that labels of its points cut: of all, and of the worst cluster."""
        z = labels.cpu().numpy()
        whole = float((z[self.near] != z[:, None]).mean())
        used = np.unique(z, return_inverse=True)[1]
        return whole, float(edge_cut(self.x[self.seen].numpy(), used, self.near).max())

    @torch.no_grad()
    def labels_of(self, ensemble: Ensemble) -> Tensor:
        """Returns the encoders' labels of the graph's points, ``(V, M)``."""
        parts = self.graph_points(ensemble.size).to(ensemble.log_weights).split(block_of(ensemble), 1)
        return torch.cat([ensemble(x)[1].argmax(1) for x in parts], 1)

    def cut_by(self, ensemble: Ensemble, start: int) -> float:
        """Returns the share of neighbour edges that the encoders' labels of a start cut, the mean over the folds."""
        labels = self.labels_of(ensemble).unflatten(0, (len(self.folds), -1))[:, start]
        return float(np.mean([self.cut_of(one)[0] for one in labels]))

    def scored(
        self,
        warp: str,
        noise: float,
        ensemble: Ensemble,
        chosen: Sequence[Candidate],
        trained: Trained | None,
        start: int = 0,
    ) -> Try:
        """Returns how a start does with the warp of an ensemble of the chosen candidates."""
        values, cut = self.held_values(ensemble, chosen)[:, start], self.cut_by(ensemble, start)
        elbo = values if self.labels is None else self.held_elbos(ensemble)[:, start]
        warmup, steps = (0, 0) if trained is None else (int(trained.warmup[start]), int(trained.steps[start]))
        more = max(0.0, cut - self.cut_of(chosen[start].labels[self.seen])[0])
        accuracy, penalty = self.accuracies(ensemble)[start], self.config.nats_per_edge * more
        own = None if trained is None or self.labels is None else int(trained.encoder_warmup[start])
        x = self.held.repeat_interleave(ensemble.size // len(self.folds), 0)
        apart = disagreements(ensemble, x).unflatten(0, (len(self.folds), -1))[:, start].double()
        return Try(warp, noise, values, penalty, self.mean(elbo), warmup, steps, cut, accuracy, own, self.mean(apart))

    # ---- the competition

    def with_covariances(self) -> list[Candidate]:
        """Returns the candidates, each hard clustering with the type of covariances whose held-out ELBO is greatest."""
        found: list[Candidate] = []
        for one in self.candidates:
            kinds = [one.covariance_type] if one.is_mixture else covariance_types(self.x.shape[1])
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
        tables = torch.cat([ensemble.encoder.table(some) for some in x.split(block_of(ensemble), 1)], 2).unflatten(
            0, (-1, count)
        )
        own = torch.stack([self.labels[rows] for rows in self.folds.held_out])
        return [accuracy_of(table, own.to(table.device), self.held_weight) for table in tables.unbind(1)]

    def mean(self, values: Tensor) -> float:
        """Returns the weighted mean of held-out values ``(F, m)``."""
        return float((self.held_weight * values).sum() / self.held_weight.sum())

    def fold_means(self, ensemble: Ensemble, chosen: Sequence[Candidate]) -> Tensor:
        """Returns the mean held-out score of each of the candidates in an ensemble."""
        return torch.tensor([self.mean(values) for values in self.held_values(ensemble, chosen).unbind(1)])

    def trained(
        self, name: str, ensemble: Ensemble, chosen: Sequence[Candidate], schedule: Schedule, noise: float
    ) -> Trained:
        """Trains the chosen candidates in each fold, or takes what a stage of that name ended with."""
        if (done := self.stages.get(name, stage_tensors(ensemble, len(chosen)))) is not None:
            return restore_stage(ensemble, done)
        data, held_out = self.data(chosen, self.folds.kept), self.data(chosen, self.folds.held_out)
        with isolated_random_state(self.seed):
            found = train(ensemble, data, held_out, noise * self.spread, schedule, len(self.folds))
        self.stages.put(name, stage_tensors(ensemble, len(chosen), found))
        return found

    def compete(self, warp: str) -> tuple[Ensemble, Trained]:
        """Trains all candidates with one warp."""
        self.progress(f"{len(self.candidates)} starts, warp {warp}")
        ensemble = self.build(warp, self.candidates, self.folds.kept)
        return ensemble, self.trained(f"starts.{warp}", ensemble, self.candidates, self.config.short, self.config.noise)

    @property
    def parts(self) -> int:
        """The greatest number of trainings."""
        return len([warp for warp in self.warps if warp in COMPETING]) + len(self.warps) + 2

    def run(self, progress: Callable[[str], None] = lambda text: None) -> tuple[Ensemble, SearchReport]:
        """Returns the chosen mixture, trained on all points, and what was tried.

        Args:
            progress: Called with a few words before each training.
        """
        self.progress = progress
        self.candidates = self.with_covariances()
        start = self.build("N", self.candidates, self.folds.kept)
        results: dict[str, tuple[Ensemble, Trained]] = {}
        chosen, reasons = 0, list[str]()
        if self.labels is None or len(self.candidates) > 1:
            results = {warp: self.compete(warp) for warp in self.warps if warp in COMPETING}
            chosen, reasons = self.nominate(results, start)
        plain, one = self.unwarped(start, chosen), self.candidates[chosen]
        able = [warp for warp in self.warps if warp not in ("N", *self.hopeless(results, chosen))]
        tries = [self.alone(warp, self.config.noise, chosen, results.get(warp)) for warp in able]
        tries = self.refined([plain, *tries], chosen)
        self.rows += [self.row(one, t) for t in tries]
        best = self.simplest(tries)
        other = self.best_mixture(start) if "N" in self.warps else None
        if other is not None and not self.is_better(best.values, other[1]):
            one, values = other
            best = Try("N", 0.0, values, 0.0, self.mean(values), 0, 0, self.cut_of(one.labels[self.seen])[0])
            self.rows.append(self.row(one, best))
        final = self.refit(one, best)
        if best.warp != "N" and self.labels is None:  # with labels the encoder is kept by what they say
            warn_of_share(best.apart, points="held-out points", stacklevel=4)
        concerns = [disagreement(self.candidates, self.labels_of(final)[0], self.seen)]
        if best.warp == "N" and len(self.warps) > 1:
            concerns.append("A Gaussian mixture describes held-out points as well as flows do, and is the result.")
        for text in filter(None, concerns):
            reasons.append(text)
            warnings.warn(text, SearchWarning, stacklevel=3)
        choice = Choice(one.name, one.covariance_type, best.warp, best.noise, best.warmup + best.steps)
        return final, SearchReport(choice, self.rows, len(self.folds), len(self.own), reasons)

    def hopeless(self, results: dict[str, tuple[Ensemble, Trained]], chosen: int) -> list[str]:
        """Returns the warps that were so far behind, while all starts competed, that longer training is of no use."""
        level = {warp: float(trained.elbo[chosen]) for warp, (_, trained) in results.items()}
        return [warp for warp, elbo in level.items() if elbo < max(level.values()) - HOPELESS]

    def refined(self, tries: list[Try], chosen: int) -> list[Try]:
        """Returns the tries and others by what was best: more splines where P or A were, and then less noise."""
        best = self.simplest(tries)
        if (more := MORE.get(best.warp)) in self.refinements:
            tries = [*tries, self.alone(more, best.noise, chosen, None)]
            best = self.simplest(tries)
        if best.warp != "N":
            tries = [*tries, self.alone(best.warp, FINER * best.noise, chosen, None)]
        return tries

    def row(self, one: Candidate, t: Try) -> Row:
        """Returns a row of the report, with the ELBO in the units of x."""
        return Row(one.name, t.warp, t.noise, t.elbo - self.log_units, t.warmup + t.steps, t.cut, t.accuracy)

    def unwarped(self, start: Ensemble, chosen: int) -> Try:
        """Returns how the chosen start does without a warp; with labels, with encoders that were taught first."""
        if self.labels is None:
            return self.scored("N", 0.0, start, self.candidates, None, chosen)
        one = self.candidates[chosen]
        self.encoders = self.taught_encoders(one)
        ensemble = self.build("N", [one], self.folds.kept)
        copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        return self.scored("N", 0.0, ensemble, [one], None)

    def taught_encoders(self, one: Candidate) -> TaughtEncoders:
        """Returns encoders that learned the start, from discriminants of the type that says held-out points best."""
        options = [replace(one, covariance_type=kind) for kind in covariance_types(self.x.shape[1])]
        data, held_out = self.data(options, self.folds.kept), self.data(options, self.folds.held_out)
        ensemble = self.build("N", options, self.folds.kept).to(data.x.dtype)
        with isolated_random_state(self.seed):
            noise = self.config.noise * self.spread
            at, score = teach_encoders(ensemble, data, held_out, noise, self.config.long, len(self.folds))
        best = int(score.argmax())
        rows = range(best, ensemble.size, len(options))
        return TaughtEncoders(ensemble, rows, options[best], int(at[best]))

    def nominate(self, results: dict[str, tuple[Ensemble, Trained]], start: Ensemble) -> tuple[int, list[str]]:
        """Returns the number of the start that is chosen, and why.

        Nominated are the best start by A, the best by P, and each whose clusters hardly touch. Of the nominees, the one
        whose worst cluster has the fewest edges to others is chosen; with labels, the one that tells most of those held
        out, and of these the one with the fewest edges. Where neither A nor P competes, the best as it is is nominated.
        """
        count = len(self.candidates)
        cut, worst = zip(*(self.cut_of(one.labels[self.seen]) for one in self.candidates), strict=True)
        level = {warp: self.fold_means(ensemble, self.candidates) for warp, (ensemble, _) in results.items()}
        told = {warp: self.accuracies(ensemble) for warp, (ensemble, _) in results.items()}
        for warp, (ensemble, trained) in results.items():
            elbo = self.held_elbos(ensemble).unbind(1)
            for i, one in enumerate(self.candidates):
                steps = int(trained.warmup[i] + trained.steps[i])
                mean = self.mean(elbo[i]) - self.log_units
                self.rows.append(Row(one.name, warp, self.config.noise, mean, steps, cut[i], told[warp][i]))
        level = level or {"N": self.fold_means(start, self.candidates)}
        told = told or {"N": self.accuracies(start)}
        nominees = {int(each.argmax()) for each in level.values()}
        nominees |= {i for i in range(count) if worst[i] < self.config.touching}
        right = [max(each[i] or 0.0 for each in told.values()) for i in range(count)]
        by = level.get("A", next(iter(level.values())))
        named = min(nominees, key=lambda i: (-right[i], worst[i], -float(by[i])))
        names = ", ".join(self.candidates[i].name for i in sorted(nominees))
        why = "cuts the fewest neighbour edges" if self.labels is None else "tells most of the held-out labels"
        return named, [f"Nominated: {names}; {self.candidates[named].name} {why}."]

    def best_mixture(self, start: Ensemble) -> tuple[Candidate, Tensor] | None:
        """Returns the Gaussian mixture among the starts with the greatest held-out ELBO, and that of each point."""
        values = self.held_elbos(start)
        mixtures = [i for i, one in enumerate(self.candidates) if one.is_mixture]
        best = max(mixtures, key=lambda i: self.mean(values[:, i]), default=None)
        return None if best is None else (self.candidates[best], values[:, best])

    def alone(self, warp: str, noise: float, chosen: int, before: tuple[Ensemble, Trained] | None) -> Try:
        """Trains the chosen start with a warp, unless it ended for want of patience, not steps, while all competed."""
        one, count = self.candidates[chosen], len(self.candidates)
        ensemble = self.build(warp, [one], self.folds.kept)
        if self.encoders is not None and not ensemble.marginal:  # behind splines of features an encoder sees others
            copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        if before is not None and self.encoders is None and has_ended(before[1], chosen, self.config.short):
            ensemble.copy_from(before[0], range(chosen, before[0].size, count))
            trained = before[1].of(chosen)
        else:
            self.progress(f"{one.name}, warp {warp}" + (", less noise" if noise < self.config.noise else ""))
            name = f"alone.{warp}.{noise:.3g}"
            trained = self.trained(name, ensemble, [one], self.config.long, noise)
        return self.scored(warp, noise, ensemble, [one], trained)

    def is_better(self, a: Tensor, b: Tensor) -> bool:
        """Returns whether held-out values a are above b by the standard errors of the configuration."""
        return is_better(a, b, self.held_weight, self.config.standard_errors)

    def simplest(self, tries: Sequence[Try]) -> Try:
        """Returns the best try, or that without a warp if the best is not better than it."""
        plain, *others = tries
        if "N" not in self.warps:
            return max(others, key=lambda t: self.mean(t.judged))
        # Flows that took no step are the start, but behind splines of features it is another.
        able = [t for t in others if t.warmup + t.steps or WARPS[t.warp].marginal]
        best = max([plain, *able], key=lambda t: self.mean(t.judged))
        return best if best is not plain and self.is_better(best.judged, plain.judged) else plain

    def refit(self, one: Candidate, chosen: Try) -> Ensemble:
        """Returns the chosen start and warp trained on all points for the number of steps found."""
        warp, noise = chosen.warp, chosen.noise * self.spread
        whole = [self.own]
        ensemble = self.build(warp, [one], whole)
        if self.encoders is not None and not ensemble.marginal:
            taught = self.build("N", [self.encoders.start], whole).to(noise.dtype)
            with isolated_random_state(self.seed):
                usual = self.config.noise * self.spread
                teach_encoders_for(taught, self.data([one], whole), usual, self.config.long, self.encoders.steps)
            copy_encoders(ensemble, taught, [0])
        if warp == "N":
            return ensemble
        self.progress(f"{one.name}, warp {warp}, all points")
        if (done := self.stages.get("refit", state_of(ensemble))) is not None:
            restore(ensemble, done)
            return ensemble
        with isolated_random_state(self.seed):
            ends = chosen.warmup, chosen.steps, chosen.encoder_warmup
            train_for(ensemble, self.data([one], whole), noise, self.config.long, *ends)
        self.stages.put("refit", state_of(ensemble))
        return ensemble


def has_ended(trained: Trained, start: int, schedule: Schedule) -> bool:
    """Returns whether a start had its best held-out score well before its steps were over."""
    warmup, steps = int(trained.warmup[start]), int(trained.steps[start])
    return warmup + schedule.patience <= schedule.warmup and steps + schedule.patience <= schedule.steps


def stage_tensors(ensemble: Ensemble, starts: int, trained: Trained | None = None) -> dict[str, Tensor]:
    """Returns what is kept of a stage; without a result, tensors of the same shapes."""
    nothing = torch.zeros(starts, dtype=torch.long)
    found = trained or Trained(nothing, nothing, torch.zeros(starts, dtype=ensemble.log_weights.dtype), nothing)
    return {**state_of(ensemble), **vars(found)}


def restore_stage(ensemble: Ensemble, tensors: dict[str, Tensor]) -> Trained:
    """Gives an ensemble the state of a stage, and returns its result."""
    restore(ensemble, tensors)
    return Trained(*(tensors[name] for name in Trained.__dataclass_fields__))
