"""Milliseconds of one training step: naive Pyro (a loop over K, SVI, pyro.optim.Adam) against pyro_vmonf, side by side.

    python benchmarks/step.py [--rounds 30] [--threads 1] [--out step.json]

Both train the same mixture of RealNVP flows on the same data. Rounds alternate, so that both see the same machine; the
table gives each side's median and the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineCoupling, permute
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.nn import DenseNN

from pyro_vmonf.components import RealNVP
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import Elbo
from pyro_vmonf.steps import EagerStep
from pyro_vmonf.training import Trainer, TrainingConfig, TrainingData

SIZES = [(5, 2, 8, 8, 512), (5, 64, 8, 64, 256), (20, 2, 8, 8, 512)]


def naive_step(k, d, blocks, hidden, x):
    """How one writes it with Pyro's parts alone: K flows in a list."""

    def flow():
        half = d // 2
        steps = []
        for _ in range(blocks):
            steps += [
                AffineCoupling(half, DenseNN(half, [hidden], [d - half, d - half])),
                permute(d, torch.arange(d).flip(0)),
            ]
        return torch.nn.ModuleList(s for s in steps if isinstance(s, torch.nn.Module)), steps

    flows = [flow() for _ in range(k)]
    for modules, _ in flows:
        for parameter in modules.parameters():
            parameter.data *= 0.3  # at Pyro's own start eight couplings overflow on some points
    encoder = mlp(d, k, (16,))

    def model(x):
        for i, (modules, _) in enumerate(flows):
            pyro.module(f"flow{i}", modules)
        table = []
        for _, steps in flows:
            base = dist.Normal(torch.zeros(d), torch.ones(d)).to_event(1)
            table.append(dist.TransformedDistribution(base, steps).log_prob(x))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(k) / k))
            pyro.factor("x", torch.stack(table)[z, torch.arange(len(x))])

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=encoder(x)), infer={"enumerate": "parallel"})

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-4}), TraceEnum_ELBO(max_plate_nesting=1))

    def step():
        # A new object each time, or Pyro's transforms answer from their cache.
        return svi.step(x.clone()) / len(x)

    return step


def our_step(k, d, blocks, hidden, x):
    """The step that ``fit`` takes."""
    model = FlowMixture(RealNVP(d, k, transforms=blocks, hidden_features=(hidden,), whiten=False))
    guide = SoftmaxEncoder(mlp(d, k, (16,)), k)
    config = TrainingConfig(batch_size=len(x), learning_rate=1e-4)
    trainer = Trainer(model, guide, TrainingData(x), config, step=EagerStep)
    step = trainer.step_factory(model, guide, Elbo(), trainer.optimizer, config.max_grad_norm)
    indices = torch.arange(len(x))
    return lambda: step(trainer.batch(indices))


def timed(step, repeats):
    """Milliseconds a step, on average over ``repeats``."""
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return 1000 * (time.perf_counter() - start) / repeats


def compare(size, rounds, repeats):
    """Medians of both and of their ratio."""
    k, d, blocks, hidden, batch = size
    torch.manual_seed(0)
    pyro.clear_param_store()
    x = torch.randn(batch, d)
    naive, ours = naive_step(k, d, blocks, hidden, x), our_step(k, d, blocks, hidden, x)
    timed(naive, 2), timed(ours, 2)
    pairs = [(timed(naive, repeats), timed(ours, repeats)) for _ in range(rounds)]
    row = dict(zip(("K", "D", "blocks", "hidden", "batch"), size, strict=True))
    row["naive_ms"] = statistics.median(a for a, _ in pairs)
    row["ours_ms"] = statistics.median(b for _, b in pairs)
    row["ratio"] = statistics.median(a / b for a, b in pairs)
    row["ratio_min"], row["ratio_max"] = min(a / b for a, b in pairs), max(a / b for a, b in pairs)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3, help="steps in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| K, D, blocks, hidden, batch | naive Pyro, ms | pyro_vmonf, ms | ratio (min … max) |\n|---|---|---|---|")
    rows = []
    for size in SIZES[: args.sizes]:
        row = compare(size, args.rounds, args.repeats)
        rows.append(row)
        print(
            f"| {', '.join(map(str, size))} | {row['naive_ms']:.1f} | {row['ours_ms']:.1f} | "
            f"{row['ratio']:.1f} ({row['ratio_min']:.1f} … {row['ratio_max']:.1f}) |",
            flush=True,
        )
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
