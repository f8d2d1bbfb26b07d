"""How the Gaussian mixtures are fitted that a search starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyro_vmonf._validation import check_choice, check_count, check_nonnegative, check_positive
from pyro_vmonf.moments import COVARIANCE_TYPES

__all__ = ["USUAL", "MixtureSettings"]


@dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """How :func:`~pyro_vmonf.fit_mixture` fits the Gaussian mixtures that it starts from.

    Attributes:
        n_init: The number of runs of k-means that expectation-maximization begins from; the best is kept.
        tol: The updates end where the mean log-density changes by less, in nats.
        ridge: What is added to each variance, in the unit of the mean variance of the scaled features.
        covariance_types: The types of covariances that may be chosen: some of ``"full"``, ``"tied"`` and ``"diag"``.
        means: The means that the updates begin from, K rows of D numbers in the units of x; those of k-means if they
            are not given.

    Raises:
        TypeError, ValueError: Naming the first attribute that is of the wrong kind or out of range.

    Examples:
        >>> from pyro_vmonf.initialization import MixtureSettings
        >>> MixtureSettings(n_init=10).tol
        0.001
    """

    n_init: int = 5
    tol: float = 1e-3
    ridge: float = 1e-4
    covariance_types: tuple[str, ...] = COVARIANCE_TYPES
    means: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        check_count("n_init", self.n_init)
        check_positive("tol", self.tol)
        check_nonnegative("ridge", self.ridge)
        if not self.covariance_types:
            raise ValueError("covariance_types: expected at least one type, got none")
        for one in self.covariance_types:
            check_choice("covariance_types", one, COVARIANCE_TYPES)

    def scaled(self, origin: Sequence[float], unit: Sequence[float]) -> "MixtureSettings":
        """Returns the same with means of features from which an origin is taken, and which then are divided by a unit.

        Args:
            origin: One number for each feature.
            unit: One number for each feature, above 0.

        Raises:
            ValueError: If the means are of another number of features.
        """
        if self.means is None:
            return self
        if any(len(row) != len(unit) for row in self.means):
            raise ValueError(f"means: expected rows of {len(unit)} numbers, got {[len(row) for row in self.means]}")
        rows = [[(m - o) / u for m, o, u in zip(row, origin, unit, strict=True)] for row in self.means]
        return replace(self, means=tuple(tuple(row) for row in rows))


USUAL = MixtureSettings()
"""The settings where no others are given."""
