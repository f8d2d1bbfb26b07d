"""Splits in which some training points show their class, and what learns from them."""

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from default_parts import sets
from default_parts.found import scale_of
from default_parts.methods import library_version
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from pyro_vmonf._io import write_json
from pyro_vmonf.automatic.fitting import checked_initializers
from pyro_vmonf.automatic.folds import Scale, distinct
from pyro_vmonf.automatic.label_starts import labelled_candidates
from pyro_vmonf.automatic.labelled import as_probabilities, labelled_folds, merged
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.initialization.gaussian_mixture import log_joint
from pyro_vmonf.initialization.gaussians import cluster_gaussians

__all__ = ["METHODS", "LabelledSplit", "file_of", "kept", "labelled_split", "measured", "version"]

VERSION = 1  # of what draws labels, and of the rivals
# With the usual tolerance it stops before labels have reached most points.
SPREADING = {"kernel": "knn", "n_neighbors": 10, "max_iter": 1000, "tol": 0.0}


@dataclass(frozen=True)
class LabelledSplit:
    """Training points with labels, −1 where none is shown, and test points with their classes, −1 for noise."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    k: int


def labelled_split(points, index, count):
    """The split of a number in which ``count`` points of each class show it, or all of a smaller class."""
    train, test = sets.parts(points, index)
    y = points.y[train]
    random, shown = np.random.default_rng([VERSION, index, count]), np.full(len(y), -1)
    for c in range(points.k):
        rows = np.flatnonzero(y == c)
        shown[random.permutation(rows)[:count]] = c
    return LabelledSplit(points.x[train], shown, points.x[test], points.y[test], points.k)


def ours(split, seed):
    """The default call: the encoder's classes, and beside them those of the exact posterior."""
    from pyro_vmonf import fit_mixture

    model, guide, history = fit_mixture(split.x, split.k, split.y, seed=seed, progress=False)
    found = evaluate(model, guide, split.x_test)
    exact = found.predict("exact").numpy()
    notes = {"warp": history.search.choice.warp, "posterior": accuracy(exact, split.y_test)}
    return found.predict().numpy(), notes


def own_start(split, seed):
    """The start of the default call; test points have the class of the nearest training point."""
    points, weight = torch.as_tensor(split.x), torch.ones(len(split.x)).double()
    labels = as_probabilities(split.y, len(points), split.k)
    points, mass, index = distinct(points, weight)
    labels, scale = merged(labels, weight, index, len(points)), Scale.of(points, mass)
    x = scale.standardized(points)
    folds, parts = labelled_folds(labels, seed)
    methods = checked_initializers("auto", x.shape[1])
    torch.manual_seed(seed)
    found = labelled_candidates(methods, x, labels, parts, mass, folds=len(folds), is_auto=True, seed=seed)[0][0]
    nearest = KNeighborsClassifier(1).fit(x.numpy(), found.labels.numpy())
    return nearest.predict(scale.standardized(torch.as_tensor(split.x_test)).numpy()), {"start": found.name}


def rival(build, *, labelled_only=False):
    """A scikit-learn classifier of standardised points."""

    def run(split, seed):
        mean, scale = scale_of(split.x)
        x, y = (split.x - mean) / scale, split.y
        rows = y >= 0 if labelled_only else slice(None)
        return build(seed).fit(x[rows], y[rows]).predict((split.x_test - mean) / scale), {}

    return run


class Quadratic:
    """A quadratic discriminant with covariances shrunk as the library's are; scikit-learn's fails on few labels."""

    def fit(self, x, y):
        """Sets the Gaussians of the classes."""
        points, classes = torch.as_tensor(x), torch.as_tensor(y)
        self.gaussians = cluster_gaussians(points, torch.nn.functional.one_hot(classes).double())
        return self

    def predict(self, x):
        """Returns the classes."""
        return log_joint(torch.as_tensor(x), *self.gaussians).argmax(0).numpy()


METHODS = {
    "ours": ours,
    "own-start": own_start,
    "spreading": rival(lambda seed: LabelSpreading(**SPREADING)),
    "self-logistic": rival(lambda seed: SelfTrainingClassifier(LogisticRegression(max_iter=2000))),
    "self-svc": rival(lambda seed: SelfTrainingClassifier(SVC(probability=True, random_state=seed))),
    "discriminant": rival(lambda seed: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), labelled_only=True),
    "quadratic": rival(lambda seed: Quadratic(), labelled_only=True),
}
"""Each method by its name: a function of a split and a seed that returns classes of the test points, and notes."""


def version(method):
    """The version of a method, for the names of files."""
    return library_version() if method in ("ours", "own-start") else f"v{VERSION}"


def file_of(out, name, method, count, index):
    """The file of a row."""
    return out / "rows" / f"{name}-{sets.VERSION}" / f"{method}-{version(method)}-{count}-{index}.json"


def kept(out, name, method, count, index):
    """Writes a row, if it is not there."""
    file = file_of(out, name, method, count, index)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, measured(labelled_split(sets.load(name), index, count), METHODS[method], index))


def measured(split, run, seed):
    """The accuracy of a method on test points with what it cost, or the error that it ended with."""
    wall = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            classes, notes = run(split, seed)
            row = {"accuracy": accuracy(classes, split.y_test), "notes": notes}
        except Exception as error:  # a rival's failure is a result
            row = {"error": f"{type(error).__name__}: {error}"}
    sizes = {"n_train": len(split.x), "n_test": len(split.x_test), "labels": int((split.y >= 0).sum()), "k": split.k}
    return {**row, "seconds": time.perf_counter() - wall, **sizes}


def accuracy(classes, y):
    """The share of the test points with a class that have the right one."""
    return float(np.mean(np.asarray(classes)[y >= 0] == y[y >= 0]))
