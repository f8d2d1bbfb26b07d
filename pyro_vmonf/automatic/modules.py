"""The model and the guide, plain Pyro modules, of one mixture of an ensemble."""

import torch
from torch import Tensor, nn

from pyro_vmonf.automatic.ensemble import Ensemble, through
from pyro_vmonf.automatic.folds import Scale
from pyro_vmonf.components.stacked import StackedFlow, StandardNormal
from pyro_vmonf.guides.discriminant import DiscriminantNetwork
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.transforms.standardize import Standardize

__all__ = ["modules_of"]


class Standardized(nn.Module):
    """A network of standardised points, or of their images under splines of single features.

    Args:
        scale: The map whose inverse standardises them.
        network: The network.
        marginal: The splines, if there are any.
    """

    def __init__(self, scale: Standardize, network: nn.Module, marginal: nn.ModuleList) -> None:
        super().__init__()
        self.scale, self.network, self.marginal = scale, network, marginal

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the network gives for standardised points."""
        seen, _ = through(self.marginal, self.scale._inverse(x))
        y: Tensor = self.network(seen)
        return y


def modules_of(ensemble: Ensemble, scale: Scale) -> tuple[FlowMixture, SoftmaxEncoder]:
    """Returns the model and the guide of an ensemble of one mixture, which take x in its own units.

    Args:
        ensemble: The ensemble, of size 1.
        scale: The mean and deviation of each feature.
    """
    d, k, dtype = ensemble.features, ensemble.n_components, ensemble.log_weights.dtype
    shared, private, network = (
        ensemble.warp.shared_parts(d),
        ensemble.warp.private_parts(d, k),
        DiscriminantNetwork(d, k),
    )
    take(nn.ModuleList(shared), ensemble.shared)
    take(nn.ModuleList(private), ensemble.private)
    take(network, ensemble.encoder)
    marginal = [ensemble.warp.marginal_parts(d) for _ in range(2)]  # one for the model, one for the guide
    for splines in marginal:
        take(nn.ModuleList(splines), ensemble.marginal)
    units = [Standardize(scale.mean.to(dtype), scale.deviation.to(dtype)) for _ in range(2)]
    components = StackedFlow(StandardNormal(d), [*private, *shared, *marginal[0], units[0]])
    log_weights, has_learned = ensemble.log_weights.detach()[0].log_softmax(0), ensemble.has_learned_weights
    model = FlowMixture(components, weights="learned" if has_learned else log_weights.exp()).to(dtype)
    with torch.no_grad():
        for tensor in [*model.weights.parameters(), *model.weights.buffers()]:
            tensor.copy_(log_weights)
    guide = SoftmaxEncoder(Standardized(units[1], network, nn.ModuleList(marginal[1])), k)
    return model.eval(), guide.to(dtype).eval()


@torch.no_grad()
def take(mine: nn.Module, theirs: nn.Module) -> None:
    """Copies the tensors of a module of one mixture from one of a stack of size 1, which have one axis more."""
    own = [*mine.parameters(), *mine.buffers()]
    for a, b in zip(own, [*theirs.parameters(), *theirs.buffers()], strict=True):
        a.data = b.detach().clone().view(a.shape)
