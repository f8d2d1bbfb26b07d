"""The mixture's weights π: uniform, given, or learned."""

from collections.abc import Sequence

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import check_count
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.simplex import RandomWeights

__all__ = ["FixedWeights", "LearnedWeights", "UniformWeights", "as_weights", "log_mean"]


class FixedWeights(nn.Module):
    """Weights that are given and stay as they are.

    Args:
        probabilities: The weights, K positive numbers that sum to 1.

    Raises:
        ValueError: If they are not positive or do not sum to 1 (within 1e-4).

    Examples:
        >>> from pyro_vmonf.models import FixedWeights
        >>> FixedWeights([0.75, 0.25])().exp()
        tensor([0.7500, 0.2500])
    """

    log_weights: Tensor

    def __init__(self, probabilities: Tensor | Sequence[float]) -> None:
        super().__init__()
        given = torch.as_tensor(probabilities, dtype=torch.float64)
        if given.dim() != 1 or not bool((given > 0).all()) or abs(float(given.sum()) - 1) > 1e-4:
            raise ValueError(f"weights: expected positive numbers that sum to 1, got {given.tolist()}")
        self.register_buffer("log_weights", (given / given.sum()).log().to(torch.get_default_dtype()))

    def forward(self) -> Tensor:
        """Returns log π ``(K,)``."""
        return self.log_weights

    def extra_repr(self) -> str:
        return f"probabilities={[round(float(p), 6) for p in self.log_weights.exp()]}"


class UniformWeights(FixedWeights):
    """Weights that are all 1/K and stay so.

    Args:
        n_components: The number of components K.

    Raises:
        ValueError: If K < 1.

    Examples:
        >>> from pyro_vmonf.models import UniformWeights
        >>> UniformWeights(4)().exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def __init__(self, n_components: int) -> None:
        super().__init__([1 / check_count("n_components", n_components)] * n_components)


class LearnedWeights(nn.Module):
    """Weights π = softmax(logits) that are trained together with the flows, and are uniform at the start.

    Args:
        n_components: The number of components K.

    Raises:
        ValueError: If K < 1.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.models import LearnedWeights
        >>> weights = LearnedWeights(2)
        >>> weights.initialize(torch.tensor([0.75, 0.25]))
        >>> weights().exp().detach()
        tensor([0.7500, 0.2500])
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(check_count("n_components", n_components)))

    def reset_parameters(self) -> None:
        """Makes the weights uniform."""
        nn.init.zeros_(self.logits)

    @torch.no_grad()
    def initialize(self, probabilities: Tensor) -> None:
        """Sets π to ``probabilities`` ``(K,)``, each at least 1e-6."""
        self.logits.copy_(probabilities.clamp(min=1e-6).log())

    def forward(self) -> Tensor:
        """Returns log π ``(K,)``."""
        return self.logits.log_softmax(-1)


def as_weights(weights: "str | Tensor | Sequence[float] | nn.Module", n_components: int) -> nn.Module:
    """Returns ``"uniform"``, ``"learned"``, K numbers, or a module that returns log π ``(K,)``, as such a module.

    Raises:
        TypeError: If ``weights`` are none of these, or the module draws π and is no ``WeightsPrior``.
        ValueError: If the name is unknown, or the weights are not those of K components.

    Examples:
        >>> from pyro_vmonf.models.weights import as_weights
        >>> as_weights([0.75, 0.25], 2)
        FixedWeights(probabilities=[0.75, 0.25])
    """
    if isinstance(weights, nn.Module):
        with torch.no_grad():
            with isolated_random_state():
                sites = poutine.trace(weights).get_trace().stochastic_nodes
            if (sites or isinstance(weights, RandomWeights)) and not isinstance(weights, WeightsPrior):
                raise TypeError(
                    f"weights: expected a WeightsPrior, as the module draws {sites}, got {type(weights).__name__}"
                )
            shape = tuple(log_mean(weights).shape)
        if shape != (n_components,):
            raise ValueError(f"weights: expected a module that returns shape ({n_components},), got {shape}")
        return weights
    if isinstance(weights, str):
        by_name: dict[str, type[nn.Module]] = {"uniform": UniformWeights, "learned": LearnedWeights}
        if weights not in by_name:
            raise ValueError(f"weights: expected one of {sorted(by_name)}, numbers or a module, got {weights!r}")
        return by_name[weights](n_components)
    if not hasattr(weights, "__len__"):
        raise TypeError(f"weights: expected a name, {n_components} numbers or a module, got {weights!r}")
    if len(weights) != n_components:
        raise ValueError(f"weights: expected {n_components} numbers, one for each component, got {len(weights)}")
    return FixedWeights(weights)


def log_mean(weights: nn.Module) -> Tensor:
    """Returns log E[π] ``(K,)`` for weights that have a distribution, and for others the log π that they return.

    Examples:
        >>> from pyro_vmonf.models import DirichletWeights
        >>> from pyro_vmonf.models.weights import log_mean
        >>> log_mean(DirichletWeights([3.0, 1.0])).exp()
        tensor([0.7500, 0.2500])
    """
    value: Tensor = weights.log_mean() if isinstance(weights, RandomWeights) else weights()
    return value
