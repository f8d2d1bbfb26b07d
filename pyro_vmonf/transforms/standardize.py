"""A fixed affine map of each feature."""

from torch import Tensor

from pyro_vmonf._validation import check_scales
from pyro_vmonf.transforms.base import VectorTransform

__all__ = ["Standardize"]


class Standardize(VectorTransform):
    r"""``y = deviation ⊙ x + mean``, whose inverse standardises data y; log|det J| = Σ_d log deviation_d.

    Mean and deviation are buffers, which are not learned. It is shared by all components.

    Args:
        mean: The mean of each feature, ``(D,)``.
        deviation: The standard deviation of each feature, above 0, ``(D,)``.

    Raises:
        ValueError: If the shapes differ, or a deviation is not above 0.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import Standardize
        >>> transform = Standardize(torch.tensor([10.0]), torch.tensor([2.0]))
        >>> transform.inv(torch.tensor([[14.0]]))
        tensor([[2.]])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        check_scales("deviation", deviation, mean)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", deviation.clone())

    def _call(self, x: Tensor) -> Tensor:
        return x * self.deviation + self.mean

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.mean) / self.deviation

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns Σ_d log deviation_d in the shape of x ``(…, D)`` without its last axis."""
        return self.deviation.log().sum().expand(x.shape[:-1])
