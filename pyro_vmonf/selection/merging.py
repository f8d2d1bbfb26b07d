"""How many components: fit too many, and merge those that share points."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import as_floats, check_count, check_fraction
from pyro_vmonf.components.recipes import RealNVP
from pyro_vmonf.evaluation.agreement import InferenceGapWarning
from pyro_vmonf.evaluation.evaluating import evaluate, validate_points
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.networks import mlp
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.fitting import DeadComponentWarning, fit

__all__ = ["Merging", "merge_components", "overlaps"]

Pair: TypeAlias = tuple[FlowMixture, SoftmaxEncoder]


@dataclass
class Merging:
    """What a search over K found.

    Attributes:
        rows: One row for each K, the greatest first: ``n_components``, ``overlap`` of the two that share most (0 … 1)
            in the first fit, merged down to K, ``validation_evidence`` (the mean, in nats per observation) and its
            ``standard_error``, ``validation_elbo``, ``aic``, ``bic`` (of the training points), ``parameters``,
            ``seconds`` and ``chosen``.
        pairs: The fitted model and guide of each K.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    pairs: dict[int, Pair] = field(default_factory=dict)

    @property
    def n_components(self) -> int:
        """The K chosen."""
        return next(int(row["n_components"]) for row in self.rows if row["chosen"])

    @property
    def table(self) -> list[dict[str, float]]:
        """The rows."""
        return self.rows

    @property
    def model(self) -> FlowMixture:
        """The model of the K chosen."""
        return self.pairs[self.n_components][0]

    @property
    def guide(self) -> SoftmaxEncoder:
        """The guide of the K chosen."""
        return self.pairs[self.n_components][1]


