"""The inverse of a transform, as a module."""

from typing import cast

from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["Inverse"]


class Inverse(TransformModule):
    """``y = T⁻¹(x)`` for a transform T, which becomes a submodule.

    ``T.inv`` is no ``nn.Module``: its parameters are not found, and a copy of it loses T.

    Args:
        transform: The transform T.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import Inverse, Permutation
        >>> Inverse(Permutation(torch.tensor([2, 0, 1])))(torch.tensor([[3.0, 1.0, 2.0]]))
        tensor([[1., 2., 3.]])
    """

    bijective = True

    def __init__(self, transform: TransformModule) -> None:
        super().__init__()
        self.transform = transform

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> constraints.Constraint:
        """The codomain of T."""
        return self.transform.codomain

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> constraints.Constraint:
        """The domain of T."""
        return self.transform.domain

    def _call(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.transform._inv_call(x))

    def _inverse(self, y: Tensor) -> Tensor:
        return cast(Tensor, self.transform(y))

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns −log|det J| of T at y."""
        return -self.transform.log_abs_det_jacobian(y, x)
