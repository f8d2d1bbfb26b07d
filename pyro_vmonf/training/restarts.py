"""Several initializers compete, each trained a little; the best goes on."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vmonf._io import Json
from pyro_vmonf._torch import seed_everything
from pyro_vmonf._validation import check_count, check_fraction
from pyro_vmonf.architecture import describe
from pyro_vmonf.checkpointing.checkpointer import Checkpointer
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.state import TrainingState, read_modules, write_modules
from pyro_vmonf.initialization.assignment import apply_start, initialize_posterior
from pyro_vmonf.initialization.initializer import Initializer, Start, as_initializers
from pyro_vmonf.initialization.linkage import NoClustersError
from pyro_vmonf.objectives import Objective
from pyro_vmonf.training.trainer import NonFiniteError, Phase, Trainer

__all__ = ["Plan", "Restarts", "Unset", "as_restarts", "begin", "run_restarts"]

SAME = 0.98
"""The adjusted Rand index above which two starts are one."""

FAILED: dict[str, float | str] = {"validation_elbo": -math.inf, "validation_evidence": -math.inf}

INITIAL_POINTS = 10_000
"""The number of points that suffice for means and covariances."""


@dataclass(frozen=True)
class Restarts:
    """Initializers that compete by the ELBO of held-out points; labels have no part in that.

    Of those whose clusters agree (an adjusted Rand index above .98) the first runs for all. One that finds fewer
    clusters than there are components (:class:`~pyro_vmonf.initialization.NoClustersError`) loses.

    Attributes:
        initializers: What competes: names, clusterers, arrays, functions or :class:`Initializer` objects; None stands
            for the parameters as they are, drawn anew when repeated.
        repeats: How often each competes, with another seed and, after the first time, trainable parameters drawn anew.
        trial_epochs: The number of epochs after a warm-up before the trials are compared; at most half of the fit's.
        validation_fraction: The fraction of the points that trials leave out and are compared by.

    Raises:
        ValueError: If a number is out of range, or there is no initializer.

    Examples:
        >>> from pyro_vmonf import Restarts
        >>> len(Restarts(["gmm", "spectral"], repeats=3).initializers)
        2
    """

    initializers: Sequence[object]
    repeats: int = 1
    trial_epochs: int = 20
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        check_count("repeats", self.repeats)
        check_count("trial_epochs", self.trial_epochs, 0)
        check_fraction("validation_fraction", self.validation_fraction, below_one=True)
        as_initializers(list(self.initializers), 1)

    def at(self, rows: Tensor, n: int) -> "Restarts":
        """Returns the same restarts for some of n points; see :meth:`Initializer.at`."""
        return replace(
            self, initializers=[one and one.at(rows, n) for one in as_initializers(list(self.initializers), 1)]
        )

    def fingerprint(self) -> dict[str, Json]:
        """Returns what a resumed fit must share with the one that wrote a checkpoint."""
        initializers = [describe(one) for one in self.initializers]
        described: dict[str, Json] = {"initializers": list(initializers), "repeats": self.repeats}
        if len(self.initializers) * self.repeats > 1:
            described |= {"trial_epochs": self.trial_epochs, "validation_fraction": self.validation_fraction}
        return described


def as_restarts(given: object, features: int) -> Restarts:
    """Returns what ``fit(initializer=…)`` takes as restarts, whose initializers are objects or None."""
    if isinstance(given, Restarts):
        return replace(given, initializers=as_initializers(list(given.initializers), features))
    return Restarts(as_initializers(given, features))


class Trial(NamedTuple):
    """One initializer, at one of its repetitions."""

    initializer: Initializer | None
    repetition: int


@dataclass(frozen=True)
class Plan:
    """Initializers, the phases of a fit that begins from each of them, and the seed.

    Attributes:
        restarts: The initializers.
        phases: Gives the phases of a fit that begins from an initializer.
        seed: The seed.
    """

    restarts: Restarts
    phases: Callable[[Initializer | None], Sequence[Phase]]
    seed: int = 0

    @property
    def trials(self) -> list[Trial]:
        """Each initializer with the numbers of its repetitions."""
        initializers = as_initializers(list(self.restarts.initializers), 1)
        return [Trial(one, i) for i in range(self.restarts.repeats) for one in initializers]

    @property
    def objective(self) -> Objective:
        """The objective of the last phase."""
        return self.phases(self.trials[0].initializer)[-1].objective

    def chosen(self, history: History) -> Sequence[Phase]:
        """Returns the phases of the trial that a history has chosen, or of the first where there was no choice."""
        chosen = [bool(row["chosen"]) for row in history.restarts] or [True]
        return self.phases(self.trials[chosen.index(True)].initializer)

    def start(self, trainer: Trainer, trial: Trial) -> Start | None:
        """Returns what a trial's initializer finds, in the order that labels have; None if it leaves all as it is."""
        if trial.initializer is None:
            return None
        data, model = trainer.data, trainer.model
        known = {"weight": data.weight, "seed": self.seed + trial.repetition, "y": data.y, "labels": model.labels}
        return trial.initializer.start(data.x, model.n_components, **known)  # type: ignore[arg-type]


