"""Components of different architectures, side by side."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from pyro_vmonf.components.base import Components

__all__ = ["FlowList"]


class FlowList(Components):
    """Any distributions at all, of any architecture each; a stacked part counts for all its components.

    Args:
        members: each one a distribution (a Pyro flow, a plain ``Normal(…).to_event(1)``: its own tensors stay fixed and
            are no part of the ``state_dict``, transforms that are modules are trained), a module that returns a
            distribution when called (a zuko flow), or another :class:`Components`, such as ``RealNVP(2, 3)``, whose
            components all join.

    Raises:
        TypeError: for a member of another kind.
        ValueError: for no member, a distribution with a batch shape or with tensors that require gradients, or event
            shapes that differ.
    """

    def __init__(self, members: Sequence[Components | nn.Module | Distribution]) -> None:
        super().__init__()
        if not members:
            raise ValueError("members: expected at least one, got none")
        parts = [as_components(f"members[{i}]", member) for i, member in enumerate(members)]
        shapes = [tuple(part.event_shape) for part in parts]
        if len(set(shapes)) > 1:
            raise ValueError(f"members: expected one event shape, got {shapes}")
        self.members = nn.ModuleList(parts)
        self.event_shape = parts[0].event_shape
        self.n_components = sum(part.n_components for part in parts)

    def parts(self) -> list[Components]:
        """The members, each as :class:`Components`."""
        return [cast(Components, member) for member in self.members]

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.cat([part._log_prob(x) for part in self.parts()])

    def initialize(self, x: Tensor, responsibilities: Tensor | None = None) -> list[int]:
        weights = x.new_ones(len(x), self.n_components) if responsibilities is None else responsibilities
        not_set: list[int] = []
        first = 0
        for part in self.parts():
            unset = part.initialize(x, weights[:, first : first + part.n_components])
            not_set += [first + k for k in unset]
            first += part.n_components
        return not_set

    def component(self, k: int) -> Distribution:
        index = k
        for part in self.parts():
            if 0 <= index < part.n_components:
                return part.component(index)
            index -= part.n_components
        raise ValueError(f"k: expected a component from 0 to {self.n_components - 1}, got {k}")


class Single(Components):
    """One distribution, or one module that returns it, as a :class:`Components` with K = 1."""

    n_components = 1

    def __init__(self, name: str, member: nn.Module | Distribution) -> None:
        super().__init__()
        self.member = member
        self.distribution_parts = list(iterate_parts(member)) if isinstance(member, Distribution) else []
        # Transforms may be modules with parameters to train; nothing else of a plain distribution is trained.
        self.transform_modules = nn.ModuleList(part for part in self.distribution_parts if isinstance(part, nn.Module))
        for part in self.distribution_parts:
            if not isinstance(part, nn.Module) and any(t.requires_grad for t in tensors_of(part).values()):
                raise ValueError(
                    f"{name}: expected a distribution whose own tensors are fixed, got one that requires gradients; "
                    "to train it pass a module that returns the distribution"
                )
        distribution = self.component(0)
        if not isinstance(distribution, Distribution):
            raise TypeError(f"{name}: expected a module that returns a distribution, got {type(distribution).__name__}")
        if distribution.batch_shape:
            raise ValueError(
                f"{name}: expected an empty batch shape (see .to_event), got {tuple(distribution.batch_shape)}"
            )
        self.event_shape = distribution.event_shape

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.component(0).log_prob(x).unsqueeze(0)

    def component(self, k: int) -> Distribution:
        distribution: Distribution = self.member if isinstance(self.member, Distribution) else self.member()
        return distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Single":
        """Moves a plain distribution's own tensors with the module (``.to``, ``.double``, ``.cuda``)."""
        for part in self.distribution_parts:
            if not isinstance(part, nn.Module):
                vars(part).update({key: fn(tensor) for key, tensor in tensors_of(part).items()})
        return cast("Single", super()._apply(fn, recurse))


def as_components(name: str, member: object) -> Components:
    """``member`` as :class:`Components`; raises ``TypeError`` with its ``name`` if it is of another kind."""
    if isinstance(member, Components):
        return member
    if isinstance(member, Distribution | nn.Module):
        return Single(name, member)
    raise TypeError(
        f"{name}: expected a distribution, a module that returns one, or Components, got {type(member).__name__}"
    )


def iterate_parts(owner: object, seen: set[int] | None = None) -> Iterator[Any]:
    """A distribution and all that it is made of: distributions, transforms and modules, each once, modules whole."""
    seen = set() if seen is None else seen
    if id(owner) in seen:
        return
    seen.add(id(owner))
    yield owner
    if isinstance(owner, nn.Module):
        return
    for value in vars(owner).values():
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, Distribution | Transform):
                yield from iterate_parts(part, seen)


def tensors_of(owner: object) -> dict[str, Tensor]:
    """The tensors among an object's attributes."""
    return {key: value for key, value in vars(owner).items() if isinstance(value, Tensor)}
