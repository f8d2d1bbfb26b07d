"""The most memory that a fit takes, each fit in a process of its own.

``python -m speed_parts.memory ROW STEP [--smoke]`` in the folder ``benchmarks`` is such a process.
"""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from speed_parts import ours
from speed_parts.clock import one_thread
from speed_parts.fits import kinds_of_steps
from speed_parts.options import MissingError, Options
from speed_parts.sizes import STEPS

from pyro_vmonf.training import TrainingConfig, fit

__all__ = ["MEMORY", "measure"]

MEMORY = ("affine-5-2", "affine-5-64", "affine-20-2", "spline-5-2", "maf-5-64")
STATUS = Path("/proc/self/status")
BATCHES = 8  # the number of batches in an epoch
EPOCHS = 2


def peak_megabytes():
    """The most resident memory that this process had so far; what ``getrusage`` says counts its parent's too."""
    return int(re.search(r"VmHWM:\s*(\d+)", STATUS.read_text())[1]) / 1024


def measure(options):
    """One row for each size and kind of step."""
    if not STATUS.exists():
        options.say(f"memory is left out: expected {STATUS}, which Linux has")
        return []
    kinds, rows = kinds_of_steps(options), []
    for name in options.chosen(MEMORY):
        rounds = [{kind: in_process(name, kind, options.smoke) for kind in kinds} for _ in range(options.rounds)]
        if "missing" in rounds[0][kinds[0]]:
            options.say(f"{name} is left out: {rounds[0][kinds[0]]['missing']}")
            continue
        rows += [row_of(name, kind, rounds) for kind in kinds]
    return rows


def in_process(name, kind, smoke):
    """The peaks of a fit in a new process."""
    command = [sys.executable, "-m", "speed_parts.memory", name, kind, *(["--smoke"] if smoke else [])]
    folder = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def row_of(name, kind, rounds):
    """One row of the table."""
    found = {key: statistics.median(one[kind][key] for one in rounds) for key in ("before_mb", "peak_mb")}
    return {"row": name, "who": kind, "size": str(STEPS[name]), "rounds": len(rounds), **found}


def one_fit(name, kind, smoke):
    """Fits once from the parameters as they are, and returns the peaks before and after."""
    size = Options([], [], 1, 0.0, smoke).shrunk(STEPS[name])
    try:
        model, guide = ours.pair(size)
    except MissingError as error:
        return {"missing": str(error)}
    x = ours.points(size.but(batch=BATCHES * size.batch))
    torch.zeros(1).requires_grad_().sum().backward()  # starts autograd's thread
    before = peak_megabytes()
    config = TrainingConfig(epochs=EPOCHS, batch_size=size.batch, learning_rate=ours.LEARNING_RATE)
    fit(model, guide, x, initializer=None, config=config, step=kind, progress=False)
    return {"before_mb": before, "peak_mb": peak_megabytes()}


if __name__ == "__main__":
    one_thread()
    print(json.dumps(one_fit(sys.argv[1], sys.argv[2], "--smoke" in sys.argv)))
