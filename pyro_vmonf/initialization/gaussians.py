"""The Gaussians of a fitted scikit-learn mixture."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["gaussians_of"]

Floats: TypeAlias = npt.NDArray[np.float64]


def gaussians_of(method: object, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Returns means ``(K, D)`` and covariances ``(K, D, D)`` of a fitted mixture, in x's type; None if it has none."""
    means, covariances = (getattr(method, name, None) for name in ("means_", "covariances_"))
    kind = getattr(method, "covariance_type", None)
    if means is None or covariances is None or kind not in ("full", "tied", "diag", "spherical"):
        return None
    full = full_covariances(np.asarray(covariances), kind, *np.shape(means))
    return torch.as_tensor(np.asarray(means)).to(x), torch.as_tensor(full).to(x)


def full_covariances(covariances: Floats, kind: str, k: int, d: int) -> Floats:
    """Returns the covariances of a mixture of any of scikit-learn's types as ``(K, D, D)``."""
    if kind == "full":
        return covariances
    if kind == "tied":
        return np.broadcast_to(covariances, (k, d, d)).copy()
    diagonals = covariances if kind == "diag" else np.broadcast_to(covariances[:, None], (k, d))
    return diagonals[:, :, None] * np.eye(d)
