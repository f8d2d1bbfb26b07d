"""What a few labels give: ours beside what is fitted to the labels alone, label spreading and a semi-supervised VAE.

    python benchmarks/labels.py two-circles-32 moons-2 --seeds 20 --out out/labels [--methods ours spreading]
    python benchmarks/labels.py mnist-100 --seeds 5 --out out/labels

A seed draws the data (of the toys), the points with labels, and the models. Each (row, method, seed) is a file in
``--out``; those that are there are not run again, and a long fit that was broken off goes on. Scores are on test data.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from parts.command import command, start_of
from parts.curve import curve
from parts.data import digits_data, mnist_data, moons, toy, wing
from parts.rows import CIRCLES, MOVES, PLANE, RINGS, SMALL, images, plane
from parts.rows import ROWS as CLUSTERING
from parts.ssvae import SSVAE, train
from sklearn.metrics import roc_auc_score
from sklearn.semi_supervised import LabelSpreading
from torch import nn

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import Logit, pinwheel, two_circles
from pyro_vmonf.guides import SoftmaxEncoder, convnet, mlp
from pyro_vmonf.inference import Consistency, Start, fit, read
from pyro_vmonf.metrics import calibration_error
from pyro_vmonf.models import FlowMixture, Labels

COLUMNS = {
    "accuracy": ("accuracy", 4),
    "posterior accuracy": ("posterior accuracy", 4),
    "evidence": ("evidence", 3),
    "gap": ("gap", 3),
    "calibration error": ("calibration error", 4),
    "of the posterior": ("posterior calibration error", 4),
    "recall of the unnamed class": ("recall", 3),
    "AUROC, evidence": ("AUROC, evidence", 3),
    "AUROC, confidence": ("AUROC, confidence", 3),
    "seconds": ("seconds", 0),
}


@dataclass
class Row:
    """Data, how many labels of each class are shown, the model and how it is fitted."""

    data: Callable[[int], Any]
    labels: int
    build: Callable[[], Any]
    settings: dict[str, Any]
    n_classes: int
    unnamed: int | None = None
    start: tuple[Any, ...] | None = None  # method and features of the pixels
    vae: dict[str, Any] = field(default_factory=dict)

    def shorten(self, epochs):
        """Fits for so many epochs, to try things."""
        self.settings = self.settings | {"epochs": epochs, "init_epochs": 1, "trial_epochs": 1}


def draw(row, data, seed):
    """Labels of ``row.labels`` points of each class, −1 elsewhere."""
    random = torch.Generator().manual_seed(20_000 + seed)
    y = torch.full_like(data.y, -1)
    for c in range(row.n_classes):
        places = (data.y == c).nonzero().squeeze(-1)
        if c != row.unnamed:
            y[places[torch.randperm(len(places), generator=random)[: row.labels]]] = c
    return y


POINTS = {"latent": 5, "hidden": (64,), "images": False}
PIXELS = {"latent": 50, "hidden": (500,), "images": True}
UMAP = ("spectral", "umap")


def circles(labels, each):
    """Two circles of standard deviation .02, by one component a ring, or two, each an arc."""
    data = toy(two_circles, lambda x: (x.norm(dim=-1) < 0.6).long())
    settings = RINGS | {"epochs": 200, "init_epochs": 20, "init": "spectral"}
    build = plane(2, **CIRCLES) if each == 1 else arcs
    return Row(data, labels, build, settings, 2, vae=POINTS)


def arcs():
    """Two components for each of two classes."""
    labels = Labels([0, 0, 1, 1])
    components = RealNVP(2, 4, transforms=8, hidden_features=(32,), normalization="act")
    return FlowMixture(components, "learned", labels), SoftmaxEncoder(mlp(2, 4, (32, 32)), 4, labels=labels)


def mnist_row(data, labels, k, **settings):
    """MNIST with the clustering benchmark's components and encoder."""
    build = images(784, k, 200, lambda: convnet(28, 28, k), transforms=5)
    base = {"epochs": 3 if k == 10 else 6, "init_epochs": 2, "batch_size": 256, "learning_rate": 6e-4}
    base |= {"augment": Logit(256, 1e-6).redraw, "consistency": Consistency(50.0, MOVES.perturb)}
    base |= {"labelled_share": 0.1, "label_weight": 10.0}
    return Row(data, labels, build, base | settings, k, start=UMAP, vae=PIXELS)


def small_digits(labels):
    """scikit-learn's digits."""
    settings = CLUSTERING["digits"].settings | {"labelled_share": 0.2}
    return Row(digits_data, labels, CLUSTERING["digits"].build, settings, 10, start=UMAP, vae=PIXELS)


ROWS = {
    "two-circles-32": circles(16, 2),
    "two-circles-4": circles(2, 2),
    "rings-32": circles(16, 1),
    "rings-4": circles(2, 1),
    "moons-2": Row(moons(0.1), 1, plane(2), SMALL | {"init": "auto"}, 2, vae=POINTS),
    "pinwheel-5": Row(toy(pinwheel, wing(*[0.2] * 5)), 1, plane(5), PLANE | {"init": "auto"}, 5, vae=POINTS),
    **{f"digits-{10 * n}": small_digits(n) for n in (1, 2, 5, 10, 20)},
    "mnist-100": mnist_row(mnist_data(10), 10, 10),
    "mnist-1000": mnist_row(mnist_data(10), 100, 10),
    "mnist-0-4-without-4": mnist_row(mnist_data(5), 20, 5),
}
ROWS["mnist-0-4-without-4"].unnamed = 4


