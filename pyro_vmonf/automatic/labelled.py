"""Labels as a search sees them: those of distinct points, and folds among which each class is dealt out."""

import torch
from torch import Tensor

from pyro_vmonf.automatic.folds import Folds, fold_count
from pyro_vmonf.automatic.label_terms import known
from pyro_vmonf.labels import Labels, is_labelled

__all__ = ["LABEL_FOLDS", "accuracy_of", "as_probabilities", "hidden", "labelled_folds", "merged"]

LABEL_FOLDS = 5


def as_probabilities(y: object, size: int, n_components: int) -> Tensor | None:
    """Returns labels as probabilities of the components ``(N, K)``, all 0 where there is none.

    It is None where there is no label at all, or one component, which every label names.

    Args:
        y: Integers ``(N,)``, −1 where there is none, or probabilities ``(N, K)``, −1 throughout a row without; or None.
        size: The number N of points.
        n_components: The number K of components, each of which is a class.

    Raises:
        TypeError: If y holds neither integers nor probabilities.
        ValueError: If its shape is another, or a label is none of −1 … K − 1.
    """
    if y is None:
        return None
    given = Labels(range(n_components)).check(y, size).cpu()
    has_label = is_labelled(given)
    if n_components == 1 or not bool(has_label.any()):
        return None
    if given.dim() == 1:
        given = torch.nn.functional.one_hot(given.clamp(min=0), n_components)
    table = given.double() * has_label.unsqueeze(-1)
    return table / table.sum(-1, keepdim=True).clamp(min=1e-3)  # sums are 1 to a tolerance, or 0


def merged(labels: Tensor, weight: Tensor, index: Tensor, count: int) -> Tensor:
    """Returns the labels of distinct points: the weighted mean of those that the equal rows of a point have.

    Args:
        labels: The labels of the rows ``(N, K)``, all 0 where there is none.
        weight: The weights of the rows ``(N,)``.
        index: The point of each row ``(N,)``.
        count: The number of points.
    """
    total = labels.new_zeros(count, labels.shape[1]).index_add_(0, index, weight.unsqueeze(-1) * labels)
    mass = total.sum(-1, keepdim=True)
    return total / torch.where(mass > 0, mass, torch.ones_like(mass))


def labelled_folds(labels: Tensor, seed: int) -> tuple[Folds, list[Tensor]]:
    """Returns folds among which the labelled points of each class are dealt out, and the points of five such parts.

    A fifth of the points is held out, more than one in turn where they are few, as in
    :func:`~pyro_vmonf.automatic.folds.folds_of`; the folds hold out the first of the five parts. The only labelled
    point of a class is never held out.

    Args:
        labels: The labels ``(N, K)``, all 0 where there is none.
        seed: The seed of the random order.
    """
    n, k = labels.shape
    own = torch.where(known(labels), labels.argmax(-1), torch.full((n,), k))
    counts = own.bincount(minlength=k + 1)
    alone = (counts[own] == 1) & (own < k)
    if int((~alone).sum()) < LABEL_FOLDS:
        alone = torch.zeros_like(alone)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    order = order[~alone[order]]
    dealt = order[own[order].argsort(stable=True)]  # classes one after the other, and points without a label last
    size = max(1, len(dealt) // LABEL_FOLDS)
    parts = [dealt[i : size * LABEL_FOLDS : LABEL_FOLDS] for i in range(LABEL_FOLDS)]
    held_out = parts[: fold_count(n)]
    everything = torch.arange(n)
    return Folds([everything[~torch.isin(everything, rows)] for rows in held_out], held_out), parts


def hidden(labels: Tensor, rows: Tensor) -> Tensor:
    """Returns labels ``(N, K)`` without those of some rows."""
    return labels.index_fill(0, rows, 0.0)


def accuracy_of(table: Tensor, labels: Tensor, weight: Tensor) -> float | None:
    """Returns the share of labelled points whose greatest entry of a table is their label; None for no such point.

    Args:
        table: Scores of the components, ``(F, K, m)``.
        labels: The labels ``(F, m, K)``, all 0 where there is none.
        weight: The weights of the points ``(F, m)``.
    """
    mass = weight * known(labels)
    if not bool((mass > 0).any()):
        return None
    return float((mass * (table.argmax(1) == labels.argmax(-1))).sum() / mass.sum())
