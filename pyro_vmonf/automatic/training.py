"""Training several mixtures at once: each keeps its best held-out state, and all end once none gets better."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of
from pyro_vmonf.automatic.label_terms import bounds, known, label_log_probs, labelled_rows, rows_of
from pyro_vmonf.steps.replay import CaptureError, Replay
from pyro_vmonf.steps.rows import RowAdam

__all__ = [
    "READ",
    "Ascent",
    "EnsembleData",
    "Schedule",
    "Score",
    "Trained",
    "elbos",
    "kept_elbos",
    "label_term",
    "train",
    "train_for",
]

LEAST_BATCH, MOST_BATCH = 32, 256
WORTH_A_CAPTURE = 60  # steps
LEAST_GAIN = 1e-4  # nats
READ = 2048  # points at a time
LABEL_WEIGHT = 1.0  # of the mean log q(y | x) of labelled points, as in LabelTerm
KEPT = 1.0  # the weight of the start's responsibilities in the objective with labels, after the warm-up
MOST_SHOWN = 256  # labelled points that teach the encoder in a step


@dataclass(frozen=True)
class EnsembleData:
    """The points of V mixtures ``(V, n, D)``, the responsibilities of a start ``(V, n, K)`` and weights ``(V, n)``.

    There may be labels, the probabilities of the components ``(V, n, K)``, all 0 where a point has none.
    """

    x: Tensor
    target: Tensor
    weight: Tensor
    labels: Tensor | None = None

    @property
    def batch_size(self) -> int:
        """The number of points in a step: a quarter of them, from 32 to 256."""
        n = self.x.shape[1]
        return min(n, max(LEAST_BATCH, n // 4), MOST_BATCH)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The points, the responsibilities, the weights and, where there are any, the labels."""
        given = (self.x, self.target, self.weight)
        return given if self.labels is None else (*given, self.labels)

    def labelled(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Returns the labelled points of each mixture, their labels and their weights, or None where there are none.

        A mixture with fewer labelled points than another is given points of weight 0 beside them.
        """
        if self.labels is None:
            return None
        rows, weight = labelled_rows(self.labels), self.weight * known(self.labels)
        return rows_of(self.x, rows), rows_of(self.labels, rows), rows_of(weight, rows)


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
    """The number of steps of the warm-up and after it at which each start was best, and its held-out ELBO, ``(C,)``.

    With labels, the encoder's step in the warm-up is its own, and the score is that of the objective with labels.
    """

    warmup: Tensor
    steps: Tensor
    elbo: Tensor
    encoder_warmup: Tensor


def objective(
    ensemble: Ensemble, x: Tensor, target: Tensor | None, weight: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Returns the mean ELBO of each mixture ``(V,)``; with a target r, that of Σ r(z) [log p(x, z) + log q(z | x)].

    With labels and a target, the mean ELBO, in which a labelled point's is that of the point and its label, plus that
    of Σ r(z) log q(z | x): the encoder does not forget what the start said.
    """
    log_joint, log_q = ensemble(x)
    if labels is not None and target is not None:
        points = bounds(log_joint, log_q, labels) + KEPT * (target.mT * log_q).sum(1)
    elif target is not None:
        points = (target.mT * (log_joint + log_q)).sum(1)
    else:
        points = (log_q.exp() * (log_joint - log_q)).sum(1)
    return (weight * points).sum(-1) / weight.sum(-1)


def label_term(ensemble: Ensemble, x: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Returns α times the mean log q(y | x) of labelled points for each mixture ``(V,)``."""
    points = label_log_probs(ensemble.encoder.table(x).log_softmax(1), labels)
    return LABEL_WEIGHT * (weight * points).sum(-1) / weight.sum(-1)


@torch.no_grad()
def taught(ensemble: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Returns Σ r(z) [log p(x, z) + log q(z | x)] of points ``(V, N, D)`` and responsibilities r, ``(V, N)``."""
    parts = zip(x.split(READ, 1), target.split(READ, 1), strict=True)
    return torch.cat([(r.mT * sum(ensemble(some))).sum(1) for some, r in parts], 1)


@torch.no_grad()
def elbos(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Returns the ELBO of points ``(V, N, D)`` under each mixture, ``(V, N)``."""
    tables = [ensemble(some) for some in x.to(ensemble.log_weights).split(READ, 1)]
    return torch.cat([(log_q.exp() * (log_joint - log_q)).sum(1) for log_joint, log_q in tables], 1)


@torch.no_grad()
def taught_apart(ensemble: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Returns Σ r(z) log p(x, z) and Σ r(z) log q(z | x), ``(2, V, N)``: of the flows and of the encoder."""
    found = []
    for some, r in zip(x.split(READ, 1), target.split(READ, 1), strict=True):
        found.append(torch.stack([(r.mT * table).sum(1) for table in ensemble(some)]))
    return torch.cat(found, 2)


@torch.no_grad()
def kept_elbos(ensemble: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Returns the ELBO plus Σ r(z) log q(z | x), as the objective with labels has it, of points ``(V, N)``."""
    found = []
    for some, r in zip(x.to(ensemble.log_weights).split(READ, 1), target.split(READ, 1), strict=True):
        log_joint, log_q = ensemble(some)
        found.append((log_q.exp() * (log_joint - log_q) + KEPT * r.to(log_q).mT * log_q).sum(1))
    return torch.cat(found, 1)


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
        self.labelled = data.labelled()
        self.shown = [tensor[:, :MOST_SHOWN].clone() for tensor in self.labelled or ()]
        self.interval = max(1, data.x.shape[1] // data.batch_size)

    def gradient(self, x: Tensor, target: Tensor, weight: Tensor, *more: Tensor) -> list[Tensor]:
        """Sets the gradient of a batch, and returns the objective; ``more`` are labels, and points that show them."""
        self.optimizer.write()
        noisy = x + torch.randn_like(x) @ self.noise
        labels, shown = (more[0], more[1:]) if more else (None, ())
        is_target = self.is_taught or labels is not None
        value = objective(
            self.ensemble, noisy, target if is_target else None, weight, None if self.is_taught else labels
        )
        if shown:
            points, own, mass = shown
            value = value + label_term(self.ensemble, points + torch.randn_like(points) @ self.noise, own, mass)
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
        work = captured(self.gradient, [*self.inputs, *self.shown], self.steps)
        for step, rows in zip(range(1, self.steps + 1), self.batches(), strict=False):
            for own, whole in zip(self.inputs, self.data.tensors, strict=True):
                torch.index_select(whole, 1, rows, out=own)
            self.show()
            work()
            self.optimizer.update()
            yield step

    def show(self) -> None:
        """Takes other labelled points, where they are more than a step shows."""
        if self.labelled is not None and (count := self.labelled[0].shape[1]) > MOST_SHOWN:
            rows = torch.randperm(count)[:MOST_SHOWN]
            for own, whole in zip(self.shown, self.labelled, strict=True):
                torch.index_select(whole, 1, rows, out=own)

    def best(self, score: Callable[[], Tensor], patience: int) -> tuple[Tensor, Tensor]:
        """Goes on until no score gets better, and leaves the mixtures in the state of their best score.

        Args:
            score: Returns scores ``(1, C)``; score c is that of the mixtures c, c + C, c + 2 C …, a start's in all
                folds. Or ``(2, C)``, one of the flows and one of the encoders, each of which then has its own step.
            patience: The number of steps without a better one after which the end has come.

        Returns:
            The step at which each score was best, and the score, in the same shape.
        """
        best = score()
        at = torch.zeros(best.shape, dtype=torch.long)
        state = state_of(self.ensemble)
        for step in self.run():
            if step % self.interval and step < self.steps:
                continue
            self.optimizer.write()
            now = score()
            better = now > best + LEAST_GAIN
            best, at = torch.where(better, now, best), torch.where(better, step, at)
            keep(self.ensemble, state, better.repeat(1, self.ensemble.size // better.shape[1]))
            if step - int(at[0].max()) > patience:  # of the flows, where encoders have steps of their own
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
        """Returns the weighted mean of values ``(…, F C, m)`` for each start ``(…, C)``; −∞ in the place of NaN."""
        weight, own = self.held_out.weight.unflatten(0, (self.folds, -1)), values.unflatten(-2, (self.folds, -1))
        return ((weight * own).sum((-3, -1)) / weight.sum((0, 2))).nan_to_num(nan=-math.inf)

    def values(self, x: Tensor, is_taught: bool) -> Tensor:
        """Returns the score of each point, ``(1, F C, m)``, or those of flows and encoders, ``(2, F C, m)``."""
        target, has_labels = self.held_out.target, self.held_out.labels is not None
        if is_taught:
            return taught_apart(self.ensemble, x, target) if has_labels else taught(self.ensemble, x, target)[None]
        return (kept_elbos(self.ensemble, x, target) if has_labels else elbos(self.ensemble, x))[None]

    def now(self) -> Tensor:
        """Returns the score of each start, ``(C,)``: the ELBO, and with labels also what the objective adds to it."""
        return self.pooled(self.values(self.held_out.x, False))[0]

    def repeated(self, is_taught: bool, calls: int) -> Callable[[], Tensor]:
        """Returns a function that gives the scores, captured where it is called often."""
        function = captured(lambda x: [self.values(x, is_taught)], [self.held_out.x], calls)
        return lambda: self.pooled(function()[0])


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
    initial, before = state_of(ensemble), score.now()
    found = []
    for is_taught, steps in ((True, schedule.warmup), (False, schedule.steps)):
        ascent = Ascent(ensemble, data, noise, schedule, is_taught=is_taught, steps=steps)
        found.append(ascent.best(score.repeated(is_taught, steps // ascent.interval), schedule.patience))
    (warmups, _), ((then,), (elbo,)) = found
    unchanged = before >= elbo
    back, rows = state_of(ensemble), unchanged.repeat(folds)
    for name, tensor in initial.items():
        back[name][rows] = tensor[rows]
    restore(ensemble, back)
    warmup, then, encoder = (torch.where(unchanged, 0, at) for at in (warmups[0], then, warmups[-1]))
    return Trained(warmup, then, torch.where(unchanged, before, elbo), encoder)


def train_for(
    ensemble: Ensemble,
    data: EnsembleData,
    noise: Tensor,
    schedule: Schedule,
    warmup: int,
    steps: int,
    encoder_warmup: int | None = None,
) -> None:
    """Trains each mixture by a number of steps of the warm-up, and another after it.

    Args:
        ensemble: The mixtures.
        data: Their points.
        noise: The matrix ``(D, D)`` of the noise that is added to the points.
        schedule: The learning rates.
        warmup: The number of steps of the warm-up.
        steps: The number of steps after it.
        encoder_warmup: The number of steps of the encoder's warm-up, if it has one of its own.
    """
    ends = [warmup] if encoder_warmup is None else [warmup, encoder_warmup]
    state = state_of(ensemble)
    for is_taught, until in ((True, ends), (False, [steps])):
        ascent = Ascent(ensemble, data, noise, schedule, is_taught=is_taught, steps=max(until))
        for step in ascent.run():
            if step in until:
                ascent.optimizer.write()
                keep(ensemble, state, torch.tensor([[step == end] * ensemble.size for end in until]))
        restore(ensemble, state)


def state_of(ensemble: Ensemble) -> dict[str, Tensor]:
    """Returns copies of the parameters of all mixtures, a row each."""
    return {name: tensor.clone() for name, tensor in tensors_of(ensemble)}


@torch.no_grad()
def keep(ensemble: Ensemble, state: dict[str, Tensor], which: Tensor) -> None:
    """Copies the parameters of some mixtures ``(1, V)`` into a state; flows and encoders apart are ``(2, V)``."""
    if bool(which.any()):
        for name, tensor in tensors_of(ensemble):
            rows = which[-1 if name.startswith("encoder") else 0]
            state[name][rows] = tensor[rows]


@torch.no_grad()
def restore(ensemble: Ensemble, state: dict[str, Tensor]) -> None:
    """Gives an ensemble the parameters of a state."""
    for name, tensor in tensors_of(ensemble):
        tensor.copy_(state[name])
