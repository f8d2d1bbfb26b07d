"""Posteriors q(π) of the mixture's weights, for a model that has a prior on them."""

import math

import torch
from pyro.distributions import Beta, Delta, Dirichlet, TorchDistribution, TransformedDistribution
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.simplex import RandomWeights, StickBreaking, tail_sums

__all__ = ["DirichletPosterior", "MAPWeights", "StickBreakingPosterior", "WeightsPosterior"]


class WeightsPosterior(RandomWeights):
    """q(π), for ``SoftmaxEncoder(…, weights=)``.

    Attributes:
        is_initialized: A boolean buffer that says whether the parameters were set, by ``initial`` or by
            :meth:`initialize`. A fit starts a posterior from equal counts only where it is False.
    """

    is_initialized: Tensor

    def __init__(self, *, initialized: bool = False) -> None:
        super().__init__()
        self.register_buffer("is_initialized", torch.tensor(initialized))

    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Starts from the points that each component owns, ``counts`` ``(K,)``; here it stays as it is."""
        self.is_initialized.fill_(True)


class MAPWeights(WeightsPosterior):
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
    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Sets π to the mode given ``counts`` ``(K,)`` and a Dirichlet of the prior's counts, at least .1 each."""
        self.logits.copy_((counts + prior.pseudo_counts() - 1).clamp(min=0.1).log())
        self.is_initialized.fill_(True)


class DirichletPosterior(WeightsPosterior):
    """q(π) = Dirichlet(c), c > 0 learned: the exact posterior's form where z is known and the prior is a Dirichlet.

    Args:
        n_components: K.
        initial: c of each component at the start. ``fit`` sets it, from the start's responsibilities or, with none and
            no ``initial``, from equal ones; in a script N / K saves steps, for Adam moves log c.
    """

    def __init__(self, n_components: int, initial: float | None = None) -> None:
        super().__init__(initialized=initial is not None)
        first = 0.0 if initial is None else math.log(check_positive("initial", initial))
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
    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Sets c to the prior's + ``counts`` ``(K,)``: the posterior, if so many points are known to be each's."""
        self.log_concentration.copy_((counts + prior.pseudo_counts()).log())
        self.is_initialized.fill_(True)


class StickBreakingPosterior(WeightsPosterior):
    """v_k ~ Beta(a_k, b_k), a and b learned, π = the broken stick: a stick-breaking posterior has this form.

    Args:
        n_components: K, at least 2.
        initial: how many points each component counts for at the start; see :class:`DirichletPosterior`.
    """

    def __init__(self, n_components: int, initial: float | None = None) -> None:
        super().__init__(initialized=initial is not None)
        shapes = torch.ones(2, check_count("n_components", n_components, 2) - 1)
        if initial is not None:
            counts = torch.full((n_components,), check_positive("initial", initial))
            shapes += torch.stack([counts[:-1], tail_sums(counts)])
        self.log_shapes = nn.Parameter(shapes.log())

    def beta_parameters(self) -> tuple[Tensor, Tensor]:
        """a and b, ``(K − 1,)`` each."""
        a, b = self.log_shapes.exp()
        return a, b

    def distribution(self) -> TorchDistribution:
        return TransformedDistribution(Beta(*self.beta_parameters()).to_event(1), [StickBreaking()])

    def mean(self) -> Tensor:
        a, b = self.beta_parameters()
        expected: Tensor = StickBreaking()(a / (a + b))
        return expected

    @torch.no_grad()
    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Sets a and b to the prior's + the ``counts`` ``(K,)`` of the component, and of those after it."""
        a, b = prior.beta_parameters()
        self.log_shapes.copy_(torch.stack([a + counts[:-1], b + tail_sums(counts)]).log())
        self.is_initialized.fill_(True)
