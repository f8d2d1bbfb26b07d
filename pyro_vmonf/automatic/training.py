"""Training an ensemble: Adam on each mixture's ELBO, the best held-out state kept, and an end in time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of
from pyro_vmonf.steps.replay import Replay

__all__ = ["EnsembleData", "Schedule", "Trained", "scores", "train_ensemble"]

MAX_NORM = 5.0
MIN_BATCH = 8
READ = 2048


@dataclass(frozen=True)
class EnsembleData:
    """The points of V mixtures: ``(V, n, D)``, weights ``(V, n)``, and the responsibilities ``(V, n, K)`` of a start."""

    x: Tensor
    target: Tensor
    weight: Tensor

    def rows(self, rows: Sequence[int]) -> "EnsembleData":
        """Returns the points of some mixtures."""
        chosen = list(rows)
        return EnsembleData(self.x[chosen], self.target[chosen], self.weight[chosen])


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast.

    Attributes:
        steps: The greatest number of steps.
        warmup: The number of steps in which the responsibilities of the start take the place of q(z | x).
        patience: The number of steps without a better held-out ELBO after which a mixture stops.
        learning_rate: That of the flows.
        encoder_rate: That of the encoder and the weights.
    """

    steps: int = 2000
    warmup: int = 300
    patience: int = 400
    learning_rate: float = 2e-3
    encoder_rate: float = 1e-3


@dataclass
class Trained:
    """The best state of each mixture: the step at which it was reached, and its held-out ELBO, a mean by point."""

    steps: Tensor
    elbo: Tensor
    curve: list[Tensor] = field(default_factory=list)


class EnsembleStep:
    """A step of Adam on all mixtures of an ensemble, each with a gradient norm of its own.

    A mixture whose gradient is not finite does not move, and leaves the others as they are.
    """

    def __init__(self, ensemble: Ensemble, noise: Tensor, batch: EnsembleData, schedule: Schedule, teach: bool) -> None:
        self.ensemble, self.noise, self.schedule, self.teach = ensemble, noise, schedule, teach
        encoder = [ensemble.log_weights, *ensemble.encoder.parameters()]
        fast = [p for p in ensemble.parameters() if not any(p is q for q in encoder)]
        self.parameters = [p for p in (*fast, *encoder)]
        self.split = sum(p.numel() for p in fast) // ensemble.size


def objective(ensemble: Ensemble, x: Tensor, target: Tensor | None, weight: Tensor) -> Tensor:
    """Returns the mean ELBO of each mixture ``(V,)``; with a target r, that of Σ r(z) [log p(x, z) + log q(z | x)]."""
    log_joint, log_q = ensemble(x)
    if target is None:
        points = (log_q.exp() * (log_joint - log_q)).sum(1)
    else:
        points = (target.mT * (log_joint + log_q)).sum(1)
    return (weight * points).sum(-1) / weight.sum(-1)


