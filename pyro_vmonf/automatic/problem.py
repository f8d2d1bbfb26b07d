"""What a search is about: points in folds, and ensembles of candidates on parts of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.data import EnsembleData
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Folds, folds_of
from pyro_vmonf.automatic.marginals import gaussians_behind
from pyro_vmonf.automatic.remembered import RememberedGaussians
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.initialization.gaussians import cluster_gaussians

__all__ = ["Problem"]


class Problem:
    """Distinct, standardised points in folds.

    Args:
        x: The points ``(N, D)``, in float64, on the CPU.
        weight: Their weights ``(N,)``.
        n_components: The number K of components.
        folds: Which points are held out; by default a fifth of them, of up to 500 points each fifth in turn, of
            up to 2,000 three.
        own: The points that the result is trained on; all by default.
        labels: The labels ``(N, K)``, all 0 where there is none, or None.
        weights: The weights of the components ``(K,)``, or None where they are learned.
        device: Where mixtures are trained.
        seed: The seed.

    Attributes:
        held: The held-out points of each fold, ``(F, m, D)``.
        held_weight: Their weights ``(F, m)``.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        n_components: int,
        *,
        folds: Folds | None = None,
        own: Tensor | None = None,
        labels: Tensor | None = None,
        weights: Tensor | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.x, self.weight, self.k, self.seed = x, weight, n_components, seed
        self.labels, self.weights, self.device = labels, weights, device
        self.gaussians = RememberedGaussians(x, weight)
        self.folds: Folds = folds_of(len(x), seed) if folds is None else folds
        self.own = torch.arange(len(x)) if own is None else own
        self.held = torch.stack([x[rows] for rows in self.folds.held_out]).to(device)
        self.held_weight = torch.stack([weight[rows] for rows in self.folds.held_out]).to(device)

    def spread(self, candidates: Sequence[Candidate]) -> Tensor:
        """Returns a root ``(D, D)`` of the covariance within clusters, by which noise is multiplied."""
        tied = next((c for c in candidates if c.covariance_type == "tied"), candidates[0])
        x, shares, weight = self.x[self.own], tied.responsibilities[self.own], self.weight[self.own]
        covariance = cluster_gaussians(x, shares, covariance_type="tied", weight=weight)[2][0]
        return torch.linalg.cholesky(covariance).mT.to(self.device, torch.get_default_dtype())

    def build(self, warp: str, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> Ensemble:
        """Returns the chosen candidates on each part of the points, parts first, with the same networks in all.

        Without a warp it is in float64, since nothing trains it.
        """
        size = len(chosen) * len(parts)
        with isolated_random_state(self.seed):
            ensemble = Ensemble(self.x.shape[1], self.k, WARPS[warp], size, has_learned_weights=self.weights is None)
        if warp == "N":
            ensemble.double()
        with torch.no_grad():
            for parameter in ensemble.parameters():
                rows = parameter.view(size, -1)
                rows.copy_(rows[:1].clone().expand_as(rows))
        pairs = self.pairs(chosen, parts)
        if ensemble.marginal:
            start = gaussians_behind(ensemble, pairs, self.x, self.weight)
        else:
            start = Gaussians.joined([self.gaussians.on(one, rows) for rows, one in pairs])
        ensemble.set_gaussians(start if self.weights is None else start.weighted(self.weights))
        return ensemble.to(self.device)

    def data(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> EnsembleData:
        """Returns the points of the chosen candidates on each part."""
        pairs, dtype = self.pairs(chosen, parts), torch.get_default_dtype()
        labels = None if self.labels is None else torch.stack([self.labels[rows] for rows, _ in pairs]).to(dtype)
        return EnsembleData(
            torch.stack([self.x[rows] for rows, _ in pairs]).to(self.device, dtype),
            torch.stack([one.responsibilities[rows] for rows, one in pairs]).to(self.device, dtype),
            torch.stack([self.weight[rows] for rows, _ in pairs]).to(self.device, dtype),
            None if labels is None else labels.to(self.device),
        )

    def pairs(self, chosen: Sequence[Candidate], parts: Sequence[Tensor]) -> list[tuple[Tensor, Candidate]]:
        """Returns each part with each candidate, which in a fold knows no label that the fold holds out."""
        in_folds = parts is self.folds.kept or parts is self.folds.held_out
        return [(rows, one.in_fold(i) if in_folds else one) for i, rows in enumerate(parts) for one in chosen]
