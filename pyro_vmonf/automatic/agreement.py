"""What a user should know of the result of a search beside its scores."""

from collections.abc import Sequence

from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.initialization.clustering import MIXTURES

__all__ = ["SearchWarning", "disagreement"]

ALIKE = 0.9  # the adjusted Rand index above which two clusterings agree
ENOUGH = 3  # kinds of clusterings that agree


class SearchWarning(UserWarning):
    """A Gaussian mixture describes the points as well, or the result differs from clusterings that agree."""


def disagreement(candidates: Sequence[Candidate], labels: Tensor, rows: Tensor) -> str:
    """Returns a sentence where at least three kinds of clusterings agree and the result does not, else nothing.

    Gaussian mixtures are of one kind, whatever their covariances.

    Args:
        candidates: The starts.
        labels: The components of the result at some of the points, ``(M,)``.
        rows: The numbers of these points, ``(M,)``.
    """
    own = [one.labels[rows].numpy() for one in candidates]
    for mine in own:
        alike = [one for one, theirs in zip(candidates, own, strict=True) if adjusted_rand_score(mine, theirs) > ALIKE]
        names = [name for one in alike for name in (one.name, *one.agreeing)]
        found = adjusted_rand_score(mine, labels.cpu().numpy())
        if len({"mixture" if name in MIXTURES else name for name in names}) >= ENOUGH and found <= ALIKE:
            return f"The starts {', '.join(names)} agree, and the result does not (adjusted Rand index {found:.2f})."
    return ""
