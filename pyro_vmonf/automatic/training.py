"""Training several mixtures at once: each keeps its best held-out state, and all end once none gets better."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.blocks import Blocks, points_at_once
from pyro_vmonf.automatic.config import Schedule
from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.steps.rows import RowAdam

__all__ = ["EnsembleData", "Schedule", "Trained", "block_of", "elbos", "restore", "state_of", "train", "train_for"]

LEAST_BATCH, MOST_BATCH = 32, 256
WORTH_A_CAPTURE = 60  # steps
LEAST_GAIN = 1e-4  # nats
LEAST_INTERVAL = 4  # steps between two looks at the held-out points


@dataclass(frozen=True)
class EnsembleData:
    """The points of V mixtures ``(V, n, D)``, the responsibilities of a start ``(V, n, K)`` and weights ``(V, n)``."""

    x: Tensor
    target: Tensor
    weight: Tensor

    @property
    def batch_size(self) -> int:
        """The number of points in a step: a quarter of them, from 32 to 256."""
        n = self.x.shape[1]
        return min(n, max(LEAST_BATCH, n // 4), MOST_BATCH)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The points, the responsibilities and the weights."""
        return self.x, self.target, self.weight


@dataclass(frozen=True)
class Trained:
    """The number of steps of the warm-up and after it at which each start was best, and its held-out ELBO, ``(C,)``."""

    warmup: Tensor
    steps: Tensor
    elbo: Tensor

    def of(self, start: int) -> "Trained":
        """Returns that of one start, ``(1,)``."""
        rows = slice(start, start + 1)
        return Trained(self.warmup[rows], self.steps[rows], self.elbo[rows])


def value_of(ensemble: Ensemble, x: Tensor, target: Tensor, taught: Tensor) -> Tensor:
    """Returns what is maximised at points ``(V, N, D)``, as ``(V, N)``.

    That is the ELBO Σ q(z | x) [log p(x, z) − log q(z | x)], or, where ``taught`` is 1 and not 0, how well the start's
    responsibilities r are known, Σ r(z) [log p(x, z) + log q(z | x)]. A tensor says which, so that one captured step
    does both.
    """
    log_joint, log_q = ensemble(x)
    elbo = (log_q.exp() * (log_joint - log_q)).sum(1)
    return torch.lerp(elbo, (target.mT * (log_joint + log_q)).sum(1), taught)


def objective(ensemble: Ensemble, x: Tensor, target: Tensor, weight: Tensor, taught: Tensor) -> Tensor:
    """Returns the weighted mean of :func:`value_of` for each mixture ``(V,)``."""
    return (weight * value_of(ensemble, x, target, taught)).sum(-1) / weight.sum(-1)


def block_of(ensemble: Ensemble) -> int:
    """Returns how many points of each mixture are scored at once."""
    return points_at_once(ensemble.size, ensemble.n_components, ensemble.features)


@torch.no_grad()
def values_of(ensemble: Ensemble, x: Tensor, target: Tensor, taught: Tensor) -> Tensor:
    """Returns :func:`value_of` without a gradient."""
    return value_of(ensemble, x, target, taught)


