"""Priors p(π) over the mixture's weights."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from pyro.distributions import Beta, Dirichlet, TorchDistribution, TransformedDistribution
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
    """p(π), for ``FlowMixture(…, weights=)``; the guide needs a posterior, ``SoftmaxEncoder(…, weights=)``."""

    @property
    def has_mode(self) -> bool:
        """Whether the density is bounded, so that a point can be the guide."""
        return True

    def pseudo_counts(self) -> Tensor:
        """The points for which the prior counts, by component ``(K,)``: where a posterior begins. One in all, unless
        overridden."""
        return self.mean()

    def beta_parameters(self) -> tuple[Tensor, Tensor]:
        """Parameters a and b, ``(K − 1,)`` each, of the Beta distributions that break the stick into such weights."""
        counts = self.pseudo_counts()
        return counts[:-1], tail_sums(counts)


class DirichletWeights(WeightsPrior):
    r"""π ~ Dirichlet(a): p(π) ∝ Π_k π_k^(a_k − 1).

    Args:
        concentration: a, K numbers above 0, or one number for all.
        n_components: K, where ``concentration`` is one number.

    Raises:
        ValueError: if a number is not above 0, or there are not K of them.
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
    """A Dirichlet prior with a small concentration, under which components that data do not need lose their weight.

    Reference: Rousseau and Mengersen, 2011 (*JRSS B* 73(5)): the surplus is emptied where a is below half the number of
    parameters of a component.

    Args:
        n_components: K, more than needed.
        concentration: a of each.
    """

    def __init__(self, n_components: int, concentration: float = 0.01) -> None:
        super().__init__(concentration, n_components)


class StickBreakingWeights(WeightsPrior):
    """v_k ~ Beta(1, α), π_k = v_k Π_{j<k} (1 − v_j): a Dirichlet process cut off at K components.

    Reference: Ishwaran and James, 2001 (*JASA* 96(453)); Blei and Jordan, 2006 (*Bayesian Analysis* 1(1)).

    Args:
        n_components: K, at least 2.
        concentration: α; the greater, the more components have weight: about α log(1 + N / α) of N points.

    Raises:
        ValueError: if K < 2 or α is not above 0.
    """

    alpha: Tensor

    def __init__(self, n_components: int, concentration: float = 1.0) -> None:
        super().__init__()
        self.n_components = check_count("n_components", n_components, 2)
        self.register_buffer("alpha", torch.tensor(check_positive("concentration", concentration)))

    def distribution(self) -> TorchDistribution:
        return TransformedDistribution(Beta(*self.beta_parameters()).to_event(1), [StickBreaking()])

    def mean(self) -> Tensor:
        expected: Tensor = StickBreaking()((1 / (1 + self.alpha)).expand(self.n_components - 1))
        return expected

    def pseudo_counts(self) -> Tensor:
        return self.alpha * self.mean()

    def beta_parameters(self) -> tuple[Tensor, Tensor]:
        b = self.alpha.expand(self.n_components - 1)
        return torch.ones_like(b), b

    @property
    def has_mode(self) -> bool:
        """The density is ∝ π_K^(α − 1) / Π_{1<k<K} left_k, each factor as small as ε where all but ε is in π_1."""
        return float(self.alpha) >= self.n_components - 1

    def extra_repr(self) -> str:
        return f"n_components={self.n_components}, concentration={float(self.alpha)}"
