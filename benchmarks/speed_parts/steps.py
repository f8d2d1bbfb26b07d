"""A training step: ours and the rivals', side by side."""

import gc
from functools import partial

from speed_parts import ours, pyro_loop, torch_loops
from speed_parts.clock import interleave, summarize
from speed_parts.equality import compared
from speed_parts.jax_rivals import JaxWorker
from speed_parts.sizes import STEPS

__all__ = ["CONTENDERS", "REFERENCES", "compare", "measure"]

CONTENDERS = ("eager", "replayed", "pyro", "zuko", "torchflows", "jax", "jax-last", "flowjax")
REFERENCES = ("eager", "replayed", "jax")
LOOPS = {
    "pyro": pyro_loop.contender,
    "zuko": torch_loops.zuko_contender,
    "torchflows": torch_loops.torchflows_contender,
}


def measure(options):
    """The rows of a table, one for each size and contender."""
    rows = []
    with JaxWorker() as worker:
        for name in options.chosen(STEPS):
            rows += compare(name, options.shrunk(STEPS[name]), options, worker)
    return rows


def build(name, size, x, worker):
    """One contender."""
    if name in ours.STEPS:
        return ours.contender(name, size, x)
    return LOOPS[name](size, x) if name in LOOPS else worker.contender(name, size, x)


def compare(title, size, options, worker, contenders=CONTENDERS):
    """The rows of one size: our eager flows are what all others must agree with, whether they are timed or not."""
    x, made = ours.points(size), {}
    yardstick = options.found(title, lambda: ours.contender("eager", size, x))
    if yardstick is None:
        return []
    for name in options.among(contenders):
        make = partial(build, name, size, x, worker)
        one = yardstick if name == "eager" else options.found(f"{title}: {name}", make)
        made |= {} if one is None else {name: one}
        if one is not None and one is not yardstick:
            options.say(f"{title}: {name} has {compared(name, one, yardstick)}")
    gc.collect()
    return rows_of(title, size, made, interleave(made, options.rounds, options.seconds)) if made else []


def rows_of(title, size, made, rounds):
    """One row for each contender, with what it took in each round."""
    found = summarize(rounds, REFERENCES)
    return [
        {
            "row": title,
            "who": name,
            "size": str(size),
            "rounds": len(rounds),
            **found[name],
            "setup_s": one.setup,
        }
        for name, one in made.items()
    ]
