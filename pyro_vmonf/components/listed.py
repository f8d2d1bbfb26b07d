"""Components of different architectures, side by side."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from pyro_vmonf.components.base import Components

__all__ = ["FlowList"]

Part: TypeAlias = Distribution | Transform | nn.Module


class FlowList(Components):
    """Components of different architectures; the components of a member count one by one.

    Args:
        members: The members, in order. Each is a distribution, such as a Pyro flow or ``Normal(…).to_event(1)``, whose
            own tensors are fixed and not in the ``state_dict``, while those of its transforms that are modules are
            trained; or a module that returns a distribution when it is called, such as a zuko flow; or another
            :class:`Components`, such as ``RealNVP(2, 3)``.

    Raises:
        TypeError: If a member is of another kind.
        ValueError: If there is no member, a distribution has a batch shape or tensors that require gradients, or the
            event shapes differ.

    Examples:
        >>> import torch
        >>> from pyro.distributions import Normal
        >>> from pyro_vmonf import FlowList, RealNVP
        >>> noise = Normal(torch.zeros(2), 10 * torch.ones(2)).to_event(1)
        >>> components = FlowList([RealNVP(2, 3), noise])
        >>> components.n_components
        4
        >>> components.log_prob(torch.zeros(10, 2)).shape
        torch.Size([4, 10])
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
        """Returns the members, each as :class:`Components`."""
        return [cast(Components, member) for member in self.members]

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.cat([part._log_prob(x) for part in self.parts()])

    def initialize(self, x: Tensor, responsibilities: Tensor | None = None) -> list[int]:
        """Initializes the components of each member from data, where its kind allows it.

        Args:
            x: The points ``(N, *event)``.
            responsibilities: The share that each component has of each point, ``(N, K)``; equal shares if it is not
                given.

        Returns:
            The components that were not initialized, because no part of them can be.
        """
        weights = x.new_ones(len(x), self.n_components) if responsibilities is None else responsibilities
        not_set: list[int] = []
        first = 0
        for part in self.parts():
            unset = part.initialize(x, weights[:, first : first + part.n_components])
            not_set += [first + k for k in unset]
            first += part.n_components
        return not_set

    @property
    def covariance_type(self) -> str | None:
        """The covariances with which all members that can do so begin as Gaussians: ``"full"``, ``"diag"``, or None."""
        kinds = {part.covariance_type for part in self.parts()}
        return next((kind for kind in ("diag", "full") if kind in kinds), None)

    def set_gaussians(self, means: Tensor, covariances: Tensor) -> list[int]:
        """Makes the components of each member Gaussians, where its kind allows it, as those of one kind."""
        others: list[int] = []
        first = 0
        for part in self.parts():
            own = slice(first, first + part.n_components)
            others += [first + k for k in part.set_gaussians(means[own], covariances[own])]
            first += part.n_components
        return others

    def component(self, k: int) -> Distribution:
        """Returns component k alone, as a distribution with an empty ``batch_shape``.

        Args:
            k: The index of the component, from 0 to K − 1.

        Raises:
            ValueError: If there is no such component.
        """
        index = k
        for part in self.parts():
            if 0 <= index < part.n_components:
                return part.component(index)
            index -= part.n_components
        raise ValueError(f"k: expected a component from 0 to {self.n_components - 1}, got {k}")

    def extra_repr(self) -> str:
        """Returns the number of components and the shape of one x."""
        return f"n_components={self.n_components}, event_shape={tuple(self.event_shape)}"


class Single(Components):
    """One distribution, or one module that returns one, as :class:`Components` with K = 1."""

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
        """Returns the distribution."""
        distribution: Distribution = self.member if isinstance(self.member, Distribution) else self.member()
        return distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Single":
        """Applies ``.to``, ``.double`` or ``.cuda`` to a plain distribution's own tensors too."""
        for part in self.distribution_parts:
            if not isinstance(part, nn.Module):
                vars(part).update({key: fn(tensor) for key, tensor in tensors_of(part).items()})
        return cast("Single", super()._apply(fn, recurse))


def as_components(name: str, member: object) -> Components:
    """Returns ``member`` as :class:`Components`; raises ``TypeError`` that names it if it is of another kind."""
    if isinstance(member, Components):
        return member
    if isinstance(member, Distribution | nn.Module):
        return Single(name, member)
    raise TypeError(
        f"{name}: expected a distribution, a module that returns one, or Components, got {type(member).__name__}"
    )


def iterate_parts(owner: Part, seen: set[int] | None = None) -> Iterator[Part]:
    """Yields a distribution and the distributions, transforms and modules in it, each once, and no parts of modules."""
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
    """Returns the tensors among an object's attributes."""
    return {key: value for key, value in vars(owner).items() if isinstance(value, Tensor)}
