"""The number of free parameters of a density, which information criteria count."""

from torch import nn

from pyro_vmonf.estimator.moments import is_gaussian
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.weights import LearnedWeights
from pyro_vmonf.moments import gaussian_parameter_count
from pyro_vmonf.transforms.whitening import Whitening

__all__ = ["parameter_count"]


def parameter_count(model: FlowMixture, covariance_type: str | None = None) -> int:
    """Returns the number of free parameters of p(x): of the weights, of the Gaussians and of the flows.

    Args:
        model: The model.
        covariance_type: That of the covariances, if the components are Gaussians: ``"full"``, ``"tied"`` or ``"diag"``;
            full if it is not given.
    """
    k, weights = model.n_components, sum(p.numel() for p in model.weights.parameters())
    if isinstance(model.weights, LearnedWeights):
        weights -= 1  # they sum to 1
    if covariance_type is not None and is_gaussian(model.components):
        return weights + gaussian_parameter_count(k, model.components.event_shape[0], covariance_type)
    return weights + sum(own_count(module) for module in model.components.modules())


def own_count(module: nn.Module) -> int:
    """Returns the number of a module's own parameters that have an effect, without those of its parts."""
    if isinstance(module, Whitening):
        *stack, d = module.mean.shape
        return gaussian_parameter_count(stack[0] if stack else 1, d, "full")
    return sum(p.numel() for p in module.parameters(recurse=False))
