"""The most memory that a fit takes, each fit in a process of its own.

``python -m speed_parts.memory ROW STEP [--smoke]`` in the folder ``benchmarks`` is such a process.
"""

import json
import re
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

from speed_parts import ours
from speed_parts.clock import one_thread
from speed_parts.fits import kinds_of_steps
from speed_parts.options import MissingError, Options
from speed_parts.sizes import STEPS

from pyro_vmonf.training import TrainingConfig, fit
from pyro_vmonf.training.fitting import DeadComponentWarning

__all__ = ["MEMORY", "measure"]

MEMORY = ("affine-5-2", "affine-5-64", "affine-20-2", "spline-5-2", "maf-5-64")
STATUS = Path("/proc/self/status")
BATCHES = 8  # the number of batches in an epoch
EPOCHS = 2


def forget_peak():
    """Lets the peak be what this process has now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes():
    """The most resident memory that this process had; what ``getrusage`` says counts its parent's too."""
    return int(re.search(r"VmHWM:\s*(\d+)", STATUS.read_text())[1]) / 1024


def measure(options):
    """One row for each size and kind of step."""
    if not STATUS.exists():
        options.say(f"memory is left out: expected {STATUS}, which Linux has")
        return []
    rows, kinds = [], kinds_of_steps(options)
    for name in options.chosen(MEMORY) if kinds else []:
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
    return {
        "row": name,
        "who": kind,
        "size": str(STEPS[name]),
        "rounds": len(rounds),
        **found,
        "peak_mb_of_rounds": [one[kind]["peak_mb"] for one in rounds],
    }


def one_fit(name, kind, smoke):
    """Fits once from the parameters as they are, and returns the peaks before and after."""
    size = Options([], [], 1, 0.0, smoke).shrunk(STEPS[name])
    try:
        model, guide = ours.pair(size)
    except MissingError as error:
        return {"missing": str(error)}
    x = ours.points(size.but(batch=BATCHES * size.batch))
    tiny = size.but(components=2, features=2, transforms=1, batch=2)
    train(*ours.pair(tiny), ours.points(tiny), tiny, kind)  # loads what torch and Pyro load when it is first used
    forget_peak()
    before = peak_megabytes()
    train(model, guide, x, size, kind)
    return {"before_mb": before, "peak_mb": peak_megabytes()}


def train(model, guide, x, size, kind):
    """Fits from the parameters as they are."""
    config = TrainingConfig(epochs=EPOCHS, batch_size=size.batch, learning_rate=ours.LEARNING_RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadComponentWarning)
        fit(model, guide, x, initializer=None, config=config, step=kind, progress=False)


if __name__ == "__main__":
    one_thread()
    print(json.dumps(one_fit(sys.argv[1], sys.argv[2], "--smoke" in sys.argv)))
