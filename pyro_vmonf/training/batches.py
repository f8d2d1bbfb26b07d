"""The order of the points of an epoch: generators of indices, whose permutations are drawn when they are reached."""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.data import TrainingData

__all__ = ["Batches", "semi_supervised_batches", "train_batches"]

Batches: TypeAlias = Callable[[TrainingData], Iterator[Tensor]]


def train_batches(points: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yields ``points`` in random order, in batches of about one size.

    A last batch of a single point would have no variance to normalise by.
    """
    if len(points):
        order = points[torch.randperm(len(points))]
        yield from order.tensor_split(math.ceil(len(points) / batch_size))


def semi_supervised_batches(data: TrainingData, batch_size: int, labelled_fraction: float) -> Iterator[Tensor]:
    """Yields all points without a label in batches, joined by labelled points that make up a fraction of each."""
    unlabelled, labelled = data.unlabelled, data.labelled
    count = min(max(1, round(labelled_fraction * batch_size)), batch_size - 1)
    hosts = unlabelled[torch.randperm(len(unlabelled))].tensor_split(math.ceil(len(unlabelled) / (batch_size - count)))
    guests = [max(1, round(labelled_fraction / (1 - labelled_fraction) * len(part))) for part in hosts]
    passes = [torch.randperm(len(labelled)) for _ in range(math.ceil(sum(guests) / len(labelled)))]
    joined = labelled[torch.cat(passes)[: sum(guests)]]
    for pair in zip(hosts, joined.split(guests), strict=True):
        yield torch.cat(pair)


def batches_of(config: TrainingConfig) -> Batches:
    """Returns the batches that ``batch_size`` and ``labelled_fraction`` ask for."""

    def batches(data: TrainingData) -> Iterator[Tensor]:
        fraction = config.labelled_fraction
        if fraction is None or not len(data.labelled) or not len(data.unlabelled):
            return train_batches(torch.arange(len(data)), config.batch_size)
        return semi_supervised_batches(data, config.batch_size, fraction)

    return batches
