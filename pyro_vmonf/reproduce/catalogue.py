"""The experiments with the thesis's settings (chapter 5)."""

import torch
from torch import nn

from pyro_vmonf.components.recipes import MAF, RealNVP
from pyro_vmonf.components.stacked import StackedFlow
from pyro_vmonf.data.images import Logit, digits, mnist
from pyro_vmonf.data.toy import pinwheel, two_circles
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.networks import mlp
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.reproduce.experiment import Data, Experiment
from pyro_vmonf.reproduce.recipes import Recipe
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.schedules import Schedule, Temperature

__all__ = ["EXPERIMENTS"]

TEST_SEED = 10_000  # test data come from seeds that no training run uses


def pinwheel_data(seed: int) -> Data:
    """Five wings of 512 points; as many, from another seed, to test on."""
    x, _ = pinwheel(512, seed=seed)
    x_test, y_test = pinwheel(512, seed=TEST_SEED + seed)
    return Data(x, None, x_test, y_test)


def circles_data(seed: int) -> Data:
    """Two circles of 512 points; as many to test on."""
    x, _ = two_circles(512, seed=seed)
    x_test, y_test = two_circles(512, seed=TEST_SEED + seed)
    return Data(x, None, x_test, y_test)


def labelled_circles_data(seed: int) -> Data:
    """The same, and 16 more points of each circle with their labels."""
    unlabelled = circles_data(seed)
    x, y = two_circles(16, seed=2 * TEST_SEED + seed)
    no_label = torch.full((len(unlabelled.x),), -1)
    return Data(torch.cat([unlabelled.x, x]), torch.cat([no_label, y]), unlabelled.x_test, unlabelled.y_test)


def mnist_data(seed: int) -> Data:
    """MNIST 0–4 through the logit map, with noise from the seed."""
    logit = Logit(256, 1e-6)
    pixels, _ = mnist(True, range(5))
    test_pixels, y_test = mnist(False, range(5))
    return Data(logit(pixels, seed=seed), None, logit(test_pixels, seed=TEST_SEED + seed), y_test, logit, 28)


def digits_data(seed: int) -> Data:
    """scikit-learn's digits 0–4 through the logit map, 30 % held out."""
    logit = Logit(17, 0.01)
    pixels, y = digits()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    order = order[y[order] < 5]
    train, test = order.tensor_split([round(0.7 * len(order))])
    return Data(logit(pixels[train], seed=seed), None, logit(pixels[test], seed=TEST_SEED + seed), y[test], logit, 8)


def pinwheel_pair() -> tuple[FlowMixture, SoftmaxEncoder]:
    """Thesis, section 5.1.1: 8 couplings of hidden width 8; encoder of one hidden layer of 3."""
    return FlowMixture(RealNVP(2, 5, transforms=8, hidden_features=(8,), whiten=False)), SoftmaxEncoder(
        mlp(2, 5, (3,)), 5
    )


def circles_pair() -> tuple[FlowMixture, SoftmaxEncoder]:
    """Thesis, section 5.1.2: 10 couplings of hidden width 8; encoder of two hidden layers of 16."""
    components = RealNVP(2, 2, transforms=10, hidden_features=(8,), normalization="act", whiten=False)
    return FlowMixture(components), SoftmaxEncoder(mlp(2, 2, (16, 16)), 2)


def mnist_pair() -> tuple[FlowMixture, SoftmaxEncoder]:
    """Thesis, section 5.2: 5 masked autoregressive steps of hidden width 200; encoder of 512, which sees pixels."""
    components = MAF(784, 5, transforms=5, hidden_features=(200,), normalization="act", whiten=False)
    return FlowMixture(components), SoftmaxEncoder(nn.Sequential(nn.Sigmoid(), mlp(784, 5, (512,))), 5)


def digits_pair() -> tuple[FlowMixture, SoftmaxEncoder]:
    """The same in small."""
    components = MAF(64, 5, transforms=5, hidden_features=(64,), normalization="act", whiten=False)
    return FlowMixture(components), SoftmaxEncoder(nn.Sequential(nn.Sigmoid(), mlp(64, 5, (128,))), 5)


def standardize(model: FlowMixture, data: Data) -> None:
    """Starts every ActNorm from (some of) the data."""
    components = model.components
    if isinstance(components, StackedFlow):
        components.initialize(data.x[:2048])


def thesis(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    *,
    temperature: Schedule | None = None,
    weight_decay: float = 0.0,
) -> TrainingConfig:
    """Returns the numbers of a fit at one learning rate, as the thesis trains."""
    return TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="constant",
        weight_decay=weight_decay,
        temperature=temperature,
    )


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "pinwheel",
            "5 wings of 512 points, RealNVP components, no labels (fig. 5.1)",
            pinwheel_data,
            pinwheel_pair,
            Recipe(thesis(400, 512, 1e-3, temperature=Temperature(5.0, 0.98))),
        ),
        Experiment(
            "two-circles",
            "2 circles of 512 points, RealNVP components, no labels (fig. 5.2)",
            circles_data,
            circles_pair,
            Recipe(thesis(500, 128, 1e-3, temperature=Temperature(5.0, 0.98))),
            standardize,
        ),
        Experiment(
            "two-circles-labels",
            "the same and 32 labelled points (fig. 5.3)",
            labelled_circles_data,
            circles_pair,
            Recipe(thesis(500, 128, 1e-3), pretrain_epochs=300, encoder_delay=250, alternate=True),
            standardize,
        ),
        Experiment(
            "mnist",
            "MNIST 0-4, MAF components, no labels (fig. 5.4, table 5.1)",
            mnist_data,
            mnist_pair,
            Recipe(thesis(100, 100, 1e-4, temperature=Temperature(10.0, 0.9), weight_decay=1e-6)),
            standardize,
        ),
        Experiment(
            "digits",
            "the same on scikit-learn's 8x8 digits, which need no download",
            digits_data,
            digits_pair,
            Recipe(thesis(25, 100, 1e-3, temperature=Temperature(5.0, 0.93), weight_decay=1e-6)),
            standardize,
        ),
    )
}
