"""What a few labels give: ours beside what is fitted to the labels alone, label spreading and a semi-supervised VAE.

    python benchmarks/labels.py two-circles-32 moons-2 --seeds 20 --out out/labels [--methods ours spreading]
    python benchmarks/labels.py mnist-100 --seeds 5 --out out/labels

A seed draws the data (of the toys), the points with labels, and the models. Each (row, method, seed) is a file in
``--out``; those that are there are not run again, and a long fit that was broken off goes on. Scores are on test data,
but for ``left-out``, by which settings are chosen.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from parts.command import command, start_of
from parts.curve import curve
from parts.data import digits_data, mnist_data, moons, toy, wing
from parts.rows import CIRCLES, MOVES, PLANE, RINGS, SMALL, digits_pair, images, plane
from parts.rows import ROWS as CLUSTERING
from parts.settings import Settings
from parts.ssvae import SSVAE, train
from sklearn.metrics import roc_auc_score
from sklearn.semi_supervised import LabelSpreading
from torch import nn

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import Logit, pinwheel, two_circles
from pyro_vmonf.evaluation import calibration_error, evaluate
from pyro_vmonf.guides import SoftmaxEncoder, convnet, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.objectives import Consistency
from pyro_vmonf.training import TrainingConfig

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
    build: Callable[[int], Any]  # model and encoder for so many classes
    settings: Settings
    n_classes: int
    unnamed: int | None = None
    initializer: Any = None  # what a fit with labels begins from, where that is not the start
    start: tuple[Any, ...] | None = None  # method and features of the pixels
    vae: dict[str, Any] = field(default_factory=dict)

    def shorten(self, epochs):
        """Fits for so many epochs, to try things."""
        self.settings = self.settings.shortened(epochs)


def draw(row, data, seed):
    """Labels of ``row.labels`` points of each class, −1 elsewhere."""
    random = torch.Generator().manual_seed(20_000 + seed)
    y = torch.full_like(data.y, -1)
    for c in range(row.n_classes):
        indices = (data.y == c).nonzero().squeeze(-1)
        if c != row.unnamed:
            y[indices[torch.randperm(len(indices), generator=random)[: row.labels]]] = c
    return y


POINTS = {"latent": 5, "hidden": (64,), "images": False}
PIXELS = {"latent": 50, "hidden": (500,), "images": True}
UMAP = ("spectral", "umap")
# With the usual tolerance it stops after five rounds, before labels have reached most points.
SPREADING = {"kernel": "knn", "n_neighbors": 10, "max_iter": 1000, "tol": 0.0}


def circles(labels, each):
    """Two circles of standard deviation .02, by one component a ring, or two, each an arc."""
    data = toy(two_circles, lambda x: (x.norm(dim=-1) < 0.6).long())
    settings = replace(RINGS, config=replace(RINGS.config, epochs=200), warmup_epochs=20)
    build = (lambda k: plane(k, **CIRCLES)()) if each == 1 else arcs
    return Row(data, labels, build, settings, 2, initializer="spectral", vae=POINTS)


def arcs(k):
    """Two components for each of k classes."""
    labels = Labels([c for c in range(k) for _ in range(2)])
    components = RealNVP(2, 2 * k, transforms=8, hidden_features=(32,), normalization="act")
    return FlowMixture(components, "learned", labels), SoftmaxEncoder(mlp(2, 2 * k, (32, 32)), 2 * k, labels=labels)


def mnist_row(data, labels, k, unnamed=None):
    """MNIST with the clustering benchmark's encoder."""
    augment = Logit(256, 1e-6).redequantize
    config = {"epochs": 4 if k == 10 else 6, "batch_size": 128, "learning_rate": 1e-3, "labelled_fraction": 0.1}
    terms = {"consistency": Consistency(50.0, MOVES.perturb), "label_weight": 10.0}
    settings = Settings(TrainingConfig(**config, augment=augment), warmup_epochs=2, **terms)
    return Row(data, labels, mnist_pair, settings, k, unnamed, start=UMAP, vae=PIXELS)


def mnist_pair(k):
    """k flows of images, two transformations each."""
    return images(784, k, 200, lambda: convnet(28, 28, k), transforms=2)()


def small_digits(labels):
    """scikit-learn's digits."""
    spread = Initializer(LabelSpreading(**SPREADING), lambda x: Logit(17, 0.01).images(x))
    settings = CLUSTERING["digits"].settings
    settings = replace(settings, label_weight=10.0, consistency=Consistency(50.0, settings.consistency.perturb))
    pair = lambda k: digits_pair(k)()  # noqa: E731
    return Row(digits_data, labels, pair, settings, 10, initializer=spread, start=UMAP, vae=PIXELS)


