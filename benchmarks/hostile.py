"""Fits killed by SIGKILL at random moments, and resumed until they end: do they end as unbroken ones, bit by bit?

    python benchmarks/hostile.py [--kills 200] [--seed 0] [--kinds start labels]

Eleven kinds of short fits take turns, each with a checkpoint at every epoch. A process is killed after a random part of
the time that its fit takes, and started again, a few times a fit; then it may end. All parameters and buffers are
compared with those of a fit that nobody killed, and the folder must hold the checkpoint alone. Prints a Markdown table;
the exit code is 0 only if no fit failed.
"""

import argparse
import functools
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from parts import equal_after

from pyro_vmonf.training import Checkpointer

KINDS = ["start", "restarts", "labels", "labelled-share", "soft-labels", "consistency", "exact", "dirichlet", "images"]
KINDS += ["thesis", "decay"]
KILLS_A_FIT = 4
EPOCHS = 12


def fitted(kind, folder):
    """The tensors that a fit of a kind ends with, its checkpoint in a folder."""
    torch.manual_seed(0)
    saver = Checkpointer(folder / "fit.safetensors", minutes=1e-9)
    for name in ("fit", "train_by_recipe"):
        whole = getattr(equal_after, name)
        setattr(equal_after, name, functools.partial(getattr(whole, "func", whole), checkpoint=saver))
    model, guide, _ = equal_after.FITS[kind]()
    return [*model.state_dict().values(), *guide.state_dict().values()]


def in_a_child(kind, folder, seconds=None):
    """Runs a fit in a forked process, killed after so many seconds; whether it was killed before it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.save(fitted(kind, folder), folder.parent / "out.pt")
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{kind}: a fit failed")
    return os.WIFSIGNALED(status)


def attacked(kind, moments):
    """One fit killed a few times; how many kills met it, and whether it ended as an unbroken one."""
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        whole.mkdir()
        killed.mkdir()
        began = time.monotonic()
        in_a_child(kind, whole)
        seconds = time.monotonic() - began
        expected = torch.load(Path(name) / "out.pt")
        kills = sum(in_a_child(kind, killed, moments.uniform(0.1, 0.7) * seconds) for _ in range(KILLS_A_FIT))
        in_a_child(kind, killed)
        found = torch.load(Path(name) / "out.pt")
        same = all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
        return kills, same and [p.name for p in killed.iterdir()] == ["fit.safetensors"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="at least so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=", ".join(KINDS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    equal_after.SHORT["epochs"] = EPOCHS
    moments, table = random.Random(args.seed), {kind: [0, 0, 0] for kind in args.kinds}
    while sum(kills for kills, _, _ in table.values()) < args.kills:
        for kind, row in table.items():
            kills, same = attacked(kind, moments)
            row[0], row[1], row[2] = row[0] + kills, row[1] + 1, row[2] + (not same)
    print("| fit | kills | fits | failed |\n|---|---|---|---|")
    for kind, row in table.items():
        print(f"| {kind} | {' | '.join(map(str, row))} |")
    print(f"| all | {' | '.join(str(sum(column)) for column in zip(*table.values(), strict=True))} |")
    sys.exit(any(failed for _, _, failed in table.values()))


if __name__ == "__main__":
    main()
