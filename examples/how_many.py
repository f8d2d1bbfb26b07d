"""How many components? Start with twelve, and merge those that share points: python examples/how_many.py"""

import argparse

from pyro_vmonf import plots
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import Noise, pinwheel
from pyro_vmonf.evaluation import evaluate, metrics
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.inference import select_components
from pyro_vmonf.models import FlowMixture


def build(k):
    """An untrained pair with k components."""
    return FlowMixture(RealNVP(2, k), weights="learned"), SoftmaxEncoder(mlp(2, k, hidden_features=(32, 32)), k)


def main(args):
    x, _ = pinwheel(512, seed=args.seed)
    settings = {"epochs": 2, "init_epochs": 2} if args.smoke else {"epochs": args.epochs}
    found = select_components(build, x, most=4 if args.smoke else 12, seed=args.seed, augment=Noise(0.07), **settings)
    print(" K  overlap  validation evidence    AIC     BIC")
    for row in found.rows:
        evidence = f"{row['validation_evidence']:8.3f} ± {row['standard_error']:.3f}"
        mark = "<- chosen" if row["chosen"] else ""
        print(
            f"{row['n_components']:2}  {row['overlap']:7.4f}  {evidence}   {row['aic']:7.0f} {row['bic']:7.0f} {mark}"
        )
    plots.selection(found.rows).savefig("how-many.png", dpi=110)

    x_test, y_test = pinwheel(512, seed=args.seed + 10_000)
    evaluation = evaluate(found.model, found.guide, x_test)
    accuracy = metrics.accuracy(y_test, evaluation.encoder_probs.argmax(-1))
    print(f"test accuracy of the {found.n_components}: {accuracy:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60, help="of each fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few epochs and components, to see that it runs")
    main(parser.parse_args())
