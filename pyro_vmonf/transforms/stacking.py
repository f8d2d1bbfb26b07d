"""What it means for a module to hold K components' tensors, and how to take one of them out."""

import copy
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn

from pyro_vmonf._validation import check_count

__all__ = [
    "DataDependentInit",
    "GaussianInit",
    "Stacked",
    "bounded",
    "clear_caches",
    "select",
    "stacked_size",
    "unbounded",
]

Module = TypeVar("Module", bound=nn.Module)


@runtime_checkable
class DataDependentInit(Protocol):
    """A transform whose parameters can be initialized from data, such as ActNorm and PLUAffine.

    Examples:
        >>> from pyro_vmonf.transforms import ActNorm, Reverse
        >>> from pyro_vmonf.transforms.stacking import DataDependentInit
        >>> isinstance(ActNorm(2), DataDependentInit), isinstance(Reverse(), DataDependentInit)
        (True, False)
    """

    def initialize(self, y: Tensor, weights: Tensor) -> None:
        """Sets the parameters from outputs of the transform.

        Args:
            y: The outputs ``(K, N, D)``, those of each component.
            weights: The weight of each point in each component, ``(K, N)``.
        """


@runtime_checkable
class GaussianInit(Protocol):
    """A transform that can turn N(0, I) into given Gaussians, such as PLUAffine, Whitening and ActNorm.

    Attributes:
        covariance_type: ``"full"`` where the covariances may be any, ``"diag"`` where they must be diagonal.

    Examples:
        >>> from pyro_vmonf.transforms import ActNorm, Reverse
        >>> from pyro_vmonf.transforms.stacking import GaussianInit
        >>> isinstance(ActNorm(2), GaussianInit), isinstance(Reverse(), GaussianInit)
        (True, False)
    """

    covariance_type: ClassVar[str]

    def set_gaussians(self, means: Tensor, covariances: Tensor) -> None:
        """Sets the parameters so that the images of N(0, I) have these means and covariances.

        Args:
            means: The means, ``(K, D)``, or ``(D,)`` for a transform without a component axis.
            covariances: The covariances, positive definite, ``(K, D, D)`` or ``(D, D)``.
        """


class Stacked(nn.Module):
    """A module whose own tensors may have a leading component axis.

    With ``components=K`` every parameter and buffer has the shape ``(K, *shape)``, or ``(1, *shape)`` where all
    components have the same values, as in a mask. With ``components=None`` it has the shape ``shape``, the module
    takes inputs without a component axis, and it is *shared* by all components when an input has one.

    Args:
        components: The number K of components, or None for tensors without a component axis.

    Raises:
        ValueError: If ``components`` is not a positive integer or None.

    Examples:
        >>> from pyro_vmonf.transforms import Stacked
        >>> Stacked(components=3).stack(2, 5)
        (3, 2, 5)
        >>> Stacked().stack(2, 5)
        (2, 5)
    """

    components: int | None

    def __init__(self, components: int | None = None) -> None:
        super().__init__()
        self.components = None if components is None else check_count("components", components)

    def stack(self, *shape: int) -> tuple[int, ...]:
        """Returns the shape of a tensor of which each component has its own: ``shape``, after K where there is one."""
        return shape if self.components is None else (self.components, *shape)

    def extra_repr(self) -> str:
        """Returns the settings: every public attribute that is a number."""
        public = ((name, value) for name, value in vars(self).items() if name != "training" and name[0] != "_")
        return ", ".join(f"{name}={value}" for name, value in public if isinstance(value, int | float))


def stacked_size(module: nn.Module) -> int | None:
    """Returns the number K of components whose tensors ``module`` holds, or None if all its tensors are shared.

    Args:
        module: A module, any of whose parts may be :class:`Stacked`.

    Raises:
        ValueError: If its parts have different numbers of components.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import ActNorm
        >>> from pyro_vmonf.transforms.stacking import stacked_size
        >>> stacked_size(torch.nn.ModuleList([ActNorm(2), ActNorm(2, components=3)]))
        3
    """
    sizes = {m.components for m in module.modules() if isinstance(m, Stacked)} - {None}
    if len(sizes) > 1:
        raise ValueError(f"transforms: expected one number of components, got {sorted(sizes, key=str)}")
    return sizes.pop() if sizes else None


def select(module: Module, k: int) -> Module:
    """Returns a copy of ``module`` for component ``k`` alone, without a component axis.

    Its tensors are views of those of ``module``: they share memory, and gradients flow back into it.

    Args:
        module: A module, any of whose parts may be :class:`Stacked`.
        k: The index of the component, from 0 to K − 1.

    Examples:
        >>> from pyro_vmonf.transforms import ActNorm, select
        >>> select(ActNorm(2, components=3), 1).shift.shape
        torch.Size([2])
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
    """Removes what Pyro's transforms in ``module`` store of their last input.

    Pyro compares inputs by identity, so that the same tensor would be scored with the old parameters after an
    optimizer's step. The stored tensors also keep the autograd graph in memory, and prevent ``copy.deepcopy``.

    Args:
        module: A module, any of whose parts may be a transform.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import affine_coupling, clear_caches
        >>> transform = affine_coupling(2)
        >>> y = transform(torch.zeros(1, 2))
        >>> clear_caches(transform)
        >>> transform._cached_x_y
        (None, None)
    """
    for part in parts_of(module):
        if isinstance(part, TransformModule):
            state = vars(part)
            for name in state:
                if name.startswith("_cached_"):
                    state[name] = (None, None) if name == "_cached_x_y" else None


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Returns a module and all its parts, each once, as ``modules`` does in several times as long."""
    found, seen = [module], {id(module)}
    for part in found:  # which grows
        for child in part._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


def bounded(raw: Tensor, bound: float) -> Tensor:
    """Returns ``bound · tanh(raw / bound)``, which is about ``raw`` near zero and never exceeds ``±bound``.

    Args:
        raw: Unbounded numbers, of any shape.
        bound: The largest absolute value of the result.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms.stacking import bounded
        >>> bounded(torch.tensor([0.1, 10.0]), 1.0)
        tensor([0.0997, 1.0000])
    """
    return torch.tanh(raw) if bound == 1 else bound * torch.tanh(raw / bound)


def unbounded(value: Tensor, bound: float) -> Tensor:
    """Returns the inverse of :func:`bounded`, where ``value`` is first clipped to 99.9 % of the bound.

    Args:
        value: Numbers between ``-bound`` and ``bound``, of any shape.
        bound: The bound that :func:`bounded` is given.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms.stacking import bounded, unbounded
        >>> bounded(unbounded(torch.tensor([0.5, 2.0]), 1.0), 1.0)
        tensor([0.5000, 0.9990])
    """
    return bound * torch.atanh((value / bound).clamp(-0.999, 0.999))
