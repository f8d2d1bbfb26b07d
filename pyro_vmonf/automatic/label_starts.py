"""Starts with labels: clusterings and classifiers, weighed by how well they tell labels that were hidden from them."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vmonf.automatic.label_methods import LABEL_METHODS, LabelMethod
from pyro_vmonf.automatic.label_terms import known
from pyro_vmonf.automatic.labelled import hidden
from pyro_vmonf.automatic.starts import LEAST_SHARE, Candidate, clustered, numbered
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.initialization.supervised import learns_from_labels, match_labels
from pyro_vmonf.labels import Labels

__all__ = ["Member", "labelled_candidates", "members_of", "weighed"]

LEAST_HIDDEN = 2  # labels for each class, from which on hidden ones weigh the methods
Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Member:
    """A method's probabilities of the components.

    Attributes:
        name: The name of the method.
        probs: Those with all labels, ``(N, K)``.
        by_part: Those without the labels of each of five parts of the points, ``(N, K)`` each.
    """

    name: str
    probs: Tensor
    by_part: tuple[Tensor, ...]

    def told(self, labels: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Returns the probabilities of each labelled point without its label, and 0 of all others, ``(N, K)``."""
        found = torch.zeros_like(self.probs)
        for rows, probs in zip(parts, self.by_part, strict=True):
            own = rows[known(labels[rows])]
            found[own] = probs[own]
        return found


def labelled_candidates(
    initializers: Sequence[Initializer],
    x: Tensor,
    labels: Tensor,
    parts: Sequence[Tensor],
    weight: Tensor,
    *,
    folds: int,
    is_auto: bool,
    seed: int,
) -> tuple[list[Candidate], list[str]]:
    """Returns the starts of a search with labels: one, the weighed mean of all methods, where labels can weigh them.

    They can where each class has a label, and two for each class can be hidden from the methods in turn. Elsewhere
    the clusterings compete as they do without labels, each in the order that agrees best with the labels. A sentence
    says which it is.

    Args:
        initializers: The clusterings, and classifiers that learn from labels.
        x: The points ``(N, D)``.
        labels: The labels ``(N, K)``, all 0 where there is none.
        parts: Five parts of the points, whose labels are hidden in turn.
        weight: The weights of the points, ``(N,)``.
        folds: The number of parts that a search holds out.
        is_auto: Whether the methods are the library's own, of which those that learn from labels take part, and one
            that fails is left out.
        seed: The seed.

    Raises:
        ValueError: If no method finds K clusters.
    """
    members = members_of(initializers, x, labels, parts, weight, is_auto=is_auto, seed=seed)
    count = sum(int(known(labels[rows]).sum()) for rows in parts)
    reasons: list[str] = []
    if len(members) > 1:
        if count >= LEAST_HIDDEN * labels.shape[1] and all_are_named(labels):
            members, reasons = weighed(members, labels, parts, weight)
        else:
            reasons = [f"With {count} labels to hide in turn, the methods are not weighed by these but compete."]
    return [as_candidate(one, labels, parts[:folds]) for one in members], reasons


def members_of(
    initializers: Sequence[Initializer],
    x: Tensor,
    labels: Tensor,
    parts: Sequence[Tensor],
    weight: Tensor,
    *,
    is_auto: bool,
    seed: int,
) -> list[Member]:
    """Returns what each method says; those that find fewer than K clusters are left out.

    The library's own methods that learn from labels need a label of each class. For the arguments see
    :func:`labelled_candidates`.
    """
    k = labels.shape[1]
    methods: dict[str, Answer] = {}
    for one, name in zip(initializers, numbered([one.name for one in initializers]), strict=True):
        if (answer := answer_of(one, x, k, weight, seed, is_auto)) is not None:
            methods[name] = answer
    without = [hidden(labels, rows) for rows in parts]
    if is_auto and all(all_are_named(own) for own in (labels, *without) if bool(known(own).any())):
        methods |= {name: with_points(method, x, weight) for name, method in LABEL_METHODS.items()}
    if not methods:
        names = [one.name for one in initializers]
        raise ValueError(f"initializer: expected a method that finds {k} clusters, but none of {names} does")
    return [
        Member(
            name, answer(labels), tuple(answer(own) if bool(known(own).any()) else answer(labels) for own in without)
        )
        for name, answer in methods.items()
    ]


def all_are_named(labels: Tensor) -> bool:
    """Returns whether each class is the most probable one of some point with a label."""
    return len(labels[known(labels)].argmax(-1).unique()) == labels.shape[1]


