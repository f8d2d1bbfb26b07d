"""Grouped data: each group has weights π_g of its own over components that all share. Written from the parts.

    π_g ~ Dirichlet(1);  z_n ~ Categorical(π_{g(n)});  x_n ~ p(x | z_n)

python examples/groups.py [--steps 2500] [--seed 0] [--smoke]
"""

import argparse

import pyro
import torch
from pyro.distributions import Categorical, Dirichlet
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.nn import PyroModule
from pyro.optim import ClippedAdam
from torch import nn

from pyro_vmonf import Initializer, RealNVP, mlp
from pyro_vmonf.data import pinwheel

SHARES = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6], [1 / 3, 1 / 3, 1 / 3]])
N_GROUPS, K = SHARES.shape


def check(group):
    if group.is_floating_point() or not 0 <= int(group.min()) <= int(group.max()) < N_GROUPS:
        raise ValueError(f"group: expected integers from 0 to {N_GROUPS - 1}, got {group.unique().tolist()}")
    return group


class Model(PyroModule):
    def __init__(self, components):
        super().__init__()
        self.components = components

    def forward(self, x, group, size=None):  # x may be None: then one point for each of ``group`` is drawn
        with pyro.plate("groups", N_GROUPS):
            weights = pyro.sample("weights", Dirichlet(torch.ones(K)))
        with pyro.plate("data", size or len(group), subsample=torch.arange(len(group))):
            z = pyro.sample("z", Categorical(weights[..., check(group), :]), infer={"enumerate": "parallel"})
            return pyro.sample("x", self.components.conditional(z), obs=x)


class Guide(PyroModule):
    def __init__(self, counts):
        super().__init__()
        self.log_concentration = nn.Parameter(counts.log())  # (groups, K)
        self.network = mlp(2 + N_GROUPS, K, (32,))  # q(z | x, g): the encoder sees the group

    def forward(self, x, group, size=None):
        with pyro.plate("groups", N_GROUPS):
            pyro.sample("weights", Dirichlet(self.log_concentration.exp()))
        if x is not None:
            with pyro.plate("data", size or len(x), subsample=torch.arange(len(x))):
                logits = self.network(torch.cat([x, nn.functional.one_hot(check(group), N_GROUPS)], -1))
                pyro.sample("z", Categorical(logits=logits), infer={"enumerate": "parallel"})


def train(x, group, steps):
    """Model and guide, trained by plain SVI."""
    model, guide = Model(RealNVP(2, K)), Guide(torch.full((N_GROUPS, K), len(x) / N_GROUPS / K))
    model.components.initialize(x, Initializer("gmm").start(x, K).responsibilities)
    svi = SVI(model, guide, ClippedAdam({"lr": 1e-2, "lrd": 0.03 ** (1 / steps)}), TraceEnum_ELBO(max_plate_nesting=1))
    pyro.clear_param_store()
    for step in range(steps):
        batch = torch.randperm(len(x))[:256]
        loss = svi.step(x[batch], group[batch], len(x)) / len(x)
        if step % 500 == 0:
            print(f"step {step:4}: −ELBO {loss:.3f} nats per point")
    return model, guide


def main(args):
    torch.manual_seed(args.seed)
    x, wing = pinwheel(2000, wings=K, seed=args.seed)
    group = torch.multinomial(SHARES[:, wing].T, 1).squeeze(-1)  # so that wings have those shares in each group
    model, guide = train(x, group, 5 if args.smoke else args.steps)
    posterior = Dirichlet(guide.log_concentration.detach().exp())
    order = model.components.log_prob(x).argmax(0)[wing.argsort()].reshape(K, -1).mode(-1).values  # wing → component
    for g in range(N_GROUPS):
        share = torch.bincount(wing[group == g], minlength=K) / (group == g).sum()
        found = {"mean": posterior.mean[g, order], "deviation": posterior.stddev[g, order], "share in the data": share}
        print(f"group {g}, π:", *[f"{name} {[round(float(v), 3) for v in row]}" for name, row in found.items()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="five steps")
    main(parser.parse_args())
