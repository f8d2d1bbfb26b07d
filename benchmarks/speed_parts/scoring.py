"""Scoring many points: log p(x) of ours, of zuko's flows in a loop, and of JAX by hand with our weights."""

import math
from functools import partial

import torch
from speed_parts import ours
from speed_parts.clock import Contender, interleave, summarize, timed
from speed_parts.equality import compared
from speed_parts.jax_rivals import JaxWorker
from speed_parts.sizes import STEPS
from speed_parts.torch_loops import without_validation, zuko_flow, zuko_note

from pyro_vmonf.evaluation import evaluate

__all__ = ["CONTENDERS", "COUNTS", "measure"]

COUNTS = {"1e4": 10_000, "1e5": 100_000, "1e6": 1_000_000}
LARGE = 16_384  # the points in a batch of those who have no default
CONTENDERS = ("default", "large", "zuko", "jax", "jax-last")
OURS = {"default": {}, "large": {"batch_size": LARGE}}  # what is told to ``evaluate``, which returns log q(z | x) too


def measure(options):
    """One row for each number of points and contender."""
    size, rows = options.shrunk(STEPS["affine-5-2"]), []
    with JaxWorker() as worker:
        for name in options.chosen(COUNTS):
            count = 100 if options.smoke else COUNTS[name]
            x = ours.points(size.but(batch=count))
            made = contenders(options, name, size.but(batch=count), x, worker)
            rounds = interleave(made, options.rounds, 0.0)
            found = summarize(rounds, ("default", "jax"))
            rows += [{"row": name, "who": who, "points": count, "rounds": len(rounds), **found[who]} for who in made]
    return rows


def contenders(options, title, size, x, worker):
    """Those that are there; the equality of JAX's log-densities is checked on the first batch."""
    model, guide = ours.pair(size)
    with torch.no_grad():
        table = model.components.log_prob(x[:LARGE])
    count = sum(p.numel() for p in model.components.parameters())
    yardstick, made = Contender(None, parameters=count, table=table), {}
    for name in options.among(CONTENDERS):
        make = partial(build, name, size, x, (model, guide), worker)
        one = options.found(f"scoring {title}: {name}", make)
        made |= {} if one is None else {name: one}
        if one is not None and name not in OURS:
            options.say(f"scoring {title}: {name} has {compared(name, one, yardstick)}")
    return made


def build(name, size, x, pair, worker):
    """One contender."""
    if name == "zuko":
        return zuko(size, x)
    if name in OURS:
        return Contender(timed(lambda: evaluate(*pair, x, **OURS[name]).evidence))
    made = worker.contender(name, size.but(batch=LARGE), x[:LARGE])
    worker.load(name, x)
    made.time = lambda repeats: worker.ask(do="score", name=name, repeats=repeats, batch_size=LARGE)
    return made


def zuko(size, x):
    """zuko's flows in a loop."""
    flows = torch.nn.ModuleList(zuko_flow(size) for _ in range(size.components))

    @torch.no_grad()
    def score():
        for batch in x.split(LARGE):
            table = torch.stack([flow().log_prob(batch) for flow in flows])
            (table - math.log(len(flows))).logsumexp(0)

    count = sum(p.numel() for p in flows.parameters())
    return Contender(timed(without_validation(score)), parameters=count, note=zuko_note(size))