class Optimizer:
    """Adam on the parameters of an ensemble, which lie in two matrices with a row for each mixture."""

    def __init__(self, ensemble: Ensemble, schedule: Schedule) -> None:
        slow = [ensemble.log_weights, *ensemble.encoder.parameters()]
        known = {id(p) for p in slow}
        fast = [p for p in ensemble.parameters() if id(p) not in known]
        self.size = ensemble.size
        self.parameters = [*fast, *slow]
        self.groups = [
            (sum(p.numel() for p in group) // self.size, rate)
            for group, rate in ((fast, schedule.learning_rate), (slow, schedule.encoder_rate))
        ]
        self.views = [p.detach().view(self.size, -1) for p in self.parameters]
        self.sizes = [view.shape[1] for view in self.views]
        self.values = torch.cat(self.views, 1)
        self.gradient, self.first, self.second = (torch.zeros_like(self.values) for _ in range(3))
        self.states = [torch.zeros((), dtype=torch.float32, device=self.values.device) for _ in self.groups]
        # Each group is a matrix of its own, so that the fused kernel sees contiguous memory.
        widths = [width for width, _ in self.groups]
        self.parts = [
            [tensor.contiguous() for tensor in matrix.split(widths, 1)]
            for matrix in (self.values, self.gradient, self.first, self.second)
        ]

    def set_gradient(self, gradients: Sequence[Tensor]) -> None:
        """Takes the gradients, scaled so that the norm of each mixture's is at most 5; 0 where it is not finite."""
        whole = torch.cat([g.reshape(self.size, -1) for g in gradients], 1)
        norm = torch.linalg.vector_norm(whole, dim=1, keepdim=True)
        whole = torch.where(norm.isfinite(), whole * (MAX_NORM / (norm + 1e-6)).clamp(max=1.0), 0.0)
        for own, part in zip(self.parts[1], whole.split([width for width, _ in self.groups], 1), strict=True):
            own.copy_(part)

    @torch.no_grad()
    def write(self) -> None:
        """Gives the parameters the values of the matrices."""
        whole = torch.cat(self.parts[0], 1)
        torch._foreach_copy_(self.views, list(whole.split(self.sizes, 1)))

    @torch.no_grad()
    def step(self) -> None:
        """Updates the matrices."""
        for i, (_, rate) in enumerate(self.groups):
            values, gradient, first, second = (part[i] for part in self.parts)
            self.states[i] += 1
            torch.ops.aten._fused_adam_(
                [values], [gradient], [first], [second], [], [self.states[i]],
                lr=rate, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=True,
            )  # fmt: skip


@torch.no_grad()
def scores(ensemble: Ensemble, x: Tensor) -> Tensor:
    """Returns the ELBO of points ``(V, N, D)`` under each mixture, ``(V, N)``."""
    parts = [ensemble(some) for some in x.split(READ, 1)]
    return torch.cat([(log_q.exp() * (log_joint - log_q)).sum(1) for log_joint, log_q in parts], 1)


def replayed(function: Callable[..., list[Tensor]], inputs: Sequence[Tensor], steps: int) -> Callable[[], list[Tensor]]:
    """Returns the function, captured where it is called often enough to repay it."""
    return Replay(function, inputs) if steps > 60 else lambda: function(*inputs)


def train_ensemble(
    ensemble: Ensemble,
    data: EnsembleData,
    held_out: Tensor | None,
    noise: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    stop: Tensor | None = None,
) -> Trained:
    """Maximises the ELBO of each mixture, and leaves each in its best state.

    Args:
        ensemble: The mixtures.
        data: Their points.
        held_out: Points ``(V, m, D)`` whose ELBO decides which state is the best, or None.
        noise: The matrix ``(D, D)`` from which Gaussian noise is made that is added to the points of each step.
        schedule: The numbers of the training.
        seed: The seed of the order of points and of the noise.
        stop: Without held-out points, the number of steps of each mixture, ``(V,)``.
    """
    torch.manual_seed(seed)
    size, n = ensemble.size, data.x.shape[1]
    batch = min(n, min(256, max(32, n // 4)))
    optimizer = Optimizer(ensemble, schedule)
    inputs = [t[:, :batch].clone() for t in (data.x, data.target, data.weight)]
    state = {name: tensor.clone() for name, tensor in tensors_of(ensemble)}
    best = torch.full((size,), -math.inf) if held_out is None else scores(ensemble, held_out).mean(-1)
    at = torch.zeros(size, dtype=torch.long)
    curve = [best.clone()]

    def work(taught: bool) -> Callable[..., list[Tensor]]:
        def function(x: Tensor, target: Tensor, weight: Tensor) -> list[Tensor]:
            optimizer.write()
            noisy = x + torch.randn_like(x) @ noise
            value = objective(ensemble, noisy, target if taught else None, weight)
            optimizer.set_gradient(torch.autograd.grad(value.sum(), optimizer.parameters))
            return [value.detach()]

        return function

    most = schedule.steps if stop is None else int(stop.max())
    read = None if held_out is None else replayed(lambda x: [scores(ensemble, x).mean(-1)], [held_out], most)
    an_epoch = max(1, n // batch)
    step, done = 0, False
    for taught, until in ((True, min(schedule.warmup, most)), (False, most)):
        if step >= until or done:
            continue
        go = replayed(work(taught), inputs, until - step)
        while step < until and not done:
            order = torch.randperm(n)
            for indices in order[: an_epoch * batch].view(an_epoch, batch):
                for own, whole in zip(inputs, (data.x, data.target, data.weight), strict=True):
                    torch.index_select(whole, 1, indices, out=own)
                go()
                optimizer.step()
                step += 1
                if stop is not None and bool((stop == step).any()):
                    optimizer.write()
                    keep(ensemble, state, stop == step)
                    at[stop == step] = step
                if step >= until:
                    break
            if read is not None:
                optimizer.write()
                now = read()[0].nan_to_num(nan=-math.inf)
                curve.append(now.clone())
                better = now > best + 1e-4
                best = torch.where(better, now, best)
                at[better] = step
                keep(ensemble, state, better)
                done = bool((step - at.clamp(min=schedule.warmup) > schedule.patience).all())
    for name, tensor in tensors_of(ensemble):
        tensor.copy_(state[name])
    return Trained(at, best, curve)


def keep(ensemble: Ensemble, state: dict[str, Tensor], which: Tensor) -> None:
    """Copies the parameters of some mixtures into a state."""
    if bool(which.any()):
        for name, tensor in tensors_of(ensemble):
            state[name][which] = tensor[which]
