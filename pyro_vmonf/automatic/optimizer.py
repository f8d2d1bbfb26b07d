"""Adam on the parameters of several mixtures at once, each with a gradient norm of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble

__all__ = ["EnsembleAdam"]

MAX_NORM = 5.0


class EnsembleAdam:
    """Maximises by Adam; the parameters of each mixture are a row of a matrix, of the flows and of the encoders.

    Args:
        ensemble: The mixtures.
        rate: The learning rate of the flows.
        encoder_rate: That of the encoders and the weights.
    """

    def __init__(self, ensemble: Ensemble, rate: float, encoder_rate: float) -> None:
        slow = [ensemble.log_weights, *ensemble.encoder.parameters()]
        known = {id(p) for p in slow}
        fast = [p for p in ensemble.parameters() if id(p) not in known]
        self.size, self.parameters, self.rates = ensemble.size, [*fast, *slow], (rate, encoder_rate)
        self.views = [p.detach().view(self.size, -1) for p in self.parameters]
        self.sizes = [view.shape[1] for view in self.views]
        self.widths = [sum(p.numel() for p in group) // self.size for group in (fast, slow)]
        self.values = [part.contiguous() for part in torch.cat(self.views, 1).split(self.widths, 1)]
        self.gradients, self.first, self.second = ([torch.zeros_like(v) for v in self.values] for _ in range(3))
        self.steps = torch.zeros((), dtype=torch.float32, device=self.values[0].device)

    def set_gradient(self, gradients: Sequence[Tensor]) -> None:
        """Takes the gradients, scaled so that the norm of each mixture's is at most 5; 0 where it is not finite."""
        whole = torch.cat([g.reshape(self.size, -1) for g in gradients], 1)
        norm = torch.linalg.vector_norm(whole, dim=1, keepdim=True)
        scaled = whole * (MAX_NORM / (norm + 1e-6)).clamp(max=1.0)
        whole = torch.where(norm * 0 == 0, scaled, torch.zeros_like(scaled))  # 0 times NaN or infinity is NaN
        for own, part in zip(self.gradients, whole.split(self.widths, 1), strict=True):
            own.copy_(part)

    @torch.no_grad()
    def write(self) -> None:
        """Gives the parameters their values."""
        torch._foreach_copy_(self.views, list(torch.cat(self.values, 1).split(self.sizes, 1)))

    @torch.no_grad()
    def step(self) -> None:
        """Updates the values by the gradients."""
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
