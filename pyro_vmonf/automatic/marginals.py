"""Starts behind splines of single features, which begin from the quantiles of the points."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.starts import Candidate, gaussians_on
from pyro_vmonf.transforms.marginal import MarginalSpline

__all__ = ["gaussians_behind"]


@torch.no_grad()
def gaussians_behind(
    ensemble: Ensemble, chosen: Sequence[Candidate], x: Tensor, weight: Tensor, parts: Sequence[Tensor]
) -> Gaussians:
    """Sets the splines of an ensemble from quantiles, and returns the Gaussians of candidates behind them.

    Each part of the points has splines of its own, which no other points have a share in. The Gaussians are those of
    the images of its points, so that the ensemble begins as exactly these Gaussian mixtures behind the splines.

    Args:
        ensemble: The ensemble, of the candidates on each part, parts first.
        chosen: The candidates.
        x: The points ``(N, D)``.
        weight: Their weights ``(N,)``.
        parts: The numbers of the points of each part.
    """
    marginal = cast(MarginalSpline, ensemble.marginal[0])
    splines, found = [], []
    for rows in parts:
        own = MarginalSpline(x.shape[1], bins=marginal.bins).to(x)
        own.set_quantiles(x[rows], weight[rows])
        images = own._inverse(x)
        splines += [own] * len(chosen)
        found += [gaussians_on(one, images, weight, rows) for one in chosen]
    for name in ("centre", "scale", "raw"):
        getattr(marginal, name).copy_(torch.stack([getattr(one, name) for one in splines]))
    return Gaussians.joined(found)
