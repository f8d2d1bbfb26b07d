"""Which start, which warp and how many steps: chosen by held-out points and by the graph of neighbours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.training import EnsembleData, Schedule, Trained, scores, train_ensemble
from pyro_vmonf.automatic.warps import WARPS

__all__ = ["Candidate", "Search"]

TOUCH = 0.005
NATS = 1.0
NEIGHBOURS = 10


@dataclass(frozen=True)
class Candidate:
    """A clustering from which a fit may begin: its name, responsibilities ``(N, K)``, and the type of its Gaussians."""

    name: str
    responsibilities: Tensor
    covariance_type: str = "full"
    hard: bool = False


def weighted_gaussians(x: Tensor, r: Tensor, weight: Tensor, kind: str) -> Gaussians:
    """Returns the Gaussians of soft clusters of points ``(n, D)``, r ``(n, K)``, as one mixture ``(1, K, …)``."""
    x, r, weight = x.double(), r.double(), weight.double()
    shares = (r * weight.unsqueeze(-1)).T  # (K, n)
    total = shares.sum(-1) + 1e-9
    means = shares @ x / total.unsqueeze(-1)
    centred = x - means.unsqueeze(1)
    covariances = (shares.unsqueeze(-1) * centred).mT @ centred / total[:, None, None]
    d = x.shape[1]
    diagonal = torch.diag_embed(covariances.diagonal(dim1=-2, dim2=-1))
    shrink = (d / total.clamp(min=1)).square().clamp(max=1)[:, None, None]
    ridge = 1e-4 + 1e-3 * covariances.diagonal(dim1=-2, dim2=-1).mean(-1)
    covariances = (1 - shrink) * covariances + shrink * diagonal + ridge[:, None, None] * torch.eye(d, dtype=x.dtype)
    weights = total / total.sum()
    if kind == "tied":
        covariances = (weights[:, None, None] * covariances).sum(0).expand_as(covariances)
    if kind == "diag":
        covariances = torch.diag_embed(covariances.diagonal(dim1=-2, dim2=-1))
    return Gaussians(weights.clamp(min=1e-6).log()[None], means[None], covariances[None])


class Search:
    """A competition of starts and warps on points that are standardised and distinct.

    Args:
        x: The points ``(N, D)``.
        weight: Their weights.
        candidates: The starts.
        seed: The seed.
    """

    def __init__(self, x: Tensor, weight: Tensor, candidates: Sequence[Candidate], seed: int = 0) -> None:
        self.x, self.weight, self.candidates, self.seed = x, weight, list(candidates), seed
        self.k = candidates[0].responsibilities.shape[1]
        n = len(x)
        folds = 5 if n <= 200 else 2 if n <= 450 else 1
        size = n // 5
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        self.held = [order[i * size : (i + 1) * size] for i in range(folds)]
        self.kept = [torch.cat([order[: i * size], order[(i + 1) * size :]]) for i in range(folds)]
        tied = [c for c in self.candidates if c.covariance_type == "tied"] or self.candidates
        scale = weighted_gaussians(x, tied[0].responsibilities, weight, "tied").covariances[0, 0]
        self.noise = (0.07 * torch.linalg.cholesky(scale).T).float()
        self.log: list[dict[str, object]] = []

    def gaussians(self, chosen: Sequence[int], folds: Sequence[Tensor]) -> Gaussians:
        """Returns the Gaussians of some candidates in each fold, folds first."""
        parts = []
        for rows in folds:
            for i in chosen:
                c = self.candidates[i]
                parts.append(weighted_gaussians(self.x[rows], c.responsibilities[rows], self.weight[rows], c.covariance_type))
        return Gaussians.joined(parts)

    def build(self, warp: str, chosen: Sequence[int], folds: Sequence[Tensor]) -> Ensemble:
        """Returns an ensemble of some candidates in each fold, all with the same initial networks."""
        size = len(chosen) * len(folds)
        torch.manual_seed(self.seed)
        ensemble = Ensemble(self.x.shape[1], self.k, WARPS[warp], size)
        with torch.no_grad():
            for p in ensemble.parameters():
                rows = p.view(size, -1)
                rows.copy_(rows[:1].clone().expand_as(rows))
        start = self.gaussians(chosen, folds)
        ensemble.set_gaussians(Gaussians(*(getattr(start, f).float() for f in ("log_weights", "means", "covariances"))))
        return ensemble

    def data(self, chosen: Sequence[int], folds: Sequence[Tensor]) -> EnsembleData:
        """Returns the training points of some candidates in each fold."""
        stack = lambda f: torch.stack([f(rows, self.candidates[i]) for rows in folds for i in chosen])  # noqa: E731
        return EnsembleData(
            stack(lambda rows, c: self.x[rows]).float(),
            stack(lambda rows, c: c.responsibilities[rows]).float(),
            stack(lambda rows, c: self.weight[rows]).float(),
        )

    def held_out(self, chosen: Sequence[int]) -> Tensor:
        """Returns the held-out points of some candidates in each fold."""
        return torch.stack([self.x[rows] for rows in self.held for _ in chosen]).float()

    def train(self, ensemble: Ensemble, chosen: Sequence[int], schedule: Schedule, seed: int = 0) -> Trained:
        """Trains some candidates in each fold."""
        held = self.held_out(chosen)
        return train_ensemble(
            ensemble, self.data(chosen, self.kept), held, self.noise, schedule, seed=self.seed + seed
        )


def better(a: Tensor, b: Tensor) -> bool:
    """Returns whether held-out values a are above b by more than one paired standard error."""
    d = (a - b).flatten().double()
    return bool(d.mean() > d.std(correction=0) / math.sqrt(len(d)))


def crossing(near: Tensor, labels: Tensor, k: int) -> tuple[float, float]:
    """Returns the share of neighbour edges that join two clusters: of all points, and of the worst cluster."""
    out = (labels[near] != labels.unsqueeze(-1)).double().mean(1)
    return float(out.mean()), max((float(out[labels == j].mean()) for j in range(k) if bool((labels == j).any())), default=0.0)


SHORT = {"A": (120, 25), "P": (160, 30)}
LONG, WARM, WAIT = (2400, 60, 500), (400, 20, 150), (250, 25, 60)


def run(search: Search) -> dict[str, object]:
    """The second prototype's rule."""
    from sklearn.neighbors import NearestNeighbors

    import numpy as np

    s_, S, F = search, len(search.candidates), len(search.kept)
    x = search.x
    n = len(search.kept[0])
    rate = max(1, n // min(256, max(32, n // 4)))
    every = list(range(S))
    near = torch.as_tensor(
        NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(x) - 1)).fit(x.numpy()).kneighbors(return_distance=False)
    )
    cuts = [crossing(near, c.responsibilities.argmax(1), s_.k) for c in s_.candidates]
    cut, worst = [c[0] for c in cuts], [c[1] for c in cuts]
    held = s_.held_out(every)
    trained, level, found = {}, {}, {}
    start = s_.build("N", every, s_.kept)
    at_start = scores(start, held).view(F, S, -1)
    for warp, (most, wait) in SHORT.items():
        e = s_.build(warp, every, s_.kept)
        t = s_.train(e, every, Schedule(steps=most * rate, warmup=30 * rate, patience=wait * rate))
        trained[warp] = e, t
        found[warp] = scores(e, held).view(F, S, -1)
        level[warp] = found[warp].mean((0, 2))
    a, ta = trained["A"]
    level["all"] = scores(a, x.float().expand(F * S, -1, -1)).view(F, S, -1).mean((0, 2))
    best = {w: int(v.argmax()) for w, v in level.items()}
    nominees = ({best["A"]} if best["A"] == best["P"] else {best["all"], best["P"]}) | {j for j in every if worst[j] < TOUCH}
    s = min(nominees, key=lambda j: (worst[j], -float(level["all"][j])))
    pick = [f * S + s for f in range(F)]
    clamp = lambda steps, least, most: min(max(steps, least * rate), most * rate)  # noqa: E731
    long = Schedule(steps=clamp(*LONG), warmup=clamp(*WARM), patience=clamp(*WAIT))

    def value(e: Ensemble, elbo: Tensor, rows) -> Tensor:
        labels = e(x.float().expand(e.size, -1, -1))[1].argmax(1)[rows]
        return elbo - NATS * NEIGHBOURS * float(np.mean([crossing(near, z, s_.k)[0] for z in labels]))

    with torch.no_grad():
        values = {"N": at_start[:, s] - NATS * NEIGHBOURS * cut[s], "A": value(a, found["A"][:, s], pick)}
    median = lambda t: int(t.double().median())  # noqa: E731
    steps = {"N": 0, "A": median(ta.steps.view(F, S)[:, s])}
    sched = {"A": Schedule(steps=120 * rate, warmup=30 * rate, patience=25 * rate)}
    for warp in ("P", "S", "AP", "AS"):
        e = s_.build(warp, [s], s_.kept)
        sc = Schedule(steps=120 * rate, warmup=30 * rate, patience=25 * rate)
        if warp[0] == "A":
            e.copy_from(a, pick)
            sc = Schedule(steps=120 * rate, warmup=0, patience=25 * rate)
        elif warp == "P":
            sc = long
        t = s_.train(e, [s], sc, seed=int(warp[0] == "A"))
        with torch.no_grad():
            values[warp] = value(e, scores(e, s_.held_out([s])), slice(None))
        steps[warp], sched[warp] = median(t.steps), sc
    warp = max(values, key=lambda w: float(values[w].mean()))
    if warp != "N" and not better(values[warp], values["N"]):
        warp = "N"
    elif warp not in "NA" and not better(values[warp], values["A"]):
        warp = "A" if better(values["A"], values["N"]) else warp
    whole = [torch.arange(len(x))]
    base = "A" if warp[0] in "AN" else warp
    model = s_.build(base if warp != "N" else "N", [s], whole)
    data = s_.data([s], whole)
    if warp != "N" and steps[base]:
        train_ensemble(model, data, None, s_.noise, sched[base], seed=s_.seed, stop=torch.tensor([steps[base]]))
    if len(warp) == 2:
        grown = s_.build(warp, [s], whole)
        grown.copy_from(model, [0])
        model = grown
        if steps[warp]:
            train_ensemble(model, data, None, s_.noise, sched[warp], seed=s_.seed + 1, stop=torch.tensor([steps[warp]]))
    return {"model": model, "start": s_.candidates[s].name, "warp": warp, "steps": steps, "worst": worst,
            "values": {w: float(v.mean()) for w, v in values.items()}, "level": {w: v.tolist() for w, v in level.items()}}