def answer_of(initializer: Initializer, x: Tensor, k: int, weight: Tensor, seed: int, may_fail: bool) -> Answer | None:
    """Returns a function of labels that gives an initializer's responsibilities ``(N, K)`` in their order.

    It is None where the initializer finds fewer than K clusters, or fails and may.
    """
    classes = Labels(range(k))
    if not learns_from_labels(initializer.method):
        start = clustered(initializer, x, k, weight, seed, may_fail)
        if start is None:
            return None
        found = start.responsibilities
        return lambda labels: match_labels(found, as_given(labels), classes)[0]

    def answer(labels: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return initializer.start(
                x, k, weight=weight, seed=seed, y=as_given(labels), labels=classes
            ).responsibilities

    return answer


def with_points(method: LabelMethod, x: Tensor, weight: Tensor) -> Answer:
    """Returns a method as a function of labels alone."""
    return lambda labels: method(x, labels, weight)


def as_given(labels: Tensor) -> Tensor:
    """Returns labels ``(N, K)`` with −1 throughout the rows that have none, as the library takes soft labels."""
    return torch.where(known(labels).unsqueeze(-1), labels, torch.full_like(labels, -1.0))


def weighed(
    members: Sequence[Member], labels: Tensor, parts: Sequence[Tensor], weight: Tensor
) -> tuple[list[Member], list[str]]:
    """Returns the mean of all members, each weighed by the likelihood of labels that were hidden from it.

    A member with the share e of errors among hidden labels counts as (1 − e) times its probabilities and e / K more.
    Where the labels of a part are hidden, those of the others alone judge.
    """
    said = torch.stack([one.told(labels, parts) for one in members])
    judged = torch.cat([rows[known(labels[rows])] for rows in parts])

    def mean(tables: Sequence[Tensor], rows: Tensor) -> Tensor:
        return mean_of(tables, *weights_of(said[:, rows], labels[rows], weight[rows]))

    others = [judged[~torch.isin(judged, rows)] for rows in parts]
    by_part = [mean([one.by_part[i] for one in members], rows) for i, rows in enumerate(others)]
    shares = weights_of(said[:, judged], labels[judged], weight[judged])[1].tolist()
    named = sorted(zip(shares, [one.name for one in members], strict=True), reverse=True)
    said_of = ", ".join(f"{name} {share:.2f}" for share, name in named if share >= 0.005)
    reason = f"The start is the mean of methods, weighed by {len(judged)} labels hidden from them in turn: {said_of}."
    return [Member("labels", mean([one.probs for one in members], judged), tuple(by_part))], [reason]


def mean_of(tables: Sequence[Tensor], errors: Tensor, shares: Tensor) -> Tensor:
    """Returns the mean of probabilities ``(N, K)``, given the share of errors and the weight of each, ``(M,)``."""
    table = torch.stack(list(tables))
    return (shares[:, None, None] * smoothed(table, errors)).sum(0)


def smoothed(probs: Tensor, errors: Tensor) -> Tensor:
    """Returns probabilities ``(M, …, K)`` as those of methods that err in the shares e ``(M,)``: (1 − e) p + e / K."""
    share = errors[:, None, None]
    return (1 - share) * probs + share / probs.shape[-1]


def weights_of(said: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the share of errors of each of M members, and its weight, both ``(M,)``.

    Args:
        said: The probabilities that the members gave to labelled points, ``(M, n, K)``.
        labels: The labels ``(n, K)``.
        weight: The weights of the points, ``(n,)``, which count as their shares of all n.
    """
    mass = weight * len(weight) / weight.sum()
    wrong = (said.argmax(-1) != labels.argmax(-1)).to(mass)
    errors = ((mass * wrong).sum(-1) + 1) / (len(mass) + 2)
    return errors, (mass * (labels * smoothed(said, errors).log()).sum(-1)).sum(-1).softmax(0)


def as_candidate(member: Member, labels: Tensor, parts: Sequence[Tensor]) -> Candidate:
    """Returns a member as a start, in which labelled points have their labels; its shares are moved to equal ones."""
    without = [hidden(labels, rows) for rows in parts]
    by_fold = tuple(clamped_to(probs, own) for probs, own in zip(member.by_part, without, strict=False))
    return Candidate(member.name, clamped_to(member.probs, labels), by_fold=by_fold)


def clamped_to(probs: Tensor, labels: Tensor) -> Tensor:
    """Returns probabilities ``(N, K)``, and labels in their place where there are any, moved a little to equal ones."""
    table = torch.where(known(labels).unsqueeze(-1), labels, probs)
    return (1 - LEAST_SHARE) * table + LEAST_SHARE / labels.shape[1]
