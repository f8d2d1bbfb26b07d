"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.agreement import SearchWarning, disagreement
from pyro_vmonf.automatic.config import Schedule, SearchConfig
from pyro_vmonf.automatic.covariances import covariance_types
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.judge import Judge, Try
from pyro_vmonf.automatic.label_encoder import TaughtEncoders, copy_encoders, teach_encoders, teach_encoders_for
from pyro_vmonf.automatic.problem import Problem
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.states import restore, state_of
from pyro_vmonf.automatic.training import Trained, train, train_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.checkpointing.stages import Stages
from pyro_vmonf.evaluation.agreement import warn_of_share

__all__ = ["Search"]

COMPETING = ("P", "A")  # the warps under which all starts compete
MORE = {"P": "PP", "A": "AP"}  # what is tried where another was best
FINER = 0.3  # times the noise
HOPELESS = 0.5  # nats by which a warp may be behind the best while all starts compete, and be trained for longer


class Search:
    """A competition of starts and warps.

    Args:
        problem: The points and their folds.
        candidates: The starts.
        config: The numbers of the search.
        warps: The names of the warps that compete.
        stages: What is done already, and where the rest is kept.
        log_units: The sum of the logarithms of the features' deviations, by which densities in the units of x differ.
    """

    def __init__(
        self,
        problem: Problem,
        candidates: Sequence[Candidate],
        *,
        config: SearchConfig | None = None,
        warps: Sequence[str] = tuple(WARPS),
        stages: Stages | None = None,
        log_units: float = 0.0,
    ) -> None:
        self.problem, self.candidates, self.log_units = problem, list(candidates), log_units
        self.progress: Callable[[str], None] = lambda text: None
        self.config = SearchConfig() if config is None else config
        self.judge = Judge(problem, self.config)
        if problem.x.shape[1] == 1:  # where there are no couplings
            warps = [warp for warp in warps if not WARPS[warp].affine] or ["N"]
        self.refinements = [more for less, more in MORE.items() if {less, more} <= set(warps)]
        self.warps = [warp for warp in WARPS if warp in warps and warp not in self.refinements]
        self.stages = Stages(None, {}) if stages is None else stages
        self.spread, self.folds = problem.spread(candidates), problem.folds
        self.rows: list[Row] = []
        self.encoders: TaughtEncoders | None = None  # with labels

    def with_covariances(self) -> list[Candidate]:
        """Returns the candidates, each hard clustering with the type of covariances whose held-out ELBO is greatest."""
        found: list[Candidate] = []
        for one in self.candidates:
            kinds = [one.covariance_type] if one.is_mixture else covariance_types(self.problem.x.shape[1])
            options = [replace(one, covariance_type=kind) for kind in kinds]
            scores = self.judge.fold_means(self.problem.build("N", options, self.folds.kept), options)
            found.append(options[int(scores.argmax())])
        return found

    def trained(
        self, name: str, ensemble: Ensemble, chosen: Sequence[Candidate], schedule: Schedule, noise: float
    ) -> Trained:
        """Trains the chosen candidates in each fold, or takes what a stage of that name ended with."""
        if (done := self.stages.get(name, stage_tensors(ensemble, len(chosen)))) is not None:
            return restore_stage(ensemble, done)
        data, held_out = (self.problem.data(chosen, part) for part in (self.folds.kept, self.folds.held_out))
        with isolated_random_state(self.problem.seed):
            found = train(ensemble, data, held_out, noise * self.spread, schedule, len(self.folds))
        self.stages.put(name, stage_tensors(ensemble, len(chosen), found))
        return found

    def compete(self, warp: str) -> tuple[Ensemble, Trained]:
        """Trains all candidates with one warp."""
        self.progress(f"{len(self.candidates)} starts, warp {warp}")
        ensemble = self.problem.build(warp, self.candidates, self.folds.kept)
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
        start = self.problem.build("N", self.candidates, self.folds.kept)
        results: dict[str, tuple[Ensemble, Trained]] = {}
        chosen, reasons = 0, list[str]()
        if self.problem.labels is None or len(self.candidates) > 1:
            results = {warp: self.compete(warp) for warp in self.warps if warp in COMPETING}
            chosen, reasons = self.nominate(results, start)
        plain, one = self.unwarped(start, chosen), self.candidates[chosen]
        able = [warp for warp in self.warps if warp not in ("N", *self.hopeless(results, chosen))]
        tries = [self.alone(warp, self.config.noise, chosen, results.get(warp)) for warp in able]
        tries = self.refined([plain, *tries], chosen)
        self.rows += [self.row(one, t) for t in tries]
        best = self.simplest(tries)
        other = self.best_mixture(start) if "N" in self.warps else None
        is_other = other is not None and not (best.warp == "N" and other[0] is one)
        if other is not None and is_other and not self.judge.is_better(best.values, other[1]):
            one, values = other
            best = Try("N", 0.0, values, 0.0, self.judge.mean(values), 0, 0, self.judge.cut_of(one)[0])
            self.rows.append(self.row(one, best))
        final = self.refit(one, best)
        reasons += self.concerns(final, best)
        choice = Choice(one.name, one.covariance_type, best.warp, best.noise, best.warmup + best.steps)
        stopped = "patience" if has_ended(best.warmup, best.steps, self.config.long) else "steps"
        return final, SearchReport(choice, self.rows, len(self.folds), len(self.problem.own), reasons, stopped)

    def concerns(self, final: Ensemble, best: Try) -> list[str]:
        """Warns of what a user should know of the result, and returns the sentences of :class:`SearchWarning`."""
        if best.warp != "N" and self.problem.labels is None:  # with labels the encoder is kept by what they say
            warn_of_share(best.apart, points="held-out points", stacklevel=5)
        found = [disagreement(self.candidates, self.judge.labels_of(final)[0], self.judge.seen)]
        if best.warp == "N" and len(self.warps) > 1:
            found.append("A Gaussian mixture describes held-out points as well as flows do, and is the result.")
        for text in filter(None, found):
            warnings.warn(text, SearchWarning, stacklevel=4)
        return [text for text in found if text]

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
        if best.warp != "N" and best.noise:
            tries = [*tries, self.alone(best.warp, FINER * best.noise, chosen, None)]
        return tries

    def row(self, one: Candidate, t: Try) -> Row:
        """Returns a row of the report, with the ELBO in the units of x."""
        return Row(one.name, t.warp, t.noise, t.elbo - self.log_units, t.warmup + t.steps, t.cut, t.accuracy)

    def unwarped(self, start: Ensemble, chosen: int) -> Try:
        """Returns how the chosen start does without a warp; with labels, with encoders that were taught first."""
        if self.problem.labels is None:
            return self.judge.scored("N", 0.0, start, self.candidates, None, chosen)
        one = self.candidates[chosen]
        self.encoders = self.taught_encoders(one)
        ensemble = self.problem.build("N", [one], self.folds.kept)
        copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        return self.judge.scored("N", 0.0, ensemble, [one], None)

    def taught_encoders(self, one: Candidate) -> TaughtEncoders:
        """Returns encoders that learned the start, from discriminants of the type that says held-out points best."""
        options = [replace(one, covariance_type=kind) for kind in covariance_types(self.problem.x.shape[1])]
        data, held_out = (self.problem.data(options, part) for part in (self.folds.kept, self.folds.held_out))
        ensemble = self.problem.build("N", options, self.folds.kept).to(data.x.dtype)
        with isolated_random_state(self.problem.seed):
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
        cut, worst = zip(*(self.judge.cut_of(one) for one in self.candidates), strict=True)
        level = {warp: self.judge.fold_means(ensemble, self.candidates) for warp, (ensemble, _) in results.items()}
        told = {warp: self.judge.accuracies(ensemble) for warp, (ensemble, _) in results.items()}
        for warp, (ensemble, trained) in results.items():
            elbo = self.judge.held_elbos(ensemble).unbind(1)
            for i, one in enumerate(self.candidates):
                steps = int(trained.warmup[i] + trained.steps[i])
                mean = self.judge.mean(elbo[i]) - self.log_units
                self.rows.append(Row(one.name, warp, self.config.noise, mean, steps, cut[i], told[warp][i]))
        level = level or {"N": self.judge.fold_means(start, self.candidates)}
        told = told or {"N": self.judge.accuracies(start)}
        nominees = {int(each.argmax()) for each in level.values()}
        nominees |= {i for i in range(count) if worst[i] < self.config.touching}
        right = [max(each[i] or 0.0 for each in told.values()) for i in range(count)]
        by = level.get("A", next(iter(level.values())))
        named = min(nominees, key=lambda i: (-right[i], worst[i], -float(by[i])))
        names = ", ".join(self.candidates[i].name for i in sorted(nominees))
        why = "cuts the fewest neighbour edges" if max(right) == 0 else "tells most of the held-out labels"
        name = self.candidates[named].name
        return named, [f"Nominated: {names}; {name} {why}." if len(nominees) > 1 else f"Nominated: {name}."]

    def best_mixture(self, start: Ensemble) -> tuple[Candidate, Tensor] | None:
        """Returns the Gaussian mixture among the starts with the greatest held-out ELBO, and that of each point."""
        values = self.judge.held_elbos(start)
        mixtures = [i for i, one in enumerate(self.candidates) if one.is_mixture]
        best = max(mixtures, key=lambda i: self.judge.mean(values[:, i]), default=None)
        return None if best is None else (self.candidates[best], values[:, best])

    def alone(self, warp: str, noise: float, chosen: int, before: tuple[Ensemble, Trained] | None) -> Try:
        """Trains the chosen start with a warp, unless it ended for want of patience, not steps, while all competed."""
        one, count = self.candidates[chosen], len(self.candidates)
        ensemble = self.problem.build(warp, [one], self.folds.kept)
        if self.encoders is not None and not ensemble.marginal:  # behind splines of features an encoder sees others
            copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        if before is not None and self.encoders is None and self.is_done(before[1], chosen):
            ensemble.copy_from(before[0], range(chosen, before[0].size, count))
            trained = before[1].of(chosen)
        else:
            self.progress(f"{one.name}, warp {warp}" + (", less noise" if noise < self.config.noise else ""))
            name = f"alone.{warp}.{noise:.3g}"
            trained = self.trained(name, ensemble, [one], self.config.long, noise)
        return self.judge.scored(warp, noise, ensemble, [one], trained)

    def is_done(self, trained: Trained, start: int) -> bool:
        """Returns whether a start would not do better with the steps of a start alone."""
        return has_ended(int(trained.warmup[start]), int(trained.steps[start]), self.config.short)

    def simplest(self, tries: Sequence[Try]) -> Try:
        """Returns the best try, or that without a warp if the best is not better than it."""
        plain, *others = tries
        if "N" not in self.warps:
            return max(others, key=lambda t: self.judge.mean(t.judged))
        # Flows that took no step are the start, but behind splines of features it is another.
        able = [t for t in others if t.warmup + t.steps or WARPS[t.warp].marginal]
        best = max([plain, *able], key=lambda t: self.judge.mean(t.judged))
        return best if best is not plain and self.judge.is_better(best.judged, plain.judged) else plain

    def refit(self, one: Candidate, chosen: Try) -> Ensemble:
        """Returns the chosen start and warp trained on all points for the number of steps found."""
        warp, noise = chosen.warp, chosen.noise * self.spread
        whole = [self.problem.own]
        ensemble = self.problem.build(warp, [one], whole)
        if self.encoders is not None and not ensemble.marginal:
            taught = self.problem.build("N", [self.encoders.start], whole).to(noise.dtype)
            with isolated_random_state(self.problem.seed):
                usual = self.config.noise * self.spread
                teach_encoders_for(
                    taught, self.problem.data([one], whole), usual, self.config.long, self.encoders.steps
                )
            copy_encoders(ensemble, taught, [0])
        if warp == "N":
            return ensemble
        self.progress(f"{one.name}, warp {warp}, all points")
        if (done := self.stages.get("refit", state_of(ensemble))) is not None:
            restore(ensemble, done)
            return ensemble
        with isolated_random_state(self.problem.seed):
            ends = chosen.warmup, chosen.steps, chosen.encoder_warmup
            train_for(ensemble, self.problem.data([one], whole), noise, self.config.long, *ends)
        self.stages.put("refit", state_of(ensemble))
        return ensemble


def has_ended(warmup: int, steps: int, schedule: Schedule) -> bool:
    """Returns whether the best held-out scores came well before the steps were over."""
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
