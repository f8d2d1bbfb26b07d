"""Drawing points: ours, and zuko's flows in a loop."""

from functools import partial

import torch
from speed_parts.clock import Contender, interleave, summarize, timed
from speed_parts.ours import pair
from speed_parts.sizes import Size
from speed_parts.torch_loops import without_validation, zuko_flow

__all__ = ["CONTENDERS", "SAMPLES", "measure"]

SAMPLES = {
    "realnvp-784": Size("affine", 5, 784, 8, (8,), 1000),
    "maf-64": Size("maf", 5, 64, 5, (64,), 1000),
    "maf-784": Size("maf", 5, 784, 5, (200,), 1000),
}
CONTENDERS = ("ours", "zuko")


def measure(options):
    """One row for each size and contender."""
    rows = []
    for name in options.chosen(SAMPLES):
        made = contenders(options, name, options.shrunk(SAMPLES[name]))
        rounds = interleave(made, options.rounds, 0.0)
        found = summarize(rounds, ("ours",))
        size = str(options.shrunk(SAMPLES[name]))
        rows += [{"row": name, "who": who, "size": size, "rounds": len(rounds), **found[who]} for who in made]
    return rows


def contenders(options, title, size):
    """Those that are there."""
    makers = {name: partial({"ours": ours, "zuko": zuko}[name], size) for name in options.among(CONTENDERS)}
    made = {name: options.found(f"sampling {title}: {name}", make) for name, make in makers.items()}
    made = {name: one for name, one in made.items() if one is not None}
    if len(made) == 2:
        share = made["zuko"].parameters / made["ours"].parameters
        options.say(f"sampling {title}: zuko has {share:.3f} of our parameters, masked ones counted; other weights")
    return made


def ours(size):
    """Our mixture."""
    model, _ = pair(size)
    return Contender(timed(lambda: model.sample(size.batch)), parameters=count(model.components))


def zuko(size):
    """As many points from each flow as a draw of z says."""
    flows = torch.nn.ModuleList(zuko_flow(size) for _ in range(size.components))

    @torch.no_grad()
    def draw():
        z = torch.randint(len(flows), (size.batch,))
        x = torch.empty(size.batch, size.features)
        for k, flow in enumerate(flows):
            own = z == k
            x[own] = flow().sample((int(own.sum()),))
        return x

    return Contender(timed(without_validation(draw)), parameters=count(flows))


def count(module):
    """The number of parameters."""
    return sum(p.numel() for p in module.parameters())
