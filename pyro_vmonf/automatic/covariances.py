"""Which types of covariances compete, and what is said of those that few points do not determine."""

from collections.abc import Sequence

from pyro_vmonf.initialization.clustering import MIXTURES
from pyro_vmonf.moments import COVARIANCE_TYPES

__all__ = ["covariance_note", "covariance_types", "starts_for"]

MOST_FULL = 200  # features; above, a covariance costs more than the flows do
MANY, FEW = 50, 5  # features, and points of a cluster for each feature


def covariance_types(features: int, chosen: Sequence[str] = COVARIANCE_TYPES) -> tuple[str, ...]:
    """Returns the types of covariances that compete: those chosen, of which diagonal ones alone above 200 features.

    Args:
        features: The number D of features.
        chosen: The types that may compete. All of them do if none is diagonal.
    """
    cheap = COVARIANCE_TYPES if features <= MOST_FULL else ("diag",)
    return tuple(one for one in cheap if one in chosen) or tuple(chosen)


def starts_for(methods: Sequence[str], features: int, chosen: Sequence[str] = COVARIANCE_TYPES) -> list[str]:
    """Returns the methods whose covariances are of a type that competes.

    Args:
        methods: The names of all methods.
        features: The number D of features.
        chosen: The types that may compete.
    """
    kinds = covariance_types(features, chosen)
    return [name for name in methods if MIXTURES.get(name, kinds[0]) in kinds]


def covariance_note(points: int, n_components: int, features: int) -> list[str]:
    """Returns a sentence about covariances that the points hardly determine, or nothing.

    Of mixtures by expectation-maximization and of hard clusters alike, the type of the covariances is that with the
    greatest held-out ELBO. A rule would be worse: on sonar (60 features, 73 points a cluster) Ward's clusters have
    -54.8 nats with tied covariances and -75.3 with diagonal ones, on optdigits (54 features, 350) -30.5 with full ones
    and -48.1.

    Args:
        points: The number N of points.
        n_components: The number K of components.
        features: The number D of features.
    """
    each = points // n_components
    if features <= MANY and each >= FEW * features:
        return []
    basis = f"With {features} features and {each:,} points a cluster, "
    if features > MOST_FULL:
        return [f"{basis}covariances are diagonal."]
    return [
        f"{basis}full covariances of clusters are shrunk to their diagonal by up to {shrinkage(each, features):.0%}."
    ]


def shrinkage(points: int, features: int) -> float:
    """Returns the share by which a covariance of so many points is shrunk to its diagonal."""
    return min(1.0, (features / max(points, 1)) ** 2)
