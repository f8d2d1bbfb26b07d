"""How many components: fit too many, and merge those that share points."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import check_count
from pyro_vmonf.evaluation.evaluate import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference.fit import fit
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["Selection", "select_components"]

Pair = tuple[FlowMixture, SoftmaxEncoder]


@dataclass
class Selection:
    """What a search over K found.

    Attributes:
        rows: one for each K, the greatest first: ``n_components``, ``overlap`` of the two that share most (0 … 1)
            in the first fit, merged down to K, ``validation_evidence`` (mean, nats per observation), its
            ``standard_error``, ``validation_elbo``, ``aic``, ``bic`` (of the training points), ``parameters``,
            ``seconds`` and ``chosen``.
        pairs: the fitted model and guide of each K.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    pairs: dict[int, Pair] = field(default_factory=dict)

    @property
    def n_components(self) -> int:
        """The K chosen."""
        return next(int(row["n_components"]) for row in self.rows if row["chosen"])

    @property
    def model(self) -> FlowMixture:
        """The model of the K chosen."""
        return self.pairs[self.n_components][0]

    @property
    def guide(self) -> SoftmaxEncoder:
        """The guide of the K chosen."""
        return self.pairs[self.n_components][1]


def select_components(
    build: Callable[[int], Pair],
    x: Tensor,
    *,
    most: int,
    fewest: int = 1,
    overlap: float = 0.025,
    held_out: float = 0.2,
    init: Any = "gmm",
    seed: int = 0,
    **settings: Any,
) -> Selection:
    r"""Chooses K by merging components that share points, coming down from too many.

    A fit with ``most`` components splits clusters, and the parts of a cluster share the points at the cut. The two
    components that overlap most, by Σ_n r_ni r_nj / min(Σ_n r_ni, Σ_n r_nj) with r the exact posterior, are merged, and
    so on down to ``fewest``. The K chosen is the greatest at which no two overlap by more than ``overlap``.

    Each K is fitted from its merged responsibilities, and the evidence of held-out points, AIC and BIC are reported
    beside the overlap, not obeyed. Evidence shows that a component is missing only where one flow cannot bend over two
    clusters. AIC and BIC charge too much for a component: the parameters of flows are many, and held back by noise and
    a falling learning rate. In many dimensions (images) the exact posterior is sure of every point, parts of a cluster
    share nothing, and this rule keeps them all.

    References: Hennig, 2010 (*Adv. Data Anal. Classif.* 4), who merges the components of one fit by their probability
    of misclassification, down to 0.025; Baudry et al., 2010 (*J. Comput. Graph. Stat.* 19(2)); thesis, section 2.2, for
    the criteria.

    Args:
        build: makes an untrained model and guide with K components.
        x: ``(N, *event)``.
        most: the greatest K, with which it begins.
        fewest: the least K.
        overlap: the greatest that is left, between 0 and 1.
        held_out: the share of x kept from the fits, between 0 and 1.
        init: the first fit's start.
        seed: of the split and the fits.
        **settings: of each :func:`~pyro_vmonf.inference.fit`; a ``checkpoint`` becomes one file for each K.

    Returns:
        the table, the K chosen, and all the fitted pairs.

    Raises:
        ValueError: if the numbers are out of range, or ``build(K)`` has not K components.

    Warns:
        UserWarning: if ``most`` is chosen.
    """
    check_count("most", most, check_count("fewest", fewest))
    if "y" in settings:
        raise ValueError("y: expected no labels; they would say how many components there are")
    if not isinstance(overlap, (int, float)) or not 0 <= overlap <= 1:
        raise ValueError(f"overlap: expected a number between 0 and 1, got {overlap!r}")
    checkpoint = settings.get("checkpoint")
    if not isinstance(held_out, float) or not 0 < held_out < 1 or round(held_out * len(x)) < 2:
        raise ValueError(f"held_out: expected a share between 0 and 1 that leaves 2 points or more, got {held_out!r}")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    held, used = x[order[: round(held_out * len(x))]], x[order[round(held_out * len(x)) :]]
    selection, merged = Selection(), torch.empty(0)
    for k in range(most, fewest - 1, -1):
        began = time.monotonic()
        with isolated_random_state(seed + k):
            model, guide = build(k)
        if model.n_components != k:
            raise ValueError(f"build: expected a model of {k} components, got {model.n_components}")
        if checkpoint is not None:  # one file for each K
            path = Path(checkpoint)
            settings["checkpoint"] = path.with_name(f"{path.stem}-{k}{path.suffix}")
        # A component without points gets a trace of all, or it could not start.
        fit(model, guide, used, init=init if k == most else merged + 1e-6, seed=seed, **settings)
        merged = evaluate(model, guide, used).responsibilities if k == most else merged
        row = {"n_components": k, "overlap": float(overlaps(merged).max()), **describe(model, guide, used, held)}
        selection.rows.append(row | {"seconds": time.monotonic() - began})
        selection.pairs[k] = model, guide
        merged = merge(merged) if k > 1 else merged
    choose(selection.rows, overlap)
    if selection.n_components == most > 1:
        warnings.warn(f"most: {most} components share so little that none was merged; there may be more", stacklevel=2)
    return selection


