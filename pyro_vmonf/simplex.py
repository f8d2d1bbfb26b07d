"""Distributions and transforms on the simplex, which priors and posteriors of the weights share."""

from collections.abc import Sequence

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["RandomWeights", "StickBreaking", "log_floored", "tail_sums"]


class RandomWeights(nn.Module):
    """A Pyro program with one site, ``"weights"``, on the simplex: a prior of π or a posterior.

    A subclass gives :meth:`distribution` and :meth:`mean`.
    """

    def distribution(self) -> TorchDistribution:
        """The distribution of π ``(K,)``."""
        raise NotImplementedError

    def mean(self) -> Tensor:
        """E[π] ``(K,)``."""
        raise NotImplementedError

    def forward(self) -> Tensor:
        """The program: draws π and returns log π ``(*particles, K)``."""
        return log_floored(pyro.sample("weights", self.distribution()))

    def log_mean(self) -> Tensor:
        """log E[π] ``(K,)``, for what is read outside a program."""
        return log_floored(self.mean())


def tail_sums(counts: Tensor) -> Tensor:
    """Σ_{j>k} counts_j of each component but the last, ``(K − 1,)``."""
    return counts.flip(-1).cumsum(-1).flip(-1)[1:]


def log_floored(weights: Tensor) -> Tensor:
    """log π; a weight too small for its floating-point type counts as the least there is."""
    return weights.clamp(min=torch.finfo(weights.dtype).tiny).log()


class StickBreaking(Transform):
    """(0, 1)^(K−1) → the simplex: π_k = v_k Π_{j<k} (1 − v_j), the last piece what is left.

    The density is that of the first K − 1 weights, as it is for a Dirichlet distribution.
    """

    domain = constraints.independent(constraints.unit_interval, 1)
    codomain = constraints.simplex
    bijective = True

    def _call(self, v: Tensor) -> Tensor:
        left = (1 - v).cumprod(-1)
        before = torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1)
        return torch.cat([v * before, left[..., -1:]], -1)

    def _inverse(self, weights: Tensor) -> Tensor:
        # What is left is summed from the end, where the small numbers are; where nothing is left v could be anything.
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
