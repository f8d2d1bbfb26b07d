"""The inverse of a transform, as a module."""

from pyro.distributions.torch_transform import TransformModule
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Inverse"]


class Inverse(TransformModule):
    """``y = T⁻¹(x)``.

    ``T.inv`` is no ``nn.Module``: its parameters are not found, and a copy of it loses T. This holds T as a submodule.

    Args:
        transform: T.
    """

    bijective = True

    def __init__(self, transform: TransformModule) -> None:
        super().__init__()
        self.transform = transform

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> constraints.Constraint:
        return self.transform.codomain

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> constraints.Constraint:
        return self.transform.domain

    def _call(self, x: Tensor) -> Tensor:
        return self.transform._inv_call(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.transform(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.transform.log_abs_det_jacobian(y, x)
