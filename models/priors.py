"""Priors p(π) of the mixture's weights."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import cast

import torch
from pyro.distributions import Beta, Dirichlet, TorchDistribution, TransformedDistribution  # pyright: ignore
from torch import Tensor

from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.simplex import RandomWeights, StickBreaking, tail_sums

__all__ = [
    "DirichletWeights",
    "SparseDirichletWeights",
    "StickBreakingWeights",
    "WeightsPrior",
]


class WeightsPrior(RandomWeights):
    """A prior p(π) of the weights, for ``FlowMixture(…, weights=)``.

    The guide needs a posterior of the weights, ``SoftmaxEncoder(…, weights=)``. A subclass defines
    :meth:`distribution` and :meth:`mean`.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.models import DirichletWeights, WeightsPrior
        >>> model = FlowMixture(RealNVP(2, 3), weights=DirichletWeights(2.0, 3))
        >>> isinstance(model.weights, WeightsPrior)
        True
    """

    @property
    def has_mode(self) -> bool:
        """Whether the density is bounded, so that a guide may be a point."""
        return True

    def pseudo_counts(self) -> Tensor:
        """Returns for how many points of each component the prior counts, ``(K,)``, from which a posterior starts.

        They sum to one, unless a subclass overrides this.
        """
        return self.mean()

    def beta_parameters(self) -> tuple[Tensor, Tensor]:
        """Returns parameters a and b ``(K − 1,)`` of the Beta distributions whose stick-breaking gives such weights."""
        counts = self.pseudo_counts()
        return counts[:-1], tail_sums(counts)


class DirichletWeights(WeightsPrior):
    r"""A Dirichlet prior of the weights: p(π) ∝ Π_k π_k^(a_k − 1).

    Args:
        concentration: The concentration a: K numbers above 0, or one number for all components.
        n_components: The number of components K. It is needed where ``concentration`` is one number.

    Raises:
        TypeError: If ``concentration`` is a text.
        ValueError: If a number is not above 0, or there are not K of them.

    Examples:
        >>> from pyro_vmonf.models import DirichletWeights
        >>> DirichletWeights([2.0, 1.0, 1.0]).mean()
        tensor([0.5000, 0.2500, 0.2500])
    """

    concentration: Tensor

    def __init__(self, concentration: float | Tensor | Sequence[float], n_components: int | None = None) -> None:
        super().__init__()
        if isinstance(concentration, str):
            raise TypeError(f"concentration: expected a number or K numbers, got {concentration!r}")
        if getattr(concentration, "ndim", None) == 0:  # an array or a tensor
            concentration = float(concentration)  # type: ignore[arg-type]
        if isinstance(concentration, Real):
            if n_components is None:
                raise ValueError(f"n_components: expected K beside one concentration, {concentration!r}, got None")
            concentration = [check_positive("concentration", concentration)] * check_count("n_components", n_components)
        given = torch.as_tensor(concentration, dtype=torch.float64).detach()
        if given.dim() != 1 or not len(given) or not bool(((given > 0) & (given < math.inf)).all()):
            raise ValueError(f"concentration: expected finite numbers above 0, got {given.tolist()}")
        if n_components is not None and len(given) != n_components:
            raise ValueError(f"concentration: expected {n_components} numbers, one a component, got {len(given)}")
        self.register_buffer("concentration", given.to(torch.get_default_dtype()))

    def distribution(self) -> TorchDistribution:
        return Dirichlet(self.concentration)

    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum()

    def pseudo_counts(self) -> Tensor:
        return self.concentration

    @property
    def has_mode(self) -> bool:
        return bool((self.concentration >= 1).all())

    def extra_repr(self) -> str:
        return f"concentration={[round(float(a), 6) for a in self.concentration]}"


class SparseDirichletWeights(DirichletWeights):
    """A Dirichlet prior with a small concentration, under which components that the data do not need lose their weight.

    Reference: Rousseau and Mengersen, 2011 (*JRSS B* 73(5)): superfluous components lose their weight where the
    concentration is below half the number of parameters of a component.

    Args:
        n_components: The number of components K, more than the data need.
        concentration: The concentration of each component, above 0.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> from pyro_vmonf.models import SparseDirichletWeights
        >>> SparseDirichletWeights(3)
        SparseDirichletWeights(concentration=[0.01, 0.01, 0.01])
    """

    def __init__(self, n_components: int, concentration: float = 0.01) -> None:
        super().__init__(concentration, n_components)


class StickBreakingWeights(WeightsPrior):
    """The weights of a Dirichlet process truncated at K components: v_k ~ Beta(1, α), π_k = v_k Π_{j<k} (1 − v_j).

    Reference: Ishwaran and James, 2001 (*JASA* 96(453)); Blei and Jordan, 2006 (*Bayesian Analysis* 1(1)).

    Args:
        n_components: The number of components K, at least 2.
        concentration: The concentration α. The greater it is, the more components have weight: about
            α log(1 + N / α) for N points.

    Raises:
        ValueError: If K < 2 or α is not above 0.

    Examples:
        >>> from pyro_vmonf.models import StickBreakingWeights
        >>> StickBreakingWeights(3, concentration=1.0).mean()
        tensor([0.5000, 0.2500, 0.2500])
    """

    alpha: Tensor

    def __init__(self, n_components: int, concentration: float = 1.0) -> None:
        super().__init__()
        self.n_components = check_count("n_components", n_components, 2)
        self.register_buffer("alpha", torch.tensor(check_positive("concentration", concentration)))

    def distribution(self) -> TorchDistribution:
        return TransformedDistribution(Beta(*self.beta_parameters()).to_event(1), [StickBreaking()])

    def mean(self) -> Tensor:
        return cast(Tensor, StickBreaking()((1 / (1 + self.alpha)).expand(self.n_components - 1)))

    def pseudo_counts(self) -> Tensor:
        return self.alpha * self.mean()

    def beta_parameters(self) -> tuple[Tensor, Tensor]:
        b = self.alpha.expand(self.n_components - 1)
        return torch.ones_like(b), b

    @property
    def has_mode(self) -> bool:
        """Whether the density is bounded.

        The density is ∝ π_K^(α − 1) / Π_{1<k<K} Σ_{j≥k} π_j, each factor as small as ε where π_1 = 1 − ε.
        """
        return float(self.alpha) >= self.n_components - 1

    def extra_repr(self) -> str:
        return f"n_components={self.n_components}, concentration={float(self.alpha)}"
