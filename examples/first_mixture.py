"""Clusters and a density from one call: python examples/first_mixture.py [pinwheel | two-circles]"""

import argparse
from pathlib import Path

from pyro_vmonf import evaluate, fit_mixture, plots
from pyro_vmonf.automatic import Schedule, SearchConfig
from pyro_vmonf.data import pinwheel, pinwheel_log_prob, two_circles, two_circles_log_prob
from pyro_vmonf.evaluation import accuracy

# The generator, the true log-density, and the number of clusters.
DATA = {"pinwheel": (pinwheel, pinwheel_log_prob, 5), "two-circles": (two_circles, two_circles_log_prob, 2)}


def main(args):
    make, log_prob, k = DATA[args.data]
    config = SearchConfig()
    if args.smoke:
        config = SearchConfig(short=Schedule(10, 10, 5), long=Schedule(10, 10, 5))
    x, _ = make(512, seed=args.seed)
    x_test, y_test = make(512, seed=args.seed + 10_000)

    model, guide, history = fit_mixture(x, k, config=config, seed=args.seed)

    print(history.search)
    evaluation = evaluate(model, guide, x_test)
    z = evaluation.predict()
    exact = evaluation.predict("exact")
    print(f"test accuracy: encoder {accuracy(y_test, z):.4f}, exact posterior {accuracy(y_test, exact):.4f}")
    evidence, true = evaluation.evidence.mean(), log_prob(x_test).mean()
    gap = evaluation.inference_gap.mean()
    print(f"nats per point: evidence {evidence:.3f}, true density {true:.3f}, inference gap {gap:.3f}")

    panels = [
        ("test data, by the encoder's component", x_test, z),
        ("samples, by their component", *model.sample(len(x_test))),
    ]
    axes = plots.assignments(panels, guide, k)
    args.out.mkdir(parents=True, exist_ok=True)
    axes.figure.savefig(args.out / f"first-mixture-{args.data}.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", choices=sorted(DATA), default="pinwheel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--smoke", action="store_true", help="a few steps, to see that it runs")
    main(parser.parse_args())
