"""Posteriors q(π) of the mixture's weights, for a model that has a prior of them."""

import math
from typing import cast

import torch
from pyro.distributions import Beta, Delta, Dirichlet, TorchDistribution, TransformedDistribution  # pyright: ignore
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.simplex import RandomWeights, StickBreaking, tail_sums

__all__ = ["DirichletPosterior", "MAPWeights", "StickBreakingPosterior", "WeightsPosterior"]


class WeightsPosterior(RandomWeights):
    """A posterior q(π) of the weights, for ``SoftmaxEncoder(…, weights=)``.

    A subclass defines :meth:`distribution` and :meth:`mean`.

    Args:
        initialized: Whether the parameters were set by the caller.

    Attributes:
        is_initialized: A boolean buffer that says whether the parameters were set, by ``initial`` or by
            :meth:`initialize`. A fit starts a posterior from equal counts only where it is False.

    Examples:
        >>> from pyro_vmonf import SoftmaxEncoder, mlp
        >>> from pyro_vmonf.guides import DirichletPosterior, WeightsPosterior
        >>> guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3))
        >>> isinstance(guide.weights, WeightsPosterior), guide.weights.is_initialized
        (True, tensor(False))
    """

    is_initialized: Tensor

    def __init__(self, *, initialized: bool = False) -> None:
        super().__init__()
        self.register_buffer("is_initialized", torch.tensor(initialized))

    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Sets the parameters from the number of points of each component. This class leaves them as they are.

        Args:
            counts: The number of points of each component ``(K,)``.
            prior: The model's prior of the weights.
        """
        self.is_initialized.fill_(True)


class MAPWeights(WeightsPosterior):
    """A posterior that is one point, softmax(logits): the fit finds the mode (MAP), as Pyro's ``AutoDelta`` does.

    The density of a Dirichlet with a concentration below 1 has no mode inside the simplex. Use a
    :class:`DirichletPosterior` with such a prior.

    Args:
        n_components: The number of components K.

    Raises:
        ValueError: If K < 1.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.guides import MAPWeights
        >>> from pyro_vmonf.models import DirichletWeights
        >>> weights = MAPWeights(2)
        >>> weights.initialize(torch.tensor([75.0, 25.0]), DirichletWeights(1.0, 2))
        >>> weights.mean().detach()
        tensor([0.7500, 0.2500])
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
        """Sets π to the mode that ``counts`` ``(K,)`` and a Dirichlet prior with the prior's pseudo-counts have.

        A component's counts less 1 are at least 0.1.
        """
        self.logits.copy_((counts + prior.pseudo_counts() - 1).clamp(min=0.1).log())
        self.is_initialized.fill_(True)


class DirichletPosterior(WeightsPosterior):
    """A posterior q(π) = Dirichlet(c) with learned c > 0.

    The exact posterior has this form where z is known and the prior is a Dirichlet.

    Args:
        n_components: The number of components K.
        initial: The concentration c of each component at the start. ``fit`` sets it from the initializer's
            responsibilities, or from equal ones where there is neither an initializer nor ``initial``. In a script
            with ``SVI``, N / K saves steps, since Adam updates log c.

    Raises:
        ValueError: If K < 1 or ``initial`` is not above 0.

    Examples:
        >>> from pyro_vmonf.guides import DirichletPosterior
        >>> DirichletPosterior(2, initial=50.0).mean().detach()
        tensor([0.5000, 0.5000])
    """

    def __init__(self, n_components: int, initial: float | None = None) -> None:
        super().__init__(initialized=initial is not None)
        first = 0.0 if initial is None else math.log(check_positive("initial", initial))
        self.log_concentration = nn.Parameter(torch.full((check_count("n_components", n_components),), first))

    @property
    def concentration(self) -> Tensor:
        """The concentration c ``(K,)``."""
        return self.log_concentration.exp()

    def distribution(self) -> TorchDistribution:
        return Dirichlet(self.concentration)

    def mean(self) -> Tensor:
        return self.log_concentration.softmax(-1)

    @torch.no_grad()
    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Sets c to the prior's pseudo-counts + ``counts`` ``(K,)``: the exact posterior of points whose z is known."""
        self.log_concentration.copy_((counts + prior.pseudo_counts()).log())
        self.is_initialized.fill_(True)


class StickBreakingPosterior(WeightsPosterior):
    """A posterior with stick-breaking weights π_k = v_k Π_{j<k} (1 − v_j), v_k ~ Beta(a_k, b_k) with learned a and b.

    The exact posterior has this form where z is known and the prior is a
    :class:`~pyro_vmonf.models.StickBreakingWeights`.

    Args:
        n_components: The number of components K, at least 2.
        initial: The number of points for which each component counts at the start; see :class:`DirichletPosterior`.

    Raises:
        ValueError: If K < 2 or ``initial`` is not above 0.

    Examples:
        >>> from pyro_vmonf.guides import StickBreakingPosterior
        >>> StickBreakingPosterior(3).mean().detach()
        tensor([0.5000, 0.2500, 0.2500])
    """

    def __init__(self, n_components: int, initial: float | None = None) -> None:
        super().__init__(initialized=initial is not None)
        shapes = torch.ones(2, check_count("n_components", n_components, 2) - 1)
        if initial is not None:
            counts = torch.full((n_components,), check_positive("initial", initial))
            shapes += torch.stack([counts[:-1], tail_sums(counts)])
        self.log_shapes = nn.Parameter(shapes.log())

    def beta_parameters(self) -> tuple[Tensor, Tensor]:
        """Returns the parameters a and b ``(K − 1,)`` of the Beta distributions."""
        a, b = self.log_shapes.exp()
        return a, b

    def distribution(self) -> TorchDistribution:
        return TransformedDistribution(Beta(*self.beta_parameters()).to_event(1), [StickBreaking()])

    def mean(self) -> Tensor:
        a, b = self.beta_parameters()
        return cast(Tensor, StickBreaking()(a / (a + b)))

    @torch.no_grad()
    def initialize(self, counts: Tensor, prior: WeightsPrior) -> None:
        """Sets a to the prior's + the component's ``counts`` ``(K,)``, and b to the prior's + those of later ones."""
        a, b = prior.beta_parameters()
        self.log_shapes.copy_(torch.stack([a + counts[:-1], b + tail_sums(counts)]).log())
        self.is_initialized.fill_(True)
