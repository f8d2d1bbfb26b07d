"""Clusters and a density from one fit, with its defaults: python examples/first_mixture.py [pinwheel | two-circles]"""

import argparse
from pathlib import Path

import torch

from pyro_vmonf import plots
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import Noise, pinwheel, pinwheel_log_prob, two_circles, two_circles_log_prob
from pyro_vmonf.evaluation import evaluate, metrics
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.inference import fit
from pyro_vmonf.models import FlowMixture

# Generator, true log-density, K, flow, settings of the fit.
DATA = {
    "pinwheel": (pinwheel, pinwheel_log_prob, 5, {}, {"augment": Noise(0.07)}),
    "two-circles": (
        two_circles,
        two_circles_log_prob,
        2,
        {"transforms": 16, "shared": 8, "normalization": "act"},
        {"augment": Noise(0.01), "epochs": 800, "batch_size": 128, "clip_norm": 5.0},
    ),
}


def main(args):
    torch.manual_seed(args.seed)
    make, log_prob, k, flow, settings = DATA[args.data]
    x, _ = make(512, seed=args.seed)
    x_test, y_test = make(512, seed=args.seed + 10_000)

    model = FlowMixture(RealNVP(2, k, **flow), weights="learned")
    guide = SoftmaxEncoder(mlp(2, k, hidden_features=(32, 32)), k)
    settings |= {"epochs": 2, "init_epochs": 2, "trial_epochs": 1} if args.smoke else {}
    history = fit(model, guide, x, seed=args.seed, **settings)

    for row in history.restarts:
        mark = "<- goes on" if row["chosen"] else ""
        print(f"start {row['start']:10} validation ELBO {row['validation_elbo']:8.3f} nats {mark}")
    evaluation = evaluate(model, guide, x_test)
    z = evaluation.encoder_probs.argmax(-1)
    print(f"test accuracy: encoder {metrics.accuracy(y_test, z):.4f}, exact posterior", end=" ")
    print(f"{metrics.accuracy(y_test, evaluation.responsibilities.argmax(-1)):.4f}")
    print(
        f"nats per point: evidence {evaluation.evidence.mean():.3f}, true density {log_prob(x_test).mean():.3f},",
        end=" ",
    )
    print(f"inference gap {evaluation.inference_gap.mean():.3f}")

    drawn = torch.multinomial(model.weights().exp().detach(), len(x_test), replacement=True)
    panels = [
        ("test data, by the encoder's component", x_test, z),
        ("samples, by their component", model.components.sample(drawn), drawn),
    ]
    figure = plots.assignments(panels, lambda points: guide.probs(points).argmax(-1).detach(), k)
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / f"first-mixture-{args.data}.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", choices=sorted(DATA), default="pinwheel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--smoke", action="store_true", help="a few epochs, to see that it runs")
    main(parser.parse_args())
