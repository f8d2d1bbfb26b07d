"""All data sets by name, which of them a default may have been tuned on, and how each is split."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from default_parts import tables
from default_parts.shapes import SHAPES

__all__ = ["SETS", "TUNED", "VERSION", "Points", "Split", "load", "parts", "split", "tag"]

VERSION = 1  # of the data, of how they are made and split
MOST = 5_000
TEST_SHARE = 0.3

# The one place that says which sets are looked at while the default is made; all others are held out. Sets that share
# points (digits and optdigits) or a construction belong on one side.
TUNED = (
    *("iris", "breast_cancer", "digits", "optdigits", "banana", "heart", "letter", "penbased", "pima", "satimage"),
    *("sonar", "texture", "vehicle", "penguins"),
    *("two-circles", "interlocked", "spirals", "helices", "pinwheel", "touching-lines", "overlapping-clouds"),
    *("few-moons", "fifteen-clouds", "unequal-clouds", "noisy-clouds"),
)


@dataclass(frozen=True)
class Points:
    """The points x ``(N, D)`` in their own units, their classes y ``(N,)``, −1 for noise, and how many classes."""

    x: np.ndarray
    y: np.ndarray

    @property
    def k(self):
        return len(np.unique(self.y[self.y >= 0]))


@dataclass(frozen=True)
class Split:
    """Training points, and test points with their classes."""

    x: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    k: int


@dataclass(frozen=True)
class Source:
    """Whether a set is a table or a shape, and the function that returns its points and classes."""

    kind: str
    make: Callable[[], tuple[np.ndarray, np.ndarray]]


def seeded(name):
    """A random generator that belongs to a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def shape(name):
    """A source of a shape."""
    return Source("shape", lambda: SHAPES[name](seeded(name)))


SETS = {
    **{name: Source("table", tables.scikit(name)) for name in ("iris", "wine", "breast_cancer", "digits")},
    "diabetes": Source("table", tables.diabetes),
    **{name: Source("table", tables.keel_table(name)) for name in tables.KEEL},
    "penguins": Source("table", tables.penguins),
    "cytometry": Source("table", tables.cytometry),
    **{name: shape(name) for name in SHAPES},
}


def tag(name):
    """``"tuned"`` or ``"held"``."""
    return "tuned" if name in TUNED else "held"


@cache
def load(name):
    """The points of a set, in an order of their own, at most 5,000."""
    x, y = SETS[name].make()
    chosen = seeded(name + " order").permutation(len(x))[:MOST]
    x, y = np.asarray(x, float)[chosen], np.asarray(y, int)[chosen]
    return Points(tables.independent(x) if SETS[name].kind == "table" else x, y)


def parts(points, index):
    """The rows of a split: 70 in 100 points to train on, the others to test."""
    order = np.random.default_rng([VERSION, index]).permutation(len(points.x))
    return np.split(order, [round((1 - TEST_SHARE) * len(order))])


def split(points, index):
    """The split of a number."""
    train, test = parts(points, index)
    return Split(points.x[train], points.x[test], points.y[test], points.k)
