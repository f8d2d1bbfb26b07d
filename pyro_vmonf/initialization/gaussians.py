"""The Gaussians of a fitted mixture, and of a clustering."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyro_vmonf._validation import check_choice, check_events, check_nonnegative, check_weights
from pyro_vmonf.initialization.gaussian_mixture import GaussianMixtureFit, default_ridge
from pyro_vmonf.moments import COVARIANCE_TYPES, component_moments, shrink_covariance

__all__ = ["cluster_gaussians", "covariance_type_of", "gaussians_of"]

Floats: TypeAlias = npt.NDArray[np.float64]


def cluster_gaussians(
    x: Tensor,
    responsibilities: Tensor,
    *,
    covariance_type: str = "full",
    weight: Tensor | None = None,
    ridge: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the weights ``(K,)``, means ``(K, D)`` and covariances ``(K, D, D)`` of a soft clustering.

    Covariances are shrunk towards their diagonal by (D/n)² ≤ 1. n = (Σ w)² / Σ w² is the number of points to which the
    shares and weights w of a cluster amount, or those of all points for ``"tied"``.

    Args:
        x: The points ``(N, D)``.
        responsibilities: The share of each cluster in each point, ``(N, K)``, as of a
            :class:`~pyro_vmonf.initialization.Start`.
        covariance_type: ``"full"``, ``"tied"`` (one covariance of all clusters, the mean of theirs) or ``"diag"``.
        weight: The weights of the points, ``(N,)``.
        ridge: What is added to each variance; if it is not given, 1e-4 times the mean variance of x.

    Raises:
        TypeError: If x is no floating-point tensor.
        ValueError: If shapes do not agree, a cluster has no share, or another argument is out of its range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.initialization.gaussians import cluster_gaussians
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]])
        >>> r = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> weights, means, covariances = cluster_gaussians(x, r, covariance_type="diag", ridge=0.1)
        >>> covariances[0]
        tensor([[1.1000, 0.0000],
                [0.0000, 0.1000]])
    """
    kind = check_choice("covariance_type", covariance_type, COVARIANCE_TYPES)
    mass = x.new_ones(len(x)) if weight is None else check_weights("weight", weight, x)
    shares = checked_shares(x, responsibilities, mass)
    centre = mass @ x / mass.sum()
    reg = default_ridge(x - centre, mass) if ridge is None else check_nonnegative("ridge", ridge)
    sizes, means, spread = component_moments(x - centre, shares, kind)
    if kind == "diag":
        spread = torch.diag_embed(spread)
    else:
        counted = mass if kind == "tied" else shares
        spread = shrink_covariance(spread, counted / counted.sum(-1, keepdim=True))
    return sizes / sizes.sum(), means + centre, spread + reg * torch.eye(x.shape[-1]).to(x)


def checked_shares(x: Tensor, responsibilities: Tensor, mass: Tensor) -> Tensor:
    """Returns the weights of N points in each cluster, ``(K, N)``, whose mean over the points is 1 in all."""
    check_events("x", x, x.shape[-1:])
    if x.dim() != 2 or responsibilities.dim() != 2 or len(responsibilities) != len(x):
        raise ValueError(
            "responsibilities: expected shape (N, K) for x of shape (N, D), "
            f"got {tuple(responsibilities.shape)} for {tuple(x.shape)}"
        )
    shares = responsibilities.mT.to(x) * (mass * (len(mass) / mass.sum()))
    if bool((shares.sum(-1) <= 0).any()):
        empty = (shares.sum(-1) <= 0).nonzero().flatten().tolist()
        raise ValueError(f"responsibilities: expected a share for each cluster, got none for {empty}")
    return shares


def covariance_type_of(covariances: Tensor) -> str:
    """Returns ``"diag"``, ``"tied"`` or ``"full"``, whichever is the first that covariances ``(K, D, D)`` are.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.initialization.gaussians import covariance_type_of
        >>> covariance_type_of(torch.ones(3, 2, 2))
        'tied'
    """
    if bool((covariances == torch.diag_embed(covariances.diagonal(dim1=-2, dim2=-1))).all()):
        return "diag"
    return "tied" if bool((covariances == covariances[:1]).all()) else "full"


def gaussians_of(method: object, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Returns means ``(K, D)``, covariances ``(K, D, D)`` and weights ``(K,)`` of a fitted mixture, in x's type.

    None is returned for a method that has none.
    """
    if isinstance(method, GaussianMixtureFit):
        return method.means.to(x), method.covariances.to(x), method.weights.to(x)
    means, covariances = (getattr(method, name, None) for name in ("means_", "covariances_"))
    kind = getattr(method, "covariance_type", None)
    if means is None or covariances is None or kind not in ("full", "tied", "diag", "spherical"):
        return None
    full = full_covariances(np.asarray(covariances), kind, *np.shape(means))
    weights = np.asarray(getattr(method, "weights_", np.full(len(full), 1 / len(full))))
    return torch.as_tensor(np.asarray(means)).to(x), torch.as_tensor(full).to(x), torch.as_tensor(weights).to(x)


def full_covariances(covariances: Floats, kind: str, k: int, d: int) -> Floats:
    """Returns the covariances of a mixture of any of scikit-learn's types as ``(K, D, D)``."""
    if kind == "full":
        return covariances
    if kind == "tied":
        return np.broadcast_to(covariances, (k, d, d)).copy()
    diagonals = covariances if kind == "diag" else np.broadcast_to(covariances[:, None], (k, d))
    return diagonals[:, :, None] * np.eye(d)
