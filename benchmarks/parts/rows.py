"""The rows of the clustering benchmark: data, models, and how they are fitted."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from parts.data import Data, blobs, digits_data, mnist_data, moons, toy, wing
from parts.settings import Settings
from torch import nn

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.components import MAF, RealNVP
from pyro_vmonf.data import (
    Logit,
    Noise,
    RandomAffineElastic,
    pinwheel,
    pinwheel_log_prob,
    two_circles,
    two_circles_log_prob,
)
from pyro_vmonf.guides import SoftmaxEncoder, convnet, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import Consistency
from pyro_vmonf.reproduce import EXPERIMENTS
from pyro_vmonf.reproduce.recipes import Recipe
from pyro_vmonf.training import TrainingConfig

__all__ = ["CIRCLES", "MOVES", "PLANE", "RINGS", "ROWS", "SMALL", "Row", "digits_pair", "images", "plane"]


@dataclass
class Row:
    """A data set, the model for it, and how it is fitted."""

    k: int
    data: Callable[[int], Data]
    build: Callable[[], tuple[FlowMixture, SoftmaxEncoder]]
    settings: Settings
    start: Callable[[Data], Any] = lambda data: "auto"
    thesis: Recipe | None = None
    prepare_thesis: Callable[[FlowMixture, Data], None] = lambda model, data: None
    build_thesis: Callable[[], tuple[FlowMixture, SoftmaxEncoder]] | None = None
    log_prob: Callable[[torch.Tensor], torch.Tensor] | None = None
    weights: list[float] | None = None
    also: Callable[[FlowMixture], dict[str, float]] = lambda model: {}

    def shorten(self, epochs: int) -> None:
        """Fits for so many epochs, to try things."""
        self.settings = self.settings.shortened(epochs)
        self.thesis = None if self.thesis is None else self.thesis.shortened(epochs)


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


def digits_pair(k):
    """Components of scikit-learn's digits and a convolutional encoder."""
    return images(64, k, 64, lambda: convnet(8, 8, k, channels=(32, 64)), transforms=2)


def rings(model):
    """Whether each component is a ring: samples near one radius, and samples in the emptiest sector (1: even)."""
    with isolated_random_state(0):
        x = model.components.sample(torch.arange(2).repeat_interleave(2000)).reshape(2, 2000, 2)
    radius, angle = x.norm(dim=-1), torch.atan2(x[..., 1], x[..., 0])
    near = ((radius - radius.median(-1, keepdim=True).values).abs() < 0.1).double().mean(-1)
    sectors = torch.stack([torch.histc(a, 12, -math.pi, math.pi) for a in angle]) / 2000 * 12
    return {"share of samples near the ring": float(near.min()), "emptiest sector": float(sectors.min())}


PLANE = Settings(TrainingConfig(augment=Noise(0.07)))
SMALL = Settings(TrainingConfig(epochs=100, batch_size=128, augment=Noise(0.05)))
CLOUDS = Settings(TrainingConfig(epochs=40, batch_size=128))
# The flows learn each ring alone for long; halves of two rings, learned as long, are nearly as good a density, and a
# competition of starts is then a matter of luck.
RINGS = Settings(
    TrainingConfig(epochs=400, batch_size=128, max_grad_norm=5.0, augment=Noise(0.01)),
    warmup_epochs=160,
)
CIRCLES = {"transforms": 16, "shared": 8, "hidden_features": (32,), "normalization": "act"}
MOVES = Consistency(10.0, RandomAffineElastic(28, 28))
UNEQUAL = (922, 461, 153)


def on_images(method, *features):
    """A start in a space made from the pixels."""
    return lambda data: Initializer(method, [data.logit.images, *features])


def mnist_row(k, epochs, network, start, consistency=None):
    """MNIST with the thesis's components."""
    config = TrainingConfig(epochs=epochs, learning_rate=6e-4, augment=Logit(256, 1e-6).redequantize)
    settings = Settings(config, warmup_epochs=2, consistency=consistency)
    return Row(k, mnist_data(k), images(784, k, 200, network, transforms=5), settings, start)


