"""The short fits of ``equal.py``, in the words of commit 0fc8b65."""

# ruff: noqa: I001  (pyro_vmonf.inference is there no more, and is taken for another's)

import torch
from pyro.distributions import Normal
from torch import nn

from pyro_vmonf.components import MAF, FlowList, RealNVP
from pyro_vmonf.data import Logit, Noise, digits, pinwheel, two_circles
from pyro_vmonf.guides import DirichletPosterior, SoftmaxEncoder, StickPosterior, convnet, mlp
from pyro_vmonf.inference import Consistency, Temperature, fit
from pyro_vmonf.models import DirichletWeights, FlowMixture, Labels, StickBreakingWeights

__all__ = ["COLUMNS", "FITS"]

# What the comparison calls each column of the history, and what this version calls it.
COLUMNS = {"elbo": "elbo", "evidence": "evidence", "labelled": "labelled", "labels": "labels"}

SHORT = {"init": "gmm", "epochs": 4, "init_epochs": 2, "trial_epochs": 2, "batch_size": 32, "progress": False}
CONSISTENT = {"consistency": Consistency(1.0, Noise(0.1)), "augment": Noise(0.05)}


def trained(x, y=None, components=None, *, encoder=None, weights="learned", q_weights=None, labels=None, **settings):
    """Model and guide after a short fit, and its history."""
    components = RealNVP(2, 3, transforms=3) if components is None else components
    k = components.n_components
    model = FlowMixture(components, weights=weights, labels=labels)
    guide = SoftmaxEncoder(encoder or mlp(x.shape[1], k, (8,)), k, labels=labels, weights=q_weights)
    return model, guide, fit(model, guide, x, y, **SHORT | settings)


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
    beliefs = torch.where((y < 0).unsqueeze(-1), -1.0, torch.where(y.unsqueeze(-1) == torch.arange(2), 0.9, 0.1))
    labels = Labels([0, 0, 1, 1], noise=0.05)
    return trained(x, beliefs if soft else y, RealNVP(2, 4, transforms=3), labels=labels, **settings)


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
    return trained(logit(pixels[y < 3][:120]), components=components, encoder=encoder, augment=logit.redraw)


def thesis():
    """The thesis's recipe for two circles with a few labels."""
    x, y = two_circles(60)
    few, classes = two_circles(16, seed=1)
    components = RealNVP(2, 2, transforms=4, normalization="act", whiten=False)
    components.initialize(x)
    settings = {"init": None, "schedule": "constant", "interleave": True, "pretrain_epochs": 2, "encoder_delay": 2}
    labels = torch.cat([torch.full_like(y, -1), classes])
    temperature = Temperature(3.0, 0.5)
    return trained(torch.cat([x, few]), labels, components, weights="uniform", temperature=temperature, **settings)


def double():
    """A model of float64, to which the fit converts its data."""
    x = points()
    model, guide = FlowMixture(RealNVP(2, 3, transforms=3)).double(), SoftmaxEncoder(mlp(2, 3, (8,)), 3).double()
    return model, guide, fit(model, guide, x, **SHORT)


# Each returns (model, guide, history), and begins with torch's seed at 0.
FITS = {
    "start": lambda: trained(points()),
    "restarts": lambda: trained(points(), init="auto", n_init=2),
    "random-restarts": lambda: trained(points(), init=None, n_init=2),
    "labels": lambda: trained(*wings()),
    "labelled-share": lambda: trained(*wings(), labelled_share=0.25),
    "noisy-labels": lambda: two_a_class(soft=False),
    "soft-labels": lambda: two_a_class(soft=True),
    "consistency": lambda: trained(points(), **CONSISTENT),
    "exact": lambda: trained(points(), posterior="exact"),
    "exact-labels": lambda: trained(*wings(), posterior="exact"),
    "exact-consistency": lambda: trained(points(), posterior="exact", **CONSISTENT),
    "dirichlet": lambda: trained(points(), weights=DirichletWeights(2.0, 3), q_weights=DirichletPosterior(3)),
    "sticks": lambda: trained(points(), weights=StickBreakingWeights(3), q_weights=StickPosterior(3)),
    "maf": lambda: trained(points(), components=MAF(2, 3, transforms=2, hidden_features=(8,))),
    "batch-norm": lambda: trained(points(), components=RealNVP(2, 3, transforms=3, shared=1, normalization="batch")),
    "flow-list": flow_list,
    "images": images,
    "thesis": thesis,
    "decay": lambda: trained(points(), weight_decay=1e-3, clip_norm=0.5, temperature=Temperature(5.0, 0.5)),
    "double": double,
}
