"""What it means for a module to hold K components' tensors, and how to take one of them out."""

import copy
from typing import Protocol, TypeVar, runtime_checkable

import torch
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn

from pyro_vmonf._validation import check_count

__all__ = ["DataDependentInit", "Stacked", "bounded", "clear_caches", "select", "stacked_size", "unbounded"]

Module = TypeVar("Module", bound=nn.Module)


@runtime_checkable
class DataDependentInit(Protocol):
    """A transform that can be started from data, as ActNorm and PLUAffine can."""

    def initialize(self, y: Tensor, weights: Tensor) -> None:
        """Sets parameters from outputs y ``(K, N, D)``, each component's points weighed by ``weights`` ``(K, N)``."""


class Stacked(nn.Module):
    """A leaf module whose own tensors may carry a leading component axis.

    With ``components=K`` every parameter and buffer has shape ``(K, *shape)``, or ``(1, *shape)`` where all
    components have the same (a mask, say); with ``components=None`` it has shape ``shape``, serves inputs without
    a component axis, and is *shared* when the input has one.
    """

    components: int | None

    def __init__(self, components: int | None = None) -> None:
        super().__init__()
        self.components = None if components is None else check_count("components", components)

    def stack(self, *shape: int) -> tuple[int, ...]:
        """The shape of a tensor that each component has its own of."""
        return shape if self.components is None else (self.components, *shape)


def stacked_size(module: nn.Module) -> int | None:
    """The number K of components that the stacked parts of ``module`` hold, None if it has no such part.

    Raises:
        ValueError: if the parts disagree.
    """
    sizes = {m.components for m in module.modules() if isinstance(m, Stacked)} - {None}
    if len(sizes) > 1:
        raise ValueError(f"transforms: expected one number of components, got {sorted(sizes, key=str)}")
    return sizes.pop() if sizes else None


def select(module: Module, k: int) -> Module:
    """A copy of ``module`` for component ``k`` alone, without a component axis.

    Its tensors are views of the stack: they share its memory, and gradients flow back into it.
    """
    views: dict[int, object] = {}  # what deepcopy takes in place of each tensor
    for part in module.modules():
        stack = part.components if isinstance(part, Stacked) else None
        for tensor in [*part.parameters(recurse=False), *part.buffers(recurse=False)]:
            views[id(tensor)] = tensor if stack is None else tensor[k if len(tensor) == stack else 0]
    clear_caches(module)
    chosen = copy.deepcopy(module, views)
    for part in chosen.modules():
        if isinstance(part, Stacked):
            part.components = None
    return chosen


def clear_caches(module: nn.Module) -> None:
    """Forgets what Pyro's transforms keep of their last input.

    They compare inputs by identity, so after an optimiser step the same tensor would be scored with the old
    parameters; the kept tensors also hold the autograd graph alive and forbid ``copy.deepcopy``.
    """
    for part in module.modules():
        if isinstance(part, TransformModule):
            for name in vars(part):
                if name.startswith("_cached_"):
                    setattr(part, name, (None, None) if name == "_cached_x_y" else None)


def bounded(raw: Tensor, bound: float) -> Tensor:
    """``bound · tanh(raw / bound)``: about ``raw`` near zero, and never beyond ``±bound``."""
    return bound * torch.tanh(raw / bound)


def unbounded(value: Tensor, bound: float) -> Tensor:
    """The inverse of :func:`bounded`, with ``value`` clipped to 99.9 % of the bound."""
    return bound * torch.atanh((value / bound).clamp(-0.999, 0.999))
