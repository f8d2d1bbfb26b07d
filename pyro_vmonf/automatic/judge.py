"""How mixtures do on held-out points, and on the graph of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.graph import Graph
from pyro_vmonf.automatic.labelled import accuracy_of
from pyro_vmonf.automatic.problem import Problem
from pyro_vmonf.automatic.samples import sample_of
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.states import state_of
from pyro_vmonf.automatic.training import Trained
from pyro_vmonf.automatic.values import block_of, disagreements, elbos, kept_elbos

__all__ = ["Judge", "Try", "is_better"]


@dataclass(frozen=True)
class Try:
    """One start with one warp.

    Attributes:
        warp: The warp.
        noise: The deviation of the noise, in those of a cluster.
        values: The held-out ELBO of each point of each fold ``(F, m)``.
        penalty: What is taken from it for the edges that the labels cut, and those of the start do not.
        elbo: The mean of the values.
        warmup: The number of steps of the warm-up at which it was best.
        steps: The number of steps after it.
        cut: The share of neighbour edges that the labels cut.
        accuracy: Of held-out labels that are given, the share that the encoder tells, or None without labels.
        encoder_warmup: The number of steps of the encoder's own warm-up, with labels.
        apart: The share of held-out points for which encoder and exact posterior choose different components.
        finer: The number of steps that followed with less noise.
        state: The tensors of the mixtures of all folds; none where nothing was trained.
    """

    warp: str
    noise: float
    values: Tensor
    penalty: float
    elbo: float
    warmup: int
    steps: int
    cut: float
    accuracy: float | None = None
    encoder_warmup: int | None = None
    apart: float = 0.0
    finer: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total_steps(self) -> int:
        """The number of all steps."""
        return self.warmup + self.steps + self.finer

    @property
    def judged(self) -> Tensor:
        """The values less the penalty."""
        return self.values - self.penalty


def is_better(a: Tensor, b: Tensor, weight: Tensor, standard_errors: float) -> bool:
    """Returns whether held-out values a are above b, by so many paired standard errors of their weighted mean."""
    d, share = (a - b).double(), weight.double() / weight.sum()
    mean = (share * d).sum()
    error = ((share * (d - mean).square()).sum() * share.square().sum()).sqrt()
    return bool(mean > standard_errors * error)


class Judge:
    """The scores of ensembles, whose mixtures are those of candidates in each fold, folds first.

    Args:
        problem: The points and their folds.
        config: The numbers of the search.

    Attributes:
        seen: The points of the graph.
        graph: Their nearest neighbours.
    """

    def __init__(self, problem: Problem, config: SearchConfig) -> None:
        self.problem, self.nats_per_edge, self.standard_errors = problem, config.nats_per_edge, config.standard_errors
        self.seen = problem.own[sample_of(len(problem.own), problem.seed)]
        self.graph = Graph(problem.x[self.seen], config.neighbours)

    def cut_of(self, one: Candidate) -> tuple[float, float]:
        """Returns the share of the graph's edges that a candidate cuts: of all, and of its worst cluster."""
        return self.graph.cut(one.labels[self.seen])

    def held_by(self, ensemble: Ensemble) -> Tensor:
        """Returns the held-out points of each mixture, ``(V, m, D)``."""
        return self.problem.held.repeat_interleave(ensemble.size // len(self.problem.folds), 0)

    def by_fold(self, values: Tensor) -> Tensor:
        """Returns values of all mixtures ``(V, …)`` as those of each fold's candidates, ``(F, C, …)``."""
        return values.unflatten(0, (len(self.problem.folds), -1))

    @torch.no_grad()
    def labels_of(self, ensemble: Ensemble) -> Tensor:
        """Returns the encoders' labels of the graph's points, ``(V, M)``."""
        x = self.problem.x[self.seen].to(ensemble.log_weights).expand(ensemble.size, -1, -1)
        parts = x.split(block_of(ensemble), 1)
        return torch.cat([ensemble(x)[1].argmax(1) for x in parts], 1)

    def cut_by(self, ensemble: Ensemble, start: int) -> float:
        """Returns the share of neighbour edges that the encoders' labels of a start cut, the mean over the folds."""
        labels = self.by_fold(self.labels_of(ensemble))[:, start]
        return float(np.mean([self.graph.cut(one)[0] for one in labels]))

    def scored(
        self,
        warp: str,
        noise: float,
        ensemble: Ensemble,
        chosen: Sequence[Candidate],
        trained: Trained | None,
        start: int = 0,
    ) -> Try:
        """Returns how a start does with the warp of an ensemble of the chosen candidates."""
        values, cut = self.held_values(ensemble, chosen)[:, start], self.cut_by(ensemble, start)
        elbo = values if self.problem.labels is None else self.held_elbos(ensemble)[:, start]
        warmup, steps = (0, 0) if trained is None else (int(trained.warmup[start]), int(trained.steps[start]))
        more = max(0.0, cut - self.cut_of(chosen[start])[0])
        accuracy, penalty = self.accuracies(ensemble)[start], self.nats_per_edge * more
        own = None if trained is None or self.problem.labels is None else int(trained.encoder_warmup[start])
        apart = self.by_fold(disagreements(ensemble, self.held_by(ensemble)))[:, start].double()
        known = warp, noise, values, penalty, self.mean(elbo), warmup, steps, cut, accuracy, own, self.mean(apart)
        return Try(*known, state={} if trained is None else state_of(ensemble))

    def held_elbos(self, ensemble: Ensemble) -> Tensor:
        """Returns the ELBO of the held-out points of each fold under its mixtures, ``(F, C, m)``."""
        return self.by_fold(elbos(ensemble, self.held_by(ensemble))).double()

    def held_values(self, ensemble: Ensemble, chosen: Sequence[Candidate]) -> Tensor:
        """Returns the score of the held-out points of each fold, ``(F, C, m)``: the ELBO, and more with labels."""
        if self.problem.labels is None:
            return self.held_elbos(ensemble)
        target = self.problem.data(chosen, self.problem.folds.held_out).target
        return self.by_fold(kept_elbos(ensemble, self.held_by(ensemble), target)).double()

    @torch.no_grad()
    def accuracies(self, ensemble: Ensemble) -> list[float | None]:
        """Returns the share of held-out labels that the encoders of each candidate tell, or None without labels."""
        if self.problem.labels is None:
            return [None] * (ensemble.size // len(self.problem.folds))
        x = self.held_by(ensemble).to(ensemble.log_weights)
        parts = [ensemble.log_q(some) for some in x.split(block_of(ensemble), 1)]
        own = torch.stack([self.problem.labels[rows] for rows in self.problem.folds.held_out]).to(x.device)
        tables = self.by_fold(torch.cat(parts, 2)).unbind(1)
        return [accuracy_of(table, own, self.problem.held_weight) for table in tables]

    def mean(self, values: Tensor) -> float:
        """Returns the weighted mean of held-out values ``(F, m)``."""
        return float((self.problem.held_weight * values).sum() / self.problem.held_weight.sum())

    def fold_means(self, ensemble: Ensemble, chosen: Sequence[Candidate]) -> Tensor:
        """Returns the mean held-out score of each of the candidates in an ensemble."""
        return torch.tensor([self.mean(values) for values in self.held_values(ensemble, chosen).unbind(1)])

    def is_better(self, a: Tensor, b: Tensor) -> bool:
        """Returns whether held-out values a are above b by the standard errors of the configuration."""
        return is_better(a, b, self.problem.held_weight, self.standard_errors)
