"""Data for the benchmarks: training and test points with their classes, and what simple methods see of them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import make_blobs, make_moons

from pyro_vmonf.data import Logit, digits, mnist, pinwheel_log_prob

__all__ = ["TEST_SEED", "Data", "blobs", "digits_data", "mnist_data", "moons", "toy", "wing"]

TEST_SEED = 10_000


@dataclass
class Data:
    """Training and test points with their classes; ``logit`` for images; ``best``, the choice of the true model."""

    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    logit: Logit | None = None
    best: torch.Tensor | None = None

    def plain(self, x):
        """What simple methods see: pixels for images."""
        return (x if self.logit is None else self.logit.images(x)).numpy()


def toy(make, rule, **options):
    """The data of a generator ``make(seed=…)``; ``rule`` chooses as one who knows how they are made."""

    def data(seed):
        x_test, y_test = make(seed=TEST_SEED + seed, **options)
        return Data(*make(seed=seed, **options), x_test, y_test, best=rule(x_test))

    return data


def wing(*weights):
    """The most probable wing of a pinwheel."""

    def rule(x):
        alone = torch.eye(len(weights))
        each = [
            pinwheel_log_prob(x, wings=len(weights), weights=a) + math.log(w)
            for a, w in zip(alone, weights, strict=True)
        ]
        return torch.stack(each).argmax(0)

    return rule


def scikit(make):
    """The data of a scikit-learn generator, in units of the training points' standard deviation."""

    def data(seed):
        (x, y, *_), (x_test, y_test, *best) = make(seed), make(TEST_SEED + seed)
        mean, std = x.mean(0), x.std(0)
        points, test = [torch.as_tensor((part - mean) / std, dtype=torch.float32) for part in (x, x_test)]
        classes = [torch.as_tensor(part) for part in (y, y_test)]
        return Data(points, classes[0], test, classes[1], best=torch.as_tensor(best[0]) if best else None)

    return data


def moons(noise):
    """scikit-learn's two moons, 1,000 points."""
    return scikit(lambda seed: make_moons(1000, noise=noise, random_state=seed))


def blobs(std, stretch=None):
    """Three clouds about the centres of scikit-learn's comparison of clusterings."""
    centres = make_blobs(10, random_state=170, return_centers=True)[2]

    def make(seed):
        x, y = make_blobs(1500, centers=centres, cluster_std=std, random_state=seed)
        stds = np.broadcast_to(std, 3)
        squares = ((x[:, None] - centres) ** 2).sum(-1)
        best = (-squares / (2 * stds**2) - 2 * np.log(stds)).argmax(-1)
        return x @ np.array(stretch or [[1.0, 0.0], [0.0, 1.0]]), y, best

    return scikit(make)


def digits_data(seed):
    """scikit-learn's digits, 30 % held out."""
    logit = Logit(17, 0.01)
    pixels, y = digits()
    train, test = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).tensor_split([1258])
    return Data(logit(pixels[train], seed=seed), y[train], logit(pixels[test], seed=TEST_SEED + seed), y[test], logit)


def mnist_data(classes):
    """MNIST's digits below ``classes``, with its own test images."""

    def data(seed):
        logit = Logit(256, 1e-6)
        (pixels, y), (test_pixels, y_test) = mnist(True, range(classes)), mnist(False, range(classes))
        return Data(logit(pixels, seed=seed), y, logit(test_pixels, seed=TEST_SEED + seed), y_test, logit)

    return data
