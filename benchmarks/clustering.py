"""Clusters found without labels: simple methods, the thesis's recipe and ours on the same data, test scores.

    python benchmarks/clustering.py pinwheel-5 two-circles --seeds 20 --out out/clustering [--methods ours k-means]
    python benchmarks/clustering.py mnist-0-4 --seeds 5 --out out/clustering

Each (row, method, seed) is a file in ``--out``; those that are there are not run again, and a long fit that was broken
off goes on. Prints a Markdown table over all seeds asked for, and writes it with the scores as ``table.json``.
"""

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs, make_moons
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from tqdm import tqdm

from pyro_vmonf._files import write_json, write_whole
from pyro_vmonf.components import MAF, RealNVP
from pyro_vmonf.data import (
    ImageMoves,
    Logit,
    Noise,
    digits,
    mnist,
    pinwheel,
    pinwheel_log_prob,
    two_circles,
    two_circles_log_prob,
)
from pyro_vmonf.guides import SoftmaxEncoder, convnet, mlp
from pyro_vmonf.inference import Consistency, Start, Temperature, fit, read, select_components
from pyro_vmonf.metrics import accuracy
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.reproduce import EXPERIMENTS

TEST_SEED = 10_000


@dataclass
class Data:
    """Training points, test points, their classes; ``logit`` for images; ``best``, the choice of the true model."""

    x: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    logit: Logit | None = None
    best: torch.Tensor | None = None

    def plain(self, x):
        """What simple methods see: pixels for images."""
        return (x if self.logit is None else self.logit.images(x)).numpy()


@dataclass
class Row:
    """A data set, the model for it, and how it is fitted."""

    k: int
    data: Callable[[int], Data]
    build: Callable[[int], tuple[FlowMixture, SoftmaxEncoder]]
    settings: dict[str, Any]
    start: Callable[[Data], Any] = lambda data: "auto"
    thesis: dict[str, Any] = field(default_factory=dict)
    build_thesis: Callable[[int], tuple[FlowMixture, SoftmaxEncoder]] | None = None
    log_prob: Callable[[torch.Tensor], torch.Tensor] | None = None
    weights: list[float] | None = None
    also: Callable[[FlowMixture], dict[str, float]] = lambda model: {}


def toy(make, rule, **options):
    """The data of a generator ``make(seed=…)``; ``rule`` chooses as one who knows how they are made."""

    def data(seed):
        x_test, y_test = make(seed=TEST_SEED + seed, **options)
        return Data(make(seed=seed, **options)[0], x_test, y_test, best=rule(x_test))

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
        (x, *_), (x_test, y_test, *best) = make(seed), make(TEST_SEED + seed)
        mean, std = x.mean(0), x.std(0)
        points = [torch.as_tensor((part - mean) / std, dtype=torch.float32) for part in (x, x_test)]
        return Data(*points, torch.as_tensor(y_test), best=torch.as_tensor(best[0]) if best else None)

    return data


def blobs(std, stretch=None):
    """Three clouds about the centres of scikit-learn's comparison of clusterings."""
    centres = make_blobs(10, random_state=170, return_centers=True)[2]

    def make(seed):
        x, y = make_blobs(1500, centers=centres, cluster_std=std, random_state=seed)
        stds = np.broadcast_to(std, 3)
        squares = ((x[:, None] - centres) ** 2).sum(-1)
        best = (-squares / (2 * stds**2) - 2 * np.log(stds)).argmax(-1)
        return x @ np.array(stretch or [[1.0, 0.0], [0.0, 1.0]]), y, best

    return make


def digits_data(seed):
    """scikit-learn's digits, 30 % held out."""
    logit = Logit(17, 0.01)
    pixels, y = digits()
    train, test = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).tensor_split([1258])
    return Data(logit(pixels[train], seed=seed), logit(pixels[test], seed=TEST_SEED + seed), y[test], logit)


def mnist_data(classes):
    """MNIST's digits below ``classes``, with its own test images."""

    def data(seed):
        logit = Logit(256, 1e-6)
        (pixels, _), (test_pixels, y_test) = mnist(True, range(classes)), mnist(False, range(classes))
        return Data(logit(pixels, seed=seed), logit(test_pixels, seed=TEST_SEED + seed), y_test, logit)

    return data


