"""The rows that a part of a report uses, where it cannot use all."""

import numpy as np
import numpy.typing as npt

from pyro_vmonf.report.report_data import ReportData

__all__ = ["chosen_rows", "described"]


def chosen_rows(data: ReportData, most: int) -> npt.NDArray[np.int64]:
    """Returns the numbers of all rows, or of a random sample where there are more than ``most``."""
    n = len(data.rows)
    return np.sort(np.random.default_rng(0).permutation(n)[:most])


def described(count: int, data: ReportData) -> str:
    """Returns how many of the rows were used, in words."""
    n = len(data.rows)
    return f"these {n:,} rows" if count == n else f"a random sample of {count:,} of these rows"
