"""Training several mixtures at once: each keeps its best held-out state, and all end once none gets better."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.blocks import Blocks
from pyro_vmonf.automatic.config import Schedule
from pyro_vmonf.automatic.data import EnsembleData
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.states import keep, restore, state_of
from pyro_vmonf.automatic.values import block_of, kept_elbo, label_term, objective, value_of
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.steps.rows import RowAdam

__all__ = ["Ascent", "Leg", "Score", "Trained", "ascend", "interval_of", "train", "train_for", "train_further"]

WORTH_A_CAPTURE = 60  # steps
LEAST_GAIN = 1e-4  # nats
LEAST_INTERVAL = 4  # steps between two looks at the held-out points
MOST_SHOWN = 256  # labelled points that teach the encoder in a step


@dataclass(frozen=True)
class Trained:
    """The number of steps of the warm-up and after it at which each start was best, and its held-out ELBO, ``(C,)``.

    With labels, the encoder's step in the warm-up is its own, and the score is that of the objective with labels.
    """

    warmup: Tensor
    steps: Tensor
    elbo: Tensor
    encoder_warmup: Tensor

    def of(self, start: int) -> "Trained":
        """Returns that of one start, ``(1,)``."""
        return Trained(*(getattr(self, name)[start : start + 1] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Leg:
    """A part of a training whose length is known.

    Attributes:
        is_taught: Whether it is the warm-up.
        steps: The number of steps.
        noise: What the noise is multiplied by.
        encoder_steps: The number of steps of the encoder, if it has one of its own.
    """

    is_taught: bool
    steps: int
    noise: float = 1.0
    encoder_steps: int | None = None

    @property
    def ends(self) -> list[int]:
        """The steps of the flows, and those of the encoder if they are others."""
        return [self.steps] if self.encoder_steps is None else [self.steps, self.encoder_steps]


def captured(function: Callable[..., list[Tensor]], inputs: Sequence[Tensor], calls: int) -> Callable[[], list[Tensor]]:
    """Returns the function of fixed inputs, captured where it is called often enough to repay it."""
    if calls > WORTH_A_CAPTURE:
        try:
            return Replay(function, inputs)
        except CaptureError:
            pass
    return lambda: function(*inputs)


class Ascent:
    """Steps of Adam, in a warm-up in which the start's responsibilities are taught, or on the ELBO.

    Args:
        ensemble: The mixtures.
        data: Their points.
        noise: The matrix ``(D, D)`` by which Gaussian noise is multiplied that is added to the points of a step.
        schedule: The numbers of the training.
        steps: The greatest number of steps that are to be expected.
    """

    def __init__(self, ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule, steps: int) -> None:
        self.ensemble, self.data, self.schedule, self.steps = ensemble, data, schedule, steps
        self.noise = noise.clone()
        self.taught = torch.zeros((), dtype=data.x.dtype, device=data.x.device)
        self.optimizer = self.adam()
        self.inputs = [tensor[:, : data.batch_size].clone() for tensor in data.tensors]
        self.labelled = data.labelled()
        self.shown = [tensor[:, :MOST_SHOWN].clone() for tensor in self.labelled or ()]
        self.work = captured(self.gradient, [*self.inputs, *self.shown], steps)

    def adam(self) -> RowAdam:
        """Returns the optimizer of all that is trained."""
        rates = self.schedule.rate, self.schedule.encoder_rate
        return RowAdam(self.ensemble.groups(), rates, self.ensemble.size)

    def of(self, rows: Tensor) -> "Ascent":
        """Returns the ascent of some of the mixtures, which goes on from where it is."""
        part = type(self)(self.ensemble.of(rows), self.data.of(rows), self.noise, self.schedule, self.steps)
        part.optimizer.take(self.optimizer, rows)
        part.taught.copy_(self.taught)
        return part

    def gradient(self, x: Tensor, target: Tensor, weight: Tensor, *more: Tensor) -> list[Tensor]:
        """Sets the gradient of a batch, and returns the objective; ``more`` are labels, and points that show them."""
        self.optimizer.write()
        noisy = x + torch.randn_like(x) @ self.noise
        value = objective(self.ensemble, noisy, target, weight, self.taught, more[0] if more else None)
        if more:
            points, own, mass = more[1:]
            value = value + label_term(self.ensemble, points + torch.randn_like(points) @ self.noise, own, mass)
        self.optimizer.set_gradient(torch.autograd.grad(value.sum(), self.optimizer.parameters))
        return [value.detach()]

    def begin(self, is_taught: bool) -> None:
        """Begins the warm-up, or what comes after it, from the state that the mixtures are in."""
        self.taught.fill_(is_taught)
        self.optimizer.begin()

    def batches(self) -> Iterator[Tensor]:
        """Yields the rows of one batch after the other, in a new random order each epoch."""
        size = self.data.batch_size
        while True:
            order = torch.randperm(self.data.x.shape[1]).to(self.data.x.device)
            yield from order[: len(order) // size * size].view(-1, size)

    def advance(self, rows: Tensor) -> None:
        """Does one step with the points of some rows."""
        for own, whole in zip(self.inputs, self.data.tensors, strict=True):
            torch.index_select(whole, 1, rows, out=own)
        if self.labelled is not None and (count := self.labelled[0].shape[1]) > MOST_SHOWN:
            others = torch.randperm(count).to(rows.device)[:MOST_SHOWN]
            for own, whole in zip(self.shown, self.labelled, strict=True):
                torch.index_select(whole, 1, others, out=own)
        self.work()
        self.optimizer.update()


class Score:
    """The mean score of held-out points, pooled over folds.

    All folds of a start share the step at which it ends, so that no fold chooses for itself what it is judged by.

    Args:
        ensemble: The mixtures, F folds of C starts, folds first.
        held_out: Their points.
        folds: The number F of folds.
        calls: How often it is about to be called, see :func:`captured`.
    """

    def __init__(self, ensemble: Ensemble, held_out: EnsembleData, folds: int, calls: int) -> None:
        self.ensemble, self.held_out, self.folds, self.calls = ensemble, held_out, folds, calls
        self.taught = torch.zeros((), dtype=held_out.x.dtype, device=held_out.x.device)
        # A captured function keeps the memory of all its tensors, so that it is one of a block of the points.
        self.points = Blocks([held_out.x, held_out.target], block_of(ensemble))
        self.values = captured(self.each, [*self.points.inputs, self.taught], calls * len(self.points))

    def of(self, ensemble: Ensemble, rows: Tensor) -> "Score":
        """Returns the score of an ensemble of some of the mixtures."""
        return type(self)(ensemble, self.held_out.of(rows), self.folds, self.calls)

    @torch.no_grad()
    def each(self, x: Tensor, target: Tensor, taught: Tensor) -> list[Tensor]:
        """Returns the scores of each point of a block, ``(V, m)``.

        With labels there are two, which are the same but in the warm-up: there one is of the flows, and one of the
        encoders, each of which then has its own step.
        """
        if self.held_out.labels is None:
            return [value_of(self.ensemble, x, target, taught)]
        log_joint, log_q = self.ensemble(x)
        kept = kept_elbo(log_joint, log_q, target)
        return [torch.lerp(kept, (target.mT * table).sum(1), taught) for table in (log_joint, log_q)]

    def __call__(self, taught: Tensor) -> Tensor:
        """Returns the scores of the starts, ``(1, C)`` or with labels ``(2, C)``; −∞ in the place of NaN."""
        self.taught.copy_(taught)
        values = self.points.joined(lambda: torch.stack(self.values()))
        weight, own = self.held_out.weight.unflatten(0, (self.folds, -1)), values.unflatten(1, (self.folds, -1))
        return ((weight * own).sum((1, 3)) / weight.sum((0, 2))).nan_to_num(nan=-math.inf)


def ascend(
    ascent: Ascent, score: Score, is_taught: bool, steps: int, least: float = -math.inf
) -> tuple[Tensor, Tensor]:
    """Goes on until no score gets better, and leaves the mixtures in the state of their best score.

    Once half of the starts have waited in vain for a better score, the others go on alone. All end where the
    best score, after as many steps as the patience, is below the least that is of use.

    Args:
        ascent: The steps.
        score: The scores of the starts; score c is that of the mixtures c, c + C, c + 2 C …, a start's in all folds.
        is_taught: Whether this is the warm-up.
        steps: The greatest number of steps.
        least: The least score that is of use.

    Returns:
        The step at which each score was best, and the score, in the shape of the scores.
    """
    whole, patience = ascent.ensemble, ascent.schedule.patience
    ascent.begin(is_taught)
    best, state = score(ascent.taught), state_of(whole)
    at = torch.zeros(best.shape, dtype=torch.long, device=best.device)
    mixtures = torch.arange(whole.size, device=best.device).unflatten(0, (score.folds, -1))
    starts = torch.arange(best.shape[1], device=best.device)
    interval = interval_of(ascent.data)
    for step, rows in zip(range(1, steps + 1), ascent.batches(), strict=False):
        ascent.advance(rows)
        if step % interval and step < steps:
            continue
        ascent.optimizer.write_means()
        now = best.index_copy(1, starts, score(ascent.taught))
        better = now > best + LEAST_GAIN
        best, at = torch.where(better, now, best), torch.where(better, step, at)
        keep(ascent.ensemble, state, better[:, starts].repeat(1, score.folds), mixtures[:, starts].flatten())
        # Where flows and encoders have steps of their own, those of the flows say when a start has stopped.
        waiting = (step - at[0] <= patience)[starts].nonzero().squeeze(-1)
        if not len(waiting) or (step >= patience and bool(best[0].max() < least)):
            break
        if 2 * len(waiting) <= len(starts):
            some = torch.arange(ascent.ensemble.size, device=best.device).unflatten(0, (score.folds, -1))
            some, starts = some[:, waiting].flatten(), starts[waiting]
            ascent = ascent.of(some)
            score = score.of(ascent.ensemble, some)
    restore(whole, state)
    return at, best


def interval_of(data: EnsembleData) -> int:
    """Returns the number of steps between two looks at the held-out points: those of an epoch, and at least four."""
    return max(LEAST_INTERVAL, data.x.shape[1] // data.batch_size)


def train(
    ensemble: Ensemble,
    data: EnsembleData,
    held_out: EnsembleData,
    noise: Tensor,
    schedule: Schedule,
    folds: int = 1,
    least: float = -math.inf,
) -> Trained:
    """Maximises the ELBO of each mixture, and leaves each in the state whose held-out ELBO was greatest.

    In a warm-up before that, flows and encoder learn the start's responsibilities, until held-out points say no more.

    Args:
        ensemble: The mixtures: F folds of C starts, folds first.
        data: Their points.
        held_out: Other points of theirs.
        noise: The matrix ``(D, D)`` of the noise that is added to the points.
        schedule: The numbers of the training.
        folds: The number F of folds, all of which stop at the same step.
        least: The least held-out ELBO that is of use: where it is out of reach, training ends early.
    """
    steps = schedule.warmup + schedule.steps
    ascent = Ascent(ensemble, data, noise, schedule, steps)
    score = Score(ensemble, held_out, folds, steps // interval_of(data))
    initial, before = state_of(ensemble), score(torch.zeros_like(ascent.taught))[0]
    warmups, _ = ascend(ascent, score, True, schedule.warmup)
    (then, *_), (elbo, *_) = ascend(ascent, score, False, schedule.steps, least)
    unchanged = before >= elbo
    back, rows = state_of(ensemble), unchanged.repeat(folds)
    for name, tensor in initial.items():
        back[name][rows] = tensor[rows]
    restore(ensemble, back)
    warmup, then, encoder = (torch.where(unchanged, 0, at) for at in (warmups[0], then, warmups[-1]))
    return Trained(warmup, then, torch.where(unchanged, before, elbo), encoder)


def train_further(
    ensemble: Ensemble, data: EnsembleData, held_out: EnsembleData, noise: Tensor, schedule: Schedule, folds: int = 1
) -> Trained:
    """Maximises the ELBO of each mixture from where it is, without a warm-up; all else is as in :func:`train`."""
    ascent = Ascent(ensemble, data, noise, schedule, schedule.steps)
    score = Score(ensemble, held_out, folds, schedule.steps // interval_of(data))
    at, elbo = ascend(ascent, score, False, schedule.steps)
    return Trained(torch.zeros_like(at[0]), at[0], elbo[0], torch.zeros_like(at[0]))


def train_for(ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule, legs: Sequence[Leg]) -> None:
    """Trains each mixture by a number of steps, one leg after the other.

    Args:
        ensemble: The mixtures.
        data: Their points.
        noise: The matrix ``(D, D)`` of the noise that is added to the points.
        schedule: The learning rates.
        legs: What is done.
    """
    ascent = Ascent(ensemble, data, noise, schedule, sum(max(leg.ends) for leg in legs))
    mixtures = torch.arange(ensemble.size, device=data.x.device)
    for leg in legs:
        ascent.noise.copy_(leg.noise * noise)
        ascent.begin(leg.is_taught)
        state = state_of(ensemble)
        for step, rows in zip(range(1, max(leg.ends) + 1), ascent.batches(), strict=False):
            ascent.advance(rows)
            if step in leg.ends:
                ascent.optimizer.write_means()
                which = torch.tensor([[step == end] * ensemble.size for end in leg.ends], device=mixtures.device)
                keep(ensemble, state, which, mixtures)
        restore(ensemble, state)
