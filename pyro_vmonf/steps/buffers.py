"""Buffers that a step changes, such as running averages."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["all_buffers", "changed_buffers", "restore"]


def all_buffers(*modules: nn.Module) -> list[Tensor]:
    """Returns the buffers of modules, each once."""
    return list(dict.fromkeys(buffer for module in modules for buffer in module.buffers()))


def changed_buffers(buffers: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    """Returns those buffers that are not what they were; batch normalization changes its own without a new version."""
    return [now for now, was in zip(buffers, before, strict=True) if not torch.equal(now, was)]


def restore(buffers: Sequence[Tensor], before: Sequence[Tensor], non_finite: Tensor) -> None:
    """Puts buffers back to what they were where ``non_finite`` is 1."""
    for now, was in zip(buffers, before, strict=True):
        now.data.copy_(torch.where(non_finite > 0, was, now))
