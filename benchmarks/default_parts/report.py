"""What the rows say: differences to a reference set by set, wins, ties and losses, mean ranks, and costs."""

import math

import numpy as np
from default_parts.compare import corrected_test, friedman, holm, nemenyi, ranks
from default_parts.methods import METHODS
from default_parts.sets import SETS

__all__ = ["METRICS", "markdown", "report"]

# Title, what a method must give, digits, and the value of a failure.
METRICS = {
    "density": ("test log-likelihood, nats in units of the standardised training points", "density", 3, -math.inf),
    "accuracy": ("accuracy by the best matching", "clusters", 3, 0.0),
    "ari": ("adjusted Rand index", "clusters", 3, 0.0),
}
KINDS = ("table", "shape")
LEVEL = 0.05
EXACT = 1e-12  # below it a difference is rounding


def report(rows, reference):
    """All that is said, ready for JSON.

    Args:
        rows: ``{set: {method: {split: row}}}``.
        reference: The name of the method that the others are compared with.
    """
    metrics = {metric: said_of(rows, metric, reference) for metric in METRICS}
    sets = {name: about(name, each) for name, each in rows.items()}
    return {"reference": reference, "sets": sets, "metrics": metrics, "cost": cost(rows), "errors": errors(rows)}


def about(name, each):
    """What a set is, by any of its rows."""
    row = next(row for found in each.values() for row in found.values())
    sizes = {key: row[key] for key in ("features", "k", "atoms")}
    return {"kind": SETS[name].kind, "n": row["n_train"] + row["n_test"], **sizes}


def value(row, metric):
    """The number of a row, or the value of a failure."""
    return row.get(metric, METRICS[metric][3])


def with_metric(methods, metric):
    """Those of the methods that give what a metric needs."""
    return [method for method in methods if METRICS[metric][1] in METHODS[method].gives]


def said_of(rows, metric, reference):
    """What one metric says."""
    methods = with_metric(dict.fromkeys(method for each in rows.values() for method in each), metric)
    means = {name: means_of(each, metric) for name, each in rows.items()}
    against = {m: differences(rows, metric, m, reference) for m in methods if m != reference and reference in methods}
    counts = {kind: {m: tally(found, kind) for m, found in against.items()} for kind in KINDS}
    ranked = {kind: ranking(rows, metric, methods, kind) for kind in KINDS}
    return {"means": finite(means), "differences": finite(against), "counts": finite(counts), "ranks": ranked}


def means_of(each, metric):
    """The mean of a set by method, over its own splits."""
    methods = with_metric(each, metric)
    return {m: float(np.mean([value(row, metric) for row in each[m].values()])) for m in methods if each[m]}


def differences(rows, metric, method, reference):
    """``{set: mean difference, p-value, Holm's, number of splits}`` over the splits that both have."""
    found = {}
    for name, each in rows.items():
        common = sorted(set(each.get(method, {})) & set(each.get(reference, {})))
        if common:
            pairs = [(each[method][i], each[reference][i]) for i in common]
            delta = [difference(value(a, metric), value(b, metric)) for a, b in pairs]
            mean, p = corrected_test(delta, pairs[0][0]["n_test"] / pairs[0][0]["n_train"])
            found[name] = {"mean": mean, "p": p, "splits": len(common)}
    adjusted = holm({name: one["p"] for name, one in found.items()})
    return {name: {**one, "holm": adjusted[name]} for name, one in found.items()}


def difference(a, b):
    """a − b, and zero for two failures and for rounding."""
    return 0.0 if a == b or abs(a - b) < EXACT else a - b


def tally(found, kind):
    """Wins, ties and losses by the mean difference, how many are significant, and the differences' median and mean."""
    here = [one for name, one in found.items() if SETS[name].kind == kind]
    signs = [0 if abs(one["mean"]) < EXACT else math.copysign(1, one["mean"]) for one in here]
    sure = [sign for sign, one in zip(signs, here, strict=True) if one["holm"] is not None and one["holm"] <= LEVEL]
    return {
        "wins": signs.count(1),
        "ties": signs.count(0),
        "losses": signs.count(-1),
        "sure_wins": sure.count(1),
        "sure_losses": sure.count(-1),
        "median": float(np.median([one["mean"] for one in here])) if here else None,
        "mean": float(np.mean([one["mean"] for one in here])) if here else None,
    }


def ranking(rows, metric, methods, kind):
    """Mean ranks over the sets that all methods have rows of, by the means over the splits that all have."""
    table = [complete(each, metric, methods) for name, each in rows.items() if SETS[name].kind == kind]
    table = np.array([line for line in table if line is not None])
    if not len(table) or len(methods) < 2:
        return None
    order = dict(sorted(zip(methods, map(float, ranks(table)), strict=True), key=lambda one: one[1]))
    return {
        "sets": len(table),
        "mean_ranks": order,
        "friedman_p": friedman(table),
        "critical_difference": nemenyi(len(methods), len(table)),
    }


def complete(each, metric, methods):
    """The means of all methods over the splits that all have, or None if there is no such split."""
    common = set.intersection(*(set(each.get(method, {})) for method in methods)) if methods else set()
    if not common:
        return None
    return [float(np.mean([value(each[method][i], metric) for i in sorted(common)])) for method in methods]


