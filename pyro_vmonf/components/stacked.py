"""K flows of one architecture as one batched distribution."""

from collections.abc import Sequence
from typing import cast

import torch
from pyro.distributions import Normal, TorchDistribution, TransformedDistribution
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn

from pyro_vmonf._validation import check_events
from pyro_vmonf.components.base import Components
from pyro_vmonf.transforms.stacking import DataDependentInit, clear_caches, select, stacked_size

__all__ = ["StackedFlow", "StandardNormal"]


class StandardNormal(nn.Module):
    """N(0, I) over tensors of a given shape; a module, so that it moves with its flow.

    Args:
        event_shape: the shape of one draw.
    """

    origin: Tensor

    def __init__(self, *event_shape: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(event_shape))

    def forward(self) -> TorchDistribution:
        """The distribution."""
        return Normal(self.origin, torch.ones_like(self.origin), validate_args=False).to_event(self.origin.dim())


class StackedFlow(Components):
    r"""K flows held as one Pyro ``TransformedDistribution``: ``x = T_M(… T_1(u))``, u from the base.

    log p(x | z = k) = log p_u(u) − Σ_m log|det J_{T_m}|, for all k in one pass. A transform with K sets of weights is
    *private*; one with a single set is *shared* by all components.

    Args:
        base: a module that returns the base distribution when called, as :class:`StandardNormal`.
        transforms: from the base to x.

    Raises:
        TypeError: if a transform is not a module (use :class:`~pyro_vmonf.transforms.Inverse` for ``T.inv``).
        ValueError: if private transforms disagree on K.
    """

    def __init__(self, base: nn.Module, transforms: Sequence[TransformModule]) -> None:
        super().__init__()
        if not isinstance(base, nn.Module):
            raise TypeError(
                f"base: expected a module that returns a distribution (see StandardNormal), got {type(base).__name__}"
            )
        for i, transform in enumerate(transforms):
            if not isinstance(transform, TransformModule):
                raise TypeError(f"transforms[{i}]: expected a Pyro TransformModule, got {type(transform).__name__}")
        self.base = base
        self.transforms = nn.ModuleList(transforms)
        self.n_components = stacked_size(self.transforms) or 1
        self.event_shape = base().event_shape

    def distribution(self) -> TorchDistribution:
        """All K flows as one distribution: scores x of shape ``(K, N, *event)`` to ``(K, N)``."""
        return TransformedDistribution(self.base(), list(self.transforms), validate_args=False)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.distribution().log_prob(x.expand(self.n_components, *x.shape))

    def component(self, k: int) -> TorchDistribution:
        if not 0 <= k < self.n_components:
            raise ValueError(f"k: expected a component from 0 to {self.n_components - 1}, got {k}")
        return TransformedDistribution(self.base(), list(select(self.transforms, k)), validate_args=False)

    @torch.no_grad()
    def initialize(self, x: Tensor, responsibilities: Tensor | None = None) -> list[int]:
        """Starts the transforms that can follow the data (ActNorm, PLUAffine) from those that reach them.

        Args:
            x: ``(N, *event)``.
            responsibilities: each component's share of each point, ``(N, K)``; equal shares if not given.

        Returns:
            all components if there is no such transform, else none.

        Raises:
            TypeError: if x is not a floating-point tensor.
            ValueError: if a shape is wrong, there are fewer than 2 points, or a component has no share of any point.
        """
        check_events("x", x, self.event_shape)
        expected = (len(x), self.n_components)
        weights = x.new_ones(expected) if responsibilities is None else responsibilities.to(x)
        if weights.shape != expected or len(x) < 2:
            raise ValueError(f"responsibilities: expected shape (N ≥ 2, K) = {expected}, got {tuple(weights.shape)}")
        if not bool((weights >= 0).all()) or not bool((weights.sum(0) > 0).all()):
            raise ValueError(
                f"responsibilities: expected shares ≥ 0, some for each component, got {weights.sum(0)} in all"
            )
        y = x.expand(self.n_components, *x.shape)
        for transform in reversed(self.transforms):
            step = cast(TransformModule, transform)
            if isinstance(step, DataDependentInit):
                step.initialize(y, weights.T)
            y = step.inv(y)
        clear_caches(self)
        return [] if any(isinstance(t, DataDependentInit) for t in self.transforms) else list(range(self.n_components))

    def extra_repr(self) -> str:
        return f"n_components={self.n_components}, event_shape={tuple(self.event_shape)}"


def private_from(shared: int, transforms: int, components: int) -> list[int | None]:
    """For each of ``transforms`` steps from the base, how many sets of weights: None for the first ``shared``."""
    if isinstance(shared, bool) or not isinstance(shared, int) or not 0 <= shared < transforms:
        raise ValueError(f"shared: expected an integer from 0 to transforms - 1 = {transforms - 1}, got {shared!r}")
    return [None if i < shared else components for i in range(transforms)]
