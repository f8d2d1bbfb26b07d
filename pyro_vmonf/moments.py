"""Weighted means and covariances of components, and covariances that few points do not determine."""

import torch
from torch import Tensor

__all__ = ["COVARIANCE_TYPES", "component_moments", "gaussian_parameter_count", "shrink_covariance"]

COVARIANCE_TYPES = ("full", "tied", "diag")
LEAST_SIZE = 10 * torch.finfo(torch.float64).eps  # scikit-learn's, so that no component is divided by 0


def component_moments(x: Tensor, weight: Tensor, covariance_type: str = "full") -> tuple[Tensor, Tensor, Tensor]:
    """Returns the sizes, means and covariances of K components from the weights of points in each.

    A component without any weight has a mean and covariance of 0.

    Args:
        x: The points, ``(N, D)``; centred, so that no digits are lost far from 0.
        weight: The weight of each point in each component, ``(K, N)``.
        covariance_type: ``"full"``, ``"tied"`` for one covariance, the mean of all, or ``"diag"`` for variances alone.

    Returns:
        The sizes Σ w ``(K,)``, the means ``(K, D)``, and the covariances ``(K, D, D)``, or for ``"diag"`` the variances
        ``(K, D)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.moments import component_moments
        >>> x = torch.tensor([[-1.0], [1.0], [4.0]])
        >>> sizes, means, variances = component_moments(x, torch.tensor([[1.0, 3, 0], [0, 0, 1]]), "diag")
        >>> means.flatten(), variances[0]
        (tensor([0.5000, 4.0000]), tensor([0.7500]))
    """
    sizes = weight.sum(-1) + LEAST_SIZE
    means = weight @ x / sizes[:, None]
    spread = squares if covariance_type == "diag" else scatter
    sums = torch.stack([spread(x - mean, own) for mean, own in zip(means, weight, strict=True)])
    if covariance_type == "tied":
        return sizes, means, (sums.sum(0) / sizes.sum()).expand(len(sizes), -1, -1)
    return sizes, means, sums / sizes.reshape(-1, *[1] * (sums.dim() - 1))


def scatter(centred: Tensor, weight: Tensor) -> Tensor:
    """Returns Σ_n w_n x_n x_nᵀ ``(D, D)``."""
    return (weight[:, None] * centred).mT @ centred


def squares(centred: Tensor, weight: Tensor) -> Tensor:
    """Returns Σ_n w_n x_n² ``(D,)``."""
    return weight @ centred.square()


def shrink_covariance(covariance: Tensor, share: Tensor) -> Tensor:
    """Returns covariances shrunk towards their diagonal by (D/n)² ≤ 1; few points do not determine a full covariance.

    n = (Σ w)² / Σ w² is the number of points to which weights w amount; of shares, which sum to 1, it is 1 / Σ w².

    Args:
        covariance: The covariances ``(…, D, D)``.
        share: The shares of the points that they are of, ``(…, N)``, which sum to 1.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.moments import shrink_covariance
        >>> shrink_covariance(torch.ones(2, 2), torch.full((4,), 0.25))
        tensor([[1.0000, 0.7500],
                [0.7500, 1.0000]])
    """
    shrink = (covariance.shape[-1] * share.square().sum(-1)).square().clamp(max=1)[..., None, None]
    return (1 - shrink) * covariance + shrink * torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))


def gaussian_parameter_count(n_components: int, features: int, covariance_type: str) -> int:
    """Returns the number of parameters of the means and covariances of K Gaussians of D features.

    Examples:
        >>> from pyro_vmonf.moments import gaussian_parameter_count
        >>> [gaussian_parameter_count(2, 3, kind) for kind in ("full", "tied", "diag")]
        [18, 12, 12]
    """
    k, d = n_components, features
    covariances = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d}
    return k * d + covariances[covariance_type]