@torch.no_grad()
def elbos(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Returns the ELBO of points ``(V, N, D)`` under each mixture, ``(V, N)``."""
    tables = [ensemble(some) for some in x.to(ensemble.log_weights).split(block_of(ensemble), 1)]
    return torch.cat([(log_q.exp() * (log_joint - log_q)).sum(1) for log_joint, log_q in tables], 1)


def captured(function: Callable[..., list[Tensor]], inputs: Sequence[Tensor], calls: int) -> Callable[[], list[Tensor]]:
    """Returns the function of fixed inputs, captured where it is called often enough to repay it."""
    if calls > WORTH_A_CAPTURE:
        try:
            return Replay(function, inputs)
        except CaptureError:
            pass
    return lambda: function(*inputs)


class Ascent:
    """Steps of Adam, first of a warm-up in which the start's responsibilities are taught, then on the ELBO.

    Args:
        ensemble: The mixtures.
        data: Their points.
        noise: The matrix ``(D, D)`` by which Gaussian noise is multiplied that is added to the points of a step.
        schedule: The numbers of the training.
        steps: The greatest number of steps, of both parts.
    """

    def __init__(self, ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule, steps: int) -> None:
        self.ensemble, self.data, self.noise, self.schedule = ensemble, data, noise, schedule
        self.taught = torch.zeros((), dtype=data.x.dtype, device=data.x.device)
        self.optimizer = RowAdam(ensemble.groups(), (schedule.rate, schedule.encoder_rate), ensemble.size)
        self.inputs = [tensor[:, : data.batch_size].clone() for tensor in data.tensors]
        self.interval = max(LEAST_INTERVAL, data.x.shape[1] // data.batch_size)
        self.work = captured(self.gradient, self.inputs, steps)

    def gradient(self, x: Tensor, target: Tensor, weight: Tensor) -> list[Tensor]:
        """Sets the gradient of a batch, and returns the objective."""
        self.optimizer.write()
        noisy = x + torch.randn_like(x) @ self.noise
        value = objective(self.ensemble, noisy, target, weight, self.taught)
        self.optimizer.set_gradient(torch.autograd.grad(value.sum(), self.optimizer.parameters))
        return [value.detach()]

    def batches(self) -> Iterator[Tensor]:
        """Yields the rows of one batch after the other, in a new random order each epoch."""
        size = self.data.batch_size
        while True:
            order = torch.randperm(self.data.x.shape[1]).to(self.data.x.device)
            yield from order[: len(order) // size * size].view(-1, size)

    def run(self, is_taught: bool, steps: int) -> Iterator[int]:
        """Does one step after the other from the state that the mixtures are in, and yields the number of each."""
        self.taught.fill_(is_taught)
        self.optimizer.begin()
        for step, rows in zip(range(1, steps + 1), self.batches(), strict=False):
            for own, whole in zip(self.inputs, self.data.tensors, strict=True):
                torch.index_select(whole, 1, rows, out=own)
            self.work()
            self.optimizer.update()
            yield step

    def best(self, is_taught: bool, steps: int, score: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Goes on until no score gets better, and leaves the mixtures in the state of their best score.

        Args:
            is_taught: Whether this is the warm-up.
            steps: The greatest number of steps.
            score: Returns scores ``(C,)``; score c is that of the mixtures c, c + C, c + 2 C …, a start's in all folds.

        Returns:
            The step at which each score was best, and the score.
        """
        self.taught.fill_(is_taught)
        best = score(self.taught)
        at = torch.zeros(len(best), dtype=torch.long, device=best.device)
        state = state_of(self.ensemble)
        for step in self.run(is_taught, steps):
            if step % self.interval and step < steps:
                continue
            self.optimizer.write_means()
            now = score(self.taught)
            better = now > best + LEAST_GAIN
            best, at = torch.where(better, now, best), torch.where(better, step, at)
            keep(self.ensemble, state, better.repeat(self.ensemble.size // len(better)))
            if step - int(at.max()) > self.schedule.patience:
                break
        restore(self.ensemble, state)
        return at, best


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
        self.ensemble, self.held_out, self.folds = ensemble, held_out, folds
        self.taught = torch.zeros((), dtype=held_out.x.dtype, device=held_out.x.device)
        # A captured function keeps the memory of all its tensors, so that it is one of a block of the points.
        self.points = Blocks([held_out.x, held_out.target], block_of(ensemble))
        self.values = captured(self.each, [*self.points.inputs, self.taught], calls * len(self.points))

    def each(self, x: Tensor, target: Tensor, taught: Tensor) -> list[Tensor]:
        """Returns the score of each point of a block."""
        return [values_of(self.ensemble, x, target, taught)]

    def __call__(self, taught: Tensor) -> Tensor:
        """Returns the scores ``(C,)`` of the starts; −∞ in the place of NaN."""
        self.taught.copy_(taught)
        values = self.points.joined(lambda: self.values()[0])
        weight, own = (tensor.unflatten(0, (self.folds, -1)) for tensor in (self.held_out.weight, values))
        return ((weight * own).sum((0, 2)) / weight.sum((0, 2))).nan_to_num(nan=-math.inf)


def train(
    ensemble: Ensemble, data: EnsembleData, held_out: EnsembleData, noise: Tensor, schedule: Schedule, folds: int = 1
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
    """
    steps = schedule.warmup + schedule.steps
    ascent = Ascent(ensemble, data, noise, schedule, steps)
    score = Score(ensemble, held_out, folds, steps // ascent.interval)
    initial, before = state_of(ensemble), score(ascent.taught)
    warmup, _ = ascent.best(True, schedule.warmup, score)
    then, elbo = ascent.best(False, schedule.steps, score)
    unchanged = before >= elbo
    back, rows = state_of(ensemble), unchanged.repeat(folds)
    for name, tensor in initial.items():
        back[name][rows] = tensor[rows]
    restore(ensemble, back)
    nothing = torch.zeros_like(warmup)
    return Trained(
        torch.where(unchanged, nothing, warmup),
        torch.where(unchanged, nothing, then),
        torch.where(unchanged, before, elbo),
    )


def train_for(
    ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule, warmup: int, steps: int
) -> None:
    """Trains each mixture by a number of steps of the warm-up, and another after it."""
    ascent = Ascent(ensemble, data, noise, schedule, warmup + steps)
    for is_taught, count in ((True, warmup), (False, steps)):
        for _ in ascent.run(is_taught, count):
            pass
        ascent.optimizer.write_means()


def state_of(ensemble: Ensemble) -> dict[str, Tensor]:
    """Returns copies of the parameters of all mixtures, a row each."""
    return {name: tensor.clone() for name, tensor in tensors_of(ensemble)}


@torch.no_grad()
def keep(ensemble: Ensemble, state: dict[str, Tensor], which: Tensor) -> None:
    """Copies the parameters of some mixtures into a state."""
    if bool(which.any()):
        for name, tensor in tensors_of(ensemble):
            state[name][which] = tensor[which]


@torch.no_grad()
def restore(ensemble: Ensemble, state: dict[str, Tensor]) -> None:
    """Gives an ensemble the parameters of a state."""
    for name, tensor in tensors_of(ensemble):
        tensor.copy_(state[name])
