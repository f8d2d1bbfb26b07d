"""The short fits of ``equal.py``, in the words of this checkout."""

import torch
from pyro.distributions import Normal
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph
from torch import nn

from pyro_vmonf import (
    MAF,
    Consistency,
    Elbo,
    ExpectationMaximization,
    FlowList,
    FlowMixture,
    Initializer,
    Labels,
    LabelTerm,
    RealNVP,
    Restarts,
    SoftmaxEncoder,
    Temperature,
    TrainingConfig,
    convnet,
    fit,
    mlp,
)
from pyro_vmonf.data import Logit, Noise, digits, pinwheel, two_circles
from pyro_vmonf.guides import DirichletPosterior, StickBreakingPosterior
from pyro_vmonf.initialization import clustering
from pyro_vmonf.models import DirichletWeights, StickBreakingWeights
from pyro_vmonf.reproduce.recipes import Recipe, train_by_recipe
from pyro_vmonf.transforms import networks

__all__ = ["COLUMNS", "FITS"]


@torch.no_grad()
def start_small(*layers):
    """A tenth of the weights drawn: at 0fc8b65 the last layers of conditioners did not begin at zero."""
    for layer in layers:
        for parameter in layer.parameters():
            parameter.mul_(0.1)


def gmm(features, k, seed, weight=None, **_):
    """scikit-learn's mixture, in the type of the features, which 0fc8b65 began from."""
    ridge = 1e-4 * float(features.var(0).mean()) + 1e-12
    mixture = GaussianMixture(k, n_init=5, reg_covar=ridge, random_state=seed).fit(features)
    return mixture.predict_proba(features), mixture


def neighbour_graph(points, k):
    """The graph of the spectral start as it was at 0fc8b65, whose edges all had one weight."""
    graph = kneighbors_graph(points, min(10, len(points) - 1), include_self=True)
    return (graph + graph.T) / 2


networks.start_at_zero = start_small
clustering.neighbour_graph = neighbour_graph
clustering.METHODS["gmm"] = gmm

# What the comparison calls each column of the history, and what this version calls it.
COLUMNS = {"elbo": "elbo", "evidence": "evidence", "labelled": "labelled_elbo", "labels": "label_log_prob"}

SHORT = {"epochs": 4, "batch_size": 32}
EM = ExpectationMaximization()
AGREE, EXACTLY = Consistency(1.0, Noise(0.1)), Consistency(1.0, Noise(0.1), target="exact")
AUTO = [Initializer("gmm", warmup_epochs=2), Initializer("spectral", warmup_epochs=2)]


def fitted(model, guide, x, y=None, *, initializer=None, objective=None, **settings):
    """The history of a short fit."""
    start = Initializer("gmm", warmup_epochs=2) if initializer is None else initializer
    config = TrainingConfig(**SHORT | settings)
    return fit(model, guide, x, y, initializer=start, objective=objective, config=config, progress=False)


def trained(x, y=None, components=None, *, encoder=None, weights="learned", q_weights=None, labels=None, **settings):
    """Model and guide after a short fit, and its history."""
    components = RealNVP(2, 3, transforms=3) if components is None else components
    k = components.n_components
    model = FlowMixture(components, weights=weights, labels=labels)
    guide = SoftmaxEncoder(encoder or mlp(x.shape[1], k, (8,)), k, labels=labels, weights=q_weights)
    return model, guide, fitted(model, guide, x, y, **settings)


