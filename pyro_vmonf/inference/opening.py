"""How a fit begins: a start is applied, or several compete and the best goes on."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vmonf.evaluation.evaluate import evaluate
from pyro_vmonf.inference.checkpoint import State, restore, snapshot
from pyro_vmonf.inference.history import Row
from pyro_vmonf.inference.options import Options
from pyro_vmonf.inference.run import NonFiniteError, Run
from pyro_vmonf.inference.start import Start, with_labels
from pyro_vmonf.labels import Labels, is_labelled
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.models.weights import log_mean

__all__ = ["Opening", "StartWarning"]

HELD_OUT = 10  # one point in so many (and at least one) is kept from the competing starts, to rank them by
INITIAL_POINTS = 10_000  # enough for means and covariances


class StartWarning(UserWarning):
    """Components that a start could not set from the data."""


@dataclass
class Opening:
    """The starts of a fit, each ``n_init`` times.

    Attributes:
        candidates: what competes.
        n_init: how often each.
        trial_epochs: passes after a start's own before the held-out score is compared; at most half of the fit's.
        progress: whether to show a progress bar.
        left: the components that a start could not set.
    """

    candidates: list[Start]
    n_init: int
    trial_epochs: int
    progress: bool = False
    left: set[int] = field(default_factory=set)

    @property
    def follows_data(self) -> bool:
        """Whether any start has responsibilities to teach."""
        return not all(start.random for start in self.candidates)

    def fixed(self) -> dict[str, Any]:
        """What a fit that goes on from a checkpoint must share with the one that wrote it."""
        settings = {"init": [start.identity for start in self.candidates], "n_init": self.n_init}
        return settings | ({"trial_epochs": self.trial_epochs} if len(self.turns()) > 1 else {})

    def turns(self) -> list[tuple[Start, int]]:
        """Each start with the number of its repetition."""
        return [(start, i) for i in range(self.n_init) for start in self.candidates]

    def play(self, run: Run, state: State | None, keep: Callable[[State], None]) -> State:
        """The state after the best of the starts, or as ``run`` is after the only one.

        Args:
            run: the fit, not begun.
            state: that of a competition broken off, if there was one.
            keep: called with the state after each turn of a competition.
        """
        turns = self.turns()
        if len(turns) == 1:
            targets = self.begin(run, self.targets(run, *turns[0]))
            return snapshot(run.model, run.guide, run.optimizer, [], [], targets, {})
        blank = [copy.deepcopy(part.state_dict()) for part in (run.model, run.guide)]
        blank = blank if state is None or state.blank is None else state.blank
        restarts = [] if state is None else state.restarts
        # All clusterings come first, so that one that fails does so before any training.
        ahead = [
            (number, repetition, start, self.targets(run, start, repetition))
            for number, (start, repetition) in enumerate(turns)
            if number >= len(restarts)
        ]
        error: Exception | None = None
        for number, repetition, start, targets in tqdm(ahead, "starts", unit="start", disable=not self.progress):
            run.model.load_state_dict(blank[0])
            run.guide.load_state_dict(blank[1])
            began = time.monotonic()
            row: dict[str, Any] = {"start": start.name, "repetition": repetition}
            try:
                rows, scores, trial, targets = self.trial(run, targets, repetition, number)
            except (NonFiniteError, torch.linalg.LinAlgError) as failed:  # type: ignore[attr-defined]
                rows, scores, trial, error = (
                    [],
                    {"validation_elbo": -math.inf, "validation_evidence": -math.inf},
                    run,
                    failed,
                )
            restarts = [*restarts, row | scores | {"seconds": time.monotonic() - began}]
            best = max(range(len(restarts)), key=lambda i: rank(restarts[i], run.options))
            for i, each in enumerate(restarts):
                each["chosen"] = i == best
            if state is None or best == number:
                state = copy.deepcopy(snapshot(run.model, run.guide, trial.optimizer, rows, restarts, targets, {}))
            state.restarts, state.blank = restarts, blank if len(restarts) < len(turns) else None
            keep(state)
        if error is not None and max(rank(row, run.options) for row in restarts) == -math.inf:
            raise error
        best_state = cast(State, state)
        restore(best_state, run.model, run.guide, run.optimizer)
        return best_state

    def targets(self, run: Run, start: Start, repetition: int) -> Tensor | None:
        """A start's responsibilities, as labels have them."""
        seed = run.options.seed + repetition
        if run.y is None:
            return start.responsibilities(run.x, run.model.n_components, seed)
        return with_labels(start, run.x, run.y, run.model.labels, seed)

    def trial(
        self, run: Run, targets: Tensor | None, repetition: int, number: int
    ) -> tuple[list[Row], dict[str, float], Run, Tensor | None]:
        """One start and its first epochs on all points but the held-out ones: rows, scores, run and targets."""
        options = run.options
        torch.manual_seed(options.seed + 7919 * (number + 1))
        if repetition:
            run.model.apply(draw_anew)
            run.guide.apply(draw_anew)
        targets = self.begin(run, targets)
        order = torch.randperm(len(run.x), generator=torch.Generator().manual_seed(options.seed)).to(run.x.device)
        size = max(1, len(run.x) // HELD_OUT)
        held, used = order[:size], order[size:]
        y = None if run.y is None else run.y[used.to(run.y.device)]
        part = None if targets is None else targets[used.to(targets.device)]
        trial = Run(run.model, run.guide, run.x[used], y, options, run.device, part)
        epochs = options.pretrain_epochs + options.init_epochs + min(self.trial_epochs, options.epochs // 2)
        rows = [timed(trial, epoch) for epoch in range(epochs)]
        evaluation = evaluate(run.model, run.guide, run.x[held])
        scores = {"validation_elbo": evaluation.elbo, "validation_evidence": evaluation.evidence}
        return rows, {name: float(score.mean()) for name, score in scores.items()}, trial, targets

    def begin(self, run: Run, targets: Tensor | None) -> Tensor | None:
        """Sets components and weights by a start's responsibilities; these, in the order of the components."""
        prior, posterior, k = run.model.weights, run.guide.weights, run.model.n_components
        if targets is None:
            if posterior is not None and not bool(posterior.is_initialized):
                counts = torch.full((k,), len(run.x) / k, device=run.device)
                posterior.initialize(counts, cast(WeightsPrior, prior))
                posterior.is_initialized.fill_(True)  # a subclass of the user's may not say so itself
            return None
        some = torch.randperm(len(run.x))[:INITIAL_POINTS].to(run.x.device)
        points = run.batch(some)[0]
        left = initialize(run.model, points, targets[some])
        self.left |= set(left)
        ordered = match_members(run.model, points, targets, some, left, free(run.model.labels, run.y))
        initialize(run.model, points, ordered[some])
        if posterior is not None:
            posterior.initialize(ordered.sum(0).to(run.device), cast(WeightsPrior, prior))
            posterior.is_initialized.fill_(True)
        elif callable(learn := getattr(prior, "initialize", None)):
            learn(ordered.mean(0).to(run.device))
        return ordered


def initialize(model: FlowMixture, x: Tensor, shares: Tensor) -> list[int]:
    """Starts the components from x and its ``shares`` ``(N, K)``; those it could not."""
    # No component may be without any share of the points chosen.
    return model.components.initialize(x, (shares + 1e-8).to(x))


def free(labels: Labels, y: Tensor | None) -> Tensor:
    """Which components ``(K, K)`` may change places once labels have ordered them: those of one class, and of classes
    that no label names, if each of these has one component."""
    group = labels.classes.cpu()
    if y is None:
        return torch.ones(len(group), len(group), dtype=torch.bool)
    owners = y[is_labelled(y)] if y.dim() == 1 else y[is_labelled(y)].argmax(-1)
    unnamed = ~torch.isin(group, owners.cpu()) & (torch.bincount(group)[group] == 1)
    group = group.masked_fill(unnamed, -1)
    return group.unsqueeze(-1) == group


@torch.no_grad()
def match_members(
    model: FlowMixture, x: Tensor, targets: Tensor, some: Tensor, left: list[int], allowed: Tensor
) -> Tensor:
    """The responsibilities in the order that suits what a start cannot set: given weights, and the components ``left``.

    Clusters are assigned to components by the greatest Σ_n r_nj [log π_k + log p_k(x_n)], where a component that can
    follow any cluster counts as the Gaussian that it starts from, with a diagonal covariance.
    """
    given = not hasattr(model.weights, "initialize")
    log_weights = log_mean(model.weights) if given else torch.zeros(model.n_components)
    if not left and bool((log_weights == log_weights[0]).all()):
        return targets
    shares = targets[some].to(x)
    sizes = shares.sum(0)
    flat = x.flatten(1)
    mean = (shares.mT @ flat) / sizes.unsqueeze(-1)
    variance = ((shares.mT @ flat.square()) / sizes.unsqueeze(-1) - mean.square()).clamp(min=1e-12)
    gaussian = -(variance.log() + math.log(2 * math.pi) + 1).sum(-1) / 2
    score = gaussian.unsqueeze(-1).repeat(1, model.n_components)  # (cluster, component)
    if left:
        table = model.components.log_prob(x).clamp(min=-1e6)
        score[:, left] = ((shares.mT @ table.mT) / sizes.unsqueeze(-1))[:, left]
    total = (sizes.unsqueeze(-1) * (score + log_weights.to(x))).double().cpu()
    never = 2 * len(total) * (float(total.abs().max()) + 1)
    clusters, components = linear_sum_assignment(-total.masked_fill(~allowed, -never).numpy())
    order = torch.empty(len(clusters), dtype=torch.long)
    order[torch.as_tensor(components)] = torch.as_tensor(clusters)
    return targets[:, order.to(targets.device)]


def timed(run: Run, epoch: int) -> Row:
    """One epoch's row with its seconds."""
    began = time.monotonic()
    return run.epoch(epoch) | {"seconds": time.monotonic() - began}


def rank(row: dict[str, Any], options: Options) -> float:
    """What starts are compared by; a NaN comes last."""
    value: float = row["validation_evidence" if options.posterior == "exact" else "validation_elbo"]
    return value if value == value else -float("inf")


def draw_anew(module: nn.Module) -> None:
    """Draws a module's parameters again, if it is to be trained and has ``reset_parameters`` as torch's layers do."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset) and any(p.requires_grad for p in module.parameters()):
        reset()
