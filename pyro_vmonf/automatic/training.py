"""Training several mixtures at once: each keeps its best held-out state, and all end once none gets better."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.steps.rows import RowAdam

__all__ = ["EnsembleData", "Schedule", "Trained", "elbos", "train", "train_for"]

LEAST_BATCH, MOST_BATCH = 32, 256
WORTH_A_CAPTURE = 60  # steps
LEAST_GAIN = 1e-4  # nats
READ = 2048  # points at a time

Work = Callable[[], object]


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
class Schedule:
    """How long and how fast an ensemble is trained.

    Attributes:
        steps: The greatest number of steps.
        warmup: The number of steps in which the start's responsibilities take the place of q(z | x).
        patience: The number of steps without a better held-out ELBO, after which no more is expected.
        rate: The learning rate of the flows.
        encoder_rate: That of the encoders and the weights.
    """

    steps: int
    warmup: int
    patience: int
    rate: float = 2e-3
    encoder_rate: float = 1e-3


@dataclass(frozen=True)
class Trained:
    """The step at which each mixture was best, and its mean held-out ELBO there, ``(V,)``."""

    steps: Tensor
    elbo: Tensor


def objective(ensemble: Ensemble, x: Tensor, target: Tensor | None, weight: Tensor) -> Tensor:
    """Returns the mean ELBO of each mixture ``(V,)``; with a target r, that of Σ r(z) [log p(x, z) + log q(z | x)]."""
    log_joint, log_q = ensemble(x)
    points = log_q.exp() * (log_joint - log_q) if target is None else target.mT * (log_joint + log_q)
    points = points.sum(1)
    return (weight * points).sum(-1) / weight.sum(-1)


@torch.no_grad()
def elbos(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Returns the ELBO of points ``(V, N, D)`` under each mixture, ``(V, N)``."""
    tables = [ensemble(some) for some in x.to(ensemble.log_weights).split(READ, 1)]
    return torch.cat([(log_q.exp() * (log_joint - log_q)).sum(1) for log_joint, log_q in tables], 1)


def captured(function: Callable[..., list[Tensor]], inputs: Sequence[Tensor], calls: int) -> Callable[[], list[Tensor]]:
    """Returns the function of fixed inputs, captured where it is called often enough to repay it."""
    if calls > WORTH_A_CAPTURE:
        try:
            return Replay(function, inputs)
        except CaptureError:
            pass
    return lambda: function(*inputs)


class Descent:
    """The steps of a training, one after the other.

    Args:
        ensemble: The mixtures.
        data: Their points.
        noise: The matrix ``(D, D)`` by which Gaussian noise is multiplied that is added to the points of a step.
        schedule: The numbers of the training.
    """

    def __init__(self, ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule) -> None:
        self.ensemble, self.data, self.noise, self.schedule = ensemble, data, noise, schedule
        self.optimizer = RowAdam(ensemble.groups(), (schedule.rate, schedule.encoder_rate), ensemble.size)
        self.inputs = [tensor[:, : data.batch_size].clone() for tensor in data.tensors]

    def gradient(self, x: Tensor, target: Tensor | None, weight: Tensor) -> list[Tensor]:
        """Sets the gradient of a batch, and returns the objective."""
        self.optimizer.write()
        value = objective(self.ensemble, x + torch.randn_like(x) @ self.noise, target, weight)
        self.optimizer.set_gradient(torch.autograd.grad(value.sum(), self.optimizer.parameters))
        return [value.detach()]

    def phases(self) -> Iterator[tuple[Work, int]]:
        """Yields what sets the gradient in the warm-up and after it, and the number of steps of each."""
        x, target, weight = self.inputs
        warmup = min(self.schedule.warmup, self.schedule.steps)
        if warmup:
            yield captured(self.gradient, [x, target, weight], warmup), warmup
        if rest := self.schedule.steps - warmup:
            yield captured(lambda x, weight: self.gradient(x, None, weight), [x, weight], rest), rest

    def batches(self) -> Iterator[Tensor]:
        """Yields the rows of one batch after the other, in a new random order each epoch."""
        size = self.data.batch_size
        while True:
            order = torch.randperm(self.data.x.shape[1])
            yield from order[: len(order) // size * size].view(-1, size)

    def run(self) -> Iterator[int]:
        """Does one step after the other, and yields the number of each."""
        batches, done = self.batches(), 0
        for work, steps in self.phases():
            for _ in range(steps):
                rows = next(batches)
                for own, whole in zip(self.inputs, self.data.tensors, strict=True):
                    torch.index_select(whole, 1, rows, out=own)
                work()
                self.optimizer.update()
                done += 1
                yield done


def train(
    ensemble: Ensemble, data: EnsembleData, held_out: tuple[Tensor, Tensor], noise: Tensor, schedule: Schedule
) -> Trained:
    """Maximises the ELBO of each mixture, and leaves each in the state whose held-out ELBO was greatest.

    Args:
        ensemble: The mixtures.
        data: Their points.
        held_out: Other points of theirs, ``(V, m, D)``, and the weights of these, ``(V, m)``.
        noise: The matrix ``(D, D)`` of the noise that is added to the points.
        schedule: The numbers of the training.
    """
    points, weight = (tensor.to(data.x) for tensor in held_out)
    share = weight / weight.sum(-1, keepdim=True)
    best = (share * elbos(ensemble, points)).sum(-1).nan_to_num(nan=-math.inf)
    at = torch.zeros(ensemble.size, dtype=torch.long)
    state = {name: tensor.clone() for name, tensor in tensors_of(ensemble)}
    descent = Descent(ensemble, data, noise, schedule)
    interval = max(1, data.x.shape[1] // data.batch_size)
    read = captured(lambda x: [(share * elbos(ensemble, x)).sum(-1)], [points], schedule.steps // interval)
    for step in descent.run():
        if step % interval and step < schedule.steps:
            continue
        descent.optimizer.write()
        now = read()[0].nan_to_num(nan=-math.inf)
        better = now > best + LEAST_GAIN
        best, at = torch.where(better, now, best), torch.where(better, step, at)
        keep(ensemble, state, better)
        if step - max(int(at.max()), schedule.warmup) > schedule.patience:
            break
    restore(ensemble, state)
    return Trained(at, best)


def train_for(ensemble: Ensemble, data: EnsembleData, noise: Tensor, schedule: Schedule, steps: int) -> None:
    """Maximises the ELBO of each mixture by a number of steps."""
    descent = Descent(ensemble, data, noise, replace(schedule, steps=steps))
    for _ in descent.run():
        pass
    descent.optimizer.write()


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
