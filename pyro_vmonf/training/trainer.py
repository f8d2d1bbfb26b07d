"""The one loop: phases of epochs, epochs of steps."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vmonf._io import Json
from pyro_vmonf.checkpointing.history import OBJECTIVES, EpochState, History, OnEpoch, Row
from pyro_vmonf.checkpointing.state import (
    TrainingState,
    read_modules,
    read_optimizer,
    read_random,
    write_modules,
    write_optimizer,
    write_random,
)
from pyro_vmonf.data.perturbations import apply_perturbation
from pyro_vmonf.evaluation.evaluating import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Objective, average
from pyro_vmonf.steps.base import Step, StepFactory
from pyro_vmonf.training.batches import Batches
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.data import TrainingData
from pyro_vmonf.training.schedules import Schedule
from pyro_vmonf.training.stopping import best_epoch

__all__ = ["NonFiniteError", "Phase", "Trainer"]


class NonFiniteError(ArithmeticError):
    """The loss or its gradient was NaN or infinite; model and guide hold the parameters before that step."""


@dataclass(frozen=True)
class Phase:
    """A number of epochs with one objective.

    Attributes:
        name: What the phase is for, such as ``"warm-up"``.
        epochs: The number of passes over the data.
        objective: The loss.
        batches: Yields the indices of each step's points.
        learning_rate: A function of the epoch within the phase.
        temperature: The encoder's, a function of the epoch within the phase; None leaves it as it is.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import Elbo
        >>> from pyro_vmonf.training import ConstantRate, Phase
        >>> whole = Phase("whole batches", 5, Elbo(), lambda data: iter([torch.arange(len(data))]), ConstantRate(1e-3))
        >>> whole.epochs
        5
    """

    name: str
    epochs: int
    objective: Objective
    batches: Batches
    learning_rate: Schedule
    temperature: Schedule | None = None


class Trainer:
    """Trains a model and its guide, in place, with Adam.

    Args:
        model: The model p(x, z), on the device where it is trained.
        guide: The guide q(z | x), on the same device.
        data: The points.
        config: The numbers of the fit.
        step: Makes the step of each phase.
        validation: Held-out points, evaluated after each epoch.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> from pyro_vmonf import Elbo, TrainingConfig
        >>> from pyro_vmonf.steps import EagerStep
        >>> from pyro_vmonf.training import ConstantRate, Phase, Trainer, TrainingData
        >>> data = TrainingData(torch.randn(8, 2))
        >>> phase = Phase("main", 2, Elbo(), lambda data: iter([torch.arange(len(data))]), ConstantRate(1e-3))
        >>> trainer = Trainer(model, guide, data, TrainingConfig(), step=EagerStep)
        >>> len(trainer.run([phase]).rows)
        2
    """

    def __init__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        data: TrainingData,
        config: TrainingConfig,
        *,
        step: StepFactory,
        validation: TrainingData | None = None,
    ) -> None:
        self.model, self.guide, self.data, self.config = model, guide, data, config
        self.step_factory, self.validation = step, validation
        self.modules = nn.ModuleDict({"model": model, "guide": guide})
        self.device = guide.temperature.device
        self.optimizer = torch.optim.Adam(
            [p for p in self.modules.parameters() if p.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.history = History()
        self.fingerprint: Mapping[str, Json] = {}
        self.step: tuple[Phase, Step] | None = None
        self.best: dict[str, Tensor] = {}  # model and guide of the best held-out epoch, by names after "best."

    def run(self, phases: Sequence[Phase], on_epoch: OnEpoch | None = None, *, progress: bool = False) -> History:
        """Trains through those epochs of the phases that are not yet in the history, and returns it.

        With ``config.patience`` it ends where held-out points have not got better for so many epochs of the last phase;
        :meth:`restore_best` then gives model and guide their best parameters.

        Raises:
            NonFiniteError: If the loss or its gradient is NaN or infinite, naming the step.
        """
        plan = [(i, phase, number) for i, phase in enumerate(phases) for number in range(phase.epochs)]
        done = len(plan) if self.history.stopped in ("on_epoch", "patience") else len(self.history.rows)
        score = f"validation_{phases[-1].objective.ranks_by}" if self.is_patient else ""
        with closing(self), tqdm(plan[done:], "", len(plan), unit="epoch", initial=done, disable=not progress) as bar:
            for i, phase, number in bar:
                if self.has_waited(score, len(phases) - 1):
                    self.history.stopped = "patience"
                    break
                before = self.start_score(score)
                row: Row = {"epoch": len(self.history.rows), "phase": i, **self.epoch(phase, number), **before}
                self.history.rows.append(row)
                self.keep_best(score)
                bar.set_postfix(shown(row), refresh=False)
                state = EpochState(self.model, self.guide, phase.name, row, self.history)
                if on_epoch is not None and on_epoch(state):
                    self.history.stopped = "on_epoch"
                    break
        self.note_best(score)
        self.history.stopped = self.history.stopped or "epochs"
        return self.history

    @property
    def is_patient(self) -> bool:
        """Whether held-out points choose the epoch whose parameters are kept."""
        return self.config.patience is not None and self.validation is not None

    def has_waited(self, score: str, last_phase: int) -> bool:
        """Whether so many epochs have not got better as ``config.patience`` allows."""
        best = best_epoch(self.history.rows, score, last_phase) if self.is_patient else None
        return best is not None and best.since >= cast(int, self.config.patience)

    def start_score(self, score: str) -> Row:
        """Returns the held-out score before the first epoch that has one, and keeps the parameters there."""
        if not self.is_patient or any(score in row for row in self.history.rows):
            return {}
        self.copy_best()
        return {f"initial_{score}": self.validated()[score]}

    def note_best(self, score: str) -> None:
        """Writes into the history which epoch is the best by held-out points."""
        best = best_epoch(self.history.rows, score, 0) if self.is_patient else None
        self.history.best_epoch = None if best is None else best.epoch

    def keep_best(self, score: str) -> None:
        """Keeps the parameters of the last epoch, if no epoch before it is as good."""
        self.note_best(score)
        if self.history.best_epoch == self.history.rows[-1]["epoch"]:
            self.copy_best()

    def copy_best(self) -> None:
        """Keeps a copy of the parameters as they are."""
        self.best = {name: tensor.clone() for name, tensor in read_modules(self.modules, "best.").items()}

    def restore_best(self) -> None:
        """Gives model and guide the parameters of the best held-out epoch, if any were kept."""
        self.close()
        if self.best:
            write_modules(self.modules, self.best, "best.")

    def epoch(self, phase: Phase, number: int) -> Row:
        """Trains for epoch ``number`` of a phase, and evaluates the held-out points."""
        began = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = phase.learning_rate(number)
        if phase.temperature is not None:
            self.guide.temperature.fill_(phase.temperature(number))
        self.modules.train()
        if self.step is None or self.step[0] is not phase:
            self.close()
            step = self.step_factory(self.model, self.guide, phase.objective, self.optimizer, self.config.max_grad_norm)
            self.step = phase, step
        self.step[1].begin_epoch()
        done = []
        for indices in phase.batches(self.data):
            batch = self.batch(indices)
            size = len(batch.x) if batch.weight is None else batch.weight.sum()
            done.append((size, self.step[1](batch)))
        row: Row = {"temperature": float(self.guide.temperature), "steps": len(done)}
        row |= self.means(done) | (first_of(done) if number == 0 else {})
        row |= self.validated()
        return row | {"seconds": time.monotonic() - began}

    def batch(self, indices: Tensor) -> Batch:
        """Returns the points at ``indices``, augmented, and with them some labelled points if not all have labels."""
        batch = self.augmented(self.data.batch(indices, self.device))
        labelled = self.data.labelled
        if not len(labelled) or batch.all_labelled:
            return batch
        some = labelled[torch.randperm(len(labelled))][: self.config.batch_size]
        return replace(batch, labelled=self.augmented(self.data.batch(some, self.device)))

    def augmented(self, batch: Batch) -> Batch:
        """Returns the batch with its points passed through ``config.augment``."""
        augment = self.config.augment
        return batch if augment is None else replace(batch, x=apply_perturbation("augment", augment, batch.x))

    def means(self, done: Sequence[tuple[int | Tensor, dict[str, Tensor]]]) -> Row:
        """Returns each metric's mean over the steps, weighted by the size of their batches.

        This is where an epoch's numbers are read back to the host, once each.
        """
        failed = read_back([metrics["non_finite"] for _, metrics in done])
        if bool(failed.any()):
            self.close()
            before = sum(row["steps"] for row in self.history.rows)
            raise NonFiniteError(
                f"loss: expected a finite loss and gradient, got NaN or infinity in step "
                f"{round(before) + int(failed.argmax())} of this fit; model and guide hold the parameters before it. "
                "Try a lower learning_rate, a max_grad_norm, or data scaled to about unit variance."
            )
        row: Row = {}
        for name in dict.fromkeys(name for _, metrics in done for name in metrics if name != "non_finite"):
            having = [(size, metrics[name]) for size, metrics in done if name in metrics]
            sizes = read_back([torch.as_tensor(size) for size, _ in having])
            total = torch.zeros((), dtype=torch.float64)
            for size, value in zip(sizes, read_back([value for _, value in having]), strict=True):
                total += size * value
            row[name] = float(total) / float(sizes.sum())
        return row

    def validated(self) -> Row:
        """Returns the ELBO and the evidence of the held-out points, nothing if there are none."""
        if self.validation is None:
            return {}
        found, weight = evaluate(self.model, self.guide, self.validation.x), self.validation.weight
        weight = None if weight is None else weight.to(found.elbo)
        return {
            "validation_elbo": float(average(found.elbo, weight)),
            "validation_evidence": float(average(found.evidence, weight)),
        }

    def state(self) -> TrainingState:
        """Returns the state of the fit; its tensors are the fit's own, not copies."""
        tensors = read_modules(self.modules) | read_optimizer(self.modules, self.optimizer) | read_random()
        target = {} if self.data.target is None else {"target": self.data.target}
        return TrainingState(tensors | target | self.best, self.history, self.fingerprint)

    def load_state(self, state: TrainingState) -> None:
        """Puts the fit into a state that has every tensor of its own state, with the shapes they have."""
        self.close()
        write_modules(self.modules, state.tensors)
        write_optimizer(self.modules, self.optimizer, state.tensors)
        write_random(state.tensors)
        self.data = self.data.with_target(state.tensors.get("target"))
        self.best = {n: t.detach().to(self.device).clone() for n, t in state.tensors.items() if n.startswith("best.")}
        self.history = state.history

    def close(self) -> None:
        """Ends the step of the last phase."""
        if self.step is not None:
            self.step[1].close()
        self.step = None


def first_of(done: Sequence[tuple[int | Tensor, dict[str, Tensor]]]) -> Row:
    """Returns the objective at the first of the steps that have it, as ``initial``."""
    for name in OBJECTIVES:
        if having := [metrics[name] for _, metrics in done if name in metrics]:
            return {"initial": float(having[0])}
    return {}


def read_back(numbers: Sequence[Tensor]) -> Tensor:
    """Returns tensors without shape as one tensor on the host, in double precision."""
    return torch.stack(list(numbers)).cpu().double() if numbers else torch.zeros(0, dtype=torch.float64)


def shown(row: Row) -> dict[str, str]:
    """Returns what the progress bar shows of a row."""
    names = (*OBJECTIVES, "validation_evidence")
    return {name: f"{row[name]:.3f}" for name in names if name in row and math.isfinite(row[name])}
