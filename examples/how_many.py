"""How many components? Start with twelve, and merge those that share points: python examples/how_many.py"""

import argparse

from pyro_vmonf import Initializer, TrainingConfig, evaluate, plots, select_components
from pyro_vmonf.data import Noise, pinwheel
from pyro_vmonf.evaluation import metrics


def main(args):
    x, _ = pinwheel(512, seed=args.seed)
    most, epochs, warmup = (4, 2, 2) if args.smoke else (12, args.epochs, 20)
    config = TrainingConfig(epochs=epochs, augment=Noise(0.07))
    initializer = Initializer("gmm", warmup_epochs=warmup)
    found = select_components(x, range(1, most + 1), initializer=initializer, config=config, seed=args.seed)
    print(" K  overlap  validation evidence    AIC     BIC")
    for row in found.rows:
        evidence = f"{row['validation_evidence']:8.3f} ± {row['standard_error']:.3f}"
        mark = "<- chosen" if row["chosen"] else ""
        print(
            f"{row['n_components']:2}  {row['overlap']:7.4f}  {evidence}   {row['aic']:7.0f} {row['bic']:7.0f} {mark}"
        )
    plots.selection(found.rows).figure.savefig("how-many.png", dpi=110)

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
