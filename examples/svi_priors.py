"""Plain SVI with a prior on π: several particles, and a learning-rate schedule through pyro.optim.

z is summed exactly, π is drawn: each particle draws it once more, and the average over particles is less noisy.

python examples/svi_priors.py [--steps 1500] [--particles 8] [--seed 0] [--smoke]
"""

import argparse

import pyro
import torch
from pyro.infer import SVI, Predictive, TraceEnum_ELBO
from pyro.optim import ExponentialLR

from pyro_vmonf import FlowMixture, Initializer, RealNVP, SoftmaxEncoder, mlp
from pyro_vmonf.data import pinwheel
from pyro_vmonf.guides import DirichletPosterior
from pyro_vmonf.models import DirichletWeights


def main(args):
    pyro.clear_param_store()
    pyro.set_rng_seed(args.seed)
    counts = (600, 300, 100)
    x, _ = pinwheel(wings=3, n_per_wing=counts, seed=args.seed)
    model = FlowMixture(RealNVP(2, 3), DirichletWeights(1.0, 3))
    guide = SoftmaxEncoder(mlp(2, 3, (32,)), 3, weights=DirichletPosterior(3, initial=len(x) / 3))
    model.components.initialize(x, Initializer("gmm").start(x, 3).responsibilities)

    steps = 6 if args.smoke else args.steps
    settings = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 1e-2}, "gamma": 0.05 ** (10 / steps)}
    schedule = ExponentialLR(settings)
    elbo = TraceEnum_ELBO(num_particles=args.particles, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(model, guide, schedule, elbo)
    for step in range(steps):
        batch = x[torch.randperm(len(x))[:256]]
        loss = svi.step(batch, size=len(x)) / len(x)
        if step % 10 == 9:
            schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"step {step:4}: ELBO {-loss:.3f} nats per point")

    draws = Predictive(guide.weights, num_samples=5000)()["weights"].sort(descending=True).values
    for mean, spread, count in zip(draws.mean(0), draws.std(0), counts, strict=True):
        print(f"weight {mean:.3f} ± {spread:.3f}, share in the data {count / len(x):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="six steps, to see that it runs")
    main(parser.parse_args())
