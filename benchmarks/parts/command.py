"""The command line of a benchmark that has rows, methods and seeds."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from parts.table import markdown
from tqdm import tqdm

from pyro_vmonf._io import atomic_write, write_json

__all__ = ["command", "start_of"]


def command(doc, rows, methods, columns, score, suits=lambda name, method: True):
    """Reads the command line, runs what is not there yet, prints the table, and writes it with the scores.

    Args:
        doc: the benchmark's docstring.
        rows: name → row, which has ``shorten(epochs)``.
        methods: name → anything.
        columns: title → key of the scores, and digits.
        score: ``(name, method, seed, file)`` → scores; the file is where they will be.
        suits: whether a method makes sense for a row.

    Returns:
        the folder, and ``{(row, method): scores of all seeds}``.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=sorted(rows), metavar="ROW", help=", ".join(rows))
    parser.add_argument("--seeds", type=int, default=5, help="the number after the last")
    parser.add_argument("--first", type=int, default=0, help="the first seed, to share the work among processes")
    parser.add_argument("--methods", nargs="+", choices=sorted(methods), default=list(methods), metavar="METHOD")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="instead of each row's own number")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.epochs is not None:
        for row in rows.values():
            row.shorten(args.epochs)
    short, table = "" if args.epochs is None else f"-epochs-{args.epochs}", {}
    plan = [(name, method) for name in args.rows for method in args.methods if suits(name, method)]
    for name, method in tqdm(plan, unit="method", disable=None):
        files = [args.out / f"{name}-{method}{short}-{seed}.json" for seed in range(args.first, args.seeds)]
        table[name, method] = [kept(file, score, name, method, args.first + i) for i, file in enumerate(files)]
    print(f"Test data, seeds {args.first} to {args.seeds - 1}: mean (min … max)\n\n{markdown(table, columns)}")
    write_json(args.out / "table.json", {f"{name} {method}": results for (name, method), results in table.items()})
    return args.out, table


def kept(file, score, name, method, seed):
    """The scores in ``file``, or new ones, with their seconds, which are written there."""
    if not file.exists():
        began = time.monotonic()
        scores = score(name, method, seed, file)
        write_json(file, {**scores, "seconds": time.monotonic() - began})
    return json.loads(file.read_text())


def start_of(start, data, k, seed, folder):
    """A start; in a space that takes minutes to make, its responsibilities, from a file if they are there."""
    if data.logit is None:
        return start
    there = folder / f"start-{k}-{len(data.x)}-{start.name.replace(' ', '-')}-{seed}.npy"
    if not there.exists():
        found = start.start(data.x, k, seed=seed).responsibilities
        atomic_write(there, lambda out: np.save(out, found.numpy()))
    return np.load(there)
