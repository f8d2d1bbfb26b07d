"""Six labels and a mixture: python examples/estimator_few_labels.py"""

import argparse

import numpy as np
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture

from pyro_vmonf import VMoNF, VMoNFClassifier


def named(clusters, labels):
    """Each cluster's most frequent label among the points that have one, at every point."""
    names = np.array([np.bincount(labels[(clusters == k) & (labels >= 0)], minlength=2).argmax() for k in range(2)])
    return names[clusters]


def main(args):
    """Names the points of two moons of which six have labels."""
    x, y = make_moons(500, noise=0.07, random_state=0)
    labels = np.full(len(y), -1)
    for kind in (0, 1):
        labels[(y == kind).nonzero()[0][:3]] = kind

    for mixture in (GaussianMixture(2, random_state=0), VMoNF(2, max_iter=0 if args.smoke else 200, random_state=0)):
        share = np.mean(named(mixture.fit_predict(x), labels) == y)
        print(f"{type(mixture).__name__:15} clusters named by the labels: {share:.3f} right")

    classifier = VMoNFClassifier(unlabelled=-1, max_iter=0 if args.smoke else 200, random_state=0).fit(x, labels)
    print(f"{type(classifier).__name__:15} fitted with the labels: {classifier.score(x, y):.3f} right")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="without flows, to see that it runs")
    main(parser.parse_args())
