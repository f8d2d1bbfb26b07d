"""Why z is summed and not sampled: noise of the gradient, and what it does to training.

Two copies of one model and guide are trained, by TraceEnum_ELBO, which sums over z, and by Trace_ELBO, which draws z
from the guide and weighs the encoder's score by the result (REINFORCE). Both gradients agree on average. On a fixed
batch the first has no variance at all.

python examples/svi_sampled_z.py [--steps 1500] [--seed 0] [--out out/sampled_z] [--smoke]
"""

import argparse
import copy
import time
from pathlib import Path

import pyro
import torch
from matplotlib.figure import Figure
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyro_vmonf import FlowMixture, Initializer, RealNVP, SoftmaxEncoder, evaluate, mlp
from pyro_vmonf.data import pinwheel


def sampled(program):
    """The same program, with z drawn."""
    return poutine.infer_config(program, lambda site: {"enumerate": None})


def gradient(loss, parameters):
    """The gradient as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def noise(elbo, programs, pair, x, repeats):
    """The root of the summed variance of the encoder's gradient on one batch, for the length of the exact gradient."""
    parameters = list(pair[1].parameters())
    drawn = [gradient(elbo.differentiable_loss(*programs, x), parameters) for _ in range(repeats)]
    exact = gradient(TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(*pair, x), parameters)
    return float(torch.stack(drawn).var(0).sum().sqrt() / exact.norm())


def train(pair, elbo, programs, x, args, steps):
    """Adam; rows of (step, exact ELBO, noise), and milliseconds a step."""
    optimizer = torch.optim.Adam([*pair[0].parameters(), *pair[1].parameters()], 3e-3)
    rows, seconds = [], 0.0
    for step in range(steps + 1):
        batch = x[torch.randperm(len(x))[:256]]
        if step % max(1, steps // 6) == 0 or step == steps:
            value = float(evaluate(*pair, x).elbo.mean())
            rows.append((step, value, noise(elbo, programs, pair, batch, args.repeats)))
        began = time.perf_counter()
        optimizer.zero_grad()
        (elbo.differentiable_loss(*programs, batch) / len(batch)).backward()
        optimizer.step()
        seconds += time.perf_counter() - began
    return rows, 1000 * seconds / (steps + 1)


def main(args):
    torch.manual_seed(args.seed)
    pyro.clear_param_store()
    x, _ = pinwheel(512, seed=args.seed)
    model, guide = FlowMixture(RealNVP(2, 5), "learned"), SoftmaxEncoder(mlp(2, 5, (16,)), 5)
    model.components.initialize(x, Initializer("kmeans").start(x, 5).responsibilities)
    steps = 12 if args.smoke else args.steps
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, elbo, wrap in (
        ("exact sum (TraceEnum_ELBO)", TraceEnum_ELBO(max_plate_nesting=1), lambda program: program),
        ("sampled z (Trace_ELBO)", Trace_ELBO(max_plate_nesting=1), sampled),
    ):
        pair = copy.deepcopy(model), copy.deepcopy(guide)
        rows, milliseconds = train(pair, elbo, [wrap(part) for part in pair], x, args, steps)
        step, value, spread = zip(*rows, strict=True)
        print(f"{name}: ELBO {value[-1]:.3f}, noise {spread[0]:.2f} … {spread[-1]:.2f}, {milliseconds:.1f} ms a step")
        left.plot(step, value, marker="o", markersize=3, label=f"{name}, {milliseconds:.0f} ms a step")
        right.plot(step, spread, marker="o", markersize=3)
    left.set(xlabel="step", ylabel="ELBO (exact), nats", ylim=(-4, -2.2))
    left.legend(fontsize=8, loc="lower right")
    right.set(xlabel="step", ylabel="gradient's noise / its length")
    right.set_yscale("symlog", linthresh=1e-1)
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "sampled-z.png", dpi=150)
    print(f"Look at {args.out}/sampled-z.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=50, help="gradients to measure the noise by")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/sampled_z"))
    parser.add_argument("--smoke", action="store_true", help="a few steps, to see that it runs")
    main(parser.parse_args())
