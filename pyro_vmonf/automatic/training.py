"""Training several mixtures at once: each keeps its best held-out state, and all end once none gets better."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.blocks import Blocks, points_at_once
from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.steps.rows import RowAdam

__all__ = ["EnsembleData", "Schedule", "Trained", "block_of", "elbos", "train", "train_for"]

LEAST_BATCH, MOST_BATCH = 32, 256
WORTH_A_CAPTURE = 60  # steps
LEAST_GAIN = 1e-4  # nats


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
        warmup: The greatest number of steps of the warm-up, in which the start's responsibilities are taught.
        steps: The greatest number of steps after it.
        patience: The number of steps without a better held-out score, after which no more is expected.
        rate: The learning rate of the flows.
        encoder_rate: That of the encoders and the weights.
    """

    warmup: int
    steps: int
    patience: int
    rate: float = 5e-3
    encoder_rate: float = 2.5e-3


@dataclass(frozen=True)
class Trained:
    """The number of steps of the warm-up and after it at which each start was best, and its held-out ELBO, ``(C,)``."""

    warmup: Tensor
    steps: Tensor
    elbo: Tensor


def objective(ensemble: Ensemble, x: Tensor, target: Tensor | None, weight: Tensor) -> Tensor:
    """Returns the mean ELBO of each mixture ``(V,)``; with a target r, that of Σ r(z) [log p(x, z) + log q(z | x)]."""
    log_joint, log_q = ensemble(x)
    points = log_q.exp() * (log_joint - log_q) if target is None else target.mT * (log_joint + log_q)
    points = points.sum(1)
    return (weight * points).sum(-1) / weight.sum(-1)


def block_of(ensemble: Ensemble) -> int:
    """Returns how many points of each mixture are scored at once."""
    return points_at_once(ensemble.size, ensemble.n_components, ensemble.features)


@torch.no_grad()
def taught(ensemble: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Returns Σ r(z) [log p(x, z) + log q(z | x)] of points ``(V, N, D)`` and responsibilities r, ``(V, N)``."""
    size = block_of(ensemble)
    parts = zip(x.split(size, 1), target.split(size, 1), strict=True)
    return torch.cat([(r.mT * sum(ensemble(some))).sum(1) for some, r in parts], 1)


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
    """Steps of Adam on one objective, one after the other.

    Args:
        ensemble: The mixtures.
        data: Their points.
        noise: The matrix ``(D, D)`` by which Gaussian noise is multiplied that is added to the points of a step.
        schedule: The numbers of the training.
        is_taught: Whether the start's responsibilities take the place of q(z | x).
        steps: The greatest number of steps.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        data: EnsembleData,
        noise: Tensor,
        schedule: Schedule,
        *,
        is_taught: bool,
        steps: int,
    ) -> None:
        self.ensemble, self.data, self.noise, self.is_taught, self.steps = ensemble, data, noise, is_taught, steps
        self.optimizer = RowAdam(ensemble.groups(), (schedule.rate, schedule.encoder_rate), ensemble.size)
        self.inputs = [tensor[:, : data.batch_size].clone() for tensor in data.tensors]
        self.interval = max(1, data.x.shape[1] // data.batch_size)

    def gradient(self, x: Tensor, target: Tensor, weight: Tensor) -> list[Tensor]:
        """Sets the gradient of a batch, and returns the objective."""
        self.optimizer.write()
        noisy = x + torch.randn_like(x) @ self.noise
        value = objective(self.ensemble, noisy, target if self.is_taught else None, weight)
        self.optimizer.set_gradient(torch.autograd.grad(value.sum(), self.optimizer.parameters))
        return [value.detach()]

    def batches(self) -> Iterator[Tensor]:
        """Yields the rows of one batch after the other, in a new random order each epoch."""
        size = self.data.batch_size
        while True:
            order = torch.randperm(self.data.x.shape[1])
            yield from order[: len(order) // size * size].view(-1, size)

    def run(self) -> Iterator[int]:
        """Does one step after the other, and yields the number of each."""
        work = captured(self.gradient, self.inputs, self.steps)
        for step, rows in zip(range(1, self.steps + 1), self.batches(), strict=False):
            for own, whole in zip(self.inputs, self.data.tensors, strict=True):
                torch.index_select(whole, 1, rows, out=own)
            work()
            self.optimizer.update()
            yield step

    def best(self, score: Callable[[], Tensor], patience: int) -> tuple[Tensor, Tensor]:
        """Goes on until no score gets better, and leaves the mixtures in the state of their best score.

        Args:
            score: Returns scores ``(C,)``; score c is that of the mixtures c, c + C, c + 2 C …, a start's in all folds.
            patience: The number of steps without a better one after which the end has come.

        Returns:
            The step at which each score was best, and the score.
        """
        best = score()
        at = torch.zeros(len(best), dtype=torch.long)
        state = state_of(self.ensemble)
        for step in self.run():
            if step % self.interval and step < self.steps:
                continue
            self.optimizer.write()
            now = score()
            better = now > best + LEAST_GAIN
            best, at = torch.where(better, now, best), torch.where(better, step, at)
            keep(self.ensemble, state, better.repeat(self.ensemble.size // len(better)))
            if step - int(at.max()) > patience:
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
    """

    def __init__(self, ensemble: Ensemble, held_out: EnsembleData, folds: int) -> None:
        self.ensemble, self.held_out, self.folds = ensemble, held_out, folds

    def pooled(self, values: Tensor) -> Tensor:
        """Returns the weighted mean of values ``(F C, m)`` for each start ``(C,)``; −∞ in the place of NaN."""
        weight, own = (tensor.unflatten(0, (self.folds, -1)) for tensor in (self.held_out.weight, values))
        return ((weight * own).sum((0, 2)) / weight.sum((0, 2))).nan_to_num(nan=-math.inf)

    def elbo(self) -> Tensor:
        """Returns the ELBO of each start."""
        return self.pooled(elbos(self.ensemble, self.held_out.x))

    def repeated(self, is_taught: bool, calls: int) -> Callable[[], Tensor]:
        """Returns a function that gives the scores, captured where it is called often."""
        # A captured function keeps the memory of all its tensors, so that it is one of a block of the points.
        points = Blocks([self.held_out.x, self.held_out.target], block_of(self.ensemble))

        def values(x: Tensor, target: Tensor) -> list[Tensor]:
            return [taught(self.ensemble, x, target) if is_taught else elbos(self.ensemble, x)]

        function = captured(values, points.inputs, calls * len(points))
        return lambda: self.pooled(points.joined(lambda: function()[0]))


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
    score = Score(ensemble, held_out, folds)
    initial, before = state_of(ensemble), score.elbo()
    found = []
    for is_taught, steps in ((True, schedule.warmup), (False, schedule.steps)):
        ascent = Ascent(ensemble, data, noise, schedule, is_taught=is_taught, steps=steps)
        found.append(ascent.best(score.repeated(is_taught, steps // ascent.interval), schedule.patience))
    (warmup, _), (then, elbo) = found
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
    for is_taught, count in ((True, warmup), (False, steps)):
        ascent = Ascent(ensemble, data, noise, schedule, is_taught=is_taught, steps=count)
        for _ in ascent.run():
            pass
        ascent.optimizer.write()


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
