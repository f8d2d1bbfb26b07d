"""Transforms that act on each feature alone: PReLU, ActNorm and batch normalisation."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.transforms.base import VectorTransform
from pyro_vmonf.transforms.stacking import Stacked, bounded, unbounded

__all__ = ["ActNorm", "BatchNorm", "PReLU", "weighted_moments"]


class Elementwise(VectorTransform, Stacked):
    """The base of the transforms below: a number of features, and perhaps a component axis."""

    def __init__(self, features: int, *, components: int | None = None) -> None:
        VectorTransform.__init__(self)
        Stacked.__init__(self, components)
        self.features = check_count("features", features)

    def per_feature(self) -> Tensor:
        """Returns zeros, one for each feature, or for each feature of each component."""
        return torch.zeros(self.stack(self.features))


class PReLU(Elementwise):
    r"""``y = x`` where x ≥ 0, ``y = α x`` elsewhere, with a slope α > 0 for each feature.

    log|det J| = Σ_{d: x_d < 0} log α_d. Reference: thesis, chapter 3; He et al., 2015 (arXiv:1502.01852).

    Args:
        features: The number D of features.
        components: The number K of components, or None for one set of slopes.
        max_log_slope: The bound of the absolute value of log α.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import PReLU
        >>> transform = PReLU(2)
        >>> transform
        PReLU(features=2, max_log_slope=5.0)
        >>> transform(torch.tensor([[2.0, -2.0]])).detach()
        tensor([[ 2.0000, -1.2151]])
    """

    def __init__(self, features: int, *, components: int | None = None, max_log_slope: float = 5.0) -> None:
        super().__init__(features, components=components)
        self.max_log_slope = check_positive("max_log_slope", max_log_slope)
        self.raw_log_slope = nn.Parameter(self.per_feature())
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets every log-slope to about −½."""
        nn.init.constant_(self.raw_log_slope, -0.5)

    def log_slope(self, x: Tensor) -> Tensor:
        """Returns the log-derivative at x: log α where x is negative, 0 elsewhere."""
        return torch.where(x < 0, bounded(self.raw_log_slope, self.max_log_slope).unsqueeze(-2), x.new_zeros(()))

    def _call(self, x: Tensor) -> Tensor:
        return x * self.log_slope(x).exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y * (-self.log_slope(y)).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns Σ log α_d over the negative features of x ``(…, N, D)``, in its shape without the last axis."""
        return self.log_slope(x).sum(-1)


class ActNorm(Elementwise):
    r"""``y = e^s ⊙ x + b``; log|det J| = Σ_d s_d.

    It is initialized to the identity, or from data by :meth:`initialize`, which sets s and b so that the inverse
    standardises them. Reference: Kingma and Dhariwal, *Glow*, 2018 (arXiv:1807.03039), section 3.1.

    Args:
        features: The number D of features.
        components: The number K of components, or None for one set of parameters.
        max_log_scale: The bound of the absolute value of s.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import ActNorm
        >>> transform = ActNorm(1)
        >>> y = torch.tensor([[1.0], [5.0]])
        >>> transform.initialize(y, torch.ones(2))
        >>> transform.inv(y).detach().round(decimals=3)
        tensor([[-1.],
                [ 1.]])
    """

    covariance_type: ClassVar[str] = "diag"

    def __init__(self, features: int, *, components: int | None = None, max_log_scale: float = 10.0) -> None:
        super().__init__(features, components=components)
        self.max_log_scale = check_positive("max_log_scale", max_log_scale)
        self.shift = nn.Parameter(self.per_feature())
        self.raw_log_scale = nn.Parameter(self.per_feature())

    def reset_parameters(self) -> None:
        """Sets the parameters so that the transform is the identity."""
        nn.init.zeros_(self.shift)
        nn.init.zeros_(self.raw_log_scale)

    @property
    def log_scale(self) -> Tensor:
        """The log-scale s, between ``-max_log_scale`` and ``max_log_scale``."""
        return bounded(self.raw_log_scale, self.max_log_scale).unsqueeze(-2)

    @torch.no_grad()
    def initialize(self, y: Tensor, weights: Tensor) -> None:
        """Sets s and b to the log standard deviation and the mean of weighted points.

        Args:
            y: The points ``(…, N, D)``.
            weights: The weights of the points, ``(…, N)``.
        """
        mean, variance = weighted_moments(y, weights, self.components)
        self.shift.copy_(mean)
        self.raw_log_scale.copy_(unbounded(variance.clamp(min=1e-12).log() / 2, self.max_log_scale))

    @torch.no_grad()
    def set_gaussians(self, means: Tensor, covariances: Tensor) -> None:
        """Sets b to the means, and e^2s to the diagonals of the covariances.

        Args:
            means: The means, ``(K, D)``, or ``(D,)`` for one set of parameters.
            covariances: The covariances ``(K, D, D)`` or ``(D, D)``, of which the diagonals alone count.
        """
        self.shift.copy_(means)
        variance = covariances.diagonal(dim1=-2, dim2=-1)
        self.raw_log_scale.copy_(unbounded(variance.log() / 2, self.max_log_scale))

    def _call(self, x: Tensor) -> Tensor:
        return x * self.log_scale.exp() + self.shift.unsqueeze(-2)

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.shift.unsqueeze(-2)) * (-self.log_scale).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns Σ_d s_d in the shape of x ``(…, N, D)`` without its last axis."""
        return self.log_scale.sum(-1).expand(x.shape[:-1])


