"""Conditioners: dense and masked networks that hold one set of weights, or K sets multiplied in one batched product."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_positive, check_widths
from pyro_vmonf.transforms.stacking import Stacked, bounded

__all__ = ["MADE", "MAX_LOG_SCALE", "ConditionerMLP", "Linear"]

MAX_LOG_SCALE = 1.0  # of |log-scale|: ten couplings can still stretch by e^10


class Linear(Stacked):
    r"""``y = W x + b`` for one weight matrix or for K of them at once.

    Shapes: x ``(N, in)`` or ``(K, N, in)`` → y ``(N, out)`` or ``(K, N, out)``; W ``(out, in)`` or ``(K, out, in)``.
    Initialised as ``torch.nn.Linear``: uniform in ``±1/√in``.

    Args:
        in_features: length of one input.
        out_features: length of one output.
        components: K, or None for one set of weights.
    """

    def __init__(self, in_features: int, out_features: int, *, components: int | None = None) -> None:
        super().__init__(components)
        self.weight = nn.Parameter(torch.empty(self.stack(out_features, in_features)))
        self.bias = nn.Parameter(torch.empty(self.stack(out_features)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        bound = 1 / math.sqrt(max(self.weight.shape[-1], 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return batched_linear(x, self.weight, self.bias)


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x Wᵀ + b`` with broadcasting over a component axis."""
    # With the batch last, small products run up to three times as fast, and the weight's gradient comes out contiguous.
    # The result is a transposed view, which the next layer transposes back for nothing.
    return (weight @ x.mT + bias.unsqueeze(-1)).mT


@torch.no_grad()
def scale_initial_weights(*layers: nn.Module) -> None:
    """Scales initial weights down; at their full size eight random couplings throw some points to 1e10 and beyond."""
    for layer in layers:
        for parameter in layer.parameters():
            parameter.mul_(0.1)


class ConditionerMLP(nn.Module):
    """A multilayer perceptron that gives a mean and a log-scale, for Pyro's ``AffineCoupling``.

    The last layer starts small, so that the transform starts near the identity. The log-scale is bounded by
    ``max_log_scale · tanh(· / max_log_scale)``: where there are few data, the unbounded scales of several transforms
    multiply to densities of exp(−1e9) for points a little away, from which a mixture does not recover.

    Shapes: x ``(N, in)`` or ``(K, N, in)`` → (mean, log-scale), each ``(…, N, out)``.

    Args:
        in_features: length of one input.
        hidden_features: widths of the hidden layers, each followed by a ReLU.
        out_features: length of the mean.
        components: K, or None for one set of weights.
        max_log_scale: bound of the log-scale's absolute value.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int],
        out_features: int,
        *,
        components: int | None = None,
        max_log_scale: float = MAX_LOG_SCALE,
    ) -> None:
        super().__init__()
        self.max_log_scale = check_positive("max_log_scale", max_log_scale)
        widths = [in_features, *check_widths("hidden_features", hidden_features), 2 * out_features]
        self.layers = nn.ModuleList(Linear(i, o, components=components) for i, o in pairwise(widths))
        scale_initial_weights(self.layers[-1])

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        for layer in self.layers:
            cast(Linear, layer).reset_parameters()
        scale_initial_weights(self.layers[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        mean, log_scale = self.layers[-1](x).chunk(2, dim=-1)
        return mean, bounded(log_scale, self.max_log_scale)


class MaskedLinear(Linear):
    """A :class:`Linear` in which output j sees input i only where ``in_degrees[i] ≤ out_degrees[j]``.

    Half the products are by masked zeros; skipping them block by block was measured, and was slower at D = 784.
    """

    mask: Tensor

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, components: int | None = None) -> None:
        super().__init__(len(in_degrees), len(out_degrees), components=components)
        mask = (in_degrees <= out_degrees.unsqueeze(-1)).to(self.weight.dtype)
        self.register_buffer("mask", mask if components is None else mask.unsqueeze(0))
        self.apply_mask()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, "mask"):
            self.apply_mask()

    @torch.no_grad()
    def apply_mask(self) -> None:
        """Sets masked weights to zero."""
        # Masked weights have no gradient but weight decay, under which Adam would let them dwindle to denormal numbers,
        # and arithmetic on those is ten times slower. From zero they stay zero.
        self.weight.mul_(self.mask)

    def forward(self, x: Tensor) -> Tensor:
        return batched_linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    r"""Masked autoencoder: mean and log-scale of feature d depend on the features before d only.

    For :class:`pyro.distributions.transforms.AffineAutoregressive`; any hidden width will do. The last layers start
    small, so that the transform starts near the identity.
    Reference: Germain et al., *MADE*, 2015 (arXiv:1502.03509), equations 8–9.

    Shapes: x ``(N, D)`` or ``(K, N, D)`` → (mean, log-scale), each shaped as x.

    Args:
        features: D.
        hidden_features: widths of the hidden layers, each followed by a ReLU.
        components: K, or None for one set of weights.
        max_log_scale: bound of the log-scale's absolute value, as in :class:`ConditionerMLP`.
    """

    def __init__(
        self,
        features: int,
        hidden_features: Sequence[int],
        *,
        components: int | None = None,
        max_log_scale: float = MAX_LOG_SCALE,
    ) -> None:
        super().__init__()
        self.max_log_scale = check_positive("max_log_scale", max_log_scale)
        inputs = torch.arange(features)
        widths = check_widths("hidden_features", hidden_features)
        degrees = [inputs, *((torch.arange(w) * max(features - 1, 1)).div(w, rounding_mode="floor") for w in widths)]
        self.hidden = nn.ModuleList(MaskedLinear(i, o, components=components) for i, o in pairwise(degrees))
        # Output d sees the hidden units of a degree below d.
        self.mean = MaskedLinear(degrees[-1], inputs - 1, components=components)
        self.log_scale = MaskedLinear(degrees[-1], inputs - 1, components=components)
        scale_initial_weights(self.mean, self.log_scale)

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        for layer in [*self.hidden, self.mean, self.log_scale]:
            cast(MaskedLinear, layer).reset_parameters()
        scale_initial_weights(self.mean, self.log_scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.mean(x), bounded(self.log_scale(x), self.max_log_scale)
