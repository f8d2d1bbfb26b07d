"""Plots of fitted mixtures, into a folder: python examples/plots.py --out out/plots"""

import argparse
import warnings
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from pyro_vmonf import FlowMixture, RealNVP, Restarts, SoftmaxEncoder, TrainingConfig, VMoNF, fit, mlp, plots
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import (
    calibration,
    matching,
    posterior_predictive,
    predictive_checks,
    standard_statistics,
)


def main(args):
    """Fits a pinwheel, by the estimator and by modules, and flowers of three kinds, and draws them."""
    x, y = pinwheel(512, seed=args.seed)
    mixture = VMoNF(5, max_iter=2 if args.smoke else 200, random_state=args.seed)
    iris = load_iris()
    flowers = VMoNF(3, max_iter=2 if args.smoke else 200, random_state=args.seed)
    with warnings.catch_warnings():
        if args.smoke:
            warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(x)
        flowers.fit(iris.data)
    history = fit_modules(x, args)
    class_probs = mixture.predict_proba(x)[:, components_by_class(y, mixture.predict(x))]
    drawn = posterior_predictive(mixture.model_, mixture.guide_, size=len(x), draws=100)

    plane = Figure((12, 3.6), layout="constrained")
    first, second, third = plane.subplots(1, 3)
    plots.clusters(mixture, x, title="clusters", ax=first)
    plots.density(mixture, x, title="density", ax=second)
    plots.components(mixture, x, title="components", ax=third)

    tables = Figure((12, 3.6), layout="constrained")
    first, second, third = tables.subplots(1, 3)
    plots.responsibilities(flowers, iris.data, title="responsibilities", ax=first)
    plots.contingency(iris.target_names[iris.target], flowers.predict(iris.data), ax=second).set_title("contingency")
    plots.reliability({"encoder": calibration(class_probs, y)}, ax=third).set_title("reliability")

    training = Figure((12, 3.4), layout="constrained")
    first, second = training.subplots(1, 2)
    plots.history(history, ax=first).set_title("history")
    plots.restarts(mixture, ax=second).set_title("restarts")

    figures = {
        "plane": plane,
        "pairs": plots.pairs(flowers, iris.data, names=iris.feature_names).figure,
        "tables": tables,
        "training": training,
        "checks": plots.predictive_checks(predictive_checks(x, drawn, standard_statistics()), columns=5).figure,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(args.out / f"plots-{name}.png", dpi=75)
    print(f"{len(figures)} pictures in {args.out}")


def fit_modules(x, args):
    """Returns the history of a fit that begins from several initializers."""
    torch.manual_seed(args.seed)
    model, guide = FlowMixture(RealNVP(2, 5), weights="learned"), SoftmaxEncoder(mlp(2, 5, (32, 32)), 5)
    config = TrainingConfig(epochs=2 if args.smoke else 200, learning_rate=3e-3)
    starts = Restarts(["gmm", "spectral", "kmeans"], trial_epochs=1 if args.smoke else 20)
    return fit(model, guide, x, initializer=starts, validation=0.2, config=config, progress=False)


def components_by_class(y, z):
    """Returns the component that is matched to each class."""
    component_of = {label: component for component, label in matching(y, z).items()}
    return [component_of[label] for label in sorted(component_of)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("plots"), help="folder of the pictures")
    parser.add_argument("--smoke", action="store_true", help="short fits, to see that it runs")
    main(parser.parse_args())