def cost(rows):
    """By kind and method: the mean and the most seconds of a row, CPU seconds, and the median and most megabytes."""
    return {kind: cost_of({name: each for name, each in rows.items() if SETS[name].kind == kind}) for kind in KINDS}


def cost_of(rows):
    """The cost of each method over all its rows."""
    found = {}
    for method in dict.fromkeys(method for each in rows.values() for method in each):
        all_rows = [row for each in rows.values() for row in each.get(method, {}).values()]
        seconds, peaks = [row["seconds"] for row in all_rows], [row["peak_mb"] or 0.0 for row in all_rows]
        if all_rows:
            cpu = float(np.mean([row["cpu_seconds"] for row in all_rows]))
            found[method] = {"seconds": float(np.mean(seconds)), "most_seconds": max(seconds), "cpu_seconds": cpu}
            found[method] |= {"peak_mb": float(np.median(peaks)), "most_peak_mb": max(peaks), "rows": len(all_rows)}
    return found


def errors(rows):
    """The failures in words."""
    return [
        f"{name}, {method}, split {index}: {row['error']}"
        for name, each in rows.items()
        for method, found in each.items()
        for index, row in found.items()
        if "error" in row
    ]


def finite(value):
    """The same with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(said):
    """The report in Markdown."""
    parts = [
        part
        for metric, (title, _, digits, _) in METRICS.items()
        if any(said["metrics"][metric]["means"].values())
        for part in metric_tables(said, metric, title, digits)
    ]
    failed = [f"## Failures\n\n{chr(10).join(said['errors'])}"] if said["errors"] else []
    return "\n\n".join([*parts, *cost_tables(said), *failed])


def metric_tables(said, metric, title, digits):
    """The tables of one metric."""
    found, reference = said["metrics"][metric], said["reference"]
    methods = list(dict.fromkeys(method for each in found["means"].values() for method in each))
    lines = [
        [about_set(said, name), *(number(each.get(m), digits) if m in each else "–" for m in methods)]
        for name, each in found["means"].items()
    ]
    yield f"## {title[0].upper() + title[1:]}\n\n{table(['set (N × D, K)', *methods], lines)}"
    if found["differences"]:
        yield (
            f"### Less {reference}: mean over the splits that both have; * where Holm's p over all sets is at most .05 "
            f"(corrected for overlapping training sets)\n\n{difference_table(said, found, digits)}"
        )
        yield f"### Against {reference}\n\n{count_table(found['counts'], digits)}"
    for kind, ranked in found["ranks"].items():
        if ranked:
            yield f"### Mean ranks, {ranked['sets']} {kind}s: {rank_line(ranked)}"


def about_set(said, name):
    """A set's name and sizes."""
    one = said["sets"][name]
    atoms = f"; atoms in {one['atoms']}" if one["atoms"] else ""
    return f"{name} ({one['n']} × {one['features']}, {one['k']}{atoms})"


def difference_table(said, found, digits):
    """Sets by methods."""
    against = found["differences"]
    lines = [[name, *(marked(each.get(name), digits) for each in against.values())] for name in said["sets"]]
    return table(["set", *against], lines)


def marked(one, digits):
    """A mean difference with a star if it is significant."""
    if one is None:
        return "–"
    sure = one["holm"] is not None and one["holm"] <= LEVEL
    return number(one["mean"], digits, "+") + ("*" if sure else "")


def count_table(counts, digits):
    """Wins, ties and losses by method and kind."""
    titles = ["kind", "method", "wins/ties/losses", "significant wins/losses", "median", "mean"]
    lines = [
        [
            kind,
            method,
            f"{one['wins']}/{one['ties']}/{one['losses']}",
            f"{one['sure_wins']}/{one['sure_losses']}",
            number(one["median"], digits, "+"),
            number(one["mean"], digits, "+"),
        ]
        for kind, each in counts.items()
        for method, one in each.items()
        if one["wins"] + one["ties"] + one["losses"]
    ]
    return table(titles, lines)


def rank_line(ranked):
    """The methods by mean rank, with Friedman's p-value and Nemenyi's critical difference."""
    order = ", ".join(f"{method} {rank:.2f}" for method, rank in ranked["mean_ranks"].items())
    p = ranked["friedman_p"]
    test = "" if p is None else f"; Friedman p = {p:.2g}"
    return f"{order}{test}; critical difference (Nemenyi, 5 %) {ranked['critical_difference']:.2f}"


def cost_tables(said):
    """What the methods cost, by kind."""
    titles = ["method", "rows", "seconds, mean", "most", "CPU seconds", "peak MB, median", "most"]
    for kind, each in said["cost"].items():
        keys = ("seconds", "most_seconds", "cpu_seconds", "peak_mb", "most_peak_mb")
        lines = [[method, str(one["rows"]), *(f"{one[key]:.3g}" for key in keys)] for method, one in each.items()]
        if lines:
            title = f"Cost of a row, {kind}s: fit and test scores; memory above the start, libraries included"
            yield f"## {title}\n\n{table(titles, lines)}"


def number(value, digits, sign=""):
    """A number with some digits, a cross for a failure."""
    return "✗" if value is None else f"{value:{sign}.{digits}f}"


def table(titles, lines):
    """A table in Markdown."""
    rule = f"|{'---|' * len(titles)}"
    return "\n".join([f"| {' | '.join(titles)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])
