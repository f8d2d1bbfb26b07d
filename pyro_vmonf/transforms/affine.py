"""Affine maps: one with a PLU-decomposed matrix, and the bound of those that a network conditions."""

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_permutation, check_positive
from pyro_vmonf.moments import shrink_covariance
from pyro_vmonf.transforms.base import VectorTransform
from pyro_vmonf.transforms.stacking import Stacked, bounded, unbounded

__all__ = ["MAX_LOG_SCALE", "BoundedLogScale", "PLUAffine"]

MAX_LOG_SCALE = 1.0  # ten couplings can still stretch by e^10


class BoundedLogScale(nn.Module):
    """A conditioner of affine maps with a bounded log-scale: ``max_log_scale · tanh(· / max_log_scale)``.

    Where there are few data, the unbounded scales of several transforms multiply to densities of exp(−1e9) for points
    a little away, from which a mixture does not recover.

    Args:
        network: A module that returns a mean and a log-scale, as :class:`~pyro_vmonf.transforms.ConditionerMLP` does.
        max_log_scale: The bound of the absolute value of the log-scale.

    Raises:
        ValueError: If ``max_log_scale`` is not a finite number above 0.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import ConditionerMLP
        >>> from pyro_vmonf.transforms.affine import BoundedLogScale
        >>> network = BoundedLogScale(ConditionerMLP(2, (8,), 2), max_log_scale=0.5)
        >>> mean, log_scale = network(1e9 * torch.ones(10, 2))
        >>> bool((log_scale.abs() <= 0.5).all())
        True
    """

    def __init__(self, network: nn.Module, max_log_scale: float = MAX_LOG_SCALE) -> None:
        super().__init__()
        self.network = network
        self.max_log_scale = check_positive("max_log_scale", max_log_scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean, and the bounded log-scale."""
        mean, log_scale = self.network(x)
        return mean, bounded(log_scale, self.max_log_scale)

    def sequential(self, solve: Callable[..., Tensor], features: int) -> Tensor:
        """Returns what ``sequential`` of the network does, with bounded log-scales; see MADE."""

        def limited(d: int, mean: Tensor, log_scale: Tensor) -> Tensor:
            return solve(d, mean, bounded(log_scale, self.max_log_scale))

        return cast(Tensor, cast(Any, self.network).sequential(limited, features))

    def extra_repr(self) -> str:
        """Returns the bound."""
        return f"max_log_scale={self.max_log_scale}"


class PLUAffine(VectorTransform, Stacked):
    r"""``y = A x + b`` with ``A = P L (U + diag(e^s))``; log|det J| = Σ_d s_d.

    P is a fixed permutation, L unit lower triangular, U strictly upper triangular. A is initialized to P.
    Reference: thesis, chapter 3; Kingma and Dhariwal, *Glow*, 2018 (arXiv:1807.03039), equation 10.

    Args:
        features: The number D of features.
        components: The number K of components, or None for one matrix.
        order: The permutation P as a ``LongTensor`` ``(D,)``: row d of P is the unit vector ``order[d]``. It is the
            identity if it is not given.
        max_log_scale: The bound of the absolute value of s.

    Raises:
        ValueError: If ``order`` is not a permutation, or a number is out of its range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import PLUAffine
        >>> transform = PLUAffine(2, components=3)
        >>> transform
        PLUAffine(components=3, max_log_scale=10.0)
        >>> x = torch.randn(3, 10, 2)
        >>> bool((transform(x) == x).all())
        True
    """

    permutation: Tensor
    covariance_type: ClassVar[str] = "full"

    def __init__(
        self, features: int, *, components: int | None = None, order: Tensor | None = None, max_log_scale: float = 10.0
    ) -> None:
        VectorTransform.__init__(self)
        Stacked.__init__(self, components)
        check_count("features", features)
        self.max_log_scale = check_positive("max_log_scale", max_log_scale)
        self.lower = nn.Parameter(torch.empty(self.stack(features, features)))
        self.upper = nn.Parameter(torch.empty(self.stack(features, features)))
        self.raw_log_scale = nn.Parameter(torch.empty(self.stack(features)))
        self.shift = nn.Parameter(torch.empty(self.stack(features)))
        self.reset_parameters()
        permutation = torch.eye(features)
        if order is not None:
            permutation = permutation[check_permutation("order", order)]
        self.register_buffer("permutation", permutation if components is None else permutation.unsqueeze(0))

    def reset_parameters(self) -> None:
        """Makes A the permutation P, and b zero."""
        for parameter in (self.lower, self.upper, self.raw_log_scale, self.shift):
            nn.init.zeros_(parameter)

    @property
    def log_scale(self) -> Tensor:
        """The log-scale s, between ``-max_log_scale`` and ``max_log_scale``."""
        return bounded(self.raw_log_scale, self.max_log_scale)

    def lower_factor(self) -> Tensor:
        """Returns L."""
        return self.lower.tril(-1) + torch.eye(self.lower.shape[-1], dtype=self.lower.dtype, device=self.lower.device)

    def upper_factor(self) -> Tensor:
        """Returns U + diag(e^s)."""
        return self.upper.triu(1) + torch.diag_embed(self.log_scale.exp())

    @torch.no_grad()
    def initialize(self, y: Tensor, weights: Tensor) -> None:
        """Sets the parameters so that the inverse whitens y.

        b becomes the mean, and P L diag(e^s) a Cholesky factor of the covariance, which is taken in the order that P
        gives and shrunk towards its diagonal by (D/n)² ≤ 1. n = (Σ w)² / Σ w² is the number of points to which the
        weights amount; few points do not determine a full covariance.

        Args:
            y: The points ``(…, N, D)``.
            weights: The weights of the points, ``(…, N)``.
        """
        share = weights.expand(y.shape[:-1])
        if self.components is None:  # one matrix for the points of all components
            y, share = y.reshape(-1, y.shape[-1]), share.reshape(-1)
        share = (share / share.sum(-1, keepdim=True)).unsqueeze(-1)
        mean = (share * y).sum(-2)
        centred = (y - mean.unsqueeze(-2)) @ self.permutation
        covariance = (share * centred).mT @ centred
        covariance = shrink_covariance(covariance, share.squeeze(-1))
        ridge = 1e-6 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)
        self.set_factor(mean, torch.linalg.cholesky(covariance + ridge[..., None, None] * torch.eye(y.shape[-1]).to(y)))

    @torch.no_grad()
    def set_gaussians(self, means: Tensor, covariances: Tensor) -> None:
        """Sets b to the means, and P L diag(e^s) to a factor of the covariances: N(0, I) becomes these Gaussians.

        Args:
            means: The means, ``(K, D)``, or ``(D,)`` for one matrix.
            covariances: The covariances, positive definite, ``(K, D, D)`` or ``(D, D)``.
        """
        order = self.permutation.double()
        self.set_factor(means, torch.linalg.cholesky(order.mT @ covariances.double() @ order))

    def set_factor(self, mean: Tensor, cholesky: Tensor) -> None:
        """Sets b to a mean, and L diag(e^s) to a lower triangular factor."""
        scale = cholesky.diagonal(dim1=-2, dim2=-1)
        self.shift.copy_(mean)
        self.upper.zero_()
        self.lower.copy_(cholesky / scale.unsqueeze(-2))
        self.raw_log_scale.copy_(unbounded(scale.log(), self.max_log_scale))

    def _call(self, x: Tensor) -> Tensor:
        lower, upper = self.lower_factor(), self.upper_factor()
        if x.shape[-2] < x.shape[-1]:  # fewer products than A itself needs
            return x @ upper.mT @ lower.mT @ self.permutation.mT + self.shift.unsqueeze(-2)
        return x @ (self.permutation @ lower @ upper).mT + self.shift.unsqueeze(-2)

    def _inverse(self, y: Tensor) -> Tensor:
        # P is orthogonal: P⁻¹ (y − b) in rows is (y − b) P.
        rotated = ((y - self.shift.unsqueeze(-2)) @ self.permutation).mT
        solved = torch.linalg.solve_triangular(self.lower.tril(-1), rotated, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(self.upper_factor(), solved, upper=True).mT

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns Σ_d s_d in the shape of x ``(…, N, D)`` without its last axis."""
        return self.log_scale.sum(-1, keepdim=True).expand(x.shape[:-1])
