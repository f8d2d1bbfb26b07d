"""Points as numbers: their features, the names of these, and the part of the plane around them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from pyro_vmonf._validation import as_floats, check_finite

__all__ = ["Extent", "Numbers", "as_array", "as_plane", "as_rows", "feature_names", "find_names", "label_axes"]

Numbers: TypeAlias = Tensor | npt.ArrayLike

LONGEST = 4.0
"""How many times as long as the other one a side of the plane may be drawn in one scale."""


class Extent(NamedTuple):
    """A part of the plane."""

    left: float
    right: float
    bottom: float
    top: float
    is_equal: bool

    @classmethod
    def around(cls, x: Tensor) -> "Extent":
        """Returns a part of the plane around points ``(N, 2)``, with a margin.

        It is a square, unless one feature varies more than four times as much as the other.
        """
        low, high = x.amin(0), x.amax(0)
        spans, centre = high - low, (low + high) / 2
        is_equal = bool(spans.max() <= LONGEST * spans.min()) or bool(spans.min() == 0)
        reach = 0.6 * (spans.max().expand(2) if is_equal else spans)
        reach = torch.where(reach > 0, reach, torch.ones_like(reach))
        (left, bottom), (right, top) = (centre - reach).tolist(), (centre + reach).tolist()
        return cls(left, right, bottom, top, is_equal)

    @property
    def sides(self) -> tuple[float, float, float, float]:
        """The left, right, lower and upper end, as matplotlib takes them."""
        return self[:4]

    def grid(self, side: int) -> Tensor:
        """Returns the centres of ``side`` × ``side`` cells, ``(side², 2)``, from the lower left, row by row."""
        steps = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        across = self.left + (self.right - self.left) * steps
        up = self.bottom + (self.top - self.bottom) * steps
        return torch.cartesian_prod(up, across).flip(-1)

    def apply(self, ax: Axes) -> None:
        """Sets the limits and the aspect of Axes."""
        ax.set(xlim=self[:2], ylim=self[2:4], aspect="equal" if self.is_equal else "auto")


def as_array(name: str, given: object) -> npt.NDArray[np.float64]:
    """Returns numbers as an array; raises ``TypeError`` with the ``name`` if it holds others."""
    return as_floats(name, given).double().cpu().numpy()


def as_rows(name: str, given: object) -> Tensor:
    """Returns points as a tensor ``(N, D)`` in float64.

    Raises:
        TypeError: If these are no numbers.
        ValueError: If the shape is another, or a value is not finite.
    """
    x = as_floats(name, given).double().cpu()
    if x.dim() != 2 or not x.numel():
        raise ValueError(f"{name}: expected points of shape (N, D) with N ≥ 1 and D ≥ 1, got {tuple(x.shape)}")
    check_finite(name, x)
    return x


def as_plane(name: str, given: object) -> Tensor:
    """Returns points of the plane as a tensor ``(N, 2)`` in float64.

    Raises:
        TypeError: If these are no numbers.
        ValueError: If the shape is another, or a value is not finite.
    """
    x = as_floats(name, given).double().cpu()
    if x.dim() != 2 or x.shape[1] != 2 or not len(x):
        hint = "; plots.pairs draws points of any number of features" if x.dim() == 2 and x.shape[1] != 2 else ""
        raise ValueError(f"{name}: expected points of shape (N, 2) with N ≥ 1, got {tuple(x.shape)}{hint}")
    check_finite(name, x)
    return x


def find_names(source: object, x: object) -> list[str] | None:
    """Returns the names of the features that a frame has, or else those of an estimator's fit; None if there are none.

    Raises:
        ValueError: If the frame's names are not those of the fit.
    """
    own, known = as_names(getattr(x, "columns", None)), as_names(getattr(source, "feature_names_in_", None))
    if own is not None and known is not None and own != known:
        raise ValueError(f"x: expected the columns {known} of the fit in this order, got {own}")
    return known if own is None else own


def as_names(found: Iterable[object] | None) -> list[str] | None:
    """Returns names as a list, or None where there are none, or where they are numbers, as scikit-learn does."""
    names = [] if found is None else list(found)
    texts = [name for name in names if isinstance(name, str)]
    return texts if names and len(texts) == len(names) else None


def feature_names(names: Sequence[str] | None, source: object, x: object, features: int) -> list[str]:
    """Returns a name for each feature: those given, those of a frame or of an estimator's fit, or ``x0``, ``x1``, …

    Raises:
        ValueError: If there are other than ``features`` names, or the frame's are not those of the fit.
    """
    found = find_names(source, x)
    if names is None:
        return [f"x{i}" for i in range(features)] if found is None else found
    if isinstance(names, str) or len(names) != features:
        raise ValueError(f"names: expected {features} names, one for each feature of x, got {names!r}")
    return [str(name) for name in names]


def label_axes(ax: Axes, names: Sequence[str] | None) -> None:
    """Writes the names of two features at the axes, if they have names."""
    if names is not None:
        ax.set(xlabel=names[0], ylabel=names[1])
