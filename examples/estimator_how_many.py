"""Numbers of components by held-out log-density, of Gaussians and of flows: python examples/estimator_how_many.py"""

import argparse

from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from pyro_vmonf import VMoNF


def main(args):
    """Searches the number of components of two moons."""
    x = make_moons(300, noise=0.07, random_state=0)[0]
    counts = range(1, 3 if args.smoke else 7)

    for mixture in (GaussianMixture(random_state=0), VMoNF(max_iter=0 if args.smoke else 200, random_state=0)):
        search = GridSearchCV(mixture, {"n_components": counts}, cv=3).fit(x)
        scores = ", ".join(
            f"{k}: {score:.3f}" for k, score in zip(counts, search.cv_results_["mean_test_score"], strict=True)
        )
        print(f"{type(mixture).__name__:15} best {search.best_params_['n_components']} components ({scores})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="without flows, to see that it runs")
    main(parser.parse_args())
