"""The interface by which mixtures, guides, fits and metrics use p(x | z)."""

import math
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pyro_vmonf._validation import check_events
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["Components", "ConditionalDistribution"]


class Components(nn.Module):
    """p(x | z) for all K components at once: the interface that everything else uses.

    A subclass sets :attr:`n_components` and :attr:`event_shape` and defines :meth:`_log_prob` and :meth:`component`.

    Attributes:
        n_components: The number K of components.
        event_shape: The shape of one x.

    Examples:
        >>> import torch
        >>> from pyro.distributions import Normal
        >>> from pyro_vmonf.components import Components
        >>> class Gaussians(Components):
        ...     n_components, event_shape = 3, torch.Size([2])
        ...     def component(self, k):
        ...         return Normal(torch.full((2,), float(k)), 1.0).to_event(1)
        ...     def _log_prob(self, x):
        ...         return torch.stack([self.component(k).log_prob(x) for k in range(3)])
        >>> Gaussians().log_prob(torch.zeros(10, 2)).shape
        torch.Size([3, 10])
        >>> Gaussians().sample(torch.tensor([0, 2])).shape
        torch.Size([2, 2])
    """

    n_components: int
    event_shape: Size

    def _log_prob(self, x: Tensor) -> Tensor:
        """Returns log p(x_n | z = k) in nats ``(K, N)``, with one evaluation of each component.

        Args:
            x: The points ``(N, *event)``.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method _log_prob(x)")

    def component(self, k: int) -> torch.distributions.Distribution:
        """Returns component k alone, as a distribution with an empty ``batch_shape``.

        It shares the tensors of the whole, and is not valid any more after the parameters have changed.

        Args:
            k: The index of the component, from 0 to K − 1.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method component(k)")

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns log p(x | z = k) in nats, ``(K, *batch)``.

        Args:
            x: The points ``(*batch, *event)``.

        Raises:
            TypeError: If x is not a floating-point tensor.
            ValueError: If its last dimensions are not ``event_shape``.
        """
        check_events("x", x, self.event_shape)
        batch = x.shape[: x.dim() - len(self.event_shape)]
        clear_caches(self)
        table = self._log_prob(x.reshape(-1, *self.event_shape))
        clear_caches(self)
        return table.reshape(self.n_components, *batch)

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """Draws one x for each z, ``(*batch, *event)``; component k draws only where z is k.

        Args:
            z: The components ``(*batch)``, as integers.

        Raises:
            TypeError: If z does not hold integers.
            ValueError: If one is outside 0 … K − 1.
        """
        flat = self.validate_z(z).reshape(-1)
        x: Tensor | None = None
        for k in flat.unique().tolist():
            rows = (flat == k).nonzero().squeeze(-1)
            drawn = self.component(k).sample(Size([len(rows)]))
            x = drawn.new_empty(len(flat), *self.event_shape) if x is None else x
            x[rows] = drawn
        if x is None:
            x = torch.empty(0, *self.event_shape, device=z.device)
        return x.reshape(*z.shape, *self.event_shape)

    def initialize(self, x: Tensor, responsibilities: Tensor | None = None) -> list[int]:
        """Initializes the components from data, where their kind allows it; those of this base class do not change.

        Args:
            x: The points ``(N, *event)``.
            responsibilities: The share that each component has of each point, ``(N, K)``; equal shares if it is not
                given.

        Returns:
            The components that were not initialized, because no part of them can be.
        """
        return list(range(self.n_components))

    @property
    def covariance_type(self) -> str | None:
        """The covariances with which components can begin as Gaussians: ``"full"``, ``"diag"``, or None where none can.

        See :meth:`set_gaussians`; it is None for components of this base class.
        """
        return None

    def set_gaussians(self, means: Tensor, covariances: Tensor) -> list[int]:
        """Makes the components Gaussians, where their kind allows it; those of this base class do not change.

        Args:
            means: The means ``(K, D)``.
            covariances: The covariances ``(K, D, D)``, positive definite.

        Returns:
            The components that cannot be these Gaussians, and are as they were.
        """
        return list(range(self.n_components))

    def conditional(self, z: Tensor) -> "ConditionalDistribution":
        """Returns p(x | z), for ``pyro.sample("x", components.conditional(z), obs=x)``.

        Args:
            z: The components ``(*batch)``, as integers; they may be enumerated by Pyro.

        Raises:
            TypeError: If z does not hold integers.
            ValueError: If one is outside 0 … K − 1. Both are checked only where validation is enabled.
        """
        return ConditionalDistribution(self, z)

    def validate_z(self, z: Tensor) -> Tensor:
        """Returns z as a ``LongTensor``.

        Args:
            z: The components, as integers of any shape.

        Raises:
            TypeError: If z is not a tensor of integers.
            ValueError: If one is outside 0 … K − 1.
        """
        if not isinstance(z, Tensor):
            raise TypeError(f"z: expected a tensor of integers, got {type(z).__name__}")
        if z.is_floating_point() or z.is_complex() or z.dtype == torch.bool:
            raise TypeError(f"z: expected integers, got {z.dtype}")
        if z.numel() and not 0 <= int(z.min()) <= int(z.max()) < self.n_components:
            raise ValueError(
                f"z: expected values from 0 to {self.n_components - 1}, got {int(z.min())} to {int(z.max())}"
            )
        return z.long()


class ConditionalDistribution(TorchDistribution):
    """p(x | z), with the batch shape of z and the event shape of one x. :meth:`Components.conditional` returns it.

    ``log_prob`` computes the ``(K, N)`` table once and indexes it by z, so that an enumerated z costs no more than K
    flows.

    Args:
        components: The components.
        z: The component of each x, ``(*batch)`` integers.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import RealNVP
        >>> from pyro_vmonf.components import ConditionalDistribution
        >>> x_given_z = ConditionalDistribution(RealNVP(2, 3), torch.tensor([0, 0, 1, 2]))
        >>> x_given_z.batch_shape, x_given_z.event_shape
        (torch.Size([4]), torch.Size([2]))
        >>> x_given_z.log_prob(torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch declares it so)

    def __init__(self, components: Components, z: Tensor) -> None:
        self.components = components
        self.z = components.validate_z(z) if torch.distributions.Distribution._validate_args else z
        super().__init__(z.shape, components.event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """All tensors of real numbers."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "ConditionalDistribution":
        """Returns the same distribution with z expanded to ``batch_shape``."""
        return ConditionalDistribution(self.components, self.z.expand(tuple(batch_shape)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws ``(*sample_shape, *batch, *event)``."""
        return self.components.sample(self.z.expand(Size(sample_shape) + self.batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log p(x | z) in nats, in the shape to which z and the points of ``value`` broadcast.

        Args:
            value: The points ``(*batch, *event)``.
        """
        table = self.components.log_prob(value)
        batch = table.shape[1:]
        shape = torch.broadcast_shapes(self.z.shape, batch)
        index = self.z.expand(shape).reshape(math.prod(shape[: len(shape) - len(batch)]), *batch)
        return table.gather(0, index).reshape(shape)
