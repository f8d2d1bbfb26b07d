"""Whether short fits end as they did at another commit: losses, parameters and buffers, to rounding or bit by bit.

    python benchmarks/equal.py [--base 0fc8b65] [--only start labels] [--tolerance 1e-4]

The fits of ``parts/equal_before.py`` run on a temporary git worktree of the base, those of ``parts/equal_after.py`` on
this checkout, with one Python and one thread each, from the initial weights and the Gaussian mixtures of the base.
Tensors are compared without their names: all parameters as a multiset of types, shapes and bytes; each buffer of the
base must be among those of the checkout, which may have new ones, and the table counts them. Prints a Markdown table,
with the largest difference where a fit is not equal. The exit code is 0 only if no difference is above the tolerance; 0
asks for equality bit by bit.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from size import ROOT, worktree

SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}


def run(part, root, out, only):
    """Runs the fits of ``part`` in another process, which imports the library from ``root``."""
    command = [sys.executable, __file__, "--part", part, "--out", str(out), *(["--only", *only] if only else [])]
    if subprocess.run(command, env=os.environ | SETTINGS | {"PYTHONPATH": str(root)}, check=False).returncode:
        sys.exit(f"{part} failed with pyro_vmonf from {root}")
    with np.load(out) as arrays:
        return {name: arrays[name] for name in arrays.files}


def record(part, out, only):
    """Runs the fits of ``part`` in this process, and writes what they end with."""
    import torch

    import pyro_vmonf

    if not Path(pyro_vmonf.__file__).is_relative_to(os.environ["PYTHONPATH"]):
        sys.exit(f"expected pyro_vmonf from {os.environ['PYTHONPATH']}, got {pyro_vmonf.__file__}")
    print(f"{part} with {pyro_vmonf.__file__}", file=sys.stderr, flush=True)
    torch.set_num_threads(1)
    module = importlib.import_module(f"parts.{part}")
    if unknown := set(only or []) - set(module.FITS):
        sys.exit(f"--only: expected some of {list(module.FITS)}, got {sorted(unknown)}")
    arrays = {}
    for name in only or module.FITS:
        torch.manual_seed(0)
        model, guide, history = module.FITS[name]()
        rows = [[row.get(column, np.nan) for column in module.COLUMNS.values()] for row in history.rows]
        arrays[f"{name}/losses/"] = np.array(rows, dtype=np.float64)
        for kind in ("parameters", "buffers"):
            tensors = [tensor for one in (model, guide) for tensor in getattr(one, kind)()]
            arrays |= {f"{name}/{kind}/{i}": tensor.detach().numpy() for i, tensor in enumerate(tensors)}
    np.savez(out, **arrays)


def part_of(arrays, name, kind):
    """The arrays of one kind of a fit, in order."""
    return [array for key, array in arrays.items() if key.startswith(f"{name}/{kind}/")]


def missing(some, others):
    """How many arrays of ``some`` are not among ``others``."""
    counts = [Counter((a.dtype.str, a.shape, a.tobytes()) for a in arrays) for arrays in (some, others)]
    return (counts[0] - counts[1]).total()


def distance(before, after):
    """The largest difference between two lists of arrays, matched in order, or what keeps them from being matched."""
    shapes = [[(array.dtype.name, array.shape) for array in arrays] for arrays in (before, after)]
    if shapes[0] != shapes[1]:
        return f"are {len(before)} and {len(after)}, or of other types or shapes"
    pairs = [np.abs(a.astype(float) - b.astype(float)).max(initial=0) for a, b in zip(before, after, strict=True)]
    return f"differ by up to {max(pairs):.3g}"


def first_epoch(before, after):
    """The first epoch whose losses differ."""
    same = [a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=False)]
    return [*same, False].index(False)


def loss_difference(before, after):
    """What is to be said of two arrays of losses that are not equal; a loss that one side alone has counts too."""
    sides = [np.isnan(losses) for losses in (before, after)]
    if before.shape != after.shape or (sides[0] != sides[1]).any():
        return f"losses are of other epochs or columns from epoch {first_epoch(before, after)}"
    both = [np.nan_to_num(losses) for losses in (before, after)]
    return f"losses {distance(both[:1], both[1:])}, first in epoch {first_epoch(before, after)}"


def largest(name, before, after):
    """The largest difference of a fit's losses, parameters and buffers, infinite where these cannot be matched."""
    numbers = [0.0]
    for kind in ("losses", "parameters", "buffers"):
        sides = [part_of(arrays, name, kind) for arrays in (before, after)]
        if missing(*sides):
            text = distance(*([np.nan_to_num(array) for array in side] for side in sides))
            numbers.append(float(text.split()[-1]) if text.startswith("differ") else np.inf)
    return max(numbers)


def row_of(name, before, after):
    """The cells of a fit's row in the table; the last is "equal" or says what is not."""
    losses, parameters, buffers = (
        (part_of(before, name, kind), part_of(after, name, kind)) for kind in ("losses", "parameters", "buffers")
    )
    if not all(losses):
        return name, *["–"] * 3, f"{'equal_after' if losses[0] else 'equal_before'} has no such fit"
    found = []
    if missing(*losses):
        found.append(loss_difference(losses[0][0], losses[1][0]))
    if missing(*parameters) or missing(*reversed(parameters)):
        found.append(f"parameters {distance(*parameters)}")
    if missing(*buffers):
        found.append(f"buffers {distance(*buffers)}")
    new = missing(*reversed(buffers)) - missing(*buffers)
    counts = len(losses[0][0]), len(parameters[0]), f"{len(buffers[0])}{f' ({new} new)' if new else ''}"
    return name, *map(str, counts), "; ".join(found) or "equal"


def compare(base, head, only, tolerance):
    """Prints the table of all fits; whether none differs by more than the tolerance."""
    with tempfile.TemporaryDirectory() as folder:
        with worktree(base) as root:
            before = run("equal_before", root, Path(folder) / "before.npz", only)
        with nullcontext(ROOT) if head is None else worktree(head) as root:
            after = run("equal_after", root, Path(folder) / "after.npz", only)
    names = list(dict.fromkeys(key.split("/")[0] for key in before | after))
    print("| fit | epochs | parameters | buffers | result |\n|---|---|---|---|---|")
    rows = [row_of(name, before, after) for name in names]
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return all(row[-1] == "equal" or largest(row[0], before, after) <= tolerance for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="0fc8b65", metavar="REV", help="the commit to compare with")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these fits alone")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of losses in nats, and of parameters")
    # For the tool's own test: a worktree of another commit in the place of this checkout.
    parser.add_argument("--head", help=argparse.SUPPRESS)
    # The process that runs one side's fits.
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        record(args.part, args.out, args.only)
    elif not compare(args.base, args.head, args.only, args.tolerance):
        sys.exit(1)


if __name__ == "__main__":
    main()