ROWS = {
    "pinwheel-5": Row(
        5,
        toy(pinwheel, wing(*[0.2] * 5)),
        plane(5),
        PLANE,
        thesis=EXPERIMENTS["pinwheel"].recipe,
        build_thesis=thesis_plane(5, (3,), 8),
        log_prob=pinwheel_log_prob,
        weights=[0.2] * 5,
    ),
    "pinwheel-7": Row(
        7,
        toy(pinwheel, wing(*[1 / 7] * 7), wings=7),
        plane(7),
        replace(PLANE, repeats=3),
        thesis=EXPERIMENTS["pinwheel"].recipe,
        build_thesis=thesis_plane(7, (3,), 8),
        log_prob=lambda x: pinwheel_log_prob(x, wings=7),
        weights=[1 / 7] * 7,
    ),
    "pinwheel-weights": Row(
        3,
        toy(pinwheel, wing(0.6, 0.3, 0.1), n_per_wing=UNEQUAL),
        plane(3),
        PLANE,
        thesis=EXPERIMENTS["pinwheel"].recipe,
        build_thesis=thesis_plane(3, (3,), 8),
        log_prob=lambda x: pinwheel_log_prob(x, wings=3, weights=[0.6, 0.3, 0.1]),
        weights=[0.6, 0.3, 0.1],
    ),
    "two-circles": Row(
        2,
        toy(two_circles, lambda x: (x.norm(dim=-1) < 0.6).long()),
        plane(2, **CIRCLES),
        RINGS,
        lambda data: "spectral",
        thesis=EXPERIMENTS["two-circles"].recipe,
        prepare_thesis=EXPERIMENTS["two-circles"].start,
        build_thesis=EXPERIMENTS["two-circles"].build,
        log_prob=two_circles_log_prob,
        weights=[0.5, 0.5],
        also=rings,
    ),
    "moons": Row(
        2,
        moons(0.05),
        plane(2),
        SMALL,
        thesis=EXPERIMENTS["pinwheel"].recipe,
        build_thesis=thesis_plane(2, (3,), 8),
        weights=[0.5, 0.5],
    ),
    "blobs-varied": Row(
        3,
        blobs([1.0, 2.5, 0.5]),
        plane(3, transforms=2),
        CLOUDS,
        thesis=EXPERIMENTS["pinwheel"].recipe,
        build_thesis=thesis_plane(3, (3,), 8),
        weights=[1 / 3] * 3,
    ),
    "blobs-stretched": Row(
        3,
        blobs(1.0, [[0.6, -0.6], [-0.4, 0.8]]),
        plane(3, transforms=2),
        CLOUDS,
        thesis=EXPERIMENTS["pinwheel"].recipe,
        build_thesis=thesis_plane(3, (3,), 8),
        weights=[1 / 3] * 3,
    ),
    "digits": Row(
        10,
        digits_data,
        digits_pair(10),
        Settings(
            TrainingConfig(epochs=40, batch_size=128, learning_rate=1e-3, augment=Logit(17, 0.01).redequantize),
            warmup_epochs=15,
            consistency=Consistency(10.0, RandomAffineElastic(8, 8, shift=0.5, rotate=8.0)),
        ),
        on_images("spectral", "umap"),
    ),
    "mnist-0-4-pixels": mnist_row(5, 6, lambda: mlp(784, 5, (512,)), on_images("spectral", "umap")),
    "mnist-0-4": mnist_row(5, 6, lambda: convnet(28, 28, 5), on_images("spectral", "umap"), consistency=MOVES),
    "mnist-0-9": mnist_row(10, 3, lambda: convnet(28, 28, 10), on_images("spectral", "umap"), consistency=MOVES),
}
