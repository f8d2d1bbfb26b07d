"""Argument checks that the whole library shares: each error names the argument, what was expected and what came."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "as_floats",
    "as_numbers",
    "check_choice",
    "check_count",
    "check_events",
    "check_finite",
    "check_fraction",
    "check_labels",
    "check_nonnegative",
    "check_permutation",
    "check_positive",
    "check_seed",
    "check_tensor",
    "check_weights",
    "check_widths",
]


def check_count(name: str, value: object, minimum: int = 1) -> int:
    """Returns ``value`` if it is an integer of at least ``minimum``; raises ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name}: expected an integer of at least {minimum}, got {value!r}")
    return int(value)


def check_widths(name: str, widths: object) -> tuple[int, ...]:
    """Returns ``widths`` as a tuple of layer widths, each at least 1; raises ``ValueError`` otherwise."""
    if not isinstance(widths, Iterable):
        raise ValueError(f"{name}: expected a sequence of layer widths such as ({widths!r},), got {widths!r}")
    return tuple(check_count(name, width) for width in widths)


def check_positive(name: str, value: object) -> float:
    """Returns ``value`` as a float if it is a finite number above zero; raises ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name}: expected a finite number above 0, got {value!r}")
    return float(value)


def check_seed(seed: object) -> int:
    """Returns ``seed`` as an int if 0 ≤ seed < 2³², which all generators take; raises as :func:`check_count` does."""
    found = check_count("seed", seed, 0)
    if found >= 2**32:
        raise ValueError(f"seed: expected an integer below 2**32, got {seed!r}")
    return found


def check_tensor(name: str, x: object, own: Tensor | None) -> None:
    """Raises ``TypeError`` if x is no tensor, or one of other numbers than a module, where torch has failed on it.

    Args:
        name: What the caller calls the argument.
        x: The points.
        own: A parameter of the module, or None if it has none.
    """
    advice = "evaluate(model, guide, x) of pyro_vmonf takes numbers of any kind"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}; {advice}")
    if own is not None and x.dtype != own.dtype:
        raise TypeError(f"{name}: expected {own.dtype} as the parameters have, got {x.dtype}; {advice}")


def check_fraction(name: str, value: object, *, below_one: bool = False) -> float:
    """Returns ``value`` as a float if 0 < value ≤ 1, or < 1 where asked for; raises ``ValueError`` otherwise."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not 0 < float(value) <= 1
        or (below_one and float(value) == 1)
    ):
        expected = "between 0 and 1" if below_one else "above 0 and at most 1"
        raise ValueError(f"{name}: expected a number {expected}, got {value!r}")
    return float(value)


def check_permutation(name: str, order: Tensor) -> Tensor:
    """Returns the tensor ``order`` if it is a permutation of 0 … D − 1; raises ``ValueError`` otherwise."""
    if order.dim() != 1 or not torch.equal(order.sort().values, torch.arange(len(order), device=order.device)):
        raise ValueError(f"{name}: expected a permutation of 0 … {order.numel() - 1}, got {order.tolist()}")
    return order


def check_events(name: str, x: object, event_shape: torch.Size) -> Tensor:
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


def as_numbers(name: str, given: object) -> Tensor:
    """Returns ``given`` as a tensor; raises ``TypeError`` if it holds no numbers, such as names of classes."""
    if isinstance(given, Tensor):
        return given
    array = as_array(name, given)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected numbers, got {type(given).__name__} of {array.dtype}")
    return torch.tensor(array.astype(array.dtype.newbyteorder("=")))


def check_labels(name: str, y: object, size: int, n_components: int) -> Tensor:
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


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Returns ``value`` if it is one of ``choices``; raises ``ValueError`` otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {tuple(choices)}, got {value!r}")
    return value


def check_nonnegative(name: str, value: object) -> float:
    """Returns ``value`` as a float if it is a finite number of at least 0; raises ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")
    return float(value)


def check_weights(name: str, weight: object, x: Tensor) -> Tensor:
    """Returns ``weight`` as a tensor ``(N,)`` in x's type, beside x; raises ``ValueError`` if it is none of N weights.

    Raises:
        TypeError: If the weights are no numbers.
        ValueError: If their number is not that of x, one is negative or not finite, or all are 0.
    """
    given = as_numbers(name, weight).detach()
    if given.shape != (len(x),):
        raise ValueError(f"{name}: expected shape ({len(x)},), one for each x, got {tuple(given.shape)}")
    given = given.to(x)
    check_finite(name, given)
    if bool((given < 0).any()) or not bool((given > 0).any()):
        raise ValueError(f"{name}: expected numbers of at least 0, one above 0, got {float(given.min())} at the least")
    return given


def check_scales(name: str, scale: Tensor, like: Tensor) -> None:
    """Raises ``ValueError`` if ``scale`` does not hold numbers above 0 in the shape of a vector."""
    if like.dim() != 1 or scale.shape != like.shape or not bool((scale > 0).all()):
        shape = tuple(like.shape)
        raise ValueError(f"{name}: expected numbers above 0 in a vector of shape {shape}, got {scale.tolist()}")


def as_floats(name: str, given: object) -> Tensor:
    """Returns numbers as a floating-point tensor without a gradient.

    Args:
        name: What the caller calls the argument.
        given: A tensor, an array of any floating-point or integer type, rows of numbers, or a pandas or polars frame.

    Raises:
        TypeError: If it holds anything but real numbers, naming the columns of a frame that do.
    """
    if isinstance(given, Tensor):
        if given.is_complex() or given.dtype == torch.bool:
            raise TypeError(f"{name}: expected real numbers, got {given.dtype}")
        return given.detach() if given.is_floating_point() else given.detach().double()
    array = as_array(name, given)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        columns = [str(c) for c in getattr(given, "columns", []) if not is_numeric(given[c])]  # type: ignore[index]
        found = f"columns {columns} that hold others" if columns else f"{array.dtype}"
        raise TypeError(f"{name}: expected real numbers, got {found} in {type(given).__name__}")
    # Other types, and those of foreign byte order, torch does not know.
    single = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return torch.tensor(array.astype(np.float32 if single else np.float64))


def as_array(name: str, given: object) -> npt.NDArray[np.generic]:
    """Returns a frame, an array or rows as an array; raises ``TypeError`` if that cannot be."""
    if isinstance(given, str | bytes | Mapping) or given is None or hasattr(given, "toarray"):
        hint = " (see .toarray())" if hasattr(given, "toarray") else ""
        raise TypeError(f"{name}: expected a tensor, an array, a frame or rows, got {type(given).__name__}{hint}")
    convert = getattr(given, "to_numpy", None)
    if callable(convert) and has_nullable_numbers(given):
        return np.asarray(convert(dtype=np.float64, na_value=np.nan))
    try:
        return np.asarray(convert() if callable(convert) else given)
    except ValueError as error:
        raise TypeError(f"{name}: expected rows of equal length, got {type(given).__name__}: {error}") from error


def has_nullable_numbers(frame: object) -> bool:
    """Whether all columns of a pandas frame hold numbers, some in a type of pandas's own, which knows missing ones."""
    if type(frame).__module__.partition(".")[0] != "pandas" or not hasattr(frame, "columns"):
        return False
    kinds = list(frame.dtypes)  # type: ignore[attr-defined]
    return all(kind.kind in "fiu" for kind in kinds) and not all(isinstance(kind, np.dtype) for kind in kinds)


def is_numeric(column: object) -> bool:
    """Whether a frame's column holds real numbers."""
    kind = np.asarray(column).dtype.kind
    return kind in "fiu"
