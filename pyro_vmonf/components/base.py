"""The seam: what a mixture, a guide, a fit or a metric may know of p(x | z)."""

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pyro_vmonf._validation import check_events
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["Components", "ConditionalDistribution"]


class Components(nn.Module):
    """p(x | z) for all K components at once.

    A subclass sets :attr:`n_components` and :attr:`event_shape` and gives :meth:`_log_prob` and :meth:`component`.
    """

    n_components: int
    event_shape: Size

    def _log_prob(self, x: Tensor) -> Tensor:
        """log p(x_n | z = k) in nats: x ``(N, *event)`` → ``(K, N)``, every component evaluated once."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method _log_prob(x)")

    def component(self, k: int) -> torch.distributions.Distribution:
        """The k-th flow alone, as a distribution with ``event_shape`` and an empty ``batch_shape``.

        It shares the tensors of the whole, and is to be asked for again after the parameters have changed.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method component(k)")

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | z = k) in nats: x ``(*batch, *event)`` → ``(K, *batch)``.

        Raises:
            TypeError: if x is not a floating-point tensor.
            ValueError: if its trailing shape is not ``event_shape``.
        """
        check_events("x", x, self.event_shape)
        batch = x.shape[: x.dim() - len(self.event_shape)]
        clear_caches(self)
        table = self._log_prob(x.reshape(-1, *self.event_shape))
        clear_caches(self)
        return table.reshape(self.n_components, *batch)

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """One x for each z: ``(*batch)`` integers → ``(*batch, *event)``; component k draws only where z is k.

        Raises:
            TypeError: if z does not hold integers.
            ValueError: if one is outside 0 … K − 1.
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
        """Starts the components from data, where their kind allows it; this one does not.

        Args:
            x: ``(N, *event)``.
            responsibilities: each component's share of each point, ``(N, K)``; equal shares if not given.

        Returns:
            the components that have no part which can follow data, and are as they were.
        """
        return list(range(self.n_components))

    def conditional(self, z: Tensor) -> "ConditionalDistribution":
        """p(x | z) for ``pyro.sample("x", components.conditional(z), obs=x)``; z may be enumerated."""
        return ConditionalDistribution(self, z)

    def validate_z(self, z: Tensor) -> Tensor:
        """z as a ``LongTensor`` with values from 0 to K − 1; raises ``TypeError`` or ``ValueError`` if it is not."""
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
    """p(x | z): batch shape that of z, event shape that of one x. Made by :meth:`Components.conditional`.

    ``log_prob`` fills the ``(K, N)`` table once and indexes it by z, so an enumerated z costs no more than K flows.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch declares it so)

    def __init__(self, components: Components, z: Tensor) -> None:
        self.components = components
        self.z = components.validate_z(z) if torch.distributions.Distribution._validate_args else z
        super().__init__(z.shape, components.event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ConditionalDistribution":
        return ConditionalDistribution(self.components, self.z.expand(batch_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.components.sample(self.z.expand(Size(sample_shape) + self.batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        table = self.components.log_prob(value)
        batch = table.shape[1:]
        indices = torch.meshgrid(*(torch.arange(n, device=table.device) for n in batch), indexing="ij")
        return table[(self.z, *indices)]
