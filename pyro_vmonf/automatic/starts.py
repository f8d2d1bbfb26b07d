"""The clusterings that compete as starts, and the Gaussians of each on any part of the points."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Gaussians
from pyro_vmonf.automatic.folds import ranges_of
from pyro_vmonf.automatic.samples import assigned, start_from_sample
from pyro_vmonf.initialization.assignment import InitializationWarning
from pyro_vmonf.initialization.clustering import MIXTURES
from pyro_vmonf.initialization.gaussian_mixture import default_ridge, fit_gaussian_mixture
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.initializer import Initializer, Start
from pyro_vmonf.initialization.linkage import NoClustersError
from pyro_vmonf.initialization.mixture_settings import USUAL, MixtureSettings

__all__ = ["Candidate", "candidates", "clustered", "gaussians_on", "numbered"]

SAME = 0.98  # starts whose adjusted Rand index is greater run once
LEAST_SHARE = 0.02  # of each other component in a point of a hard clustering, in all


@dataclass(frozen=True)
class Candidate:
    """A clustering from which a fit may begin.

    Attributes:
        name: The name of its method.
        responsibilities: The share of each component in each point, ``(N, K)``.
        covariance_type: That of its Gaussians: ``"full"``, ``"tied"`` or ``"diag"``.
        is_mixture: Whether these are a fitted Gaussian mixture, not the Gaussians of hard clusters.
        agreeing: The names of methods that found nearly the same, and do not compete themselves.
        settings: How a Gaussian mixture is fitted to a part of the points.
        by_fold: With labels, the shares ``(N, K)`` as they are without the labels that each fold holds out.
    """

    name: str
    responsibilities: Tensor
    covariance_type: str = "full"
    is_mixture: bool = False
    agreeing: tuple[str, ...] = ()
    settings: MixtureSettings = USUAL
    by_fold: tuple[Tensor, ...] = ()

    def in_fold(self, fold: int) -> "Candidate":
        """Returns the candidate as it is without what a fold holds out."""
        return replace(self, responsibilities=self.by_fold[fold]) if self.by_fold else self

    @property
    def labels(self) -> Tensor:
        """The component with the greatest share in each point, ``(N,)``."""
        return self.responsibilities.argmax(1)

    def ordered(self, weight: Tensor) -> "Candidate":
        """Returns the same clustering with the greatest cluster first; the points have weights ``(N,)``."""
        sizes = (weight.unsqueeze(-1) * self.responsibilities).sum(0)
        return replace(self, responsibilities=self.responsibilities[:, sizes.argsort(descending=True, stable=True)])

    def extended(self, x: Tensor, more: Tensor) -> "Candidate":
        """Returns the clustering of points x and more; a further point has the mean shares of its neighbours in x."""
        if not len(more):
            return self
        return replace(
            self, responsibilities=torch.cat([self.responsibilities, assigned(more, x, self.responsibilities)])
        )


def candidates(
    initializers: Sequence[Initializer],
    x: Tensor,
    n_components: int,
    weight: Tensor,
    seed: int,
    *,
    may_fail: bool = False,
) -> list[Candidate]:
    """Returns the clusterings of the points, of any two that agree the first; those without K clusters are left out.

    Args:
        initializers: The methods.
        x: The points ``(N, D)``.
        n_components: The number K of components.
        weight: The weights of the points, ``(N,)``.
        seed: The seed of the methods.
        may_fail: Whether a method that raises an exception is left out, with a warning.

    Raises:
        ValueError: If none finds K clusters.

    Warns:
        InitializationWarning: If a method that may fail does.
    """
    found: list[Candidate] = []
    for one, name in zip(initializers, numbered([one.name for one in initializers]), strict=True):
        start = clustered(one, x, n_components, weight, seed, may_fail)
        if start is None:
            continue
        candidate = replace(as_candidate(one, start.responsibilities), name=name)
        sizes = candidate.labels.bincount(minlength=n_components)
        same = next((i for i, other in enumerate(found) if agree(candidate, other)), None)
        if same is not None:
            found[same] = replace(found[same], agreeing=(*found[same].agreeing, candidate.name))
        elif bool((sizes > 0).all()):
            found.append(candidate)
    if not found:
        names = [one.name for one in initializers]
        raise ValueError(f"initializer: expected a method that finds {n_components} clusters, but none of {names} does")
    return found


def clustered(
    initializer: Initializer, x: Tensor, n_components: int, weight: Tensor, seed: int, may_fail: bool
) -> Start | None:
    """Returns what an initializer finds, or None where it finds fewer than K clusters, or fails and may.

    A method known by its name sees features divided by their ranges.
    """
    seen = x
    if isinstance(initializer.method, str):
        ranges = ranges_of(x)
        seen, initializer = x / ranges, in_unit(initializer, ranges)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return start_from_sample(initializer, seen, n_components, weight, seed)
    except NoClustersError:
        return None
    except Exception as error:
        if not may_fail:
            raise
        message = f"initializer: {initializer.name!r} is left out, it raised {type(error).__name__}: {error}"
        warnings.warn(message, InitializationWarning, stacklevel=4)
        return None


def in_unit(initializer: Initializer, unit: Tensor) -> Initializer:
    """Returns an initializer of features that are divided by a unit ``(D,)``."""
    if initializer.mixture is None or initializer.features is not None:
        return initializer
    return replace(initializer, mixture=initializer.mixture.scaled([0.0] * len(unit), unit.tolist()))


def numbered(names: Sequence[str]) -> list[str]:
    """Returns names of which those that occur more than once have a number behind them."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(f"{name} {seen[name]}" if names.count(name) > 1 else name)
    return found


