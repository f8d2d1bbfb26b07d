"""Flows that begin as Gaussians: one affine map of each component, and transforms that are at first the identity."""

import math
from typing import cast

import torch
from pyro.distributions import TransformedDistribution  # pyright: ignore
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf.transforms.elementwise import BatchNorm
from pyro_vmonf.transforms.stacking import DataDependentInit, GaussianInit, clear_caches

__all__ = ["begin_as_gaussians", "gaussian_place"]

PROBES = 32  # points of each Gaussian at which densities are compared


def gaussian_place(transforms: nn.ModuleList, n_components: int) -> int | None:
    """Returns the place of the map that can hold each component's Gaussian, or None if there is none.

    It is the one nearest to the data whose covariances may be any, otherwise the nearest whose are diagonal.

    Args:
        transforms: The transforms, from the base to the data.
        n_components: The number K of components, each of which must have a map of its own.

    Examples:
        >>> from torch import nn
        >>> from pyro_vmonf.components.gaussian_start import gaussian_place
        >>> from pyro_vmonf.transforms import ActNorm, PLUAffine, Reverse
        >>> gaussian_place(nn.ModuleList([PLUAffine(2, components=3), ActNorm(2, components=3), Reverse()]), 3)
        0
    """
    found: dict[str, int] = {}
    for place, transform in enumerate(transforms):
        own = getattr(transform, "components", None) or 1
        if isinstance(transform, GaussianInit) and own == n_components:
            found[transform.covariance_type] = place
    return found.get("full", found.get("diag"))


@torch.no_grad()
def begin_as_gaussians(transforms: nn.ModuleList, base: nn.Module, means: Tensor, covariances: Tensor) -> bool:
    """Sets transforms so that K flows are given Gaussians; returns False, and changes nothing, where they cannot be.

    Whether they are is measured at points drawn from each Gaussian, by the density that the flows then have.

    Args:
        transforms: The transforms, from the base to the data.
        base: A module that returns the base distribution.
        means: The means ``(K, D)``.
        covariances: The covariances ``(K, D, D)``.
    """
    place = gaussian_place(transforms, len(means))
    # Batch normalisation standardises each batch again, so that its map is no fixed one while it is trained.
    if place is None or any(isinstance(part, BatchNorm) for part in transforms.modules()):
        return False
    factor, failed = torch.linalg.cholesky_ex(covariances.double())
    if bool(failed.any()):  # in single precision a covariance of a mixture may be singular
        return False
    tensors = [*transforms.parameters(), *transforms.buffers()]
    like = next(tensor for tensor in tensors if tensor.is_floating_point())
    before = [tensor.clone() for tensor in tensors]
    with evaluation_mode(transforms):
        for i, transform in enumerate(transforms):
            reset = getattr(transform, "reset_parameters", None)
            if i != place and isinstance(transform, DataDependentInit) and callable(reset):
                reset()
        holder = cast(TransformModule, transforms[place])
        moved = through_reorderings(transforms[place + 1 :], means.to(like), covariances.to(like.device).double())
        is_one = getattr(holder, "components", None) is None
        cast(GaussianInit, holder).set_gaussians(*(part[0] if is_one else part for part in moved))
        if are_gaussians(transforms, base, means.to(like.device).double(), factor.to(like.device), like.dtype):
            return True
    for tensor, own in zip(tensors, before, strict=True):
        tensor.copy_(own)
    return False


def through_reorderings(transforms: nn.ModuleList, means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the Gaussians of which these are the images under transforms that only reorder the features."""
    if not len(transforms):
        return means, covariances
    frame = torch.cat([torch.zeros_like(means[0])[None], torch.eye(means.shape[-1]).to(means)])
    frame = frame.expand(len(means), *frame.shape)
    for transform in reversed(transforms):
        frame = cast(Tensor, cast(TransformModule, transform).inv(frame))
    clear_caches(transforms)
    matrix = frame[:, 1:] - frame[:, :1]
    moved = (means.unsqueeze(-2) @ matrix).squeeze(-2) + frame[:, 0]
    matrix = matrix.to(covariances)
    return moved, matrix.mT @ covariances @ matrix


def are_gaussians(
    transforms: nn.ModuleList, base: nn.Module, means: Tensor, factor: Tensor, dtype: torch.dtype
) -> bool:
    """Returns whether K flows have the densities of Gaussians, up to rounding, at points drawn from these.

    Args:
        transforms: The transforms.
        base: A module that returns the base distribution.
        means: The means ``(K, D)``.
        factor: The Cholesky factors of the covariances, ``(K, D, D)``.
        dtype: The floating-point type of the flows.
    """
    k, d = means.shape
    noise = torch.randn(PROBES, d, dtype=torch.float64, device="cpu", generator=torch.Generator("cpu").manual_seed(0))
    noise = 2 * noise.to(means.device)
    x = means.unsqueeze(-2) + noise @ factor.mT
    log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
    expected = -noise.square().sum(-1) / 2 - log_scale - d * math.log(2 * math.pi) / 2
    found = TransformedDistribution(base(), list(transforms), validate_args=False).log_prob(x.to(dtype)).double()
    clear_caches(transforms)
    tolerance = torch.finfo(dtype).eps ** (1 / 3)  # above what rounding does to stretched Gaussians
    return found.shape == (k, PROBES) and bool(((found - expected).abs() <= tolerance * (1 + expected.abs())).all())
