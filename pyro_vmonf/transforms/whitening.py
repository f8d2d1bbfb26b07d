"""The affine map between a Gaussian and N(0, I), fixed at a start and corrected by a learned triangular map."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_count
from pyro_vmonf.transforms.base import VectorTransform
from pyro_vmonf.transforms.stacking import Stacked, bounded

__all__ = ["Whitening"]

MAX_LOG_SCALE = 10.0


class Whitening(VectorTransform, Stacked):
    r"""``x = ((y − μ) A − b) T``: a Gaussian N(μ, (A Aᵀ)⁻¹) becomes N(0, I), which T and b then correct.

    A, a lower triangular factor of the precision, and the mean μ are buffers that :meth:`set_gaussians` sets. T, lower
    triangular with the diagonal e^s, and b are learned; they begin at the identity. A learned step has therefore the
    same effect in every direction, however stretched and correlated the data are. In the direction of the library's
    transforms, from x to the data y, log|det J| = −Σ_d (log A_dd + s_d).

    Args:
        features: The number D of features.
        components: The number K of components, or None for one map.

    Raises:
        ValueError: If a count is too small.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import Whitening
        >>> transform = Whitening(2)
        >>> transform.set_gaussians(torch.tensor([1.0, 1.0]), torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
        >>> transform.inv(torch.tensor([[3.0, 4.0]])).detach()
        tensor([[1., 1.]])
    """

    mean: Tensor
    factor: Tensor
    covariance_type: ClassVar[str] = "full"

    def __init__(self, features: int, *, components: int | None = None) -> None:
        VectorTransform.__init__(self)
        Stacked.__init__(self, components)
        check_count("features", features)
        self.register_buffer("mean", torch.zeros(self.stack(features)))
        self.register_buffer("factor", torch.eye(features).expand(self.stack(features, features)).clone())
        self.lower = nn.Parameter(torch.zeros(self.stack(features, features)))
        self.raw_log_scale = nn.Parameter(torch.zeros(self.stack(features)))
        self.shift = nn.Parameter(torch.zeros(self.stack(features)))

    @property
    def log_scale(self) -> Tensor:
        """The log-scale s."""
        return bounded(self.raw_log_scale, MAX_LOG_SCALE)

    @torch.no_grad()
    def set_gaussians(self, means: Tensor, covariances: Tensor) -> None:
        """Sets μ and A, and T and b to the identity.

        Args:
            means: The means, in the shape of :attr:`mean`.
            covariances: The covariances, positive definite.
        """
        precision = torch.cholesky_inverse(torch.linalg.cholesky(covariances.double()))
        self.mean.copy_(means)
        self.factor.copy_(torch.linalg.cholesky(precision))
        for parameter in (self.lower, self.raw_log_scale, self.shift):
            parameter.zero_()

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Returns A T, and ``(μ A + b) T`` as a row."""
        correction = self.lower.tril(-1) + torch.diag_embed(self.log_scale.exp())
        row = self.mean.unsqueeze(-2) @ self.factor + self.shift.unsqueeze(-2)
        return self.factor @ correction, row @ correction

    def log_det(self) -> Tensor:
        """Returns Σ_d (log A_dd + s_d), one number for each component."""
        return (self.factor.diagonal(dim1=-2, dim2=-1).log() + self.log_scale).sum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        matrix, row = self.matrix()
        if y.dim() == matrix.dim() == 3:
            return torch.baddbmm(row.mT, matrix.mT, y.mT, beta=-1).mT  # with the batch last in memory
        return (matrix.mT @ y.mT - row.mT).mT

    def _call(self, x: Tensor) -> Tensor:
        matrix, row = self.matrix()
        return torch.linalg.solve_triangular(matrix.mT, (x + row).mT, upper=True).mT

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns −Σ_d (log A_dd + s_d) in the shape of x ``(…, N, D)`` without its last axis."""
        return -self.log_det().unsqueeze(-1).expand(x.shape[:-1])
