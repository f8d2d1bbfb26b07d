"""Means and covariances of the components of a mixture of flows: exact for Gaussians, of draws for others."""

from typing import TypeGuard

import torch
from torch import Tensor

from pyro_vmonf._torch import evaluation_mode, isolated_random_state
from pyro_vmonf.components.base import Components
from pyro_vmonf.components.stacked import StackedFlow, StandardNormal
from pyro_vmonf.estimator.rows import Array, tensor_to_array
from pyro_vmonf.transforms.affine import PLUAffine
from pyro_vmonf.transforms.elementwise import ActNorm
from pyro_vmonf.transforms.permutation import Reverse
from pyro_vmonf.transforms.stacking import clear_caches
from pyro_vmonf.transforms.standardize import Standardize
from pyro_vmonf.transforms.whitening import Whitening

__all__ = ["is_gaussian", "moments_of", "shaped_covariances"]

DRAWS = 10_000  # of each component
AFFINE = (ActNorm, PLUAffine, Reverse, Standardize, Whitening)


@torch.no_grad()
def moments_of(components: Components) -> tuple[Array, Array]:
    """Returns the means ``(K, D)`` and covariances ``(K, D, D)`` of the components.

    They are exact where the components are Gaussians, and elsewhere those of 10,000 draws of each, with seed 0.

    Args:
        components: The components, of vectors.
    """
    with evaluation_mode(components):
        if is_gaussian(components):
            means, covariances = exact_moments(components)
        else:
            means, covariances = drawn_moments(components)
    return tensor_to_array(means), tensor_to_array(covariances)


def is_gaussian(components: Components) -> TypeGuard[StackedFlow]:
    """Returns whether the components are Gaussians by their construction: affine maps of N(0, I)."""
    if not isinstance(components, StackedFlow) or not isinstance(components.base, StandardNormal):
        return False
    return all(isinstance(transform, AFFINE) for transform in components.transforms)


def exact_moments(components: StackedFlow) -> tuple[Tensor, Tensor]:
    """Returns the moments of affine maps x = A u + b of N(0, I): b, and A Aᵀ."""
    k, d = components.n_components, components.event_shape[0]
    own = next((p for p in [*components.buffers(), *components.parameters()] if p.is_floating_point()), torch.zeros(()))
    transforms = list(components.transforms)
    # Far from 0, digits would be lost in the differences below.
    units = transforms.pop() if transforms and isinstance(transforms[-1], Standardize) else None
    points = torch.cat([own.new_zeros(1, d), torch.eye(d).to(own)]).expand(k, d + 1, d)
    for transform in transforms:
        points = transform(points)
    clear_caches(components)
    means, columns = points[:, 0], points[:, 1:] - points[:, :1]
    if isinstance(units, Standardize):
        means, columns = means * units.deviation + units.mean, columns * units.deviation
    return means, columns.mT @ columns


def drawn_moments(components: Components) -> tuple[Tensor, Tensor]:
    """Returns the moments of draws of each component."""
    device = next((p.device for p in components.parameters()), torch.device("cpu"))
    means, covariances = [], []
    with isolated_random_state(0):
        for k in range(components.n_components):
            draws = components.sample(torch.full((DRAWS,), k, device=device)).double()
            means.append(draws.mean(0))
            covariances.append(draws.mT.cov().reshape(2 * [draws.shape[1]]))
    return torch.stack(means), torch.stack(covariances)


def shaped_covariances(covariances: Array, weights: Array, covariance_type: str) -> Array:
    """Returns covariances ``(K, D, D)`` in the shape that scikit-learn has them for a type.

    Args:
        covariances: The covariances of the components.
        weights: The weights of the components ``(K,)``.
        covariance_type: ``"auto"`` or ``"full"`` for all as they are, ``"tied"`` for their weighted mean ``(D, D)``, or
            ``"diag"`` for the variances ``(K, D)``.
    """
    if covariance_type == "tied":
        tied: Array = (weights[:, None, None] * covariances).sum(0)
        return tied
    if covariance_type == "diag":
        return covariances.diagonal(axis1=1, axis2=2).copy()
    return covariances
