"""Permutation of the features."""

from pyro.distributions.torch_transform import TransformModule
from torch import Tensor
from torch.distributions import constraints

from pyro_vmonf._validation import check_permutation

__all__ = ["Permutation", "Reverse"]


class Permutation(TransformModule):
    """``y_d = x_{order[d]}``; log|det J| = 0.

    Pyro's ``Permute`` keeps its order as a plain tensor, which ``module.to(device)`` leaves behind; here it moves.

    Args:
        order: a permutation of 0 … D − 1, as a ``LongTensor``.

    Raises:
        ValueError: if ``order`` is not a permutation.
    """

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector
    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", check_permutation("order", order))
        self.register_buffer("inverse_order", order.argsort())

    def _call(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self.order)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.index_select(-1, self.inverse_order)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])


class Reverse(TransformModule):
    """``y_d = x_{D+1−d}``, so that the next coupling changes the features the last one kept; log|det J| = 0.

    A flip is some times as fast as a permutation by index, backward above all.
    """

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector

    def _call(self, x: Tensor) -> Tensor:
        return x.flip(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.flip(-1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])
