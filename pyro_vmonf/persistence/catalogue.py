"""The names of the library's own classes, and of those of torch and Pyro that mixtures and encoders are built from.

A name stays for ever, whatever becomes of the class, since files hold it.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyro.distributions as distributions
import pyro.distributions.transforms as pyro_transforms
import pyro.nn
import torch
from torch import nn
from torch.nn import functional

from pyro_vmonf.automatic.modules import Standardized
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.components import MAF, NSF, FlowList, RealNVP, StackedFlow, StandardNormal
from pyro_vmonf.components.listed import Single
from pyro_vmonf.components.recipes import AlternatingFlow
from pyro_vmonf.guides import (
    DirichletPosterior,
    DiscriminantNetwork,
    MAPWeights,
    SoftmaxEncoder,
    StickBreakingPosterior,
)
from pyro_vmonf.labels import Labels
from pyro_vmonf.models import (
    DirichletWeights,
    FixedWeights,
    FlowMixture,
    LearnedWeights,
    SparseDirichletWeights,
    StickBreakingWeights,
    UniformWeights,
)
from pyro_vmonf.persistence.registry import enter
from pyro_vmonf.transforms import (
    MADE,
    ActNorm,
    BatchNorm,
    ConditionerMLP,
    Inverse,
    Linear,
    MarginalSpline,
    Permutation,
    PLUAffine,
    PReLU,
    Reverse,
    Standardize,
    Whitening,
)
from pyro_vmonf.transforms.affine import BoundedLogScale
from pyro_vmonf.transforms.autoregressive import Autoregressive
from pyro_vmonf.transforms.coupling import Coupling
from pyro_vmonf.transforms.networks import MaskedLinear
from pyro_vmonf.transforms.spline_transforms import SplineAutoregressive, SplineCoupling

__all__ = ["enter_all"]

OWN: dict[str, Callable[..., Any]] = {
    "ActNorm": ActNorm,
    "AlternatingFlow": AlternatingFlow,
    "Autoregressive": Autoregressive,
    "BatchNorm": BatchNorm,
    "BoundedLogScale": BoundedLogScale,
    "Choice": Choice,
    "ConditionerMLP": ConditionerMLP,
    "Coupling": Coupling,
    "DirichletPosterior": DirichletPosterior,
    "DirichletWeights": DirichletWeights,
    "DiscriminantNetwork": DiscriminantNetwork,
    "FixedWeights": FixedWeights,
    "FlowList": FlowList,
    "FlowMixture": FlowMixture,
    "History": History,
    "Inverse": Inverse,
    "Labels": Labels,
    "LearnedWeights": LearnedWeights,
    "Linear": Linear,
    "MADE": MADE,
    "MAF": MAF,
    "MAPWeights": MAPWeights,
    "MarginalSpline": MarginalSpline,
    "MaskedLinear": MaskedLinear,
    "NSF": NSF,
    "PLUAffine": PLUAffine,
    "PReLU": PReLU,
    "Permutation": Permutation,
    "RealNVP": RealNVP,
    "Reverse": Reverse,
    "SearchReport": SearchReport,
    "SearchRow": Row,
    "Single": Single,
    "SoftmaxEncoder": SoftmaxEncoder,
    "SparseDirichletWeights": SparseDirichletWeights,
    "SplineAutoregressive": SplineAutoregressive,
    "SplineCoupling": SplineCoupling,
    "StackedFlow": StackedFlow,
    "StandardNormal": StandardNormal,
    "Standardize": Standardize,
    "Standardized": Standardized,
    "StickBreakingPosterior": StickBreakingPosterior,
    "StickBreakingWeights": StickBreakingWeights,
    "UniformWeights": UniformWeights,
    "Whitening": Whitening,
}

NETWORKS = """
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d AvgPool2d BatchNorm1d
    BatchNorm2d Bilinear CELU Conv1d Conv2d Conv3d Dropout Dropout1d Dropout2d ELU Flatten GELU GroupNorm
    Hardsigmoid Hardswish Hardtanh Identity LayerNorm LeakyReLU Linear LogSigmoid LogSoftmax MaxPool1d MaxPool2d
    Mish ModuleDict ModuleList PReLU ReLU ReLU6 SELU Sequential SiLU Sigmoid Softmax Softplus Softsign Tanh
    Unflatten ZeroPad2d
"""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "elu": functional.elu,
    "exp": torch.exp,
    "functional.relu": functional.relu,
    "functional.tanh": functional.tanh,
    "gelu": functional.gelu,
    "leaky_relu": functional.leaky_relu,
    "relu": torch.relu,
    "selu": functional.selu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}

DISTRIBUTIONS = """
    Beta Cauchy Chi2 Dirichlet Exponential Gamma HalfNormal Independent Laplace LogNormal LowRankMultivariateNormal
    MultivariateNormal Normal StudentT TransformedDistribution Uniform VonMises
"""

PYRO_TRANSFORMS = """
    AbsTransform AffineAutoregressive AffineCoupling AffineTransform ExpTransform Householder Permute SigmoidTransform
    TanhTransform
"""

PYRO_NETWORKS = "AutoRegressiveNN DenseNN MaskedLinear"


def enter_all() -> None:
    """Registers everything above; a user's own names have no dot, and these have."""
    tables: dict[str, dict[str, Callable[..., Any]]] = {
        "vmonf": OWN,
        "torch": named(nn, NETWORKS) | FUNCTIONS,
        "torch.distributions": named(torch.distributions, DISTRIBUTIONS),
        "pyro": named(distributions, DISTRIBUTIONS),  # subclasses of torch's
        "pyro.transforms": named(pyro_transforms, PYRO_TRANSFORMS),
        "pyro.nn": named(pyro.nn, PYRO_NETWORKS),
    }
    for prefix, table in tables.items():
        for name, what in table.items():
            enter(f"{prefix}.{name}", what)


def named(module: ModuleType, names: str) -> dict[str, Callable[..., Any]]:
    """Returns what a module has under each of some names."""
    return {name: getattr(module, name) for name in names.split()}
