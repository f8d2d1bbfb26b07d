"""What the library's own transforms have in common."""

from pyro.distributions.torch_transform import TransformModule
from torch import nn
from torch.distributions import constraints

__all__ = ["VectorTransform"]


class VectorTransform(TransformModule):
    """A bijection of R^D with parameters or buffers.

    A subclass defines ``_call``, ``_inverse`` and ``log_abs_det_jacobian``, as for every Pyro transform. It is printed
    as a module, with its settings and parts.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms.base import VectorTransform
        >>> class Negation(VectorTransform):
        ...     def _call(self, x):
        ...         return -x
        ...     def _inverse(self, y):
        ...         return -y
        ...     def log_abs_det_jacobian(self, x, y):
        ...         return x.new_zeros(x.shape[:-1])
        >>> Negation()(torch.tensor([[1.0, -2.0]]))
        tensor([[-1.,  2.]])
    """

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)  # torch's transforms print their class alone
