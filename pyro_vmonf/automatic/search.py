"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.agreement import SearchWarning, disagreement
from pyro_vmonf.automatic.columns import tied_columns
from pyro_vmonf.automatic.config import Schedule, SearchConfig
from pyro_vmonf.automatic.contest import Contest, nominate, undecided
from pyro_vmonf.automatic.covariances import covariance_types
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.judge import Judge, Try
from pyro_vmonf.automatic.label_encoder import TaughtEncoders, copy_encoders, teach_encoders, teach_encoders_for
from pyro_vmonf.automatic.problem import Problem
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.states import restore, state_of
from pyro_vmonf.automatic.training import Leg, Trained, train, train_for, train_further
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.checkpointing.stages import Stages
from pyro_vmonf.evaluation.agreement import warn_of_share

__all__ = ["Search"]

COMPETING = ("A", "P")  # the warp under which starts compete, the first of these that may be added
MORE = {"P": "PP", "A": "AP"}  # what is tried where another was best
FINER = 0.3  # times the noise
HOPELESS = 0.25  # nats by which a training may be behind the best, and go on


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
        x = problem.x[problem.own]
        is_constant = x.amax(0) == x.amin(0)  # so that all points share a value of them
        self.has_ties = bool((tied_columns(x, problem.weight[problem.own]) | is_constant).any())
        self.encoders: TaughtEncoders | None = None  # with labels

    def with_covariances(self) -> list[Candidate]:
        """Returns the candidates, each hard clustering with the type of covariances whose held-out ELBO is greatest."""
        found: list[Candidate] = []
        for one in self.candidates:
            kinds = [one.covariance_type] if one.is_mixture else self.covariance_types
            options = [replace(one, covariance_type=kind) for kind in kinds]
            scores = self.judge.fold_means(self.problem.build("N", options, self.folds.kept), options)
            found.append(options[int(scores.argmax())])
        return found

    def trained(
        self,
        name: str,
        ensemble: Ensemble,
        chosen: Sequence[Candidate],
        schedule: Schedule,
        noise: float,
        least: float | None = -math.inf,
    ) -> Trained:
        """Trains the chosen candidates in each fold, or takes what a stage of that name ended with.

        Where ``least`` is None they go on from where they are.
        """
        if (done := self.stages.get(name, stage_tensors(ensemble, len(chosen)))) is not None:
            return restore_stage(ensemble, done)
        data, held_out = (self.problem.data(chosen, part) for part in (self.folds.kept, self.folds.held_out))
        with isolated_random_state(self.problem.seed):
            numbers = ensemble, data, held_out, noise * self.spread, schedule, len(self.folds)
            found = train_further(*numbers) if least is None else train(*numbers, least)
        self.stages.put(name, stage_tensors(ensemble, len(chosen), found))
        return found

    def compete(self, numbers: list[int]) -> Contest:
        """Trains some candidates with one warp."""
        some = [self.candidates[i] for i in numbers]
        warp = next((warp for warp in COMPETING if warp in self.warps), "N")
        ensemble = self.problem.build(warp, some, self.folds.kept)
        if warp == "N":
            return Contest(numbers, warp, ensemble, untrained(ensemble, len(some)))
        self.progress(f"{len(some)} starts, warp {warp}")
        trained = self.trained(f"starts.{warp}", ensemble, some, self.config.short, self.config.noise)
        self.rows += self.rows_of(warp, ensemble, trained, some)
        return Contest(numbers, warp, ensemble, trained)

    def rows_of(self, warp: str, ensemble: Ensemble, trained: Trained, some: Sequence[Candidate]) -> list[Row]:
        """Returns a row of the report for each of some candidates that were trained at once."""
        elbos, told = self.judge.held_elbos(ensemble).unbind(1), self.judge.accuracies(ensemble)
        levels = [self.judge.mean(elbo) - self.log_units for elbo in elbos]
        steps, cuts = (trained.warmup + trained.steps).tolist(), [self.judge.cut_of(one)[0] for one in some]
        return [
            Row(one.name, warp, self.config.noise, level, count, cut, share)
            for one, level, count, cut, share in zip(some, levels, steps, cuts, told, strict=True)
        ]

    @property
    def covariance_types(self) -> tuple[str, ...]:
        """The types of covariances that compete."""
        return covariance_types(self.problem.x.shape[1], self.config.mixtures.covariance_types)

    @property
    def parts(self) -> int:
        """The greatest number of trainings."""
        return len(self.warps) + 3

    def run(self, progress: Callable[[str], None] = lambda text: None) -> tuple[Ensemble, SearchReport]:
        """Returns the chosen mixture, trained on all points, and what was tried.

        Args:
            progress: Called with a few words before each training.
        """
        self.progress = progress
        self.candidates = self.with_covariances()
        start = self.problem.build("N", self.candidates, self.folds.kept)
        numbers, reasons = undecided(self.judge, self.candidates, self.config.touching)
        chosen, contest = numbers[0], None
        if len(numbers) > 1:
            contest = self.compete(numbers)
            chosen, why = nominate(self.judge, [self.candidates[i] for i in numbers], contest, self.config)
            reasons.append(why)
        plain, one = self.unwarped(start, chosen), self.candidates[chosen]
        tries = self.refined(self.warped(plain, contest, chosen), chosen)
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
        choice = Choice(one.name, one.covariance_type, best.warp, best.noise, best.total_steps)
        stopped = "patience" if has_ended(best, self.config.long) else "steps"
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

    def warped(self, plain: Try, contest: Contest | None, chosen: int) -> list[Try]:
        """Returns the chosen start without a warp, and with each of those that are tried of it alone.

        Those that stay far behind the best so far end early.
        """
        tries = [plain]
        for warp in [warp for warp in self.warps if warp != "N"]:
            before = contest if contest is not None and contest.warp == warp else None
            least = self.least(t.elbo for t in tries)
            if before is None or before.level(chosen) >= least:
                tries.append(self.alone(warp, chosen, before, least))
        return tries

    def least(self, elbos: Iterable[float]) -> float:
        """Returns the least ELBO from which a training goes on, given those of others; with labels any is."""
        return max(elbos, default=-math.inf) - (HOPELESS if self.problem.labels is None else math.inf)

    def refined(self, tries: list[Try], chosen: int) -> list[Try]:
        """Returns the tries and others by what was best: more splines where P or A were, and then less noise."""
        best = self.simplest(tries)
        if (more := MORE.get(best.warp)) in self.refinements:
            tries = [*tries, self.alone(more, chosen, None, self.least([best.elbo]))]
            best = self.simplest(tries)
        # Where many points share values, less noise means ever greater densities there, and none between them.
        if best.warp != "N" and best.noise and not self.has_ties:
            tries = [*tries, self.finer(best, chosen)]
        return tries

    def finer(self, before: Try, chosen: int) -> Try:
        """Goes on from a try with less noise."""
        one, noise = self.candidates[chosen], FINER * before.noise
        ensemble = self.problem.build(before.warp, [one], self.folds.kept)
        restore(ensemble, before.state)
        self.progress(f"{one.name}, warp {before.warp}, noise {noise:.2g}")
        trained = self.trained(f"finer.{before.warp}.{noise:.2g}", ensemble, [one], self.config.long, noise, least=None)
        found = self.judge.scored(before.warp, noise, ensemble, [one], trained)
        steps = {name: getattr(before, name) for name in ("warmup", "steps", "encoder_warmup")}
        return replace(found, finer=int(trained.steps[0]), **steps)

    def row(self, one: Candidate, t: Try) -> Row:
        """Returns a row of the report, with the ELBO in the units of x."""
        return Row(one.name, t.warp, t.noise, t.elbo - self.log_units, t.total_steps, t.cut, t.accuracy)

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
        options = [replace(one, covariance_type=kind) for kind in self.covariance_types]
        data, held_out = (self.problem.data(options, part) for part in (self.folds.kept, self.folds.held_out))
        ensemble = self.problem.build("N", options, self.folds.kept).to(data.x.dtype)
        with isolated_random_state(self.problem.seed):
            noise = self.config.noise * self.spread
            at, score = teach_encoders(ensemble, data, held_out, noise, self.config.long, len(self.folds))
        best = int(score.argmax())
        rows = range(best, ensemble.size, len(options))
        return TaughtEncoders(ensemble, rows, options[best], int(at[best]))

    def best_mixture(self, start: Ensemble) -> tuple[Candidate, Tensor] | None:
        """Returns the Gaussian mixture among the starts with the greatest held-out ELBO, and that of each point."""
        values = self.judge.held_elbos(start)
        mixtures = [i for i, one in enumerate(self.candidates) if one.is_mixture]
        best = max(mixtures, key=lambda i: self.judge.mean(values[:, i]), default=None)
        return None if best is None else (self.candidates[best], values[:, best])

    def alone(self, warp: str, chosen: int, before: Contest | None, least: float) -> Try:
        """Trains the chosen start with a warp, unless it ended for want of patience, not steps, while all competed."""
        one, noise = self.candidates[chosen], self.config.noise
        ensemble = self.problem.build(warp, [one], self.folds.kept)
        if self.encoders is not None and not ensemble.marginal:  # behind splines of features an encoder sees others
            copy_encoders(ensemble, self.encoders.ensemble, self.encoders.rows)
        if before is not None and self.encoders is None and self.is_done(before, chosen):
            trained = before.copied_to(ensemble, chosen)
        else:
            self.progress(f"{one.name}, warp {warp}")
            trained = self.trained(f"alone.{warp}", ensemble, [one], self.config.long, noise, least)
        return self.judge.scored(warp, noise, ensemble, [one], trained)

    def is_done(self, contest: Contest, chosen: int) -> bool:
        """Returns whether a start would not do better with the steps of a start alone."""
        short, own = self.config.short, contest.trained.of(contest.numbers.index(chosen))
        ends = (int(own.warmup), short.warmup), (int(own.steps), short.steps)
        return all(ended_early(steps, most, short) for steps, most in ends)

    def simplest(self, tries: Sequence[Try]) -> Try:
        """Returns the best try, or that without a warp if the best is not better than it."""
        plain, *others = tries
        if "N" not in self.warps:
            return max(others, key=lambda t: self.judge.mean(t.judged))
        # Flows that took no step are the start, but behind splines of features it is another.
        able = [t for t in others if t.total_steps or WARPS[t.warp].marginal]
        best = max([plain, *able], key=lambda t: self.judge.mean(t.judged))
        return best if best is not plain and self.judge.is_better(best.judged, plain.judged) else plain

    def refit(self, one: Candidate, chosen: Try) -> Ensemble:
        """Returns the chosen start and warp trained on all points for the number of steps found."""
        warp, noise = chosen.warp, self.config.noise * self.spread
        whole = [self.problem.own]
        ensemble = self.problem.build(warp, [one], whole)
        if self.encoders is not None and not ensemble.marginal:
            taught = self.problem.build("N", [self.encoders.start], whole).to(noise.dtype)
            with isolated_random_state(self.problem.seed):
                data = self.problem.data([one], whole)
                teach_encoders_for(taught, data, noise, self.config.long, self.encoders.steps)
            copy_encoders(ensemble, taught, [0])
        if warp == "N":
            return ensemble
        self.progress(f"{one.name}, warp {warp}, all points")
        if (done := self.stages.get("refit", state_of(ensemble))) is not None:
            restore(ensemble, done)
            return ensemble
        with isolated_random_state(self.problem.seed):
            legs = [Leg(True, chosen.warmup, encoder_steps=chosen.encoder_warmup), Leg(False, chosen.steps)]
            if chosen.finer:
                legs.append(Leg(False, chosen.finer, FINER))
            train_for(ensemble, self.problem.data([one], whole), noise, self.config.long, legs)
        self.stages.put("refit", state_of(ensemble))
        return ensemble


