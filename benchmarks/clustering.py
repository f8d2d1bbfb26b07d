"""Clusters found without labels: simple methods, the thesis's recipe and ours on the same data, test scores.

    python benchmarks/clustering.py pinwheel-5 two-circles --seeds 20 --out out/clustering [--methods ours k-means]
    python benchmarks/clustering.py mnist-0-4 --seeds 5 --out out/clustering

Each (row, method, seed) is a file in ``--out``, and so is a start that takes minutes, whose seconds are not counted.
Those that are there are not run again, and a long fit that was broken off goes on: take another folder for other code.
Prints a Markdown table over all seeds asked for, and writes it with the scores as ``table.json``.
"""

import warnings
from dataclasses import replace

import numpy as np
import torch
from parts.command import command, start_of
from parts.rows import ROWS, plane
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier

from pyro_vmonf import plots
from pyro_vmonf.evaluation import accuracy, evaluate
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.reproduce.recipes import train_by_recipe
from pyro_vmonf.selection import merge_components

COLUMNS = {
    "accuracy": ("accuracy", 3),
    "posterior accuracy": ("posterior accuracy", 3),
    "evidence": ("evidence", 3),
    "gap": ("gap", 3),
    "behind the true density": ("behind", 3),
    "components": ("components", 1),
    "seconds": ("seconds", 0),
}


def kmeans(row, data, seed, file):
    """scikit-learn's k-means."""
    method = KMeans(row.k, n_init=10, random_state=seed).fit(data.plain(data.x))
    return {"accuracy": accuracy(data.y_test, method.predict(data.plain(data.x_test)))}


def gaussian_mixture(space, n_init=5):
    """scikit-learn's Gaussian mixture, in a space: the most likely of ``n_init``."""

    def score(row, data, seed, file):
        x, x_test = data.plain(data.x), data.plain(data.x_test)
        if space == "pca":
            reducer = PCA(min(30, x.shape[1]), random_state=seed).fit(x)
            x, x_test = reducer.transform(x), reducer.transform(x_test)
        elif space == "umap":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from umap import UMAP

                reducer = UMAP(n_components=5, n_neighbors=15, min_dist=0.0, random_state=seed, n_jobs=1)
                x, x_test = reducer.fit_transform(x), reducer.transform(x_test)
        ridge = 1e-4 * float(x.var(0).mean())
        mixture = GaussianMixture(row.k, n_init=n_init, reg_covar=ridge, random_state=seed).fit(x)
        scores = {"accuracy": accuracy(data.y_test, mixture.predict(x_test))}
        return scores | ({"evidence": float(mixture.score(x_test))} if space is None and data.logit is None else {})

    return score


def by_start(choose):
    """A clustering of the training points, carried to the test points by their five nearest."""

    def score(row, data, seed, file):
        found = choose(row, data, seed, file)
        found = Initializer(found) if isinstance(found, np.ndarray) else found
        found = found.start(data.x, row.k, seed=seed).responsibilities.argmax(-1)
        neighbours = KNeighborsClassifier(5).fit(data.plain(data.x), found)
        return {"accuracy": accuracy(data.y_test, neighbours.predict(data.plain(data.x_test)))}

    return score


def flows(exact):
    """Ours, by the encoder's ELBO or the exact one."""

    def score(row, data, seed, file):
        start = start_of(row.start(data), data, row.k, seed, file.parent)

        def train(model, guide, checkpoint):
            settings = {"start": start, "exact": exact, "seed": seed, "checkpoint": checkpoint}
            return row.settings.fit(model, guide, data.x, **settings)

        return fitted(row, row.build, train, data, seed, file)

    return score


def thesis(row, data, seed, file):
    """The thesis's recipe."""

    def train(model, guide, checkpoint):
        row.prepare_thesis(model, data)
        settings = {"recipe": row.thesis, "seed": seed, "checkpoint": checkpoint, "progress": False}
        return train_by_recipe(model, guide, data.x, **settings)

    return fitted(row, row.build_thesis, train, data, seed, file)


