"""The guide programs: the encoder q(z | x), its networks, and posteriors q(π) of the weights."""

if __name__ != "pyro_vmonf.guides":
    raise ImportError(f"import this package as pyro_vmonf.guides, not as {__name__!r}")

from pyro_vmonf.guides.discriminant import DiscriminantNetwork
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.networks import convnet, mlp
from pyro_vmonf.guides.weights import DirichletPosterior, MAPWeights, StickBreakingPosterior, WeightsPosterior

__all__ = [
    "DirichletPosterior",
    "DiscriminantNetwork",
    "MAPWeights",
    "SoftmaxEncoder",
    "StickBreakingPosterior",
    "WeightsPosterior",
    "convnet",
    "mlp",
]
