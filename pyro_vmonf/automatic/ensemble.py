"""Several mixtures with their encoders, of one architecture, evaluated at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, cast

import torch
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.warps import Warp
from pyro_vmonf.components.stacked import HALF_LOG_TWO_PI
from pyro_vmonf.guides.discriminant import DiscriminantNetwork
from pyro_vmonf.transforms.stacking import Stacked, clear_caches
from pyro_vmonf.transforms.whitening import Whitening

__all__ = ["Ensemble", "Gaussians"]


@dataclass(frozen=True)
class Gaussians:
    """The Gaussian mixtures from which V mixtures begin.

    Attributes:
        log_weights: The logarithms of the weights, ``(V, K)``.
        means: The means, ``(V, K, D)``.
        covariances: The covariances, ``(V, K, D, D)``.
    """

    log_weights: Tensor
    means: Tensor
    covariances: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Gaussians"]) -> "Gaussians":
        """Returns the mixtures of all parts."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def weighted(self, weights: Tensor) -> "Gaussians":
        """Returns the same Gaussians with the given weights ``(K,)``."""
        return Gaussians(weights.log().to(self.log_weights).expand_as(self.log_weights), self.means, self.covariances)


Place: TypeAlias = tuple[str, dict[str, Any], str]
"""The name of a tensor, and the table and the key under which its module has it."""


class Ensemble(nn.Module):
    """V mixtures of K flows and their encoders; each begins as a Gaussian mixture, with its responsibilities as q(z|x).

    Args:
        features: The number D of features.
        n_components: The number K of components of each mixture.
        warp: What the flows add to the Gaussians.
        size: The number V of mixtures.
        has_learned_weights: Whether the weights of the components are trained, or stay those of the Gaussians.
    """

    def __init__(
        self, features: int, n_components: int, warp: Warp, size: int, *, has_learned_weights: bool = True
    ) -> None:
        super().__init__()
        self.features, self.n_components, self.warp, self.size = features, n_components, warp, size
        self.marginal = nn.ModuleList(warp.marginal_parts(features, size))
        self.shared = nn.ModuleList(warp.shared_parts(features, size))
        self.private = nn.ModuleList(warp.private_parts(features, n_components * size))
        self.encoder = DiscriminantNetwork(features, n_components, stack=size)
        self.has_learned_weights = has_learned_weights
        self.log_weights = nn.Parameter(torch.zeros(size, n_components))

    @cached_property
    def places(self) -> list[Place]:
        """Where its tensors are; walks over its modules would take longer than the copies that they are made for."""
        return list(places_of(self))

    @property
    def whitening(self) -> Whitening:
        """The map between each component's Gaussian and N(0, I)."""
        return next(part for part in self.private if isinstance(part, Whitening))

    def groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Returns the parameters of the flows, and those of the weights and the encoders."""
        weights = [self.log_weights] if self.has_learned_weights else []
        flows = [*self.marginal.parameters(), *self.shared.parameters(), *self.private.parameters()]
        return flows, [*weights, *self.encoder.parameters()]

    @torch.no_grad()
    def set_gaussians(self, start: Gaussians) -> None:
        """Sets the Gaussians of all mixtures, and the discriminants of their encoders."""
        means, covariances = start.means.flatten(0, 1), start.covariances.flatten(0, 1)
        self.log_weights.copy_(start.log_weights)
        self.whitening.set_gaussians(means, covariances)
        self.encoder.set_gaussians(start.log_weights.flatten(), means, covariances)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns log p(x, z) and log q(z | x), both ``(V, K, N)``, of points ``(V, N, D)``."""
        seen, by_feature = through(self.marginal, x)
        u, log_det = through(self.shared, seen)
        log_det = log_det + by_feature
        copies = u.unsqueeze(1).expand(-1, self.n_components, -1, -1).flatten(0, 1)
        u, own = through(self.private, copies)
        base = (-0.5 * u.square() - HALF_LOG_TWO_PI).sum(-1) - own
        table = base.unflatten(0, (self.size, self.n_components))
        if isinstance(log_det, Tensor):
            table = table - log_det.unsqueeze(1)
        log_joint = table + self.log_weights.log_softmax(-1).unsqueeze(-1)
        return log_joint, self.encoder.table(seen).log_softmax(1)

    def log_q(self, x: Tensor) -> Tensor:
        """Returns log q(z | x) alone, ``(V, K, N)``, of points ``(V, N, D)``."""
        return self.encoder.table(through(self.marginal, x)[0]).log_softmax(1)

    def of(self, rows: Tensor) -> "Ensemble":
        """Returns an ensemble of some of the mixtures, with parameters of its own."""
        with isolated_random_state(0):
            part = Ensemble(
                self.features, self.n_components, self.warp, len(rows), has_learned_weights=self.has_learned_weights
            )
        part = part.to(self.log_weights)
        part.copy_from(self, rows.tolist())
        return part

    @torch.no_grad()
    def copy_from(self, other: "Ensemble", rows: Sequence[int]) -> None:
        """Takes the parameters of some mixtures of another ensemble, whose warp may lack some of this one's transforms.

        What this one adds stays as it is. It has as many mixtures as there are ``rows``.
        """
        theirs = dict(tensors_of(other))
        for name, tensor in tensors_of(self):
            if name in theirs:
                tensor.copy_(theirs[name][list(rows)])


def through(transforms: nn.ModuleList, x: Tensor) -> tuple[Tensor, Tensor | float]:
    """Returns the images of data x at the base, and the sum of log|det J| of the transforms from there to x."""
    total: Tensor | float = 0.0
    for module in reversed([*transforms]):  # as a plain list, since a ModuleList looks each up by its name
        transform = cast(TransformModule, module)
        u = cast(Tensor, transform._inv_call(x))
        total = total + transform.log_abs_det_jacobian(u, x)
        x = u
    clear_caches(transforms)
    return x, total


def tensors_of(ensemble: Ensemble) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters and buffers of all mixtures as views ``(V, …)``, by names that hold for any warp."""
    for name, owned, key in ensemble.places:
        yield name, owned[key].detach().view(ensemble.size, -1)
    yield "log_weights", ensemble.log_weights.detach()


def places_of(ensemble: Ensemble) -> Iterator[Place]:
    """Yields where the tensors of all mixtures are, by names that hold for any warp."""
    for kind, part in named_parts(ensemble):
        for owner_name, owner in part.named_modules():
            for owned in (owner._parameters, owner._buffers):
                for name, tensor in owned.items():
                    if tensor is not None and (not isinstance(owner, Stacked) or len(tensor) == owner.components):
                        yield f"{kind}.{owner_name}.{name}", owned, name


def named_parts(ensemble: Ensemble) -> Iterator[tuple[str, nn.Module]]:
    """Yields the parts of an ensemble: splines and affine couplings by their kind and number."""
    warp = ensemble.warp
    kinds = [*[f"affine{i}" for i in range(warp.affine)], *[f"splines{i}" for i in range(warp.splines)]]
    own = [*[f"private{i}" for i in range(warp.private)], "whitening"]
    shared = [part for part in ensemble.shared if list(part.parameters())]
    private = [part for part in ensemble.private if list(part.parameters())]
    yield from zip(kinds, shared, strict=False)
    yield from zip(own, private, strict=True)
    for part in ensemble.marginal:
        yield "marginal", part
    yield "encoder", ensemble.encoder
