"""All methods by name."""

from collections.abc import Callable
from dataclasses import dataclass

from choosing_parts.clusterings import by_density, silhouette
from choosing_parts.gap import gap_statistic
from choosing_parts.gaussians import least_bic, occupied
from choosing_parts.ours import ours
from default_parts.methods import library_version

__all__ = ["METHODS", "Method", "columns_of", "version"]


@dataclass(frozen=True)
class Method:
    """A method that says the number of clusters of points.

    Attributes:
        run: The function ``(x, most, seed)`` of standardised points. It returns ``counts``, the number of each column,
            and what else is worth keeping.
        columns: The names of its columns.
        version: The version of a rival's code here; raise it when that changes. None for ours, which has a commit.
    """

    run: Callable[..., dict[str, object]]
    columns: tuple[str, ...]
    version: int | None = 1


def single(column, run):
    """A method with one column, from a function that returns one number."""
    return Method(lambda x, most, seed: {"counts": {column: run(x, most, seed)}}, (column,))


METHODS = {
    "ours": Method(ours, ("ours (auto)", "ours (modes)", "ours (components)"), version=None),
    "gmm": Method(least_bic, ("BIC", "BIC (full)", "BIC (not singular)")),
    "bayesian-gmm": single("Bayesian GMM", occupied),
    "hdbscan": single("HDBSCAN", by_density),
    "gap": single("gap", gap_statistic),
    "silhouette": single("silhouette", silhouette),
}


def columns_of(methods):
    """The columns of some methods."""
    return [column for method in methods for column in METHODS[method].columns]


def version(name):
    """The version of a method, for the names of files."""
    own = METHODS[name].version
    return library_version() if own is None else f"v{own}"