def as_candidate(initializer: Initializer, responsibilities: Tensor) -> Candidate:
    """Returns what an initializer found; the shares of hard clusters are moved a little towards equal ones."""
    method = initializer.method if isinstance(initializer.method, str) else ""
    if method in MIXTURES and initializer.features is None:
        settings = USUAL if initializer.mixture is None else initializer.mixture
        return Candidate(initializer.name, responsibilities, MIXTURES[method], is_mixture=True, settings=settings)
    k = responsibilities.shape[1]
    return Candidate(initializer.name, (1 - LEAST_SHARE) * responsibilities + LEAST_SHARE / k)


def agree(a: Candidate, b: Candidate) -> bool:
    """Returns whether two clusterings are nearly the same, and their Gaussians of the same kind."""
    if (a.covariance_type, a.is_mixture) != (b.covariance_type, b.is_mixture):
        return False
    return float(adjusted_rand_score(a.labels.numpy(), b.labels.numpy())) > SAME


def gaussians_on(candidate: Candidate, x: Tensor, weight: Tensor, rows: Tensor) -> Gaussians:
    """Returns the Gaussians of a candidate on some of the points, as one mixture ``(1, K, …)``.

    A Gaussian mixture is fitted to these points alone; the others have a part in the responsibilities that its EM
    begins from. Covariances of hard clusters are shrunk, see
    :func:`~pyro_vmonf.initialization.gaussians.cluster_gaussians`.
    """
    points, mass, shares = x[rows].double(), weight[rows].double(), candidate.responsibilities[rows].double()
    kind = candidate.covariance_type
    if candidate.is_mixture:
        fitted = fit_gaussian_mixture(
            points,
            shares.shape[1],
            covariance_type=kind,
            weight=mass,
            responsibilities=shares,
            ridge=candidate.settings.ridge,
            tol=candidate.settings.tol,
        )
        weights, means, covariances = fitted.weights, fitted.means, fitted.covariances
    else:
        ridge = 10 * default_ridge(points, mass)
        weights, means, covariances = cluster_gaussians(points, shares, covariance_type=kind, weight=mass, ridge=ridge)
    log_weights = weights.clamp(min=1e-6).log()
    return Gaussians(log_weights[None], means[None], covariances[None].contiguous())
