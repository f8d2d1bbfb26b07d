"""Argument checks that the whole library shares: each error names the argument, what was expected and what came."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "check_count",
    "check_events",
    "check_finite",
    "check_fraction",
    "check_labels",
    "check_permutation",
    "check_positive",
    "check_widths",
]


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """Returns ``value`` if it is an integer of at least ``minimum``; raises ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name}: expected an integer of at least {minimum}, got {value!r}")
    return int(value)


def check_widths(name: str, widths: Any) -> tuple[int, ...]:
    """Returns ``widths`` as a tuple of layer widths, each at least 1; raises ``ValueError`` otherwise."""
    if not isinstance(widths, Iterable):
        raise ValueError(f"{name}: expected a sequence of layer widths such as ({widths!r},), got {widths!r}")
    return tuple(check_count(name, width) for width in widths)


def check_positive(name: str, value: Any) -> float:
    """Returns ``value`` as a float if it is a finite number above zero; raises ``ValueError`` otherwise."""
    if not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name}: expected a finite number above 0, got {value!r}")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """Returns ``value`` as a float if 0 < value ≤ 1; raises ``ValueError`` otherwise."""
    if not isinstance(value, Real) or not 0 < float(value) <= 1:
        raise ValueError(f"{name}: expected a number above 0 and at most 1, got {value!r}")
    return float(value)


def check_permutation(name: str, order: Tensor) -> Tensor:
    """Returns the tensor ``order`` if it is a permutation of 0 … D − 1; raises ``ValueError`` otherwise."""
    if order.dim() != 1 or not torch.equal(order.sort().values, torch.arange(len(order), device=order.device)):
        raise ValueError(f"{name}: expected a permutation of 0 … {order.numel() - 1}, got {order.tolist()}")
    return order


def check_events(name: str, x: Any, event_shape: torch.Size) -> Tensor:
    """Returns the tensor ``x`` if it is floating-point and of shape ``(*batch, *event_shape)``.

    Raises:
        TypeError: if ``x`` is not a tensor of a floating-point type.
        ValueError: if its trailing shape is not ``event_shape``.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else f"{type(x).__name__} (torch.as_tensor makes a tensor of an array)"
        raise TypeError(f"{name}: expected a floating-point tensor, got {kind}")
    if x.shape[x.dim() - len(event_shape) :] != event_shape:
        expected = ", ".join(["*batch", *map(str, event_shape)])
        raise ValueError(f"{name}: expected shape ({expected}), got {tuple(x.shape)}")
    return x


def check_finite(name: str, x: Tensor) -> None:
    """Raises ``ValueError`` with a count if ``x`` holds NaN or infinite values."""
    if bad := int((~torch.isfinite(x)).sum()):
        raise ValueError(f"{name}: expected finite values, got {bad} NaN or infinite of {x.numel()}")


def as_numbers(name: str, given: Any) -> Tensor:
    """``given`` as a tensor; raises ``TypeError`` if it holds no numbers, such as names of classes."""
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected numbers, got {type(given).__name__} that holds others: {error}") from error


def check_labels(name: str, y: Any, size: int, n_components: int) -> Tensor:
    """Returns ``y`` as a ``LongTensor`` of shape ``(size,)`` with values from −1 (unlabelled) to K − 1.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if their number or range is wrong.
    """
    labels = as_numbers(name, y)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{name}: expected integer labels, got {labels.dtype}")
    if labels.shape != (size,):
        raise ValueError(f"{name}: expected shape ({size},), one label for each x, got {tuple(labels.shape)}")
    if labels.numel() and not -1 <= int(labels.min()) <= int(labels.max()) < n_components:
        raise ValueError(
            f"{name}: expected labels from -1 (unlabelled) to {n_components - 1}, "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    return labels.long()
