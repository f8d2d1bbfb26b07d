"""Evaluating a fitted pair: exact posterior, encoder, evidence, ELBO and the gap between them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf._validation import check_count, check_events, check_finite
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.labels import Labels
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["Evaluation", "Posterior", "evaluate", "validate_points"]

Posterior = Literal["encoder", "exact"]


@dataclass(frozen=True)
class Evaluation:
    """What model and guide say of N points; all in nats per observation.

    Attributes:
        log_joint: log p(x, z = k), ``(N, K)``.
        log_q: log q(z = k | x), ``(N, K)``.
        labels: the class of each component.
    """

    log_joint: Tensor
    log_q: Tensor
    labels: Labels

    @property
    def evidence(self) -> Tensor:
        """log p(x) = logsumexp_k log p(x, z = k), ``(N,)``."""
        return self.log_joint.logsumexp(-1)

    @property
    def responsibilities(self) -> Tensor:
        """The exact posterior p(z = k | x), ``(N, K)``."""
        return self.log_joint.softmax(-1)

    @property
    def encoder_probs(self) -> Tensor:
        """The encoder's probabilities q(z = k | x), ``(N, K)``."""
        return self.log_q.exp()

    @property
    def elbo(self) -> Tensor:
        """Σ_k q(k|x) [log p(x, k) − log q(k|x)], ``(N,)``."""
        q = self.encoder_probs
        # A component without probability adds nothing, whatever it says of x.
        return torch.where(q > 0, q * (self.log_joint - self.log_q), q.new_zeros(())).sum(-1)

    @property
    def inference_gap(self) -> Tensor:
        """log p(x) − ELBO(x) = KL(q(z|x) ‖ p(z|x)) ≥ 0, ``(N,)``."""
        return self.evidence - self.elbo

    def class_probs(self, posterior: Posterior = "encoder") -> Tensor:
        """The probabilities of the classes ``(N, C)``, by the ``"encoder"`` or the ``"exact"`` posterior."""
        if posterior not in ("encoder", "exact"):
            raise ValueError(f"posterior: expected 'encoder' or 'exact', got {posterior!r}")
        log_z = self.log_q if posterior == "encoder" else self.log_joint.log_softmax(-1)
        return self.labels.class_log_probs(log_z).exp()

    def predict(self, posterior: Posterior = "encoder") -> Tensor:
        """The most probable class of each point, ``(N,)``; without labels in the fit, its component."""
        return self.class_probs(posterior).argmax(-1)


@torch.no_grad()
def evaluate(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, *, batch_size: int = 1024) -> Evaluation:
    """Evaluates x ``(N, *event)`` in evaluation mode, ``batch_size`` points at a time, on the model's device.

    Where the guide has a posterior of the weights, they are its mean, and the evidence is the predictive density.

    Raises:
        TypeError: if x is not a floating-point tensor.
        ValueError: if it has the wrong shape or values that are not finite, or ``batch_size`` is below 1.
    """
    x = validate_points("x", x, model, guide)
    check_count("batch_size", batch_size)
    device = guide.temperature.device
    pairs = []
    with evaluation_mode(model), evaluation_mode(guide):
        for batch in x.split(batch_size):
            here = batch.to(device)
            pairs.append((model.log_joint(here, guide.log_weights()).T, guide.log_probs(here)))
    joint, encoder = (torch.cat(tables) for tables in zip(*pairs, strict=True))
    return Evaluation(joint, encoder, model.labels)


def validate_points(name: str, x: Tensor, model: FlowMixture, guide: SoftmaxEncoder | None = None) -> Tensor:
    """x ``(N, *event)``, N ≥ 1, finite, in the model's floating-point type."""
    shape = model.components.event_shape
    x = check_events(name, x, shape)
    if x.dim() != len(shape) + 1 or not len(x):
        raise ValueError(f"{name}: expected shape (N, {', '.join(map(str, shape))}) with N ≥ 1, got {tuple(x.shape)}")
    check_finite(name, x)
    dtype = next((p.dtype for p in [*model.parameters(), *(guide.parameters() if guide else ())]), x.dtype)
    return x.to(dtype)
