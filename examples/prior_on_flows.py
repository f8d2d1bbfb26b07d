"""A Normal prior on the flows' parameters: few points, and the mode of the posterior (MAP) in the place of the maximum.

    θ ~ N(0, s²);  z ~ Cat(π);  x ~ p(x | z, θ)

The prior is a site of its own, observed at the parameters, which stay parameters: SVI and fit then maximise
ELBO + log p(θ) (thesis, section 3.5, footnote), weighed right in mini-batches, for the plate carries the size of the
data. Pyro's idiom for networks that a program calls, ``to_pyro_module_`` and a ``PyroSample`` in the place of a
parameter, does not reach a flow: it draws when the parameter is read, and a flow is read when its site is scored, after
the program has ended.

python examples/prior_on_flows.py [--points 25] [--epochs 150] [--seeds 2] [--smoke]
"""

import argparse

import pyro
import torch
from pyro.distributions import Normal

from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, TrainingConfig, evaluate, fit, mlp
from pyro_vmonf.data import pinwheel


class MixtureWithPrior(FlowMixture):
    """A FlowMixture whose components' parameters have independent Normal priors."""

    def __init__(self, components, weights="uniform", labels=None, *, scale=1.0):
        super().__init__(components, weights, labels)
        self.scale = scale

    def forward(self, x=None, y=None, size=None, weight=None):
        for name, value in self.components.named_parameters():
            pyro.sample(f"prior of {name}", Normal(0.0, self.scale).expand(value.shape).to_event(), obs=value)
        return super().forward(x, y, size, weight)


def main(args):
    print("scale of the prior: evidence of the training points, of the test points, nats")
    for scale in (1.0,) if args.smoke else (100.0, 1.0, 0.3, 0.1):
        found = []
        for seed in range(1 if args.smoke else args.seeds):
            torch.manual_seed(seed)
            (x, _), (x_test, _) = pinwheel(args.points, seed=seed), pinwheel(512, seed=10_000 + seed)
            model = MixtureWithPrior(RealNVP(2, 5, hidden_features=(32,)), "learned", scale=scale)
            guide = SoftmaxEncoder(mlp(2, 5, (32,)), 5)
            config = TrainingConfig(epochs=2 if args.smoke else args.epochs, batch_size=32)
            fit(model, guide, x, initializer="gmm", config=config, seed=seed, progress=False)
            found.append([float(evaluate(model, guide, points).evidence.mean()) for points in (x, x_test)])
        train, test = torch.tensor(found).mean(0).tolist()
        print(f"{scale:6}: {train:8.3f} {test:8.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=25, help="of each wing")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="two epochs, to see that it runs")
    main(parser.parse_args())
