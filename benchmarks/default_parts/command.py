"""What the command lines of the benchmarks of the default call share."""

import argparse
from pathlib import Path

from default_parts import sets

__all__ = ["chosen_sets", "parser"]


def parser(description, methods):
    """A parser with the sets, the methods, and which rows are run and where they are kept."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = found.add_mutually_exclusive_group()
    names.add_argument("--sets", nargs="+", choices=list(sets.SETS), metavar="SET", help=", ".join(sets.SETS))
    names.add_argument("--tag", choices=("tuned", "held", "all"), default="all", help="which sets")
    found.add_argument(
        "--methods", nargs="+", choices=list(methods), default=list(methods), metavar="METHOD", help=", ".join(methods)
    )
    found.add_argument("--splits", type=int, default=10)
    found.add_argument(
        "--part", nargs=2, type=int, default=(0, 1), metavar=("I", "N"), help="run every N-th row from the I-th, from 0"
    )
    found.add_argument("--report-only", action="store_true", help="say what is there, and run nothing")
    found.add_argument("--out", type=Path, required=True)
    return found


def chosen_sets(args):
    """The names of the sets."""
    return args.sets or [name for name in sets.SETS if args.tag in ("all", sets.tag(name))]