def plane(k, hidden=(32, 32), **flow):
    """RealNVP components in the plane."""
    return lambda: (FlowMixture(RealNVP(2, k, **flow), "learned"), SoftmaxEncoder(mlp(2, k, hidden), k))


def thesis_plane(k, hidden, transforms):
    """The thesis's model for points in the plane, with uniform weights."""
    components = {"transforms": transforms, "hidden_features": (8,), "whiten": False}
    return lambda: (FlowMixture(RealNVP(2, k, **components)), SoftmaxEncoder(mlp(2, k, hidden), k))


def images(features, k, hidden, network, **flow):
    """MAF components of images, whose encoder sees pixels."""

    def build():
        components = MAF(features, k, hidden_features=(hidden,), normalization="act", whiten=False, **flow)
        return FlowMixture(components, "learned"), SoftmaxEncoder(nn.Sequential(nn.Sigmoid(), network()), k)

    return build


def rings(model):
    """Whether each component is a ring: samples near one radius, and samples in the emptiest sector (1: even)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = model.components.sample(torch.arange(2).repeat_interleave(2000)).reshape(2, 2000, 2)
    radius, angle = x.norm(dim=-1), torch.atan2(x[..., 1], x[..., 0])
    near = ((radius - radius.median(-1, keepdim=True).values).abs() < 0.1).double().mean(-1)
    sectors = torch.stack([torch.histc(a, 12, -math.pi, math.pi) for a in angle]) / 2000 * 12
    return {"share of samples near the ring": float(near.min()), "emptiest sector": float(sectors.min())}


PLANE = {"epochs": 200, "batch_size": 256, "learning_rate": 5e-3, "augment": Noise(0.07)}
SMALL = {"epochs": 100, "batch_size": 128, "learning_rate": 5e-3, "augment": Noise(0.05)}
CLOUDS = {"epochs": 40, "batch_size": 128, "learning_rate": 1e-3}
THESIS = {"init": None, "schedule": "constant", "learning_rate": 1e-3, "temperature": Temperature(5.0, 0.98)}
CIRCLES = {"transforms": 16, "shared": 8, "hidden_features": (8,), "normalization": "act"}
MOVES = Consistency(10.0, ImageMoves(28, 28))
UNEQUAL = (922, 461, 153)


def on_images(method, *features):
    """A start in a space made from the pixels."""
    return lambda data: Start(method, [data.logit.images, *features])


def mnist_row(k, epochs, network, start, **settings):
    """MNIST with the thesis's components."""
    settings = {"epochs": epochs, "init_epochs": 2, "batch_size": 256, "learning_rate": 6e-4, **settings}
    settings["augment"] = Logit(256, 1e-6).redraw
    return Row(k, mnist_data(k), images(784, k, 200, network, transforms=5), settings, start)


