"""The affine transformation with a PLU-decomposed matrix."""

import torch
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vmonf._validation import check_count, check_permutation, check_positive
from pyro_vmonf.transforms.stacking import Stacked, bounded, unbounded

__all__ = ["PLUAffine"]


class PLUAffine(TransformModule, Stacked):
    r"""``y = A x + b`` with ``A = P L (U + diag(e^s))``; log|det J| = Σ_d s_d.

    P is a fixed permutation, L unit lower triangular, U strictly upper triangular. A starts as P.
    Reference: thesis, chapter 3; Kingma and Dhariwal, *Glow*, 2018 (arXiv:1807.03039), equation 10.

    Args:
        features: D.
        components: K, or None for one matrix.
        order: the permutation P as a ``LongTensor`` ``(D,)``, P's row d being the unit vector ``order[d]``;
            the identity if not given.
        max_log_scale: bound of |s|.

    Raises:
        ValueError: if ``order`` is not a permutation, or a number is out of range.
    """

    bijective = True
    domain = constraints.real_vector
    codomain = constraints.real_vector
    permutation: Tensor

    def __init__(
        self, features: int, *, components: int | None = None, order: Tensor | None = None, max_log_scale: float = 10.0
    ) -> None:
        TransformModule.__init__(self)
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
        """s, with |s| < max_log_scale."""
        return bounded(self.raw_log_scale, self.max_log_scale)

    def factors(self) -> tuple[Tensor, Tensor]:
        """P L, and U + diag(e^s)."""
        identity = torch.eye(self.lower.shape[-1], dtype=self.lower.dtype, device=self.lower.device)
        lower = self.lower.tril(-1) + identity
        upper = self.upper.triu(1) + torch.diag_embed(self.log_scale.exp())
        return self.permutation @ lower, upper

    @torch.no_grad()
    def initialize(self, y: Tensor, weights: Tensor) -> None:
        """Makes the inverse whiten y ``(…, N, D)`` under ``weights`` ``(…, N)``: P L diag(e^s) is a Cholesky factor of
        the covariance, seen through P and shrunk towards its diagonal by (D/n)² ≤ 1, and b the mean.

        n = (Σ w)² / Σ w² is how many points the weights amount to: few points cannot tell a full covariance.
        """
        share = weights.expand(y.shape[:-1])
        if self.components is None:  # one matrix for the points of all components
            y, share = y.reshape(-1, y.shape[-1]), share.reshape(-1)
        share = (share / share.sum(-1, keepdim=True)).unsqueeze(-1)
        mean = (share * y).sum(-2)
        centred = (y - mean.unsqueeze(-2)) @ self.permutation
        covariance = (share * centred).mT @ centred
        shrink = (y.shape[-1] * share.square().sum((-2, -1))).square().clamp(max=1)[..., None, None]
        covariance = (1 - shrink) * covariance + shrink * torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
        ridge = 1e-6 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)
        cholesky = torch.linalg.cholesky(covariance + ridge[..., None, None] * torch.eye(y.shape[-1]).to(y))
        scale = cholesky.diagonal(dim1=-2, dim2=-1)
        self.shift.copy_(mean)
        self.upper.zero_()
        self.lower.copy_(cholesky / scale.unsqueeze(-2))
        self.raw_log_scale.copy_(unbounded(scale.log(), self.max_log_scale))

    def _call(self, x: Tensor) -> Tensor:
        left, upper = self.factors()
        return x @ (left @ upper).mT + self.shift.unsqueeze(-2)

    def _inverse(self, y: Tensor) -> Tensor:
        _, upper = self.factors()
        # P is orthogonal: P⁻¹ (y − b) in rows is (y − b) P.
        rotated = ((y - self.shift.unsqueeze(-2)) @ self.permutation).mT
        solved = torch.linalg.solve_triangular(self.lower.tril(-1), rotated, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, solved, upper=True).mT

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_scale.sum(-1, keepdim=True).expand(x.shape[:-1])