def weighted_moments(y: Tensor, weights: Tensor, components: int | None) -> tuple[Tensor, Tensor]:
    """Returns the mean and the variance of each feature of weighted points.

    They are those of each component's points, ``(K, D)``, or with ``components=None`` those of all points, ``(D,)``.

    Args:
        y: The points ``(…, N, D)``.
        weights: The weights of the points, ``(…, N)``.
        components: The number K of components, or None.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms.elementwise import weighted_moments
        >>> mean, variance = weighted_moments(torch.tensor([[1.0], [5.0]]), torch.tensor([3.0, 1.0]), None)
        >>> mean, variance
        (tensor([2.]), tensor([3.]))
    """
    dims = -2 if components is not None or y.dim() < 3 else (0, -2)
    share = weights.expand(y.shape[:-1]).unsqueeze(-1)
    total = share.sum(dims)
    mean = (share * y).sum(dims) / total
    variance = (share * (y - mean.unsqueeze(-2)) ** 2).sum(dims) / total
    return mean, variance


class BatchNorm(Elementwise):
    r"""``y = (x − β) e^{−γ} √(v + ε) + m``; log|det J| = Σ_d [½ log(v_d + ε) − γ_d].

    The inverse, which scores data, is batch normalisation as in Dinh et al., *RealNVP*, 2017 (arXiv:1605.08803),
    section 3.7: ``x = e^γ (y − m)/√(v + ε) + β``. In training mode the inverse computes m and v from the batch, for
    each component from its own inputs, and updates the running averages that evaluation mode uses.

    In a mixture every component scores *all* points, so that the statistics of a component include points of others;
    :class:`ActNorm` does not have this fault.

    Args:
        features: The number D of features.
        components: The number K of components, or None for one set of parameters.
        momentum: The weight of the new batch in the running averages.
        epsilon: The number ε, which is added to the variance.
        max_log_scale: The bound of the absolute value of γ.

    Raises:
        ValueError: If a number is out of its range or, in training mode, if a batch has fewer than 2 points.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import BatchNorm
        >>> transform = BatchNorm(1)
        >>> transform.inv(torch.tensor([[1.0], [5.0]])).detach().round(decimals=3)
        tensor([[-1.],
                [ 1.]])
        >>> transform.running_mean
        tensor([0.3000])
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(
        self,
        features: int,
        *,
        components: int | None = None,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        max_log_scale: float = 5.0,
    ) -> None:
        super().__init__(features, components=components)
        self.momentum = momentum
        self.epsilon = epsilon
        self.max_log_scale = check_positive("max_log_scale", max_log_scale)
        self.shift = nn.Parameter(self.per_feature())
        self.raw_log_scale = nn.Parameter(self.per_feature())
        self.register_buffer("running_mean", self.per_feature())
        self.register_buffer("running_variance", self.per_feature() + 1)
        self._cached_moments: tuple[Tensor, Tensor] | None = None  # clear_caches forgets it

    def reset_parameters(self) -> None:
        """Sets the parameters and the running averages to their initial values."""
        for tensor in (self.shift, self.raw_log_scale, self.running_mean):
            nn.init.zeros_(tensor)
        nn.init.ones_(self.running_variance)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Returns m and v: those of the last batch in training mode, if there was one, else the running averages."""
        if self.training and self._cached_moments is not None:
            return self._cached_moments
        return self.running_mean.unsqueeze(-2), self.running_variance.unsqueeze(-2)

    def _call(self, x: Tensor) -> Tensor:
        mean, variance = self.moments()
        gamma = bounded(self.raw_log_scale, self.max_log_scale).unsqueeze(-2)
        return (x - self.shift.unsqueeze(-2)) * (-gamma).exp() * (variance + self.epsilon).sqrt() + mean

    def _inverse(self, y: Tensor) -> Tensor:
        if self.training:
            self._observe(y)
        mean, variance = self.moments()
        gamma = bounded(self.raw_log_scale, self.max_log_scale).unsqueeze(-2)
        return (y - mean) * (variance + self.epsilon).rsqrt() * gamma.exp() + self.shift.unsqueeze(-2)

    def _observe(self, y: Tensor) -> None:
        if y.shape[-2] < 2:
            raise ValueError(f"y: expected at least 2 points to normalise a batch in training, got {y.shape[-2]}")
        mean, variance = weighted_moments(y, y.new_ones(y.shape[-2]), self.components)
        self._cached_moments = mean.unsqueeze(-2), variance.unsqueeze(-2)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_variance.lerp_(variance, self.momentum)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns Σ_d [½ log(v_d + ε) − γ_d] in the shape of x ``(…, N, D)`` without its last axis."""
        _, variance = self.moments()
        gamma = bounded(self.raw_log_scale, self.max_log_scale).unsqueeze(-2)
        return ((variance + self.epsilon).log() / 2 - gamma).sum(-1).expand(x.shape[:-1])
