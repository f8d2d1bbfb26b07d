"""The step that evaluates the objective and its gradient anew for each batch."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Objective

__all__ = ["EagerStep"]


class EagerStep:
    """Evaluates the objective, its gradient by autograd, and updates by the optimizer; keeps the modules' modes.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x).
        objective: The loss.
        optimizer: An optimizer whose fused form skips a step that is not finite, such as ``Adam(fused=True)``.
        max_grad_norm: The greatest Euclidean norm of the gradient, or None to leave it as it is.

    Raises:
        TypeError: If the optimizer cannot skip a step.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> from pyro_vmonf.objectives import Batch, Elbo
        >>> from pyro_vmonf.steps import EagerStep
        >>> optimizer = torch.optim.Adam([*model.parameters(), *guide.parameters()], fused=True)
        >>> metrics = EagerStep(model, guide, Elbo(), optimizer)(Batch(torch.randn(8, 2), size=8))
        >>> sorted(metrics)
        ['elbo', 'non_finite']
    """

    def __init__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        objective: Objective,
        optimizer: Optimizer,
        max_grad_norm: float | None = None,
    ) -> None:
        check_optimizer(optimizer)
        self.model, self.guide, self.objective, self.optimizer = model, guide, objective, optimizer
        self.max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # Batch normalization changes its averages without a new version, but counts its batches beside them.
        parts = nn.ModuleList([model, guide]).modules()
        self.buffers = [own for part in parts if (own := list(part.buffers(recurse=False)))]
        self.is_first = True  # the first step finds the parts whose buffers change, such as running averages
        self.non_finite = torch.zeros((), dtype=torch.float32, device=guide.temperature.device)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        before = [[(buffer, buffer._version, buffer.clone()) for buffer in own] for own in self.buffers]
        self.optimizer.zero_grad()
        loss = self.objective(self.model, self.guide, batch)
        loss.value.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        finite = torch.isfinite(loss.value.detach()) & torch.isfinite(norm)
        self.non_finite = torch.maximum(self.non_finite, (~finite).to(self.non_finite))
        self.optimizer.found_inf = self.non_finite  # type: ignore[attr-defined]
        self.optimizer.step()
        changed = [own for own in before if any(buffer._version != version for buffer, version, _ in own)]
        for buffer, _, value in itertools.chain.from_iterable(changed):
            buffer.data.copy_(torch.where(self.non_finite > 0, value, buffer))
        if self.is_first:
            self.buffers, self.is_first = [[buffer for buffer, _, _ in own] for own in changed], False
        return loss.metrics | {"non_finite": self.non_finite}

    def begin_epoch(self) -> None:
        """Does nothing: whatever a caller has changed is seen."""

    def close(self) -> None:
        """Does nothing: the step holds nothing."""


def check_optimizer(optimizer: Optimizer) -> None:
    """Raises ``TypeError`` if an optimizer cannot skip a step that is not finite."""
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        raise TypeError(f"optimizer: expected one with a fused step, got {type(optimizer).__name__}")
