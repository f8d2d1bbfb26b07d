"""Distributions and transforms on the simplex, for the priors and posteriors of a mixture's weights."""

from collections.abc import Sequence

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["RandomWeights", "StickBreaking", "log_floored", "tail_sums"]


class RandomWeights(nn.Module):
    """A Pyro program with one site, ``"weights"``, on the simplex: a prior of the weights π, or a posterior.

    A subclass defines :meth:`distribution` and :meth:`mean`.

    Examples:
        >>> import torch
        >>> from pyro.distributions import Dirichlet
        >>> from pyro_vmonf.simplex import RandomWeights
        >>> class Flat(RandomWeights):
        ...     def distribution(self):
        ...         return Dirichlet(torch.ones(3))
        ...     def mean(self):
        ...         return torch.full((3,), 1 / 3)
        >>> Flat()().exp().sum().round(decimals=4)  # a draw of the weights
        tensor(1.)
    """

    def distribution(self) -> TorchDistribution:
        """Returns the distribution of the weights π ``(K,)``."""
        raise NotImplementedError

    def mean(self) -> Tensor:
        """Returns the expected weights E[π] ``(K,)``."""
        raise NotImplementedError

    def forward(self) -> Tensor:
        """Runs the program: draws π and returns log π ``(*particles, K)``."""
        return log_floored(pyro.sample("weights", self.distribution()))

    def log_mean(self) -> Tensor:
        """Returns log E[π] ``(K,)``, for computations outside a program."""
        return log_floored(self.mean())


def tail_sums(counts: Tensor) -> Tensor:
    """Returns Σ_{j>k} counts_j for each component k but the last, ``(K,)`` → ``(K − 1,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.simplex import tail_sums
        >>> tail_sums(torch.tensor([5.0, 2.0, 1.0]))
        tensor([3., 1.])
    """
    return counts.flip(-1).cumsum(-1).flip(-1)[1:]


def log_floored(weights: Tensor) -> Tensor:
    """Returns log π, in which a weight below the smallest normal number of its type is replaced by that number.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.simplex import log_floored
        >>> log_floored(torch.tensor([1.0, 0.0]))
        tensor([  0.0000, -87.3365])
    """
    return weights.clamp(min=torch.finfo(weights.dtype).tiny).log()


class StickBreaking(Transform):
    """The stick-breaking map from (0, 1)^(K−1) to the simplex.

    The weights are π_k = v_k Π_{j<k} (1 − v_j), and the last one is Π_j (1 − v_j). The density is that of the first
    K − 1 weights, as it is for a Dirichlet distribution.

    Reference: Ishwaran and James, 2001 (*JASA* 96(453)).

    Examples:
        >>> import torch
        >>> from pyro_vmonf.simplex import StickBreaking
        >>> StickBreaking()(torch.tensor([0.5, 0.5]))
        tensor([0.5000, 0.2500, 0.2500])
    """

    domain = constraints.independent(constraints.unit_interval, 1)
    codomain = constraints.simplex
    bijective = True

    def _call(self, v: Tensor) -> Tensor:
        left = (1 - v).cumprod(-1)
        before = torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1)
        return torch.cat([v * before, left[..., -1:]], -1)

    def _inverse(self, weights: Tensor) -> Tensor:
        # The rest is summed from the end, where the small numbers are. Where the rest is 0, any v is an inverse.
        left = weights.flip(-1).cumsum(-1).flip(-1)
        info = torch.finfo(weights.dtype)
        return (weights[..., :-1] / left[..., :-1].clamp(min=info.tiny)).clamp(info.tiny, 1 - info.eps)

    def log_abs_det_jacobian(self, v: Tensor, weights: Tensor) -> Tensor:
        left = weights.flip(-1).cumsum(-1).flip(-1)
        return log_floored(left[..., 1:-1]).sum(-1)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return torch.Size([*shape[:-1], shape[-1] + 1])

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return torch.Size([*shape[:-1], shape[-1] - 1])
