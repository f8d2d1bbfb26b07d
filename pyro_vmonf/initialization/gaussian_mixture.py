"""Gaussian mixtures of weighted points, by expectation-maximization."""

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from pyro_vmonf._validation import (
    as_floats,
    check_choice,
    check_count,
    check_finite,
    check_nonnegative,
    check_positive,
    check_weights,
)
from pyro_vmonf.moments import COVARIANCE_TYPES, component_moments

__all__ = ["GaussianMixtureFit", "default_ridge", "fit_gaussian_mixture", "log_joint", "responsibilities_of"]


@dataclass(frozen=True)
class GaussianMixtureFit:
    """A Gaussian mixture fitted to N points of D features, in float64.

    Attributes:
        weights: The weights of the components, ``(K,)``.
        means: Their means, ``(K, D)``.
        covariances: Their covariances, ``(K, D, D)``, of whatever type.
        responsibilities: p(z | x) of all points, those of weight 0 too, ``(N, K)``.
        lower_bound: The weighted mean log-density of the points before the last update, in nats; scikit-learn has the
            same.
        n_iter: The number of updates.
        converged: Whether the last update but one raised the log-density by less than ``tol``.
        covariance_type: ``"full"``, ``"tied"`` or ``"diag"``.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    responsibilities: Tensor
    lower_bound: float
    n_iter: int
    converged: bool
    covariance_type: str


@dataclass(frozen=True)
class Ascent:
    """Where one start's updates ended; the covariances of type ``"diag"`` are variances ``(K, D)``."""

    parameters: tuple[Tensor, Tensor, Tensor]
    lower_bound: float
    n_iter: int
    converged: bool


def fit_gaussian_mixture(
    x: object,
    n_components: int,
    *,
    covariance_type: str = "full",
    weight: object = None,
    responsibilities: Tensor | None = None,
    means: object = None,
    n_init: int = 5,
    reg: float | None = None,
    ridge: float = 1e-4,
    max_iter: int = 100,
    tol: float = 1e-3,
    seed: int = 0,
) -> GaussianMixtureFit:
    """Fits a Gaussian mixture to weighted points and returns the best of several starts.

    A weight counts as so many copies of its point. Where all weights are equal, the answer is that of scikit-learn's
    ``GaussianMixture`` with the same settings and seed.

    Args:
        x: The points ``(N, D)``: a tensor, an array, rows or a frame.
        n_components: The number of components, K.
        covariance_type: ``"full"``, ``"tied"`` (one covariance of all components) or ``"diag"``.
        weight: The weights of the points ``(N,)``, at least 0; equal if they are not given.
        responsibilities: Where to start, in the place of k-means: ``(N, K)``, or of several starts ``(S, N, K)``.
        means: The means ``(K, D)`` that the first update begins from, in the place of those of a start; its weights and
            covariances are kept, as in scikit-learn.
        n_init: The number of starts by k-means, each with other seeds. The greatest lower bound is kept.
        reg: What is added to each variance; if it is not given, ``ridge`` times the mean variance of x.
        ridge: See ``reg``.
        max_iter: The largest number of updates of a start.
        tol: A start has converged where its mean log-density changes by less, in nats.
        seed: The seed of the starts.

    Raises:
        TypeError: If x or the weights are no numbers.
        ValueError: If x is not of shape ``(N, D)`` or not finite, has fewer than K points with a weight above 0, or
            another argument is out of its range; or if a covariance is singular because ``reg`` is too small.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture
        >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> found = fit_gaussian_mixture(x, 2, weight=[1, 3, 1, 1])
        >>> found.means.flatten().sort().values, found.converged
        (tensor([ 0.7500, 10.5000], dtype=torch.float64), True)
    """
    k, kind = (
        check_count("n_components", n_components),
        check_choice("covariance_type", covariance_type, COVARIANCE_TYPES),
    )
    n_init, max_iter = check_count("n_init", n_init), check_count("max_iter", max_iter)
    tol, seed = check_positive("tol", tol), check_count("seed", seed, 0)
    points, mass = checked_points(x, weight, k)
    centre, kept = mass @ points / mass.sum(), mass > 0
    points = points - centre
    inside, mass = points[kept], mass[kept] * (kept.sum() / mass.sum())
    share = check_nonnegative("ridge", ridge)
    added = default_ridge(inside, mass, share) if reg is None else check_nonnegative("reg", reg)
    starts: Iterable[Tensor] = kmeans_starts(inside, k, mass, n_init, seed)
    if responsibilities is not None:
        starts = checked_starts(responsibilities, (len(points), k))[:, kept].mT.to(points)
    given = None if means is None else checked_means(means, (k, points.shape[1])).to(points) - centre
    best = max(
        (ascend(inside, mass, start, kind, added, max_iter, tol, given) for start in starts),
        key=attrgetter("lower_bound"),
    )
    weights, means, covariances = best.parameters
    return GaussianMixtureFit(
        weights=weights,
        means=means + centre,
        covariances=torch.diag_embed(covariances) if kind == "diag" else covariances.clone(),
        responsibilities=responsibilities_of(points, weights, means, covariances),
        lower_bound=best.lower_bound,
        n_iter=best.n_iter,
        converged=best.converged,
        covariance_type=kind,
    )


