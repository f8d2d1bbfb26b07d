"""Components of different architectures, side by side."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from pyro_vmonf.components.base import Components

__all__ = ["FlowList"]


class FlowList(Components):
    """Any distributions at all, of any architecture each; a stacked part counts for all its components.

    Args:
        members: each one a distribution (a Pyro flow, a plain ``Normal``: its own tensors stay fixed, transforms that
            are modules are trained), a module that returns a distribution when called (a zuko flow), or another
            :class:`Components`, such as ``RealNVP(2, 3)``, whose components all join.

    Raises:
        TypeError: for a member of another kind.
        ValueError: for no member, a distribution with a batch shape, or event shapes that differ.
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

    def table(self, x: Tensor) -> Tensor:
        return torch.cat([part.table(x) for part in self.parts()])

    def component(self, k: int) -> Distribution:
        place = k
        for part in self.parts():
            if 0 <= place < part.n_components:
                return part.component(place)
            place -= part.n_components
        raise ValueError(f"k: expected a component from 0 to {self.n_components - 1}, got {k}")


class Single(Components):
    """One distribution, or one module that returns it, as a :class:`Components` with K = 1."""

    n_components = 1

    def __init__(self, name: str, member: nn.Module | Distribution) -> None:
        super().__init__()
        self.member = member
        if isinstance(member, Distribution):  # its transforms may be modules with parameters to train
            self.transforms = nn.ModuleList(t for t in transforms_of(member) if isinstance(t, nn.Module))
        distribution = self.component(0)
        if not isinstance(distribution, Distribution):
            raise TypeError(f"{name}: expected a module that returns a distribution, got {type(distribution).__name__}")
        if distribution.batch_shape:
            raise ValueError(
                f"{name}: expected an empty batch shape (see .to_event), got {tuple(distribution.batch_shape)}"
            )
        self.event_shape = distribution.event_shape

    def table(self, x: Tensor) -> Tensor:
        return self.component(0).log_prob(x).unsqueeze(0)

    def component(self, k: int) -> Distribution:
        distribution: Distribution = self.member if isinstance(self.member, Distribution) else self.member()
        return distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Single":
        """Moves a plain distribution's own tensors with the module (``.to``, ``.double``, ``.cuda``)."""
        if isinstance(self.member, Distribution):
            apply_to_tensors(self.member, fn)
        return cast("Single", super()._apply(fn, recurse))


def as_components(name: str, member: object) -> Components:
    if isinstance(member, Components):
        return member
    if isinstance(member, Distribution | nn.Module):
        return Single(name, member)
    raise TypeError(
        f"{name}: expected a distribution, a module that returns one, or Components, got {type(member).__name__}"
    )


def transforms_of(distribution: Distribution) -> list[Any]:
    """The transforms of a transformed distribution, an inverted one replaced by the one it inverts."""
    found: list[Transform] = getattr(distribution, "transforms", [])
    return [t if isinstance(t, nn.Module) else t.inv for t in found]


def apply_to_tensors(owner: object, fn: Callable[[Tensor], Tensor]) -> None:
    """Replaces every tensor that a distribution (and those inside it) holds by ``fn`` of it."""
    for name, value in vars(owner).items():
        if isinstance(value, Tensor):
            vars(owner)[name] = fn(value)
        elif isinstance(value, Distribution):
            apply_to_tensors(value, fn)
