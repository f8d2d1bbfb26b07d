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
    ensemble: Ensemble, pairs: Sequence[tuple[Tensor, Candidate]], x: Tensor, weight: Tensor
) -> Gaussians:
    """Sets the splines of an ensemble from quantiles, and returns the Gaussians of candidates behind them.

    Each part of the points has splines of its own, which no other points have a share in. The Gaussians are those of
    the images of its points, so that the ensemble begins as exactly these Gaussian mixtures behind the splines.

    Args:
        ensemble: The ensemble.
        pairs: For each of its mixtures the numbers of the points that it is of, and its start.
        x: The points ``(N, D)``.
        weight: Their weights ``(N,)``.
    """
    marginal = cast(MarginalSpline, ensemble.marginal[0])
    splines, found = [], []
    of, own, images = None, MarginalSpline(x.shape[1], bins=marginal.bins).to(x), x
    for rows, one in pairs:
        if rows is not of:
            own = MarginalSpline(x.shape[1], bins=marginal.bins).to(x)
            own.set_quantiles(x[rows], weight[rows])
            of, images = rows, own._inverse(x)
        splines.append(own)
        found.append(gaussians_on(one, images, weight, rows))
    for name in ("centre", "scale", "raw"):
        getattr(marginal, name).copy_(torch.stack([getattr(one, name) for one in splines]))
    return Gaussians.joined(found)
