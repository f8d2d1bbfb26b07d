"""Adam on the parameters of several models at once, each with a gradient norm of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["RowAdam"]

MAX_NORM = 5.0
DECAY = 0.9  # of the moving means, once a hundred steps are done


class RowAdam:
    """Maximises by Adam, where each tensor of parameters holds those of V models, along its first axis.

    The parameters of a model are a row of a matrix, so that its gradient's norm is that of a row. A model whose
    gradient is not finite moves by its momentum alone, and does not change the others.

    Moving means of the values are kept beside them, which hold less of the noise of single batches (Polyak and
    Juditsky, 1992, "Acceleration of stochastic approximation by averaging"): after step t they move by
    1 − min(.9, t / (t + 10)) of the way to the new values.

    Args:
        groups: Groups of parameters; the first axis of each is a multiple of V, with the entries of a model together.
        rates: The learning rate of each group.
        size: The number V of models.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.steps.rows import RowAdam
        >>> parameter = torch.nn.Parameter(torch.zeros(2, 3))
        >>> adam = RowAdam([[parameter]], [0.1], size=2)
        >>> adam.set_gradient([torch.tensor([[1.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]])])
        >>> adam.update()
        >>> adam.write()
        >>> parameter.data
        tensor([[0.1000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """

    def __init__(self, groups: Sequence[Sequence[Tensor]], rates: Sequence[float], size: int) -> None:
        self.size, self.rates = size, list(rates)
        self.parameters = [parameter for group in groups for parameter in group]
        self.views = [p.detach().view(size, -1) for p in self.parameters]
        self.sizes = [view.shape[1] for view in self.views]
        self.widths = [sum(p.numel() for p in group) // size for group in groups]
        self.values = [part.contiguous() for part in torch.cat(self.views, 1).split(self.widths, 1)]
        self.gradients, self.first, self.second = ([torch.zeros_like(v) for v in self.values] for _ in range(3))
        self.means = [v.clone() for v in self.values]
        self.count = 0
        self.steps = torch.zeros((), dtype=torch.float32, device=self.values[0].device)

    @torch.no_grad()
    def begin(self) -> None:
        """Starts anew from the values that the parameters have."""
        for own, part in zip(self.values, torch.cat(self.views, 1).split(self.widths, 1), strict=True):
            own.copy_(part)
        for own in (*self.first, *self.second, self.steps):
            own.zero_()
        for own, value in zip(self.means, self.values, strict=True):
            own.copy_(value)
        self.count = 0

    @torch.no_grad()
    def take(self, other: "RowAdam", rows: Tensor) -> None:
        """Takes the values, the moments and the means of some of the models of another."""
        for name in ("values", "first", "second", "means"):
            for own, theirs in zip(getattr(self, name), getattr(other, name), strict=True):
                own.copy_(theirs[rows])
        self.steps.copy_(other.steps)
        self.count = other.count

    def set_gradient(self, gradients: Sequence[Tensor]) -> None:
        """Takes the gradients, scaled so that the norm of each model's is at most 5; 0 where it is not finite."""
        whole = torch.cat([g.reshape(self.size, -1) for g in gradients], 1)
        norm = torch.linalg.vector_norm(whole, dim=1, keepdim=True)
        scaled = whole * (MAX_NORM / (norm + 1e-6)).clamp(max=1.0)
        whole = torch.where(norm * 0 == 0, scaled, torch.zeros_like(scaled))  # 0 times NaN or infinity is NaN
        for own, part in zip(self.gradients, whole.split(self.widths, 1), strict=True):
            own.copy_(part)

    @torch.no_grad()
    def write(self) -> None:
        """Gives the parameters their values."""
        torch.ops.aten._foreach_copy_.default(self.views, list(torch.cat(self.values, 1).split(self.sizes, 1)))

    @torch.no_grad()
    def write_means(self) -> None:
        """Gives the parameters the moving means of their values."""
        torch.ops.aten._foreach_copy_.default(self.views, list(torch.cat(self.means, 1).split(self.sizes, 1)))

    @torch.no_grad()
    def update(self) -> None:
        """Updates the values by the gradients, and the means by the values."""
        self.steps.add_(1)
        for i, rate in enumerate(self.rates):
            tensors = (self.values, self.gradients, self.first, self.second)
            torch.ops.aten._fused_adam_(
                *([one[i]] for one in tensors),
                [],
                [self.steps],
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=True,
            )
        self.count += 1
        for mean, value in zip(self.means, self.values, strict=True):
            mean.lerp_(value, 1 - min(DECAY, self.count / (self.count + 10)))