ROWS = {
    "pinwheel-5": Row(
        5,
        toy(pinwheel, wing(*[0.2] * 5)),
        plane(5),
        PLANE,
        thesis={"epochs": 400},
        build_thesis=thesis_plane(5, (3,), 8),
        log_prob=pinwheel_log_prob,
        weights=[0.2] * 5,
    ),
    "pinwheel-7": Row(
        7,
        toy(pinwheel, wing(*[1 / 7] * 7), wings=7),
        plane(7),
        PLANE | {"n_init": 3},
        thesis={"epochs": 400},
        build_thesis=thesis_plane(7, (3,), 8),
        log_prob=lambda x: pinwheel_log_prob(x, wings=7),
        weights=[1 / 7] * 7,
    ),
    "pinwheel-weights": Row(
        3,
        toy(pinwheel, wing(0.6, 0.3, 0.1), n_per_wing=UNEQUAL),
        plane(3),
        PLANE,
        thesis={"epochs": 400},
        build_thesis=thesis_plane(3, (3,), 8),
        log_prob=lambda x: pinwheel_log_prob(x, wings=3, weights=[0.6, 0.3, 0.1]),
        weights=[0.6, 0.3, 0.1],
    ),
    "two-circles": Row(
        2,
        toy(two_circles, lambda x: (x.norm(dim=-1) < 0.6).long()),
        plane(2, **CIRCLES),
        {"epochs": 800, "batch_size": 128, "learning_rate": 5e-3, "clip_norm": 5.0, "augment": Noise(0.01)},
        thesis={"epochs": 500, "batch_size": 128},
        build_thesis=EXPERIMENTS["two-circles"].build,
        log_prob=two_circles_log_prob,
        weights=[0.5, 0.5],
        also=rings,
    ),
    "moons": Row(
        2,
        scikit(lambda seed: make_moons(1000, noise=0.05, random_state=seed)),
        plane(2),
        SMALL,
        thesis={"epochs": 400},
        build_thesis=thesis_plane(2, (3,), 8),
        weights=[0.5, 0.5],
    ),
    "blobs-varied": Row(
        3,
        scikit(blobs([1.0, 2.5, 0.5])),
        plane(3, transforms=2),
        CLOUDS,
        thesis={"epochs": 400},
        build_thesis=thesis_plane(3, (3,), 8),
        weights=[1 / 3] * 3,
    ),
    "blobs-stretched": Row(
        3,
        scikit(blobs(1.0, [[0.6, -0.6], [-0.4, 0.8]])),
        plane(3, transforms=2),
        CLOUDS,
        thesis={"epochs": 400},
        build_thesis=thesis_plane(3, (3,), 8),
        weights=[1 / 3] * 3,
    ),
    "digits": Row(
        10,
        digits_data,
        images(64, 10, 64, lambda: convnet(8, 8, 10, channels=(32, 64)), transforms=2),
        {
            "epochs": 40,
            "init_epochs": 15,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "augment": Logit(17, 0.01).redraw,
            "consistency": Consistency(10.0, ImageMoves(8, 8, shift=0.5, rotate=8.0)),
        },
        on_images("spectral", "umap"),
    ),
    "mnist-0-4-pixels": mnist_row(5, 6, lambda: mlp(784, 5, (512,)), on_images("spectral", "umap")),
    "mnist-0-4": mnist_row(5, 6, lambda: convnet(28, 28, 5), on_images("spectral", "umap"), consistency=MOVES),
    "mnist-0-9": mnist_row(10, 3, lambda: convnet(28, 28, 10), on_images("spectral", "umap"), consistency=MOVES),
}


def kmeans(row, data, seed, file):
    """scikit-learn's k-means."""
    method = KMeans(row.k, n_init=10, random_state=seed).fit(data.plain(data.x))
    return {"accuracy": accuracy(data.y_test, method.predict(data.plain(data.x_test)))}


def gaussian_mixture(space):
    """scikit-learn's Gaussian mixture, in a space."""

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
        mixture = GaussianMixture(row.k, n_init=5, reg_covar=ridge, random_state=seed).fit(x)
        scores = {"accuracy": accuracy(data.y_test, mixture.predict(x_test))}
        return scores | ({"evidence": float(mixture.score(x_test))} if space is None and data.logit is None else {})

    return score


def start_of(row, data, seed, file):
    """The row's start; in a space that takes minutes to make, its responsibilities, from a file if they are there."""
    start = row.start(data)
    if data.logit is None:
        return start
    kept = file.parent / f"start-{row.k}-{len(data.x)}-{start.name.replace(' ', '-')}-{seed}.npy"
    if not kept.exists():
        write_whole(kept, lambda out: np.save(out, start.responsibilities(data.x, row.k, seed).numpy()))
    return np.load(kept)


def by_start(choose):
    """A clustering of the training points, carried to the test points by their five nearest."""

    def score(row, data, seed, file):
        found = choose(row, data, seed, file)
        found = Start(found) if isinstance(found, np.ndarray) else found
        found = found.responsibilities(data.x, row.k, seed).argmax(-1)
        neighbours = KNeighborsClassifier(5).fit(data.plain(data.x), found)
        return {"accuracy": accuracy(data.y_test, neighbours.predict(data.plain(data.x_test)))}

    return score


def flows(posterior):
    """Ours."""

    def score(row, data, seed, file):
        settings = {"init": start_of(row, data, seed, file), **row.settings, "posterior": posterior}
        return fitted(row, row.build, settings, data, seed, file)

    return score


def thesis(row, data, seed, file):
    """The thesis's recipe."""
    return fitted(row, row.build_thesis, THESIS | row.thesis, data, seed, file)