def log_joint(x: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Returns log π_k + log N(x_n | μ_k, Σ_k), ``(K, N)``.

    Args:
        x: The points ``(N, D)``.
        weights: The weights of the components, ``(K,)``.
        means: Their means ``(K, D)``.
        covariances: Their covariances ``(K, D, D)``, or variances ``(K, D)``.

    Raises:
        ValueError: If a covariance is not positive definite.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.initialization.gaussian_mixture import log_joint
        >>> x, weights, means = torch.zeros(5, 2), torch.full((3,), 1 / 3), torch.zeros(3, 2)
        >>> log_joint(x, weights, means, torch.ones(3, 2)).logsumexp(0)[0]  # −log 2π
        tensor(-1.8379)
    """
    each = [log_normal(x - mean, covariance) for mean, covariance in zip(means, covariances, strict=True)]
    return torch.stack(each) + weights.log()[:, None]


def responsibilities_of(x: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Returns p(z | x) ``(N, K)`` of a Gaussian mixture; for the arguments see :func:`log_joint`.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.initialization.gaussian_mixture import responsibilities_of
        >>> means = torch.tensor([[-1.0], [1.0]])
        >>> responsibilities_of(torch.zeros(1, 1), torch.tensor([0.25, 0.75]), means, torch.ones(2, 1))
        tensor([[0.2500, 0.7500]])
    """
    return log_joint(x, weights, means, covariances).softmax(0).mT


def default_ridge(x: Tensor, weight: Tensor, size: float = 1e-4) -> float:
    """Returns ``size`` times the mean over the features of the weighted variance of x ``(N, D)``, and 1e-12 more."""
    share = weight / weight.sum()
    return size * float((share @ (x - share @ x).square()).mean()) + 1e-12


def log_normal(centred: Tensor, covariance: Tensor) -> Tensor:
    """Returns the log-density ``(N,)`` of points around 0 by a covariance ``(D, D)`` or variances ``(D,)``."""
    if covariance.dim() == 1:
        scale = covariance.sqrt()
        squares = (centred / scale).square().sum(-1)
    else:
        cholesky, failed = torch.linalg.cholesky_ex(covariance)
        if bool(failed):
            raise ValueError("covariances: expected positive definite matrices, got a singular one; a larger reg helps")
        scale = cholesky.diagonal()
        squares = torch.linalg.solve_triangular(cholesky, centred.mT, upper=False).square().sum(0)
    return -squares / 2 - scale.log().sum() - centred.shape[-1] * math.log(2 * math.pi) / 2


def ascend(
    x: Tensor,
    weight: Tensor,
    start: Tensor,
    kind: str,
    reg: float,
    max_iter: int,
    tol: float,
    means: Tensor | None = None,
) -> Ascent:
    """Updates from responsibilities ``(K, N)`` until the lower bound changes by less than ``tol``.

    Means ``(K, D)`` take the place of those of the responsibilities if they are given.
    """
    parameters, bound, change, n_iter = maximize(x, start * weight, kind, reg), -math.inf, math.inf, 0
    if means is not None:
        parameters = parameters[0], means, parameters[2]
    while n_iter < max_iter and change >= tol:
        joint = log_joint(x, *parameters)
        evidence = joint.logsumexp(0)
        parameters = maximize(x, (joint - evidence).exp() * weight, kind, reg)
        before, bound = bound, float(evidence @ weight) / len(weight)
        change, n_iter = abs(bound - before), n_iter + 1
    return Ascent(parameters, bound, n_iter, change < tol)


def maximize(x: Tensor, weight: Tensor, kind: str, reg: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the weights, means and covariances that suit the weights of the points in each component ``(K, N)``."""
    sizes, means, covariances = component_moments(x, weight, kind)
    ridge = reg if kind == "diag" else reg * torch.eye(x.shape[-1]).to(x)
    return sizes / sizes.sum(), means, covariances + ridge


def kmeans_starts(x: Tensor, k: int, weight: Tensor, n_init: int, seed: int) -> Iterator[Tensor]:
    """Yields the responsibilities ``(K, N)`` of so many runs of k-means, drawn as scikit-learn's mixture draws them."""
    random = np.random.RandomState(seed)
    for _ in range(n_init):
        method = KMeans(k, n_init=1, random_state=random)  # pyright: ignore[reportArgumentType]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of equal rows, which leave components empty
            labels = method.fit(x.cpu().numpy(), sample_weight=weight.cpu().numpy()).labels_
        yield torch.nn.functional.one_hot(torch.as_tensor(labels).long(), k).mT.to(x)


def checked_points(x: object, weight: object, k: int) -> tuple[Tensor, Tensor]:
    """Returns points ``(N, D)`` and their weights ``(N,)`` in float64, if at least k have a weight above 0."""
    points = as_floats("x", x).double()
    if points.dim() != 2 or not points.shape[1]:
        raise ValueError(f"x: expected shape (N, D), got {tuple(points.shape)}")
    check_finite("x", points)
    mass = points.new_ones(len(points)) if weight is None else check_weights("weight", weight, points)
    if (count := int((mass > 0).sum())) < k:
        raise ValueError(f"x: expected at least {k} points of weight above 0, one for each component, got {count}")
    return points, mass


def checked_means(means: object, shape: tuple[int, int]) -> Tensor:
    """Returns means ``(K, D)``; raises ``ValueError`` if they are none."""
    given = as_floats("means", means)
    if given.shape != shape:
        raise ValueError(f"means: expected shape {shape}, got {tuple(given.shape)}")
    check_finite("means", given)
    return given


def checked_starts(responsibilities: object, shape: tuple[int, int]) -> Tensor:
    """Returns responsibilities as ``(S, N, K)``."""
    given = as_floats("responsibilities", responsibilities)
    starts = given[None] if given.dim() == 2 else given
    if starts.dim() != 3 or starts.shape[1:] != shape or not len(starts):
        raise ValueError(
            f"responsibilities: expected shape {shape} or (S, {shape[0]}, {shape[1]}), got {tuple(given.shape)}"
        )
    check_finite("responsibilities", starts)
    if bool((starts < 0).any()):
        raise ValueError(f"responsibilities: expected numbers of at least 0, got {float(starts.min())}")
    return starts
