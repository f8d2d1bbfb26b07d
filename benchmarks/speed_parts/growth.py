"""How the cost of a step grows with K, D and the batch, and that of an epoch with the number N of points."""

import statistics
import time
import warnings

from speed_parts import ours
from speed_parts.fits import kinds_of_steps
from speed_parts.jax_rivals import JaxWorker
from speed_parts.sizes import Size
from speed_parts.steps import compare

from pyro_vmonf.training import TrainingConfig, fit
from pyro_vmonf.training.fitting import DeadComponentWarning

__all__ = ["GROWTH", "measure"]

BASE = Size("affine", 5, 2, 8, (8,), 512)
WIDE = BASE.but(features=64, hidden=(64,))
GROWTH = {
    "K": ("K, D = 2", [(k, BASE.but(components=k)) for k in (5, 20, 100)]),
    "K-64": ("K, D = 64", [(k, WIDE.but(components=k)) for k in (5, 20, 100)]),
    "D": ("D, K = 5", [(d, WIDE.but(features=d)) for d in (2, 8, 32, 64, 128)]),
    "batch": ("batch, K = 5, D = 2", [(n, BASE.but(batch=n)) for n in (64, 256, 1024, 4096)]),
    "N": ("N, K = 5, D = 2", [(n, BASE) for n in (1_000, 10_000, 100_000)]),
}
CONTENDERS = ("eager", "replayed", "pyro", "jax", "jax-last")


def measure(options):
    """One row for each axis, value and contender."""
    rows = []
    with JaxWorker() as worker:
        for name in options.chosen(GROWTH):
            title, cases = GROWTH[name]
            for value, size in cases[:1] if options.smoke else cases:
                found = epochs(options, value, size) if name == "N" else steps(options, name, value, size, worker)
                rows += [{**row, "row": name, "title": title, "value": value} for row in found]
    return rows


def steps(options, name, value, size, worker):
    """The rows of a step at one size."""
    return compare(f"{name}: {value}", options.shrunk(size), options, worker, CONTENDERS)


class Stamps:
    """The CPU seconds at the end of each epoch."""

    def __init__(self):
        self.seconds = []

    def __call__(self, state):
        self.seconds.append(time.process_time())


def epochs(options, count, size):
    """The rows of one epoch of ``fit`` on so many points, the first epoch, with its preparations, not counted."""
    kinds = kinds_of_steps(options)
    found = [
        {kind: epoch(100 if options.smoke else count, size, kind) for kind in kinds} for _ in range(options.rounds)
    ]
    who = {"eager": "eager", "auto": "replayed"}
    return [
        {
            "who": who[kind],
            "size": str(size),
            "rounds": len(found),
            "cpu_ms": statistics.median(one[kind] for one in found),
            "cpu_ms_of_rounds": [one[kind] for one in found],
        }
        for kind in kinds
    ]


def epoch(count, size, kind):
    """The CPU milliseconds of the second epoch of a fit."""
    model, guide = ours.pair(size)
    config = TrainingConfig(epochs=2, batch_size=size.batch, learning_rate=ours.LEARNING_RATE)
    stamps, x = Stamps(), ours.points(size.but(batch=count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadComponentWarning)
        fit(model, guide, x, initializer=None, config=config, step=kind, on_epoch=stamps, progress=False)
    return 1000 * (stamps.seconds[1] - stamps.seconds[0])