def fitted(row, build, train, data, seed, file):
    """Builds, trains and reads."""
    torch.manual_seed(seed)
    model, guide = build()
    checkpoint = file.with_suffix(".safetensors") if data.logit is not None and len(data.x) > 5000 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = train(model, guide, checkpoint)
    evaluation = evaluate(model, guide, data.x_test)
    chosen = evaluation.encoder_probs.argmax(-1)
    scores = {
        "accuracy": accuracy(data.y_test, chosen),
        "posterior accuracy": accuracy(data.y_test, evaluation.responsibilities.argmax(-1)),
        "evidence": float(evaluation.evidence.mean()),
        "gap": float(evaluation.inference_gap.mean()),
        "alive": len(chosen.unique()),
        "start": next((r["initializer"] for r in history.restarts if r["chosen"]), ""),
        **row.also(model),
    }
    if row.log_prob is not None:
        scores["behind"] = float(row.log_prob(data.x_test).mean()) - scores["evidence"]
    if row.weights is not None:
        weights = model.weights().detach().exp().sort().values
        scores["weights off by"] = float((weights - torch.tensor(row.weights).sort().values).abs().max())
    if data.logit is not None:
        draw_samples(model, data, file.with_suffix(".png"))
    return scores


def draw_samples(model, data, path, count=10):
    """Draws samples of images, one component a row."""
    x = model.components.sample(torch.arange(model.n_components).repeat_interleave(count))
    side = round(x.shape[1] ** 0.5)
    images = data.logit.images(x).reshape(-1, count, side, side)
    plots.image_rows(images, "samples, one component a row").figure.savefig(path, dpi=110)


def surplus(row, data, seed, file):
    """Ours, with K to be found, from 12 down."""

    def build(k):
        return plane(k)()

    config = replace(row.settings.config, epochs=60)
    initializer = Initializer("gmm", warmup_epochs=row.settings.warmup_epochs)
    settings = {"build": build, "initializer": initializer, "config": config, "seed": seed, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = merge_components(data.x, range(1, 13), **settings)
    evaluation = evaluate(found.model, found.guide, data.x_test)
    return {
        "components": found.n_components,
        "accuracy": accuracy(data.y_test, evaluation.encoder_probs.argmax(-1)),
        "evidence": float(evaluation.evidence.mean()),
        "gap": float(evaluation.inference_gap.mean()),
        "table": found.rows,
    }


def best(row, data, seed, file):
    """The choice of one who knows how the data are made."""
    return {"accuracy": accuracy(data.y_test, data.best)}


METHODS = {
    "best": best,
    "k-means": kmeans,
    "gmm": gaussian_mixture(None),
    "gmm-pca": gaussian_mixture("pca"),
    "gmm-pca-once": gaussian_mixture("pca", 1),
    "gmm-umap": gaussian_mixture("umap"),
    "spectral": by_start(
        lambda row, data, seed, file: Initializer("spectral", None if data.logit is None else [data.logit.images])
    ),
    "start": by_start(lambda row, data, seed, file: start_of(row.start(data), data, row.k, seed, file.parent)),
    "thesis": thesis,
    "ours": flows(exact=False),
    "exact": flows(exact=True),
    "surplus": surplus,
}


def suits(name, method):
    """Whether a method makes sense for a row."""
    if method in ("gmm-pca", "gmm-pca-once", "gmm-umap", "start"):
        return "mnist" in name or name == "digits"
    if method == "thesis":
        return ROWS[name].build_thesis is not None
    if method == "best":
        return "mnist" not in name and name not in ("digits", "moons")
    return method != "surplus" or name == "pinwheel-5"


def score(name, method, seed, file):
    """The scores of one run."""
    row = ROWS[name]
    return METHODS[method](row, row.data(seed), seed, file)


if __name__ == "__main__":
    command(__doc__, ROWS, METHODS, COLUMNS, score, suits)