def fitted(row, build, settings, data, seed, file):
    """Fits and reads."""
    torch.manual_seed(seed)
    model, guide = build()
    checkpoint = file.with_suffix(".pt") if data.logit is not None and len(data.x) > 5000 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = fit(model, guide, data.x, seed=seed, checkpoint=checkpoint, progress=False, **settings)
    reading = read(model, guide, data.x_test)
    chosen = reading.encoder.argmax(-1)
    scores = {
        "accuracy": accuracy(data.y_test, chosen),
        "posterior accuracy": accuracy(data.y_test, reading.responsibilities.argmax(-1)),
        "evidence": float(reading.evidence.mean()),
        "gap": float(reading.inference_gap.mean()),
        "alive": len(chosen.unique()),
        "start": next((r["start"] for r in history.restarts if r["chosen"]), ""),
        **row.also(model),
    }
    if row.log_prob is not None:
        scores["true evidence"] = float(row.log_prob(data.x_test).mean())
    if row.weights is not None:
        weights = model.weights().detach().exp().sort().values
        scores["weights off by"] = float((weights - torch.tensor(row.weights).sort().values).abs().max())
    return scores


def surplus(row, data, seed, file):
    """Ours, with K to be found, from 12 down."""

    def build(k):
        return plane(k)()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = row.settings | {"epochs": 60}
        found = select_components(build, data.x, most=12, seed=seed, progress=False, **settings)
    reading = read(found.model, found.guide, data.x_test)
    return {
        "components": found.n_components,
        "accuracy": accuracy(data.y_test, reading.encoder.argmax(-1)),
        "evidence": float(reading.evidence.mean()),
        "gap": float(reading.inference_gap.mean()),
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
    "gmm-umap": gaussian_mixture("umap"),
    "spectral": by_start(
        lambda row, data, seed, file: Start("spectral", None if data.logit is None else [data.logit.images])
    ),
    "start": by_start(start_of),
    "thesis": thesis,
    "ours": flows("encoder"),
    "exact": flows("exact"),
    "surplus": surplus,
}


def suits(name, method, row):
    """Whether a method makes sense for a row."""
    if method in ("gmm-pca", "gmm-umap"):
        return "mnist" in name or name == "digits"
    if method == "thesis":
        return row.build_thesis is not None
    if method == "start":
        return "mnist" in name or name == "digits"
    if method == "best":
        return "mnist" not in name and name not in ("digits", "moons")
    return method != "surplus" or name == "pinwheel-5"


def scores_of(name, method, seed, out, epochs):
    """One result, from its file or from a run."""
    file = out / f"{name}-{method}{'' if epochs is None else f'-epochs-{epochs}'}-{seed}.json"
    if not file.exists():
        row = ROWS[name]
        began = time.monotonic()
        scores = METHODS[method](row, row.data(seed), seed, file)
        write_json(file, {**scores, "seconds": time.monotonic() - began})
    return json.loads(file.read_text())


def summary(values, digits=3):
    """Mean (min … max)."""
    mean, low, high = statistics.fmean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"


def cell(results, key, digits=3):
    """A column's summary, a dash where it does not apply."""
    values = [r[key] for r in results if key in r]
    return summary(values, digits) if values else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=sorted(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="instead of each row's own number")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.epochs is not None:
        for row in ROWS.values():
            row.settings = row.settings | {"epochs": args.epochs, "init_epochs": 1, "trial_epochs": 1}
            row.thesis = row.thesis | {"epochs": args.epochs}
    plan = [(n, m) for n in args.rows for m in args.methods if suits(n, m, ROWS[n])]
    table = {}
    for name, method in tqdm(plan, unit="method", disable=None):
        table[name, method] = [scores_of(name, method, seed, args.out, args.epochs) for seed in range(args.seeds)]
    columns = ["accuracy", "posterior accuracy", "evidence", "gap", "seconds"]
    print(f"Test data, seeds 0 to {args.seeds - 1}: mean (min … max)\n")
    print(f"| row | method | {' | '.join(columns)} | of the truth |\n|{'---|' * (len(columns) + 3)}")
    for (name, method), results in table.items():
        behind = [r["true evidence"] - r["evidence"] for r in results if "true evidence" in r]
        cells = [cell(results, c, 0 if c == "seconds" else 3) for c in columns]
        print(f"| {name} | {method} | {' | '.join(cells)} | {summary(behind) if behind else '–'} |")
    write_json(args.out / "table.json", {f"{name} {method}": results for (name, method), results in table.items()})


if __name__ == "__main__":
    main()
