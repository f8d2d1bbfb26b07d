"""The Gaussians of candidates on parts of the points, each found once."""

from torch import Tensor

from pyro_vmonf.automatic.ensemble import Gaussians
from pyro_vmonf.automatic.starts import Candidate, gaussians_on

__all__ = ["RememberedGaussians"]

MOST_NUMBERS = 10_000_000  # that are remembered; 80 MB


class RememberedGaussians:
    """The Gaussians of candidates on parts of some points, which each warp that is tried begins from.

    Args:
        x: The points ``(N, D)``.
        weight: Their weights ``(N,)``.
    """

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        self.x, self.weight, self.numbers = x, weight, 0
        # The tensors of the keys are kept, too, so that no others have their addresses.
        self.found: dict[tuple[object, ...], tuple[Gaussians, Tensor, Tensor]] = {}

    def on(self, candidate: Candidate, rows: Tensor) -> Gaussians:
        """Returns what :func:`~pyro_vmonf.automatic.starts.gaussians_on` does."""
        shares = candidate.responsibilities
        key = (id(shares), id(rows), candidate.covariance_type, candidate.is_mixture, candidate.settings)
        if key in self.found:
            return self.found[key][0]
        gaussians = gaussians_on(candidate, self.x, self.weight, rows)
        self.numbers += gaussians.covariances.numel()
        if self.numbers <= MOST_NUMBERS:
            self.found[key] = gaussians, shares, rows
        return gaussians
