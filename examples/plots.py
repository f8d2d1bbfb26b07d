"""Every plot of a fitted mixture, into a folder: python examples/plots.py --out out/plots"""

import argparse
import warnings
from pathlib import Path

import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

from pyro_vmonf import FlowMixture, RealNVP, Restarts, SoftmaxEncoder, TrainingConfig, VMoNF, evaluate, fit, mlp, plots
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import (
    calibration,
    matching,
    posterior_predictive,
    predictive_checks,
    probability_integral_transform,
    standard_statistics,
)


def main(args):
    """Fits a pinwheel by the estimator and by modules, and flowers of three kinds, and draws them."""
    x, y = pinwheel(512, seed=args.seed)
    mixture = VMoNF(5, max_iter=2 if args.smoke else 200, random_state=args.seed)
    iris = load_iris()
    flowers = VMoNF(3, max_iter=2 if args.smoke else 200, random_state=args.seed)
    with warnings.catch_warnings():
        if args.smoke:
            warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(x)
        flowers.fit(iris.data)
    model, history = fit_modules(x, args)
    pair = (mixture.model_, mixture.guide_)
    evaluation = evaluate(*pair, x)
    z = evaluation.predict()
    component_of = {label: component for component, label in matching(y, z).items()}
    class_probs = evaluation.encoder_probs[:, [component_of[label] for label in range(5)]]
    drawn = posterior_predictive(*pair, size=len(x), draws=100)

    args.out.mkdir(parents=True, exist_ok=True)
    images = load_digits().images[:40].reshape(4, 10, 8, 8) / 16
    axes = {
        "clusters": plots.clusters(mixture, x, title="the estimator's clusters"),
        "density": plots.density(mixture, x),
        "components": plots.components(model, x),
        "pairs": plots.pairs(flowers, iris.data, names=iris.feature_names),
        "history": plots.history(history),
        "responsibilities": plots.responsibilities(flowers, iris.data),
        "contingency": plots.contingency(y, mixture.predict(x)),
        "images": plots.image_rows(images),
        "restarts": plots.restarts(mixture),
        "restarts-of-fit": plots.restarts(history),
        "reliability": plots.reliability({"encoder": calibration(class_probs, y)}),
        "checks": plots.predictive_checks(predictive_checks(x, drawn, standard_statistics())),
        "replications": plots.replications((x, z), [(drawn.x[0], drawn.z[0])], 5),
        "transforms": plots.probability_integral_transforms(*probability_integral_transform(mixture.model_, x), 5),
    }
    for name, one in axes.items():
        one.figure.savefig(args.out / f"plots-{name}.png", dpi=80)
    print(f"{len(axes)} pictures in {args.out}")


def fit_modules(x, args):
    """Returns a model, fitted from several initializers, and the history."""
    torch.manual_seed(args.seed)
    model, guide = FlowMixture(RealNVP(2, 5), weights="learned"), SoftmaxEncoder(mlp(2, 5, (32, 32)), 5)
    config = TrainingConfig(epochs=2 if args.smoke else 200, learning_rate=3e-3)
    starts = Restarts(["gmm", "spectral", "kmeans"], trial_epochs=1 if args.smoke else 20)
    history = fit(model, guide, x, initializer=starts, validation=0.2, config=config, progress=False)
    return model, history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("plots"), help="folder of the pictures")
    parser.add_argument("--smoke", action="store_true", help="short fits, to see that it runs")
    main(parser.parse_args())
