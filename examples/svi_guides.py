"""Guides of your own: a convolutional encoder, one with a mixture of temperatures, and none, by infer_discrete.

python examples/svi_guides.py [--epochs 20] [--seed 0] [--smoke]
"""

import argparse

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, TraceEnum_ELBO, infer_discrete
from pyro.optim import ClippedAdam
from torch import nn

from pyro_vmonf import MAF, FlowMixture, Initializer, SoftmaxEncoder, convnet
from pyro_vmonf.data import Logit, digits
from pyro_vmonf.evaluation import metrics

K = 5


class MixedTemperatures(SoftmaxEncoder):
    """q(z | x) = Σ_m w_m softmax(network(x) / T T_m), w learned: sure of some points without being sure of all."""

    def __init__(self, network, n_components, temperatures=(0.5, 1.0, 4.0)):
        super().__init__(network, n_components)
        self.register_buffer("temperatures", torch.tensor(temperatures))
        self.mix = nn.Parameter(torch.zeros(len(temperatures)))

    def log_probs(self, x):
        each = (self.network(x) / (self.temperature * self.temperatures[:, None, None])).log_softmax(-1)
        return (self.mix.log_softmax(0)[:, None, None] + each).logsumexp(0)


def main(args):
    logit = Logit(17, 0.01)
    pixels, y = digits()
    x, y = logit(pixels[y < K], seed=args.seed), y[y < K]
    x, y, x_test, y_test = x[:700], y[:700], x[700:], y[700:]
    shares = Initializer("spectral", [logit.images]).start(x, K, seed=args.seed).responsibilities
    for kind in (SoftmaxEncoder, MixedTemperatures):
        pyro.clear_param_store()
        pyro.set_rng_seed(args.seed)
        model = FlowMixture(MAF(64, K, transforms=2, normalization="act", whiten=False), "learned")
        model.components.initialize(x, shares)
        guide = kind(nn.Sequential(nn.Sigmoid(), convnet(8, 8, K, channels=(16, 32))), K)
        # The encoder learns the start first.
        optimizer = torch.optim.Adam(guide.parameters(), 3e-3)
        for _ in range(1 if args.smoke else 60):
            optimizer.zero_grad()
            (-(shares * guide.log_probs(x)).sum(-1).mean()).backward()
            optimizer.step()
        svi = SVI(model, guide, ClippedAdam({"lr": 1e-3}), TraceEnum_ELBO(max_plate_nesting=1))
        for _ in range(1 if args.smoke else args.epochs):
            for indices in torch.randperm(len(x)).split(100):
                svi.step(x[indices], size=len(x))
        model.eval()
        guide.eval()
        with torch.no_grad():
            chosen = guide.probs(x_test).argmax(-1)
            best = infer_discrete(model, first_available_dim=-2, temperature=0)
            exact = poutine.trace(best).get_trace(x_test).nodes["z"]["value"]
        print(
            f"{kind.__name__}: test accuracy {metrics.accuracy(y_test, chosen):.3f} by the encoder, "
            f"{metrics.accuracy(y_test, exact):.3f} by the most probable z (infer_discrete), "
            f"ELBO {-svi.evaluate_loss(x_test) / len(x_test):.2f} nats"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
    main(parser.parse_args())