def scores(row, data, probabilities):
    """Accuracy and calibration of probabilities of the classes."""
    chosen, y = probabilities.argmax(-1), data.y_test
    found = {"accuracy": float((chosen == y).double().mean()), "calibration error": calibration_error(probabilities, y)}
    if row.unnamed is not None:
        own = y == row.unnamed
        found["recall"] = float((chosen[own] == row.unnamed).double().mean())
    return found


def ours(labelled):
    """Ours, with the labels or without."""

    def score(row, data, y, seed, file):
        torch.manual_seed(seed)
        model, guide = row.build()
        settings = dict(row.settings)
        if row.start is not None:
            start = Start(row.start[0], [data.logit.images, *row.start[1:]])
            settings["init"] = start_of(start, data, row.n_classes, seed, file.parent)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = file.with_suffix(".pt") if len(data.x) > 5000 else None
            given = y if labelled else None
            settings |= {} if labelled else {"labelled_share": None}
            fit(model, guide, data.x, given, seed=seed, checkpoint=checkpoint, progress=False, **settings)
        reading = read(model, guide, data.x_test)
        if not labelled:
            return {"evidence": float(reading.evidence.mean()), "gap": float(reading.inference_gap.mean())}
        exact = scores(row, data, reading.class_probabilities("exact"))
        return scores(row, data, reading.class_probabilities()) | {
            "posterior accuracy": exact["accuracy"],
            "posterior calibration error": exact["calibration error"],
            "evidence": float(reading.evidence.mean()),
            "gap": float(reading.inference_gap.mean()),
        }

    return score


def unknown(row, data, y, seed, file):
    """How well scores tell the last class, none of whose points are trained on, from the others: AUROC."""
    seen = data.y != row.n_classes - 1
    torch.manual_seed(seed)
    model, guide = row.build()
    settings = dict(row.settings)
    if row.start is not None:
        settings["init"] = Start(row.start[0], [data.logit.images, *row.start[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model, guide, data.x[seen], y[seen], seed=seed, progress=False, **settings)
    reading, new = read(model, guide, data.x_test), data.y_test == row.n_classes - 1
    return {
        "AUROC, evidence": float(roc_auc_score(new, -reading.evidence)),
        "AUROC, confidence": float(roc_auc_score(new, -reading.class_probabilities().max(-1).values)),
    }


def alone(row, data, y, seed, file):
    """An encoder like ours, fitted to the labels alone, with weight decay."""
    torch.manual_seed(seed)
    network, seen = row.build()[1], y >= 0
    x, y = data.x[seen], y[seen]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    network.train()
    for _ in range(max(300, 3000 * 128 // max(len(x), 128) // 10)):
        for places in torch.randperm(len(x)).tensor_split(max(1, len(x) // 128)):
            optimizer.zero_grad()
            nn.functional.nll_loss(network.logits(x[places]), y[places]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        return scores(row, data, torch.cat([network.probabilities(part) for part in data.x_test.split(1000)]))


def spreading(row, data, y, seed, file):
    """scikit-learn's label spreading over ten nearest neighbours; test points follow theirs."""
    method = LabelSpreading(kernel="knn", n_neighbors=10, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of points that no label reaches
        method.fit(data.plain(data.x), y.numpy())
        found = torch.as_tensor(np.nan_to_num(method.predict_proba(data.plain(data.x_test)), nan=0.0))
    table = torch.zeros(len(found), row.n_classes, dtype=torch.float64)
    table[:, torch.as_tensor(method.classes_)] = found + 1e-9
    return scores(row, data, table / table.sum(-1, keepdim=True))


def vae(row, data, y, seed, file):
    """The semi-supervised VAE."""
    torch.manual_seed(seed)
    plain = [torch.as_tensor(data.plain(part)).float().flatten(1) for part in (data.x, data.x_test)]
    machine = SSVAE(plain[0].shape[1], row.n_classes, **row.vae)
    train(machine, plain[0], y, epochs=30 if len(data.x) > 5000 else 200, batch_size=200)
    with torch.no_grad():
        return scores(row, data, machine.encode_y(plain[1]).softmax(-1))


METHODS = {
    "labels-alone": alone,
    "spreading": spreading,
    "ss-vae": vae,
    "ours": ours(True),
    "ours-unlabelled": ours(False),
    "unknown": unknown,
}


def score(name, method, seed, file):
    """The scores of one run."""
    row = ROWS[name]
    data = row.data(seed)
    return METHODS[method](row, data, draw(row, data, seed), seed, file)


def suits(name, method):
    """Whether a method makes sense for a row."""
    return method != "unknown" or ROWS[name].start is not None


def main():
    out, table = command(__doc__, ROWS, METHODS, COLUMNS, score, suits)
    families = [name.rsplit("-", 1)[0] for name in dict.fromkeys(name for name, _ in table)]
    for family in {f for f in families if families.count(f) > 1}:
        curve(table, family).savefig(out / f"{family}.png", dpi=150)


if __name__ == "__main__":
    main()