def ended_early(steps: int, most: int, schedule: Schedule) -> bool:
    """Returns whether the best held-out score came well before the steps were over."""
    return steps + schedule.patience <= most


def has_ended(chosen: Try, schedule: Schedule) -> bool:
    """Returns whether training by the ELBO ended for want of a better held-out score, not of steps."""
    return all(ended_early(steps, schedule.steps, schedule) for steps in (chosen.steps, chosen.finer))


def stage_tensors(ensemble: Ensemble, starts: int, trained: Trained | None = None) -> dict[str, Tensor]:
    """Returns what is kept of a stage; without a result, tensors of the same shapes."""
    return {**state_of(ensemble), **vars(trained or untrained(ensemble, starts))}


def untrained(ensemble: Ensemble, starts: int) -> Trained:
    """Returns the result of no training of so many starts."""
    nothing = torch.zeros(starts, dtype=torch.long)
    return Trained(nothing, nothing, torch.zeros(starts, dtype=ensemble.log_weights.dtype), nothing)


def restore_stage(ensemble: Ensemble, tensors: dict[str, Tensor]) -> Trained:
    """Gives an ensemble the state of a stage, and returns its result."""
    restore(ensemble, tensors)
    return Trained(*(tensors[name] for name in Trained.__dataclass_fields__))
