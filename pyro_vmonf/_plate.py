"""The plate over the data, which the model and the guide share."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vmonf._validation import check_count

__all__ = ["data_plate"]


@contextmanager
def data_plate(x: Tensor | None, size: float | None = None, weight: Tensor | None = None) -> Iterator[None]:
    """Opens ``pyro.plate("data")`` for a batch x that stands for ``size`` points.

    Without weights every point of the batch counts ``size / len(x)`` times. With weights point n counts
    ``weight[n] * size / weight.sum()`` times, and ``size`` is the sum of the weights of the whole data set.

    Args:
        x: The batch ``(N, *event)``, or None to draw ``size`` new points.
        size: The size of the whole data set. It is that of the batch if it is not given.
        weight: The weights of the batch's points, ``(N,)``.

    Raises:
        ValueError: If ``size`` is smaller than the batch, or the weights do not have the shape ``(N,)``.
    """
    with ExitStack() as stack:
        if x is None:
            count = check_count("size", 1 if size is None else size)
            stack.enter_context(pyro.plate("data", count, dim=-1))
        elif weight is None:
            if size is not None and size < len(x):
                raise ValueError(f"size: expected at least the {len(x)} points of the batch, got {size}")
            stack.enter_context(plate_of(x, size or len(x)))
        else:
            if weight.shape != (len(x),):
                raise ValueError(f"weight: expected shape ({len(x)},), one for each x, got {tuple(weight.shape)}")
            stack.enter_context(plate_of(x, len(x)))
            # Pyro wants one number here where z is enumerated in the model alone; see FlowMixture.forward.
            stack.enter_context(poutine.scale(scale=weight if size is None else weight * (size / weight.sum())))
        yield


def plate_of(x: Tensor, size: float) -> pyro.plate:
    """Returns the plate of ``size`` points of which x is a batch."""
    return pyro.plate("data", size, subsample=torch.arange(len(x), device=x.device), dim=-1)  # type: ignore[arg-type]
