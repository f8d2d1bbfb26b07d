"""How a fit begins: a start is applied, or several compete and the best goes on."""

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vmonf.inference.checkpoint import State, restore, snapshot
from pyro_vmonf.inference.history import Row
from pyro_vmonf.inference.options import Options
from pyro_vmonf.inference.reading import read
from pyro_vmonf.inference.run import Run
from pyro_vmonf.inference.start import Start, match_labels

__all__ = ["Opening", "StartWarning"]

HELD_OUT = 10  # one point in so many is kept from the competing starts, to rank them by
INITIAL_POINTS = 10_000  # enough for means and covariances


class StartWarning(UserWarning):
    """Components that a start could not set from the data."""


@dataclass
class Opening:
    """The starts of a fit, each ``n_init`` times.

    Attributes:
        candidates: what competes.
        n_init: how often each.
        trial_epochs: passes after a start's own before the held-out ELBO is compared.
    """

    candidates: list[Start]
    n_init: int
    trial_epochs: int

    @property
    def follows_data(self) -> bool:
        """Whether any start has responsibilities to teach."""
        return not all(start.random for start in self.candidates)

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
            targets = begin(run, turns[0][0], run.options.seed)
            return snapshot(run.model, run.guide, run.optimizer, [], [], targets, {})
        blank = copy.deepcopy((run.model.state_dict(), run.guide.state_dict()))
        restarts = [] if state is None else state.restarts
        for number, (start, repetition) in list(enumerate(turns))[len(restarts) :]:
            run.model.load_state_dict(blank[0])
            run.guide.load_state_dict(blank[1])
            began = time.monotonic()
            rows, reading, trial, targets = self.trial(run, start, repetition, number)
            score = {"heldout_elbo": reading[0], "heldout_evidence": reading[1]}
            seconds = time.monotonic() - began
            restarts = [*restarts, {"start": start.name, "seed": repetition, **score, "seconds": seconds}]
            best = max(range(len(restarts)), key=lambda i: rank(restarts[i], run.options))
            for i, row in enumerate(restarts):
                row["chosen"] = i == best
            if state is None or best == number:
                state = copy.deepcopy(snapshot(run.model, run.guide, trial.optimizer, rows, restarts, targets, {}))
            state.restarts = restarts
            keep(state)
        assert state is not None
        restore(state, run.model, run.guide, run.optimizer)
        return state

    def trial(
        self, run: Run, start: Start, repetition: int, number: int
    ) -> tuple[list[Row], tuple[float, float], Run, Tensor | None]:
        """One start and its first epochs on all points but the held-out ones: rows, (ELBO, evidence), run, targets."""
        options = run.options
        torch.manual_seed(options.seed + 7919 * (number + 1))
        if repetition:
            run.model.apply(draw_anew)
            run.guide.apply(draw_anew)
        targets = begin(run, start, options.seed + repetition)
        order = torch.randperm(len(run.x), generator=torch.Generator().manual_seed(options.seed)).to(run.x.device)
        held, used = order[: len(run.x) // HELD_OUT], order[len(run.x) // HELD_OUT :]
        y = None if run.y is None else run.y[used.to(run.y.device)]
        part = None if targets is None else targets[used.to(targets.device)]
        trial = Run(run.model, run.guide, run.x[used], y, options, run.device, part)
        first = options.pretrain_epochs + options.init_epochs
        rows = [timed(trial, epoch) for epoch in range(min(first + self.trial_epochs, options.total_epochs))]
        reading = read(run.model, run.guide, run.x[held])
        return rows, (float(reading.elbo.mean()), float(reading.evidence.mean())), trial, targets


def timed(run: Run, epoch: int) -> Row:
    """One epoch's row with its seconds."""
    began = time.monotonic()
    return run.epoch(epoch) | {"seconds": time.monotonic() - began}


def rank(row: dict[str, Any], options: Options) -> float:
    """What starts are compared by; a NaN comes last."""
    value: float = row["heldout_evidence" if options.posterior == "exact" else "heldout_elbo"]
    return value if value == value else -float("inf")


def begin(run: Run, start: Start, seed: int) -> Tensor | None:
    """Sets components and weights by a start; its responsibilities, which the first epochs teach."""
    targets = start.responsibilities(run.x, run.model.n_components, seed)
    if targets is None:
        return None
    if len(run.labelled):
        assert run.y is not None
        targets = match_labels(targets, run.y.to(targets.device))
    some = torch.randperm(len(run.x))[:INITIAL_POINTS].to(run.x.device)
    # No component may be without any share of the points chosen.
    points = run.augmented(run.x[some].to(run.device))
    left = run.model.components.initialize(points, (targets[some] + 1e-8).to(run.device))
    if left:
        warnings.warn(
            f"components {left} have no part that follows data (see ActNorm, PLUAffine): the start reaches them by "
            "training alone",
            StartWarning,
            stacklevel=4,
        )
    initialize = getattr(run.model.weights, "initialize", None)
    if initialize is not None:
        initialize(targets.mean(0).to(run.device))
    return targets


def draw_anew(module: nn.Module) -> None:
    """Draws a module's own parameters again, where it has ``reset_parameters`` as torch's layers do."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
