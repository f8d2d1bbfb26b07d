"""Posteriors q(π) of the mixture's weights, for a model that has a prior on them."""

import math

import torch
from pyro.distributions import Beta, Delta, Dirichlet, TorchDistribution, TransformedDistribution
from torch import Tensor, nn

from pyro_vmonf._checks import check_count, check_positive
from pyro_vmonf.models.priors import StickBreaking, WeightsPrior

__all__ = ["DirichletPosterior", "PointWeights", "StickPosterior"]


class PointWeights(WeightsPrior):
    """q(π) is a point, softmax(logits): the fit finds the mode of the posterior (MAP), as Pyro's ``AutoDelta`` does.

    The density of a Dirichlet with a concentration below 1 has no mode inside the simplex: take a
    :class:`DirichletPosterior` there.

    Args:
        n_components: K.
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(check_count("n_components", n_components)))

    def distribution(self) -> TorchDistribution:
        return Delta(self.mean()).to_event(1)

    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    @torch.no_grad()
    def initialize(self, counts: Tensor) -> None:
        """Sets π to the shares of ``counts`` ``(K,)``."""
        self.logits.copy_((counts + 0.1).log())


class DirichletPosterior(WeightsPrior):
    """q(π) = Dirichlet(c), c > 0 learned: the exact posterior's form where z is known and the prior is a Dirichlet.

    Args:
        n_components: K.
        initial: c of each component at the start; N / K saves steps, and a fit that begins with a clustering sets it.
    """

    def __init__(self, n_components: int, initial: float = 1.0) -> None:
        super().__init__()
        first = math.log(check_positive("initial", initial))
        self.log_concentration = nn.Parameter(torch.full((check_count("n_components", n_components),), first))

    @property
    def concentration(self) -> Tensor:
        """c ``(K,)``."""
        return self.log_concentration.exp()

    def distribution(self) -> TorchDistribution:
        return Dirichlet(self.concentration)

    def mean(self) -> Tensor:
        return self.log_concentration.softmax(-1)

    @torch.no_grad()
    def initialize(self, counts: Tensor) -> None:
        """Sets c to ``counts`` ``(K,)`` + 0.1: about the posterior of so many points, if their components are known."""
        self.log_concentration.copy_((counts + 0.1).log())


class StickPosterior(WeightsPrior):
    """v_k ~ Beta(a_k, b_k), a and b learned, π = the broken stick: a stick-breaking posterior has this form.

    Args:
        n_components: K, at least 2.
        initial: how many points each component counts for at the start; see :class:`DirichletPosterior`.
    """

    def __init__(self, n_components: int, initial: float = 1.0) -> None:
        super().__init__()
        count = check_count("n_components", n_components, 2)
        self.log_shapes = nn.Parameter(torch.zeros(2, count - 1))
        self.initialize(torch.full((count,), check_positive("initial", initial)))

    def sticks(self) -> tuple[Tensor, Tensor]:
        """a and b, ``(K − 1,)`` each."""
        a, b = self.log_shapes.exp()
        return a, b

    def distribution(self) -> TorchDistribution:
        return TransformedDistribution(Beta(*self.sticks()).to_event(1), [StickBreaking()])

    def mean(self) -> Tensor:
        a, b = self.sticks()
        expected: Tensor = StickBreaking()(a / (a + b))
        return expected

    @torch.no_grad()
    def initialize(self, counts: Tensor) -> None:
        """Sets a and b to 1 + the ``counts`` ``(K,)`` of the component and of those after it."""
        after = counts.flip(-1).cumsum(-1).flip(-1)
        self.log_shapes.copy_(torch.stack([1 + counts[:-1], 1 + after[1:]]).log())