class Unset(NamedTuple):
    """What a start could not set: components without a part that follows data, and those that are no Gaussians."""

    not_set: frozenset[int] = frozenset()
    not_gaussian: frozenset[int] = frozenset()

    def joined(self, other: "Unset") -> "Unset":
        """Returns the components of both."""
        return Unset(*(a | b for a, b in zip(self, other, strict=True)))


def begin(trainer: Trainer, start: Start | None) -> Unset:
    """Sets model and guide by a start, whose responsibilities become the target of the trainer's data."""
    data, device = trainer.data, trainer.device
    if start is None:
        initialize_posterior(trainer.model, trainer.guide, data.total_weight)
        trainer.data = data.with_target(None)
        return Unset()
    indices = torch.randperm(len(data))[:INITIAL_POINTS]
    points = trainer.augmented(data.batch(indices, device)).x
    applied = apply_start(
        trainer.model,
        trainer.guide,
        points,
        indices,
        start,
        weight=data.weight,
        y=data.y,
        is_augmented=trainer.config.augment is not None,
    )
    trainer.data = data.with_target(applied.responsibilities)
    return Unset(frozenset(applied.not_set), frozenset(applied.not_gaussian))


def run_restarts(
    trainer: Trainer, plan: Plan, state: TrainingState | None, saver: Checkpointer, *, progress: bool = False
) -> Unset:
    """Runs the trials that a state does not have yet, and puts the trainer into the state of the best.

    Args:
        trainer: The fit, not begun.
        plan: What competes.
        state: The state of a competition that was interrupted.
        saver: Saves the state after each trial.
        progress: Whether to show a progress bar.

    Returns:
        What an initializer could not set.

    Raises:
        NonFiniteError, NoClustersError: If every trial failed; the error of the first.
    """
    initial = read_initial(state) or {k: v.clone() for k, v in read_modules(trainer.modules, "initial.").items()}
    done = [] if state is None else state.history.restarts
    # All clusterings come first, so that one that fails does so before any training.
    starts = [sought(plan, trainer, trial) for trial in plan.trials]
    errors: dict[int, Exception] = {}
    unset = Unset()
    for number in tqdm(range(len(done), len(starts)), "restarts", unit="trial", disable=not progress):
        trial, own, began = plan.trials[number], trainer, time.monotonic()
        name = "random" if trial.initializer is None else trial.initializer.name
        row: dict[str, float | str] = {"initializer": name, "repetition": trial.repetition}
        same = same_as(plan.trials, starts, number)
        if same is not None and math.isfinite(float(done[same]["validation_elbo"])):
            row |= {key: done[same][key] for key in FAILED} | {"same_as": same}
        else:
            write_modules(trainer.modules, initial, "initial.")
            row |= FAILED
            try:
                seed_everything(plan.seed + 7919 * (number + 1))
                own, left = run_trial(trainer, plan, trial, found(starts[number]))
                row.update(own.validated())
                unset = unset.joined(left)
            except (NonFiniteError, NoClustersError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
                own, errors[number] = trainer, error
        done = [*done, row | {"seconds": time.monotonic() - began}]
        best = choose(done, f"validation_{plan.objective.ranks_by}")
        reached = own.state().copy() if state is None or best == number else state
        kept = initial if len(done) < len(plan.trials) else {}
        tensors = {name: t for name, t in reached.tensors.items() if not name.startswith("initial.")} | kept
        state = replace(reached, tensors=tensors, history=History(reached.history.rows, done))
        saver.save(lambda state=state: state, now=True)  # type: ignore[misc]
    if all(row["validation_elbo"] == row["validation_evidence"] == -math.inf for row in done):
        raise errors.get(best, NonFiniteError("initializer: expected one whose trial is finite, but all failed"))
    trainer.load_state(cast(TrainingState, state))
    return unset


def found(start: Start | NoClustersError | None) -> Start | None:
    """Returns a start, or raises the error that stands for it."""
    if isinstance(start, NoClustersError):
        raise start
    return start


def sought(plan: Plan, trainer: Trainer, trial: Trial) -> Start | NoClustersError | None:
    """Returns what a trial's initializer finds, or the error of one that finds fewer clusters than components."""
    try:
        return plan.start(trainer, trial)
    except NoClustersError as error:
        return error


def same_as(trials: Sequence[Trial], starts: Sequence[Start | Exception | None], number: int) -> int | None:
    """Returns the number of an earlier trial whose clusters are those of a trial, by an adjusted Rand index > .98.

    Repetitions draw other parameters and other seeds, so that only trials of one repetition can be the same.
    """
    own = starts[number]
    for other, start in enumerate(starts[:number]):
        if (
            trials[other].repetition == trials[number].repetition
            and isinstance(own, Start)
            and isinstance(start, Start)
        ):
            labels = (one.responsibilities.argmax(-1).cpu().numpy() for one in (start, own))
            if adjusted_rand_score(*labels) > SAME:
                return other
    return None


def read_initial(state: TrainingState | None) -> dict[str, Tensor]:
    """Returns the parameters before any trial that a state holds, if it does."""
    return {} if state is None else {n: t for n, t in state.tensors.items() if n.startswith("initial.")}


def choose(rows: list[dict[str, float | str]], ranks_by: str) -> int:
    """Marks the row with the greatest score as chosen, and returns its number; NaN comes last."""
    scores = [float(row[ranks_by]) for row in rows]
    best = max(range(len(rows)), key=lambda i: -math.inf if math.isnan(scores[i]) else scores[i])
    for i, row in enumerate(rows):
        row["chosen"] = i == best
    return best


def run_trial(trainer: Trainer, plan: Plan, trial: Trial, start: Start | None) -> tuple[Trainer, Unset]:
    """Trains on all points but the held-out ones; returns the trial's trainer, and what could not be set."""
    if trial.repetition:
        trainer.modules.apply(reset_parameters)
    whole = trainer.data
    unset = begin(trainer, start)
    used, held_out = trainer.data.split(plan.restarts.validation_fraction, plan.seed)
    own = Trainer(trainer.model, trainer.guide, used, trainer.config, step=trainer.step_factory)
    own.run(cut(plan.phases(trial.initializer), plan.restarts.trial_epochs))
    own.validation, own.fingerprint = held_out, trainer.fingerprint
    own.data, trainer.data = trainer.data, whole
    return own, unset


def cut(phases: Sequence[Phase], epochs: int) -> list[Phase]:
    """Returns the same phases with the last one cut short, to ``epochs`` and at most half of its own."""
    last = phases[-1]
    return [*phases[:-1], replace(last, epochs=min(epochs, last.epochs // 2))]


def reset_parameters(module: nn.Module) -> None:
    """Draws a module's parameters again, if it is to be trained and has ``reset_parameters`` as torch's layers do."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset) and any(p.requires_grad for p in module.parameters()):
        reset()
