"""Tables that are hard on an estimator: each ends in a finite fit, or in one error that names the argument.

    python benchmarks/hostile_tables.py --cases 500 --wide 20

Hypothesis draws the tables: few rows and many columns, constant columns, copies of rows and columns, values from 1e-200
to 1e200, an outlier at 1e8, other types of numbers and orders of memory, missing values, nothing at all. The wide ones
have 300 rows of 500 columns, with the same changes. 50 tables and a wide one are in the tests. Prints how many ended
how, and fails with the smallest table that ended otherwise.
"""

import argparse
import re
import time
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from pyro_vmonf import VMoNF

# What an error begins with, or scikit-learn's own words on the shape of X.
NAMED = re.compile(r"(X|x|n_components|init_params)\b|Found array with|Expected 2D array|Sparse data|Input X|Unable")
MOST_SECONDS = 240  # of a processor for one table; far more than any takes, so that only a hang exceeds it
SMALL = [(2, 1), (6, 1), (12, 2), (40, 1), (40, 3), (30, 40)]  # rows and columns
WIDE = [(300, 500)]
NUMBERS = [1, 2, 3, 4, 5, "auto"]  # of components


@dataclass(frozen=True)
class Case:
    """A table and a number of components, or ``"auto"``."""

    rows: int
    columns: int
    components: int | str
    seed: int
    changes: tuple[str, ...]

    def table(self):
        """The rows."""
        x = np.random.default_rng(self.seed).normal(size=(self.rows, self.columns))
        for name in self.changes:
            x = CHANGES[name](x)
        return x


def with_outlier(x):
    """One value far from all others."""
    x = x.copy()
    if x.size:
        x[0, 0] = 1e8
    return x


def read_only(x):
    """Memory that must not be written."""
    x = x.copy()
    x.flags.writeable = False
    return x


def with_missing(x):
    """A missing value."""
    x = x.copy()
    if x.size:
        x[-1, -1] = np.nan
    return x


# In this order: what changes values comes before what changes the kind of array.
CHANGES = {
    "constant column": lambda x: np.c_[x, np.ones(len(x))],
    "copied column": lambda x: np.c_[x, x[:, :1]],
    "copied rows": lambda x: np.concatenate([x, x, x]),
    "one value": np.zeros_like,
    "few values": np.round,
    "times 1e6": lambda x: 1e6 * x,
    "times 1e-6": lambda x: 1e-6 * x,
    "times 1e30": lambda x: 1e30 * x,
    "times 1e-30": lambda x: 1e-30 * x,
    "times 1e200": lambda x: 1e200 * x,
    "times 1e-200": lambda x: 1e-200 * x,
    "plus 1e6": lambda x: x + 1e6,
    "outlier": with_outlier,
    "missing": with_missing,
    "one row": lambda x: x[:1],
    "no rows": lambda x: x[:0],
    "no columns": lambda x: x[:, :0],
    "Fortran order": np.asfortranarray,
    "not contiguous": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "read-only": read_only,
    "float32": lambda x: np.clip(x, -1e30, 1e30).astype(np.float32),
    "float16": lambda x: np.clip(x, -6e4, 6e4).astype(np.float16),
    "integers": lambda x: np.clip(np.nan_to_num(10 * x), -1e15, 1e15).astype(np.int64),
    "booleans": lambda x: x > 0,
    "objects": lambda x: x.astype(object),
    "list": lambda x: x.tolist(),
    "sparse": lambda x: csr_array(np.nan_to_num(np.asarray(x, dtype=float))),
}
LAST = list(CHANGES).index("Fortran order")  # from here on only one makes sense


@st.composite
def cases(draw, shapes):
    """Draws a case of one of some shapes."""
    values, kinds = list(CHANGES)[:LAST], [None, *list(CHANGES)[LAST:]]
    chosen = draw(st.sets(st.sampled_from(values), max_size=2))
    kind = draw(st.sampled_from(kinds))
    changes = (*[name for name in values if name in chosen], *([] if kind is None else [kind]))
    return Case(*draw(st.sampled_from(shapes)), draw(st.sampled_from(NUMBERS)), draw(st.integers(0, 9)), changes)


def outcome(case):
    """How a case ended: ``"a finite fit"``, or the kind of its error; raises ``AssertionError`` for any other end."""
    x, start = case.table(), time.process_time()
    mixture = VMoNF(case.components, components="realnvp", init_params="gmm", max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mixture.fit(x)
            error = None
        except (TypeError, ValueError) as raised:
            error = raised
    if error is not None:
        assert NAMED.match(str(error)), f"{case}: {type(error).__name__}: {error}"
        return type(error).__name__
    values, shares = mixture.score_samples(x), mixture.predict_proba(x)
    assert np.isfinite(values).all(), f"{case}: log-densities {values}"
    assert np.allclose(shares.sum(1), 1), f"{case}: probabilities {shares}"
    seconds = time.process_time() - start
    assert seconds < MOST_SECONDS, f"{case}: {seconds:.0f} s"
    return "a finite fit"


def run(count, shapes):
    """Tries so many cases of some shapes; returns how many ended how."""
    ended = Counter()

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(cases(shapes))
    def each(case):
        ended[outcome(case)] += 1

    each()
    return ended


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--wide", type=int, default=20)
    chosen = parser.parse_args()
    print("| tables | ended in |\n|---|---|")
    for name, number in (run(chosen.cases, SMALL) + run(chosen.wide, WIDE)).most_common():
        print(f"| {number} | {name} |")
