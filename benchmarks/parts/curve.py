"""Accuracy against the number of labels."""

import statistics

from matplotlib.figure import Figure

__all__ = ["curve"]


def curve(table, family):
    """A figure of the rows named ``family-NUMBER``: a line a method, through the means, in a band from least to most.

    Args:
        table: ``{(row, method): results}``.
        family: the name before the number.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    ax = figure.subplots()
    rows = {row for row, _ in table if row.rsplit("-", 1)[0] == family}
    counts = {row: int(row.rsplit("-", 1)[1]) for row in sorted(rows, key=lambda row: int(row.rsplit("-", 1)[1]))}
    for method in dict.fromkeys(method for row, method in table if row in rows and method != "left-out"):
        found = {n: [r["accuracy"] for r in table[row, method] if "accuracy" in r] for row, n in counts.items()}
        found = {n: values for n, values in found.items() if values}
        if found:
            (line,) = ax.plot(list(found), [statistics.fmean(v) for v in found.values()], marker="o", label=method)
            low, high = [min(v) for v in found.values()], [max(v) for v in found.values()]
            ax.fill_between(list(found), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xscale="log", xlabel="labels", ylabel="accuracy on test data", title=family)
    ax.set_xticks(list(counts.values()), [str(n) for n in counts.values()])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return figure
