"""Whether clusters are found again in halves of the points."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

from pyro_vmonf.automatic.starts import clustered
from pyro_vmonf.initialization.initializer import Initializer

__all__ = ["jaccard", "labels_by", "stability"]

Labels = npt.NDArray[np.int64]

REPEATS = 20


def labels_by(method: str, x: Tensor, n_components: int, weight: Tensor, seed: int) -> Labels | None:
    """Returns the cluster of each point ``(N,)`` by a method of a name, or None where it does not find so many."""
    start = clustered(Initializer(method), x, n_components, weight, seed, may_fail=True)
    if start is None:
        return None
    labels = start.responsibilities.argmax(1).numpy()
    return labels if len(np.unique(labels)) == n_components else None


def stability(method: str, x: Tensor, labels: Labels, weight: Tensor, seed: int, least: float = 0.0) -> float:
    """Returns how well the cluster that is found again worst is found again, 0 to 1.

    The method clusters random halves of the points, twenty of them. Each cluster of all points has the greatest Jaccard
    coefficient with a cluster of the half; these are averaged over the halves, and the least is returned. The clusters
    of a half that has fewer count as not found.

    Reference: Hennig, 2007, *Computational Statistics & Data Analysis* 52, who calls clusters stable from .75, and
    highly stable from .85.

    Args:
        method: The name of the method.
        x: The points ``(N, D)``.
        labels: The clusters that it found of all points, ``(N,)``, from 0 to K − 1.
        weight: The weights of the points, ``(N,)``.
        seed: The seed of the halves and of the method.
        least: Once further halves cannot raise the average to this, the average of those so far is returned.
    """
    k, generator, worst = int(labels.max()) + 1, torch.Generator().manual_seed(seed), 0.0
    total = np.zeros(k)
    for done in range(1, REPEATS + 1):
        rows = torch.randperm(len(x), generator=generator)[: len(x) // 2]
        again = labels_by(method, x[rows], k, weight[rows], seed + done)
        if again is not None:
            total += jaccard(labels[rows.numpy()], again, k).max(1)
        worst = float(total.min())
        if worst + REPEATS - done < least * REPEATS:
            return worst / done
    return worst / REPEATS


def jaccard(a: Labels, b: Labels, n_components: int) -> npt.NDArray[np.float64]:
    """Returns the Jaccard coefficient of each cluster of a with each of b, ``(K, K)``."""
    shared = confusion_matrix(a, b, labels=range(n_components))
    either = shared.sum(1)[:, None] + shared.sum(0) - shared
    found: npt.NDArray[np.float64] = shared / np.maximum(either, 1)
    return found
