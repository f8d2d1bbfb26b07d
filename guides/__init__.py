"""Guide programs: q(z | x) and q(π)."""

if __name__ != "pyro_vmonf.guides":
    raise ImportError(f"import this package as pyro_vmonf.guides, not as {__name__!r}")

from pyro_vmonf.guides.convolutional import convnet
from pyro_vmonf.guides.encoder import SoftmaxEncoder, mlp
from pyro_vmonf.guides.weights import DirichletPosterior, PointWeights, StickPosterior, WeightsPosterior

__all__ = [
    "DirichletPosterior",
    "PointWeights",
    "SoftmaxEncoder",
    "StickPosterior",
    "WeightsPosterior",
    "convnet",
    "mlp",
]
