"""The parameters of an ensemble, kept and given back."""

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble, tensors_of

__all__ = ["keep", "restore", "state_of"]


def state_of(ensemble: Ensemble) -> dict[str, Tensor]:
    """Returns copies of the parameters of all mixtures, a row each."""
    return {name: tensor.clone() for name, tensor in tensors_of(ensemble)}


@torch.no_grad()
def keep(ensemble: Ensemble, state: dict[str, Tensor], which: Tensor, mixtures: Tensor) -> None:
    """Copies the parameters of some mixtures into a state.

    Args:
        ensemble: An ensemble of V mixtures.
        state: The state of an ensemble that may have more.
        which: Which mixtures, ``(1, V)``, or which flows and which encoders, ``(2, V)``.
        mixtures: The number of each mixture in the state, ``(V,)``.
    """
    if bool(which.any()):
        for name, tensor in tensors_of(ensemble):
            rows = which[-1 if name.startswith("encoder") else 0]
            state[name][mixtures[rows]] = tensor[rows]


@torch.no_grad()
def restore(ensemble: Ensemble, state: dict[str, Tensor]) -> None:
    """Gives an ensemble the parameters of a state."""
    for name, tensor in tensors_of(ensemble):
        tensor.copy_(state[name])