def wings(count=3):
    """A small pinwheel, and the wings of a third of its points."""
    x, y = pinwheel(180 // count, wings=count)
    return x, torch.where(torch.arange(len(y)) % 3 == 0, y, -1)


def points():
    """The small pinwheel without labels."""
    return wings()[0]


def two_a_class(soft, **settings):
    """Four wings in two classes, with label noise and two components a class."""
    x, y = wings(4)
    y = torch.where(y < 0, y, y // 2)
    soft_labels = torch.where((y < 0).unsqueeze(-1), -1.0, torch.where(y.unsqueeze(-1) == torch.arange(2), 0.9, 0.1))
    labels = Labels([0, 0, 1, 1], noise=0.05)
    return trained(x, soft_labels if soft else y, RealNVP(2, 4, transforms=3), labels=labels, **settings)


def flow_list():
    """Two flows of different kinds beside a Gaussian that stays as it is."""
    gaussian = Normal(torch.zeros(2), torch.ones(2)).to_event(1)
    return trained(points(), components=FlowList([RealNVP(2, 1), MAF(2, 1), gaussian]))


def images():
    """Digits 0 to 2, whose encoder has convolutions, batch normalisation and dropout."""
    pixels, y = digits()
    logit = Logit(17, 0.01)
    encoder = nn.Sequential(nn.Dropout(0.1), convnet(8, 8, 3, channels=(4, 8)))
    components = MAF(64, 3, transforms=2, hidden_features=(16,))
    return trained(logit(pixels[y < 3][:120]), components=components, encoder=encoder, augment=logit.redequantize)


def thesis():
    """The thesis's recipe for two circles with a few labels."""
    x, y = two_circles(60)
    few, classes = two_circles(16, seed=1)
    components = RealNVP(2, 2, transforms=4, normalization="act", whiten=False)
    components.initialize(x)
    labels = torch.cat([torch.full_like(y, -1), classes])
    config = TrainingConfig(**SHORT, schedule="constant", temperature=Temperature(3.0, 0.5))
    recipe = Recipe(config, pretrain_epochs=2, encoder_delay=2, alternate=True)
    model, guide = FlowMixture(components), SoftmaxEncoder(mlp(2, 2, (8,)), 2)
    x = torch.cat([x, few])
    return model, guide, train_by_recipe(model, guide, x, labels, recipe=recipe, progress=False)


def double():
    """A model of float64, to which the fit converts its data."""
    x = points()
    model, guide = FlowMixture(RealNVP(2, 3, transforms=3)).double(), SoftmaxEncoder(mlp(2, 3, (8,)), 3).double()
    return model, guide, fitted(model, guide, x)


# Each returns (model, guide, history), and begins with torch's seed at 0.
FITS = {
    "start": lambda: trained(points()),
    "restarts": lambda: trained(points(), initializer=Restarts(AUTO, repeats=2, trial_epochs=2)),
    "random-restarts": lambda: trained(points(), initializer=Restarts([None], repeats=2, trial_epochs=2)),
    "labels": lambda: trained(*wings()),
    "labelled-share": lambda: trained(*wings(), labelled_fraction=0.25),
    "noisy-labels": lambda: two_a_class(soft=False),
    "soft-labels": lambda: two_a_class(soft=True),
    "consistency": lambda: trained(points(), objective=Elbo() + AGREE, augment=Noise(0.05)),
    "exact": lambda: trained(points(), objective=EM),
    "exact-labels": lambda: trained(*wings(), objective=EM + LabelTerm()),
    "exact-consistency": lambda: trained(points(), objective=EM + EXACTLY, augment=Noise(0.05)),
    "dirichlet": lambda: trained(points(), weights=DirichletWeights(2.0, 3), q_weights=DirichletPosterior(3)),
    "sticks": lambda: trained(points(), weights=StickBreakingWeights(3), q_weights=StickBreakingPosterior(3)),
    "maf": lambda: trained(points(), components=MAF(2, 3, transforms=2, hidden_features=(8,))),
    "batch-norm": lambda: trained(points(), components=RealNVP(2, 3, transforms=3, shared=1, normalization="batch")),
    "flow-list": flow_list,
    "images": images,
    "thesis": thesis,
    "decay": lambda: trained(points(), weight_decay=1e-3, max_grad_norm=0.5, temperature=Temperature(5.0, 0.5)),
    "double": double,
}
