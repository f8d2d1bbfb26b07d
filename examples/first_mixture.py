"""Clusters and a density from one fit, with its defaults: python examples/first_mixture.py [pinwheel | two-circles]"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from pyro_vmonf import (
    FlowMixture,
    Initializer,
    RealNVP,
    Restarts,
    SoftmaxEncoder,
    TrainingConfig,
    evaluate,
    fit,
    mlp,
    plots,
)
from pyro_vmonf.data import Noise, pinwheel, pinwheel_log_prob, two_circles, two_circles_log_prob
from pyro_vmonf.evaluation import accuracy

# The generator, the true log-density, K, the flow, and the numbers of the fit.
DATA = {
    "pinwheel": (pinwheel, pinwheel_log_prob, 5, {}, TrainingConfig(augment=Noise(0.07))),
    "two-circles": (
        two_circles,
        two_circles_log_prob,
        2,
        {"transforms": 16, "shared": 8, "normalization": "act"},
        TrainingConfig(augment=Noise(0.01), epochs=800, batch_size=128, max_grad_norm=5.0),
    ),
}


def main(args):
    torch.manual_seed(args.seed)
    make, log_prob, k, flow, config = DATA[args.data]
    initializer = "auto"
    if args.smoke:
        config = replace(config, epochs=2)
        starts = [Initializer(method, warmup_epochs=2) for method in ("gmm", "spectral")]
        initializer = Restarts(starts, trial_epochs=1)
    x, _ = make(512, seed=args.seed)
    x_test, y_test = make(512, seed=args.seed + 10_000)

    model = FlowMixture(RealNVP(2, k, **flow), weights="learned")
    guide = SoftmaxEncoder(mlp(2, k, hidden_features=(32, 32)), k)
    history = fit(model, guide, x, initializer=initializer, config=config, seed=args.seed)

    for row in history.restarts:
        mark = "<- chosen" if row["chosen"] else ""
        print(f"initializer {row['initializer']:10} validation ELBO {row['validation_elbo']:8.3f} nats {mark}")
    evaluation = evaluate(model, guide, x_test)
    z = evaluation.encoder_probs.argmax(-1)
    print(f"test accuracy: encoder {accuracy(y_test, z):.4f}, exact posterior", end=" ")
    print(f"{accuracy(y_test, evaluation.responsibilities.argmax(-1)):.4f}")
    print(
        f"nats per point: evidence {evaluation.evidence.mean():.3f}, true density {log_prob(x_test).mean():.3f},",
        end=" ",
    )
    print(f"inference gap {evaluation.inference_gap.mean():.3f}")

    panels = [
        ("test data, by the encoder's component", x_test, z),
        ("samples, by their component", *model.sample(len(x_test))),
    ]
    figure = plots.assignments(panels, lambda points: guide.probs(points).argmax(-1), k)
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / f"first-mixture-{args.data}.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", choices=sorted(DATA), default="pinwheel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--smoke", action="store_true", help="a few epochs, to see that it runs")
    main(parser.parse_args())
