"""Variational mixtures of normalizing flows, on Pyro.

Names are imported when they are first used, so that ``import pyro_vmonf`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_vmonf.automatic import SearchConfig, fit_mixture
    from pyro_vmonf.components import MAF, NSF, FlowList, RealNVP
    from pyro_vmonf.evaluation import evaluate
    from pyro_vmonf.guides import SoftmaxEncoder, convnet, mlp
    from pyro_vmonf.initialization import Initializer
    from pyro_vmonf.labels import Labels
    from pyro_vmonf.models import FlowMixture
    from pyro_vmonf.objectives import Consistency, Elbo, ExpectationMaximization, LabelTerm
    from pyro_vmonf.persistence import load, save
    from pyro_vmonf.selection import select_components
    from pyro_vmonf.training import Restarts, Temperature, TrainingConfig, fit

__all__ = [
    "MAF",
    "NSF",
    "Consistency",
    "Elbo",
    "ExpectationMaximization",
    "FlowList",
    "FlowMixture",
    "Initializer",
    "LabelTerm",
    "Labels",
    "RealNVP",
    "Restarts",
    "SearchConfig",
    "SoftmaxEncoder",
    "Temperature",
    "TrainingConfig",
    "convnet",
    "evaluate",
    "fit",
    "fit_mixture",
    "load",
    "mlp",
    "save",
    "select_components",
]

_SOURCES = {
    "automatic": ["SearchConfig", "fit_mixture"],
    "components": ["MAF", "NSF", "FlowList", "RealNVP"],
    "evaluation": ["evaluate"],
    "guides": ["SoftmaxEncoder", "convnet", "mlp"],
    "initialization": ["Initializer"],
    "labels": ["Labels"],
    "models": ["FlowMixture"],
    "objectives": ["Consistency", "Elbo", "ExpectationMaximization", "LabelTerm"],
    "persistence": ["load", "save"],
    "selection": ["select_components"],
    "training": ["Restarts", "Temperature", "TrainingConfig", "fit"],
}
_SOURCE_OF = {name: source for source, names in _SOURCES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _SOURCE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_SOURCE_OF[name]}"), name)
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
