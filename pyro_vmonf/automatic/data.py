"""The points that an ensemble is trained on."""

from dataclasses import dataclass

from torch import Tensor

from pyro_vmonf.automatic.label_terms import known, labelled_rows, rows_of

__all__ = ["EnsembleData"]

LEAST_BATCH, MOST_BATCH = 32, 256


@dataclass(frozen=True)
class EnsembleData:
    """The points of V mixtures ``(V, n, D)``, the responsibilities of a start ``(V, n, K)`` and weights ``(V, n)``.

    There may be labels, the probabilities of the components ``(V, n, K)``, all 0 where a point has none.
    """

    x: Tensor
    target: Tensor
    weight: Tensor
    labels: Tensor | None = None

    @property
    def batch_size(self) -> int:
        """The number of points in a step: a quarter of them, from 32 to 256."""
        n = self.x.shape[1]
        return min(n, max(LEAST_BATCH, n // 4), MOST_BATCH)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The points, the responsibilities, the weights and, where there are any, the labels."""
        given = (self.x, self.target, self.weight)
        return given if self.labels is None else (*given, self.labels)

    def of(self, rows: Tensor) -> "EnsembleData":
        """Returns the points of some of the mixtures."""
        return EnsembleData(*(tensor[rows] for tensor in self.tensors))

    def labelled(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Returns the labelled points of each mixture, their labels and their weights, or None where there are none.

        A mixture with fewer labelled points than another is given points of weight 0 beside them.
        """
        if self.labels is None:
            return None
        rows, weight = labelled_rows(self.labels), self.weight * known(self.labels)
        return rows_of(self.x, rows), rows_of(self.labels, rows), rows_of(weight, rows)
