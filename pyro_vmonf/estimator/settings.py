"""The parameters of the estimators, as the settings of a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from pyro_vmonf._validation import as_floats, check_choice, check_count, check_finite, check_nonnegative, check_positive
from pyro_vmonf.automatic.arguments import checked_device
from pyro_vmonf.automatic.config import LONG, SHORT, Schedule, SearchConfig
from pyro_vmonf.initialization.clustering import METHODS, MIXTURES
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.initialization.mixture_settings import MixtureSettings
from pyro_vmonf.initialization.responsibilities import is_method
from pyro_vmonf.moments import COVARIANCE_TYPES

__all__ = ["STEPS_PER_ITERATION", "Settings", "seed_of", "settings_of"]

WARMUP_STEPS, STEPS = 5, 8  # of an iteration, at most
STEPS_PER_ITERATION = WARMUP_STEPS + STEPS
FLOWS: dict[str, tuple[str, ...]] = {
    "gaussian": ("N",),
    "nsf": ("N", "P", "PP", "S"),
    "realnvp": ("N", "A", "AP"),
}
"""What may be added to the Gaussians of a start, by the names of ``components``, beside ``"auto"`` for all."""


@dataclass(frozen=True)
class Settings:
    """What :func:`~pyro_vmonf.fit_mixture` is called with.

    Attributes:
        components: What may be added to the Gaussians of a start.
        weights: The weights of the components: ``"learned"``, ``"uniform"`` or K numbers.
        initializer: The clusterings that compete.
        config: The numbers of the search.
        device: Where mixtures are trained.
        progress: Whether to show a progress bar.
    """

    components: str | tuple[str, ...]
    weights: object
    initializer: object
    config: SearchConfig
    device: str
    progress: bool


def settings_of(estimator: Any, *, means: object = None, weights: object = None) -> Settings:
    """Returns the settings of an estimator's parameters.

    Args:
        estimator: The estimator.
        means: The means ``(K, D)`` that expectation-maximization begins from, or None.
        weights: The weights of the components, None for learned ones.

    Raises:
        TypeError, ValueError: Naming the first parameter that is of the wrong kind or out of range.
    """
    max_iter = check_count("max_iter", estimator.max_iter, 0)
    check_choice("covariance_type", estimator.covariance_type, ("auto", *COVARIANCE_TYPES))
    kinds = COVARIANCE_TYPES if estimator.covariance_type == "auto" else (estimator.covariance_type,)
    mixtures = MixtureSettings(
        n_init=check_count("n_init", estimator.n_init),
        tol=check_positive("tol", estimator.tol),
        ridge=check_nonnegative("reg_covar", estimator.reg_covar),
        covariance_types=kinds,
        means=None if means is None else rows_of_means(means),
    )
    checked_device(estimator.device)
    return Settings(
        components=flows_of(estimator.components, max_iter),
        weights="learned" if weights is None else weights,
        initializer=initializer_of(estimator.init_params, kinds, has_means=means is not None),
        config=config_of(max_iter, mixtures),
        device=estimator.device,
        progress=bool(estimator.verbose),
    )


def seed_of(random_state: object) -> int:
    """Returns a seed that scikit-learn's ``random_state`` draws."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def config_of(max_iter: int, mixtures: MixtureSettings) -> SearchConfig:
    """Returns a search of so many iterations at most; 200 are those of :class:`~pyro_vmonf.SearchConfig`."""
    short = Schedule(3 * max_iter, round(2.5 * max_iter), SHORT.patience)
    long = Schedule(WARMUP_STEPS * max_iter, STEPS * max_iter, LONG.patience)
    return SearchConfig(short=short, long=long, mixtures=mixtures)


def flows_of(components: object, max_iter: int) -> str | tuple[str, ...]:
    """Returns what may be added to the Gaussians; without any iteration nothing is."""
    names = ("auto", *FLOWS)
    if not isinstance(components, str) or components not in names:
        raise ValueError(
            f"components: expected one of {names}, got {components!r}. "
            "pyro_vmonf.fit trains other flows, and VMoNF.from_modules makes an estimator of them."
        )
    if max_iter == 0:
        return FLOWS["gaussian"]
    return FLOWS.get(components, "auto")


def rows_of_means(means: object) -> tuple[tuple[float, ...], ...]:
    """Returns means ``(K, D)`` as rows of numbers."""
    given = as_floats("means_init", means)
    if given.dim() != 2:
        raise ValueError(f"means_init: expected shape (K, D), got {tuple(given.shape)}")
    check_finite("means_init", given)
    return tuple(tuple(row) for row in given.double().tolist())


def initializer_of(init_params: object, kinds: Sequence[str], *, has_means: bool) -> object:
    """Returns the clusterings that compete.

    Args:
        init_params: A name, an :class:`~pyro_vmonf.Initializer`, a clusterer or a function.
        kinds: The types of covariances that may be chosen.
        has_means: Whether the means are given that expectation-maximization begins from.

    Raises:
        ValueError: For an unknown name, or one that contradicts another parameter.
    """
    mixtures = [name for name, kind in MIXTURES.items() if kind in kinds]
    if isinstance(init_params, str):
        return named_initializer(init_params, mixtures, has_means=has_means)
    if not isinstance(init_params, Initializer) and not is_method(init_params):
        raise ValueError(
            f"init_params: expected a name, an Initializer, a clusterer or a function, got {init_params!r}"
        )
    if has_means:
        raise ValueError(f"means_init: expected None with init_params={init_params!r}, which has means of its own")
    return init_params


def named_initializer(name: str, mixtures: Sequence[str], *, has_means: bool) -> object:
    """Returns the clusterings by a name, of which ``"kmeans"`` means what it does in scikit-learn's mixtures."""
    check_choice("init_params", name, ("auto", *METHODS))
    if name == "kmeans" or (name == "auto" and has_means):
        return list(mixtures)
    if name == "gmm":
        return mixtures[0]
    if name in MIXTURES and name not in mixtures:
        raise ValueError(f"init_params: expected covariances of the type of covariance_type, got {name!r}")
    if has_means and name not in MIXTURES:
        raise ValueError(f"means_init: expected None with init_params={name!r}, which begins from no means")
    return name
