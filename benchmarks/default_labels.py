"""The default call with a few labels beside what learns from labels, on the tables and shapes of default_call.py.

    PYRO_VMONF_DATA=data python benchmarks/default_labels.py --out out/default-labels
    python benchmarks/default_labels.py --sets iris few-moons --labels 5 --splits 3 --out out/default-labels
    python benchmarks/default_labels.py --tag held --report-only --out out/default-labels

Every method is given the training points of a split and the classes of 5 or 20 points a class, drawn at random, and
says the classes of the test points. Rivals see standardised points: label spreading (ten neighbours), self-training
around a logistic regression and around a support vector machine; a linear discriminant and a quadratic one, with
shrunk covariances, of the labelled points alone; and our call's own start, carried to test points by the nearest
training point. Each (set, method, version, labels, split) is a file in ``--out``, and those that are there are not run
again; rivals have a constant version, ours the last commit that changed the library. Processes with different
``--part`` may share the work and the folder.

Prints and writes (``report-TAG.md``) for each number of labels the accuracy on test points; wins, ties and losses of
ours, and how many are significant (a paired test over splits, corrected for overlapping training sets, and Holm's
correction over all sets); mean ranks with Nemenyi's critical difference, for tables and shapes apart and together; and
seconds.
"""

import json

import numpy as np
import torch
from default_parts import sets
from default_parts.command import chosen_sets, parser
from default_parts.compare import corrected_test, friedman, holm, nemenyi, ranks
from default_parts.labelled import METHODS, file_of, kept
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from pyro_vmonf._io import atomic_write

EXACT, LEVEL = 1e-12, 0.05


def parsed():
    """The command line."""
    found = parser(__doc__, METHODS)
    found.add_argument("--labels", nargs="+", type=int, default=[5, 20], help="of each class")
    return found.parse_args()


def there(names, count, args):
    """``{set: {method: {split: row}}}`` of the rows that are there, for a number of labels."""
    found = {}
    for name in names:
        files = {m: {i: file_of(args.out, name, m, count, i) for i in range(args.splits)} for m in args.methods}
        each = {m: {i: json.loads(f.read_text()) for i, f in some.items() if f.exists()} for m, some in files.items()}
        if any(each.values()):
            found[name] = {m: rows for m, rows in each.items() if rows}
    return found


def common(each):
    """The splits that all methods have."""
    return sorted(set.intersection(*(set(rows) for rows in each.values())))


def accuracies(rows, splits):
    """The accuracies of a method in some splits; a failure has none of the test points right."""
    return np.array([rows[i].get("accuracy", 0.0) for i in splits])


def table_of(found, methods):
    """The sets, and the mean accuracy of each of the methods ``(sets, methods)``, where all have a row."""
    complete = {name: each for name, each in found.items() if set(methods) <= set(each) and common(each)}
    table = [[accuracies(each[m], common(each)).mean() for m in methods] for each in complete.values()]
    return list(complete), np.array(table).reshape(len(complete), len(methods))


def cell(accuracy, best):
    """A number, in bold type where it is the best."""
    text = f"{accuracy:.3f}"
    return f"**{text}**" if accuracy >= best - EXACT else text


def against(found, method):
    """Ours against a method: wins, ties and losses over sets, and how many wins and losses are significant."""
    tests, ratio = {}, 0.0
    for name, each in found.items():
        if {"ours", method} <= set(each) and (splits := common({m: each[m] for m in ("ours", method)})):
            row = each[method][splits[0]]
            ratio = row["n_test"] / row["n_train"]
            tests[name] = corrected_test(accuracies(each["ours"], splits) - accuracies(each[method], splits), ratio)
    adjusted = holm({name: p for name, (_, p) in tests.items()})
    signs = {name: 0 if abs(mean) < EXACT else int(np.sign(mean)) for name, (mean, _) in tests.items()}
    sure = [signs[name] for name, p in adjusted.items() if p is not None and p <= LEVEL]
    counts = [list(signs.values()).count(sign) for sign in (1, 0, -1)]
    mean = float(np.mean([m for m, _ in tests.values()])) if tests else 0.0
    return f"| {method} | {' / '.join(map(str, counts))} | {sure.count(1)} / {sure.count(-1)} | {mean:+.3f} |"


def ranking(names, table, methods):
    """Mean ranks over tables, shapes and all sets."""
    lines = []
    for kind in ("table", "shape", "set"):
        rows = [i for i, name in enumerate(names) if kind in ("set", sets.SETS[name].kind)]
        if rows and len(methods) > 1:
            order = sorted(zip(ranks(table[rows]), methods, strict=True))
            said = ", ".join(f"{method} {rank:.2f}" for rank, method in order)
            p = friedman(table[rows])
            more = "" if p is None else f", Friedman p = {p:.2g}"
            difference = nemenyi(len(methods), len(rows))
            lines.append(f"Mean ranks, {len(rows)} {kind}s: {said} (critical difference {difference:.2f}{more})")
    return lines


def report(found, count, methods):
    """What the rows of a number of labels say."""
    present = [m for m in methods if any(m in each for each in found.values())]
    names, table = table_of(found, present)
    lines = [f"## {count} labels a class: accuracy on test points", "", f"| set | splits | {' | '.join(present)} |"]
    lines.append("|" + " --- |" * (len(present) + 2))
    for name, row in zip(names, table, strict=True):
        cells = " | ".join(cell(value, row.max()) for value in row)
        lines.append(f"| {name} | {len(common(found[name]))} | {cells} |")
    if names:
        lines.append(f"| mean | | {' | '.join(f'{value:.3f}' for value in table.mean(0))} |")
        lines += ["", *(f"{line}\n" for line in ranking(names, table, present))]
    if "ours" in present and len(present) > 1:
        lines += [
            "| ours against | wins / ties / losses | significant | mean difference |",
            "| --- | --- | --- | --- |",
        ]
        lines += [against(found, method) for method in present if method != "ours"]
    return "\n".join([*lines, "", seconds(found, present), "", *failures(found)])


def seconds(found, methods):
    """How long each method takes."""
    each = {m: [row["seconds"] for rows in found.values() for row in rows.get(m, {}).values()] for m in methods}
    return "Seconds, median (most): " + ", ".join(f"{m} {np.median(s):.1f} ({max(s):.0f})" for m, s in each.items())


def failures(found):
    """Which method failed on which set, and how."""
    rows = [(name, m, row) for name, each in found.items() for m, rows in each.items() for row in rows.values()]
    return sorted({f"{name}, {method}: {row['error']}" for name, method, row in rows if "error" in row})


def main():
    args = parsed()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    names = chosen_sets(args)
    plan = [(n, m, c, i) for n in names for c in args.labels for m in args.methods for i in range(args.splits)]
    first, step = args.part
    if not args.report_only:
        with threadpool_limits(1):
            for row in tqdm(plan[first::step], unit="row", disable=None):
                kept(args.out, *row)
    text = "\n\n".join(report(there(names, count, args), count, args.methods) for count in args.labels) + "\n"
    label = "some" if args.sets else args.tag
    atomic_write(args.out / f"report-{label}.md", lambda file: file.write(text.encode()))
    print(text)


if __name__ == "__main__":
    main()
