"""What the rows say: how often each method is right, how far it is off, all numbers, and what they cost."""

import numpy as np
from choosing_parts.methods import METHODS, columns_of
from default_parts import sets
from default_parts.report import table

__all__ = ["report"]

FAILURE, MISSING = "✗", "–"
GROUPS = {
    "all": ("tuned", "held", "shape", "table"),
    "tuned": ("tuned",),
    "held": ("held",),
    "shapes": ("shape",),
    "tables": ("table",),
}


def report(rows, methods):
    """The report in Markdown.

    Args:
        rows: ``{set: {method: {split: row}}}``.
        methods: The names of the methods, in their order.
    """
    methods = [method for method in methods if any(each[method] for each in rows.values())]
    parts = [
        f"## Right numbers\n\n{shares(rows, methods)}",
        f"## By split\n\n{by_split(rows, methods)}",
        f"## The numbers found, one for each split\n\n{numbers(rows, methods)}",
        f"## CPU seconds of a call\n\n{costs(rows, methods)}",
        *failures(rows),
    ]
    return "\n\n".join(parts) + "\n"


def common(each, methods):
    """The splits of a set that all methods have."""
    return sorted(set.intersection(*(set(each[method]) for method in methods))) if methods else []


def pairs_of(rows, methods):
    """The sets and splits that all methods have."""
    return [(name, i) for name, each in rows.items() for i in common(each, methods)]


def kinds_of(name):
    """What a set is, as the groups name it."""
    return {sets.tag(name), sets.SETS[name].kind}


def distances(rows, column, pairs):
    """How far a column is from the truth, NaN for failures."""
    method = next(method for method, one in METHODS.items() if column in one.columns)
    each = [rows[name][method][i] for name, i in pairs]
    return np.array([abs(row["counts"].get(column, np.nan) - row["k"]) for row in each])


def shares(rows, methods):
    """The share of right numbers and the mean distance, by method and kind of set."""
    pairs = pairs_of(rows, methods)
    groups = {group: [pair for pair in pairs if kinds_of(pair[0]) & set(kinds)] for group, kinds in GROUPS.items()}
    titles = ["right, %; mean distance", *(f"{group} ({len(each)} runs)" for group, each in groups.items())]
    lines = [
        [column, *(share_cell(distances(rows, column, each)) for each in groups.values())]
        for column in columns_of(methods)
    ]
    return table(titles, lines)


def share_cell(distance):
    """The share of right numbers in per cent, and the mean distance of those that did not fail."""
    if not len(distance):
        return MISSING
    known = distance[np.isfinite(distance)]
    return f"{right(distance):.0f}; " + (f"{known.mean():.2f}" if len(known) else MISSING)


def right(distance):
    """The share of right numbers in per cent; a failure is not right."""
    return 100 * float(np.mean(distance == 0))


def by_split(rows, methods):
    """The mean, least and greatest share of right numbers of a split, over the splits that all sets have."""
    whole = sorted(set.intersection(*(set(common(each, methods)) for each in rows.values()))) if rows else []
    if not whole:
        return "No split is there for all sets and methods."
    titles = ["right, %", "mean", "least", "greatest", *(f"split {i}" for i in whole)]
    lines = []
    for column in columns_of(methods):
        each = [right(distances(rows, column, [(name, i) for name in rows])) for i in whole]
        lines.append([column, *(f"{value:.0f}" for value in (np.mean(each), min(each), max(each), *each))])
    return table(titles, lines)


def numbers(rows, methods):
    """The numbers that each method found, by set."""
    splits = sorted({i for each in rows.values() for found in each.values() for i in found})
    titles = ["set (rows × columns)", "tag", "truth", *columns_of(methods)]
    lines = [[*about(name, each), *cells(each, methods, splits)] for name, each in rows.items()]
    return table(titles, lines)


def about(name, each):
    """A set's name and sizes, its tag and its number of classes."""
    row = next(row for found in each.values() for row in found.values())
    return f"{name} ({row['n']} × {row['features']})", sets.tag(name), str(row["k"])


def cells(each, methods, splits):
    """The numbers of each column, one for each split."""
    return [
        " ".join(number(each[method].get(i), column) for i in splits)
        for method in methods
        for column in METHODS[method].columns
    ]


def number(row, column):
    """The number in a row, or signs for a row that is missing and for a failure."""
    return MISSING if row is None else str(row["counts"].get(column, FAILURE))


def costs(rows, methods):
    """What a call of each method costs."""
    lines = []
    for method in methods:
        seconds = [row["cpu_seconds"] for each in rows.values() for row in each[method].values()]
        lines.append([method, str(len(seconds)), f"{np.median(seconds):.3g}", f"{max(seconds):.3g}"])
    return table(["method", "calls", "median", "most"], lines)


def failures(rows):
    """The failures in words, if there are any."""
    found = [
        f"{name}, {method}, split {i}: {row['error']}"
        for name, each in rows.items()
        for method, some in each.items()
        for i, row in some.items()
        if "error" in row
    ]
    return [f"## Failures ({FAILURE})\n\n" + "\n".join(found)] if found else []
