"""Consistency regularisation: a point and its perturbation should have one component."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyro_vmonf._validation import check_positive
from pyro_vmonf.data.perturbations import Noise, apply_perturbation

__all__ = ["Consistency"]


@dataclass(frozen=True)
class Consistency:
    r"""A term added to the loss: ``weight · KL(q(z | x) ‖ q(z | x'))`` on average, x' a random perturbation of x.

    It changes the objective, which is then no bound of the evidence: the encoder is asked for more than to follow the
    flows. The first argument is held fixed, so that the term teaches the perturbed point what is said of the point
    itself; during a start it is the start's responsibilities, with an exact posterior p(z | x). Components have no
    gradient from it.
    References: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 6; Izmailov et al., *FlowGMM*, 2020
    (arXiv:1912.13025), section 5; Miyato et al., 2018 (arXiv:1704.03976), equation 5.

    Attributes:
        weight: in nats of the ELBO, above 0.
        perturb: maps a batch ``(N, *event)`` to another of the same shape, at random.

    Raises:
        ValueError: if the weight is not positive, or, when used, the perturbation changes the shape.
        TypeError: if ``perturb`` cannot be called.
    """

    weight: float = 1.0
    perturb: Callable[[Tensor], Tensor] = field(default_factory=Noise)

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        if not callable(self.perturb):
            raise TypeError(f"perturb: expected a function of a batch, got {type(self.perturb).__name__}")

    def loss(self, log_probs: Callable[[Tensor], Tensor], x: Tensor, target: Tensor) -> Tensor:
        """The term per observation, for an encoder's ``log_probs`` and the ``target`` ``(N, K)`` probabilities."""
        divergence = torch.special.xlogy(target, target) - target * log_probs(
            apply_perturbation("perturb", self.perturb, x)
        )
        return self.weight * divergence.sum(-1).mean()