def describe(model: FlowMixture, guide: SoftmaxEncoder, used: Tensor, held: Tensor) -> dict[str, Any]:
    """Held-out evidence, and Akaike's and the Bayesian criterion, −2 log L + 2 P and −2 log L + P log N."""
    parameters = effective_parameters(model, used)
    log_likelihood = float(evaluate(model, guide, used).evidence.sum())
    evaluation = evaluate(model, guide, held)
    return {
        "validation_evidence": float(evaluation.evidence.mean()),
        "standard_error": float(evaluation.evidence.std() / math.sqrt(len(held))),
        "validation_elbo": float(evaluation.elbo.mean()),
        "aic": -2 * log_likelihood + 2 * parameters,
        "bic": -2 * log_likelihood + math.log(len(used)) * parameters,
        "parameters": parameters,
    }


def effective_parameters(model: FlowMixture, x: Tensor) -> int:
    """How many numbers the evidence of (some of) x depends on: masked and triangular weights count for what is used."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    points = x[:2000].to(next(model.parameters(), x))
    if not parameters:
        return 0
    gradients = torch.autograd.grad(model.evidence(points).sum(), parameters, allow_unused=True)
    return sum(int((g != 0).sum()) for g in gradients if g is not None)


def choose(rows: list[dict[str, Any]], overlap: float) -> None:
    """Marks the greatest K whose components overlap by no more than this, or the least of all."""
    apart = [row["n_components"] for row in rows if row["overlap"] <= overlap]
    chosen = max(apart) if apart else min(row["n_components"] for row in rows)
    for row in rows:
        row["chosen"] = row["n_components"] == chosen


def overlaps(responsibilities: Tensor) -> Tensor:
    """``(N, K)`` → ``(K, K)``: the points that two share, for the size of the smaller; 0 on the diagonal.

    A component without points overlaps wholly with any.
    """
    sizes = responsibilities.sum(0)
    smaller = torch.minimum(sizes, sizes.unsqueeze(-1))
    empty = smaller <= 1e-9 * len(responsibilities)
    shared = (responsibilities.mT @ responsibilities) / smaller.masked_fill(empty, 1.0)
    return shared.masked_fill(empty, 1.0).fill_diagonal_(0.0)


def merge(responsibilities: Tensor) -> Tensor:
    """``(N, K)`` → ``(N, K − 1)``: the two components that overlap most become one."""
    k = responsibilities.shape[-1]
    i, j = divmod(int(overlaps(responsibilities).fill_diagonal_(-1).argmax()), k)
    kept = [c for c in range(k) if c not in (i, j)]
    union = responsibilities[:, i] + responsibilities[:, j]
    return torch.cat([responsibilities[:, kept], union.unsqueeze(-1)], dim=-1)