def merge_components(
    x: object,
    n_components: Sequence[int] = range(1, 13),
    *,
    build: Callable[[int], Pair] | None = None,
    overlap: float = 0.025,
    validation_fraction: float = 0.2,
    initializer: object = "gmm",
    config: TrainingConfig | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Merging:
    r"""Chooses K by merging components that share points, coming down from too many.

    A fit with the greatest K splits clusters, and the parts of a cluster share the points at the cut. The two
    components that overlap most, by Σ_n r_ni r_nj / min(Σ_n r_ni, Σ_n r_nj) with r the exact posterior, are merged, and
    so on down to the least K. The K chosen is the greatest at which no two overlap by more than ``overlap``.

    Each K is fitted from its merged responsibilities, and the evidence of held-out points, AIC and BIC are reported
    beside the overlap, not obeyed. Evidence shows that a component is missing only where one flow cannot bend over two
    clusters. AIC and BIC charge too much for a component: the parameters of flows are many, and held back by noise and
    a falling learning rate. In many dimensions (images) the exact posterior is sure of every point, parts of a cluster
    share nothing, and this rule keeps them all.

    References: Hennig, 2010 (*Adv. Data Anal. Classif.* 4), who merges the components of one fit by their probability
    of misclassification, down to 0.025; Baudry et al., 2010 (*J. Comput. Graph. Stat.* 19(2)); thesis, section 2.2, for
    the criteria.

    Args:
        x: The points ``(N, *event)``, without labels, which would say how many components there are.
        n_components: The K that are tried; the search begins with the greatest.
        build: Makes an untrained model and guide with K components. If it is not given they are ``RealNVP`` flows with
            learned weights and an encoder of two hidden layers of 32.
        overlap: The greatest overlap that is left, between 0 and 1.
        validation_fraction: The fraction of x kept from the fits, between 0 and 1.
        initializer: Where the first fit begins. The others have a warm-up as long as that of an ``Initializer`` here.
        config: The numbers of each fit.
        checkpoint: A file from which a search that was broken off goes on; each K has one of its own beside it.
        seed: The seed of the split and of the fits.
        progress: Whether each fit shows a progress bar.

    Returns:
        The table, the K chosen, and all the fitted pairs.

    Raises:
        ValueError: If the numbers are out of range, or ``build(K)`` has not K components.

    Warns:
        UserWarning: If the greatest K is chosen.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import TrainingConfig
        >>> from pyro_vmonf.selection import merge_components
        >>> config = TrainingConfig(epochs=2)
        >>> found = merge_components(torch.randn(120, 2), range(1, 3), overlap=0.0, config=config, progress=False)
        >>> [row["n_components"] for row in found.rows]
        [2, 1]
    """
    ks = sorted({check_count("n_components", k) for k in n_components}, reverse=True)
    if not ks:
        raise ValueError("n_components: expected at least one number, got none")
    if not isinstance(overlap, (int, float)) or not 0 <= overlap <= 1:
        raise ValueError(f"overlap: expected a number between 0 and 1, got {overlap!r}")
    points = as_floats("x", x)
    model, guide = built(build, points, ks[0], seed)
    used, held_out = halves(validate_points("x", points, model, guide), validation_fraction, seed)
    like = initializer if isinstance(initializer, Initializer) else Initializer()
    selection, merged = Merging(), torch.empty(0)
    for k in ks:
        began = time.monotonic()
        model, guide = built(build, used, k, seed)
        while merged.shape[-1] > 0 and merged.shape[-1] > k:
            merged = merge(merged)
        # A component without points gets a trace of all, or it could not start.
        start = initializer if k == ks[0] else replace(like, method=merged + 1e-6, features=None)
        path = None if checkpoint is None else of_one(Path(checkpoint), k)
        with warnings.catch_warnings():
            # That components have no points is what a search from too many is about.
            warnings.simplefilter("ignore", DeadComponentWarning)
            # The exact posterior is what components are merged and counted by.
            warnings.simplefilter("ignore", InferenceGapWarning)
            fit(model, guide, used, initializer=start, config=config, checkpoint=path, seed=seed, progress=progress)
        merged = evaluate(model, guide, used).responsibilities if k == ks[0] else merged
        row: dict[str, float] = {"n_components": k, "overlap": float(overlaps(merged).max())}
        selection.rows.append(row | criteria(model, guide, used, held_out) | {"seconds": time.monotonic() - began})
        selection.pairs[k] = model, guide
    choose(selection.rows, overlap)
    if selection.n_components == ks[0] > 1:
        message = f"n_components: {ks[0]} components share so little that none was merged; there may be more"
        warnings.warn(message, UserWarning, stacklevel=2)
    return selection


def built(build: Callable[[int], Pair] | None, x: Tensor, k: int, seed: int) -> Pair:
    """Returns an untrained model and guide, whose parameters are drawn by the seed and K."""
    if build is None and x.dim() != 2:
        raise ValueError(f"x: expected shape (N, D) where build is not given, got {tuple(x.shape)}")
    with isolated_random_state(seed + k):
        if build is not None:
            model, guide = build(k)
        else:
            model = FlowMixture(RealNVP(x.shape[1], k), "learned")
            guide = SoftmaxEncoder(mlp(x.shape[1], k, (32, 32)), k)
    if model.n_components != k:
        raise ValueError(f"build: expected a model of {k} components, got {model.n_components}")
    return model, guide


def halves(x: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the points for the fits, and a fraction that is held out."""
    size = round(check_fraction("validation_fraction", fraction, below_one=True) * len(x))
    if size < 2:
        raise ValueError(f"validation_fraction: expected one that holds out 2 points or more, got {fraction!r}")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    return x[order[size:]], x[order[:size]]


def of_one(path: Path, name: object) -> Path:
    """Returns the checkpoint of one fit, beside that of the search."""
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def criteria(model: FlowMixture, guide: SoftmaxEncoder, used: Tensor, held_out: Tensor) -> dict[str, float]:
    """Returns held-out evidence, and Akaike's and the Bayesian criterion, −2 log L + 2 P and −2 log L + P log N."""
    parameters = effective_parameters(model, used)
    log_likelihood = float(evaluate(model, guide, used).evidence.sum())
    evaluation = evaluate(model, guide, held_out)
    return {
        "validation_evidence": float(evaluation.evidence.mean()),
        "standard_error": float(evaluation.evidence.std() / math.sqrt(len(held_out))),
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


def choose(rows: list[dict[str, float]], overlap: float) -> None:
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
