"""The generative Pyro programs: the mixture p(x, z), and priors p(π) of its weights."""

if __name__ != "pyro_vmonf.models":
    raise ImportError(f"import this package as pyro_vmonf.models, not as {__name__!r}")

from pyro_vmonf.labels import Labels
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import DirichletWeights, SparseDirichletWeights, StickBreakingWeights, WeightsPrior
from pyro_vmonf.models.weights import FixedWeights, LearnedWeights, UniformWeights

__all__ = [
    "DirichletWeights",
    "FixedWeights",
    "FlowMixture",
    "Labels",
    "LearnedWeights",
    "SparseDirichletWeights",
    "StickBreakingWeights",
    "UniformWeights",
    "WeightsPrior",
]
