"""A density and its outliers, by scikit-learn's Gaussian mixture and by ours: python examples/estimator_outliers.py"""

import argparse

import numpy as np
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from pyro_vmonf import VMoNF


def main(args):
    """Scores points that lie on two moons and others that lie anywhere."""
    x = make_moons(500, noise=0.07, random_state=0)[0]
    usual = make_moons(500, noise=0.07, random_state=1)[0]
    unusual = np.random.default_rng(0).uniform(usual.min(0), usual.max(0), (100, 2))
    is_outlier = np.repeat([False, True], [len(usual), len(unusual)])

    for mixture in (GaussianMixture(2, random_state=0), VMoNF(2, max_iter=0 if args.smoke else 200, random_state=0)):
        mixture.fit(x)
        outlyingness = -mixture.score_samples(np.concatenate([usual, unusual]))
        area = roc_auc_score(is_outlier, outlyingness)
        print(
            f"{type(mixture).__name__:15} mean log p(x) {mixture.score(usual):.3f} nats, area under the ROC {area:.3f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="without flows, to see that it runs")
    main(parser.parse_args())
