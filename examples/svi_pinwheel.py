"""A mixture of five RealNVP flows on the pinwheel, with plain Pyro: python examples/svi_pinwheel.py"""

import argparse

import pyro
import torch
from pyro.infer import SVI, TraceEnum_ELBO

from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp, plots
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import metrics


def main(args):
    pyro.clear_param_store()  # SVI keeps parameters by name: a second model in one process would meet the first one's
    pyro.set_rng_seed(args.seed)
    x, _ = pinwheel(512, seed=args.seed)
    x_test, y_test = pinwheel(512, seed=args.seed + 1)

    model = FlowMixture(RealNVP(2, 5, transforms=8, hidden_features=(8,)))
    guide = SoftmaxEncoder(mlp(2, 5, hidden_features=(16,)), 5, temperature=5.0)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 2e-3}), TraceEnum_ELBO(max_plate_nesting=1))

    for epoch in range(args.epochs):
        guide.temperature.fill_(max(1.0, 5.0 * 0.95**epoch))
        loss = sum(svi.step(batch, size=len(x)) * len(batch) for batch in x[torch.randperm(len(x))].split(512))
        if epoch % 20 == 0 or epoch == args.epochs - 1:
            print(f"epoch {epoch:4d}: ELBO {-loss / len(x) ** 2:7.4f} nats per point")

    with torch.no_grad():
        evidence = model.evidence(x_test).mean()
        components = guide.probs(x_test).argmax(-1)
    print(f"test: evidence {evidence:.4f} nats, accuracy {metrics.accuracy(y_test, components):.4f}")
    panel = ("test data", x_test, components)
    axes = plots.assignments([panel], guide, 5)
    axes.figure.savefig("svi_pinwheel.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two epochs, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.epochs = 2
    main(arguments)