ROWS = {
    "two-circles-32": circles(16, 2),
    "two-circles-4": circles(2, 2),
    "rings-32": circles(16, 1),
    "rings-4": circles(2, 1),
    "moons-2": Row(moons(0.1), 1, lambda k: plane(k)(), SMALL, 2, initializer="auto", vae=POINTS),
    "pinwheel-5": Row(
        toy(pinwheel, wing(*[0.2] * 5)), 1, lambda k: plane(k)(), PLANE, 5, initializer="auto", vae=POINTS
    ),
    **{f"digits-{10 * n}": small_digits(n) for n in (1, 2, 5, 10, 20)},
    "mnist-100": mnist_row(mnist_data(10), 10, 10),
    "mnist-1000": mnist_row(mnist_data(10), 100, 10),
    "mnist-0-4-without-4": mnist_row(mnist_data(5), 20, 5, unnamed=4),
}


def scores(row, data, probabilities):
    """Accuracy and calibration of probabilities of the classes."""
    chosen, y = probabilities.argmax(-1), data.y_test
    found = {"accuracy": float((chosen == y).double().mean()), "calibration error": calibration_error(probabilities, y)}
    if row.unnamed is not None:
        own = y == row.unnamed
        found["recall"] = float((chosen[own] == row.unnamed).double().mean())
    return found


def fitted(row, data, y, seed, file):
    """Model and encoder, fitted as the row says, and what they say of the test points."""
    torch.manual_seed(seed)
    k = len(set(data.y.tolist()))
    model, guide = row.build(k)
    start = row.initializer
    if row.start is not None and (y is None or start is None):
        start = Initializer(row.start[0], [data.logit.images, *row.start[1:]])
        start = start_of(start, data, k, seed, file.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = file.with_suffix(".safetensors") if len(data.x) > 5000 else None
        row.settings.fit(model, guide, data.x, y, start=start, seed=seed, checkpoint=checkpoint)
    return evaluate(model, guide, data.x_test)


def ours(row, data, y, seed, file):
    """Ours, with the labels."""
    evaluation = fitted(row, data, y, seed, file)
    exact = scores(row, data, evaluation.class_probs("exact"))
    return scores(row, data, evaluation.class_probs()) | {
        "posterior accuracy": exact["accuracy"],
        "posterior calibration error": exact["calibration error"],
        "evidence": float(evaluation.evidence.mean()),
        "gap": float(evaluation.inference_gap.mean()),
    }


def without_labels(row, data, y, seed, file):
    """Ours, without the labels: what density they cost."""
    evaluation = fitted(row, data, None, seed, file)
    return {"evidence": float(evaluation.evidence.mean()), "gap": float(evaluation.inference_gap.mean())}


def left_out(row, data, y, seed, file):
    """Ours, on a tenth of the training points, which it does not see: what settings are chosen by."""
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(30_000 + seed))
    test, train = order.tensor_split([len(order) // 10])
    part = replace(data, x=data.x[train], y=data.y[train], x_test=data.x[test], y_test=data.y[test])
    return ours(row, part, draw(row, part, seed), seed, file)


def unknown(row, data, y, seed, file):
    """How well scores tell the last class, none of whose points are trained on, from the others: AUROC."""
    new = row.n_classes - 1
    seen = data.y != new
    evaluation = fitted(row, replace(data, x=data.x[seen], y=data.y[seen]), y[seen], seed, file)
    return {
        "AUROC, evidence": float(roc_auc_score(data.y_test == new, -evaluation.evidence)),
        "AUROC, confidence": float(roc_auc_score(data.y_test == new, -evaluation.class_probs().max(-1).values)),
    }


def alone(row, data, y, seed, file):
    """An encoder like ours, fitted to the labels alone: with weight decay, and images moved as ours are."""
    torch.manual_seed(seed)
    network, seen = row.build(row.n_classes)[1], y >= 0
    x, y = data.x[seen], y[seen]
    move = nn.Identity() if row.settings.consistency is None else row.settings.consistency.perturb
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    network.train()
    for _ in range(3000):
        indices = torch.randperm(len(x))[:128]
        optimizer.zero_grad()
        (-network.label_log_prob(move(x[indices]), y[indices]).mean()).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network.log_probs(part) for part in data.x_test.split(1000)])
    return scores(row, data, network.labels.class_log_probs(logits).exp())


def spreading(row, data, y, seed, file):
    """scikit-learn's label spreading over ten nearest neighbours; test points follow theirs."""
    method = LabelSpreading(**SPREADING)
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
    "ours": ours,
    "without-labels": without_labels,
    "left-out": left_out,
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
