"""K flows of one architecture as one batched distribution."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from pyro.distributions import Normal, TorchDistribution, TransformedDistribution  # pyright: ignore
from pyro.distributions.torch_transform import TransformModule
from torch import Size, Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pyro_vmonf._validation import check_events
from pyro_vmonf.components.base import Components
from pyro_vmonf.components.gaussian_start import begin_as_gaussians, gaussian_place
from pyro_vmonf.transforms.stacking import DataDependentInit, GaussianInit, clear_caches, select, stacked_size

__all__ = ["StackedFlow", "StandardNormal"]

HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2


class UnitNormal(Normal):  # pyright: ignore
    """N(0, 1), whose density takes half of the operations of a normal distribution with a mean and a scale."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns −½ value² − ½ log 2π."""
        return -0.5 * value.square() - HALF_LOG_TWO_PI


class StandardNormal(nn.Module):
    """A module that returns the distribution N(0, I) of tensors of a given shape.

    As a part of a flow it has the flow's device and floating-point type.

    Args:
        event_shape: The shape of one draw.

    Examples:
        >>> from pyro_vmonf.components import StandardNormal
        >>> StandardNormal(2)().event_shape
        torch.Size([2])
    """

    origin: Tensor

    def __init__(self, *event_shape: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(event_shape))

    def forward(self) -> TorchDistribution:
        """Returns the distribution."""
        return UnitNormal(self.origin, torch.ones_like(self.origin), validate_args=False).to_event(self.origin.dim())


class StackedFlow(Components):
    r"""K flows held as one Pyro ``TransformedDistribution``: ``x = T_M(… T_1(u))``, u from the base.

    log p(x | z = k) = log p_u(u) − Σ_m log|det J_{T_m}|, for all k in one pass. A transform with K sets of weights is
    *private*; one with a single set is *shared* by all components.

    Args:
        base: A module that returns the base distribution when it is called, such as :class:`StandardNormal`.
        transforms: The transforms, in order from the base to x.

    Raises:
        TypeError: If a transform is not a module; :class:`~pyro_vmonf.transforms.Inverse` stands for ``T.inv``.
        ValueError: If private transforms have different numbers of components.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.components import StackedFlow, StandardNormal
        >>> from pyro_vmonf.transforms import PLUAffine, affine_coupling
        >>> flows = StackedFlow(StandardNormal(2), [affine_coupling(2), PLUAffine(2, components=3)])
        >>> flows.log_prob(torch.zeros(10, 2)).shape
        torch.Size([3, 10])
        >>> flows.component(0).sample((5,)).shape
        torch.Size([5, 2])
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
        """Returns all K flows as one distribution, which scores x ``(K, N, *event)`` to ``(K, N)``."""
        return TransformedDistribution(self.base(), list(self.transforms), validate_args=False)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.distribution().log_prob(x.expand(self.n_components, *x.shape))

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """Draws one x for each z, ``(*batch, *event)``.

        All components draw in one pass where z names them about equally often, and otherwise one after the other. The
        points are the same for the same random numbers.

        Args:
            z: The components ``(*batch)``, as integers.

        Raises:
            TypeError: If z does not hold integers.
            ValueError: If one is outside 0 … K − 1.
        """
        flat = self.validate_z(z).reshape(-1)
        counts = flat.bincount(minlength=self.n_components)
        sizes = counts.tolist()
        # One pass draws as many points of each component as the most frequent one needs, at most twice as many in all.
        if not min(sizes) or self.n_components * max(sizes) > 2 * len(flat):
            return super().sample(z)
        base = self.base()
        x = pad_sequence([base.sample(Size([n])) for n in sizes], batch_first=True)
        for transform in self.transforms:
            x = cast(Tensor, transform(x))
        clear_caches(self)
        drawn = x[torch.arange(max(sizes), device=z.device) < counts.unsqueeze(-1)]
        return (
            torch.empty_like(drawn)
            .index_copy_(0, flat.argsort(stable=True), drawn)
            .reshape(*z.shape, *self.event_shape)
        )

    def component(self, k: int) -> TorchDistribution:
        """Returns flow k alone, as a distribution with an empty ``batch_shape``.

        It shares the tensors of the whole, and is not valid any more after the parameters have changed. Its points
        need at least one batch dimension: ``sample((n,))``, not ``sample()``.

        Args:
            k: The index of the component, from 0 to K − 1.

        Raises:
            ValueError: If there is no such component.
        """
        if not 0 <= k < self.n_components:
            raise ValueError(f"k: expected a component from 0 to {self.n_components - 1}, got {k}")
        return TransformedDistribution(self.base(), list(select(self.transforms, k)), validate_args=False)

    @torch.no_grad()
    def initialize(self, x: Tensor, responsibilities: Tensor | None = None) -> list[int]:
        """Initializes from data the transforms that allow it (ActNorm, PLUAffine), the one next to the data first.

        Args:
            x: The points ``(N, *event)``.
            responsibilities: The share that each component has of each point, ``(N, K)``; equal shares if it is not
                given.

        Returns:
            All components if there is no such transform, otherwise none.

        Raises:
            TypeError: If x is not a floating-point tensor.
            ValueError: If a shape is wrong, there are fewer than 2 points, or a component has no share of any point.
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
            y = cast(Tensor, step.inv(y))
        clear_caches(self)
        return [] if any(isinstance(t, DataDependentInit) for t in self.transforms) else list(range(self.n_components))

    @property
    def covariance_type(self) -> str | None:
        """The covariances with which the components can begin as Gaussians: ``"full"``, ``"diag"`` or None.

        They are full where each component has a :class:`~pyro_vmonf.transforms.PLUAffine` or a
        :class:`~pyro_vmonf.transforms.Whitening` of its own, diagonal where it has an
        :class:`~pyro_vmonf.transforms.ActNorm`.
        """
        place = gaussian_place(self.transforms, self.n_components)
        return None if place is None else cast(GaussianInit, self.transforms[place]).covariance_type

    def set_gaussians(self, means: Tensor, covariances: Tensor) -> list[int]:
        """Makes the components Gaussians, if the base is N(0, I) and all transforms but one begin as the identity.

        That one is an affine map of each component (see :attr:`covariance_type`), the nearest to x. The others may also
        reorder features; other maps that follow data (ActNorm, PLUAffine) are set to the identity.

        Args:
            means: The means ``(K, D)``.
            covariances: The covariances ``(K, D, D)``, positive definite.

        Returns:
            No component, or all of them if they cannot be these Gaussians, and are as they were.

        Raises:
            ValueError: If a shape is wrong.

        Examples:
            >>> import torch
            >>> from pyro_vmonf import MAF
            >>> flows = MAF(2, 3)
            >>> flows.set_gaussians(torch.ones(3, 2), 4 * torch.eye(2).expand(3, 2, 2))
            []
            >>> flows.component(0).log_prob(torch.ones(1, 2)).detach()  # −log 2π − log 4
            tensor([-3.2242])
        """
        k, d = self.n_components, math.prod(self.event_shape)
        for name, given, shape in (("means", means, (k, d)), ("covariances", covariances, (k, d, d))):
            if given.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {tuple(given.shape)}")
        can = len(self.event_shape) == 1 and begin_as_gaussians(self.transforms, self.base, means, covariances)
        return [] if can else list(range(k))

    def extra_repr(self) -> str:
        """Returns the number of components and the shape of one x."""
        return f"n_components={self.n_components}, event_shape={tuple(self.event_shape)}"
