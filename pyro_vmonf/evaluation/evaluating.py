"""The evaluation of a model and its guide: exact posterior, encoder, evidence, ELBO and the gap between them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf._validation import as_floats, check_choice, check_count, check_events, check_finite
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.labels import Labels
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["Evaluation", "Posterior", "evaluate", "validate_points"]

Posterior: TypeAlias = Literal["encoder", "exact"]


@dataclass(frozen=True)
class Evaluation:
    """The log-densities of N points under a model and its guide, in nats, and what follows from them.

    Its ``repr`` shows the means of evidence, ELBO and inference gap, and the share of points for which the encoder and
    the exact posterior choose the same component.

    Attributes:
        log_joint: The joint log-density log p(x, z = k) under the model, ``(N, K)``.
        log_q: The logarithm of the encoder's probabilities, log q(z = k | x), ``(N, K)``.
        labels: The labels of the model, with the class of each component.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import Labels
        >>> from pyro_vmonf.evaluation import Evaluation
        >>> joint = torch.tensor([[0.3, 0.1], [0.1, 0.3]]).log()
        >>> Evaluation(joint, torch.tensor([[0.8, 0.2], [0.8, 0.2]]).log(), Labels([0, 1]))
        Evaluation of 2 points by 2 components (means in nats per observation)
          evidence        -0.916
          ELBO            -1.253
          inference gap    0.337
          agreement       50.0 % (encoder and exact posterior choose the same component)
    """

    log_joint: Tensor
    log_q: Tensor
    labels: Labels

    def __repr__(self) -> str:
        n, k = self.log_q.shape
        same = float((self.log_q.argmax(-1) == self.log_joint.argmax(-1)).double().mean())
        # Adding 0 turns −0 into 0.
        evidence, elbo, gap = (round(float(v.mean()), 3) + 0.0 for v in (self.evidence, self.elbo, self.inference_gap))
        return (
            f"Evaluation of {n} points by {k} components (means in nats per observation)\n"
            f"  evidence      {evidence:>8.3f}\n"
            f"  ELBO          {elbo:>8.3f}\n"
            f"  inference gap {gap:>8.3f}\n"
            f"  agreement     {100 * same:>6.1f} % (encoder and exact posterior choose the same component)"
        )

    @property
    def evidence(self) -> Tensor:
        """The evidence log p(x) = logsumexp_k log p(x, z = k), ``(N,)``."""
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
        """The evidence lower bound Σ_k q(k|x) [log p(x, k) − log q(k|x)], ``(N,)``."""
        q = self.encoder_probs
        # A component without probability adds 0, even where its density is 0.
        return torch.where(q > 0, q * (self.log_joint - self.log_q), q.new_zeros(())).sum(-1)

    @property
    def inference_gap(self) -> Tensor:
        """The inference gap log p(x) − ELBO(x) = KL(q(z|x) ‖ p(z|x)) ≥ 0, ``(N,)``."""
        return self.evidence - self.elbo

    def class_probs(self, posterior: Posterior = "encoder") -> Tensor:
        """Returns the probabilities of the classes ``(N, C)``, by the ``"encoder"`` or the ``"exact"`` posterior.

        Raises:
            ValueError: If ``posterior`` is neither.
        """
        check_choice("posterior", posterior, ("encoder", "exact"))
        log_z = self.log_q if posterior == "encoder" else self.log_joint.log_softmax(-1)
        return self.labels.class_log_probs(log_z).exp()

    def predict(self, posterior: Posterior = "encoder") -> Tensor:
        """Returns the most probable class of each point, ``(N,)``, which is its component if each one is a class.

        Raises:
            ValueError: If ``posterior`` is neither ``"encoder"`` nor ``"exact"``.
        """
        return self.class_probs(posterior).argmax(-1)


@torch.no_grad()
def evaluate(model: FlowMixture, guide: SoftmaxEncoder, x: object, *, batch_size: int | None = None) -> Evaluation:
    """Evaluates points under a model and its guide, in evaluation mode, on the model's device.

    Where the guide has a posterior of the weights, they are its mean, and the evidence is the predictive density.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x).
        x: The points ``(N, *event)``: a tensor, an array, a data frame or rows of numbers.
        batch_size: The number of points that are evaluated at a time. If it is not given, half a million numbers of all
            components are, and 256 points at least.

    Returns:
        The log-densities of the points.

    Raises:
        TypeError: If x holds anything but numbers.
        ValueError: If it has the wrong shape or values that are not finite, or ``batch_size`` is below 1.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, evaluate, mlp
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> evaluation = evaluate(model, guide, [[0.0, 1.0], [2.0, 0.5]])
        >>> evaluation.encoder_probs.shape, evaluation.evidence.shape
        (torch.Size([2, 3]), torch.Size([2]))
    """
    check_kinds(model, guide)
    x = validate_points("x", x, model, guide)
    size = max(256, 2**19 // (model.n_components * x[0].numel())) if batch_size is None else batch_size
    check_count("batch_size", size)
    device = guide.temperature.device
    pairs = []
    with evaluation_mode(model), evaluation_mode(guide):
        for batch in x.split(size):
            here = batch.to(device)
            pairs.append((model.log_joint(here, guide.log_weights()).T, guide.log_probs(here)))
    joint, encoder = (torch.cat(tables) for tables in zip(*pairs, strict=True))
    return Evaluation(joint, encoder, model.labels)


def check_kinds(model: object, guide: object) -> None:
    """Raises ``TypeError`` if these are no model and guide, or change places."""
    for name, given, kind in (("model", model, FlowMixture), ("guide", guide, SoftmaxEncoder)):
        if not isinstance(given, kind):
            raise TypeError(f"{name}: expected a {kind.__name__}, got {type(given).__name__}")


def validate_points(name: str, x: object, model: FlowMixture, guide: SoftmaxEncoder | None = None) -> Tensor:
    """Returns x ``(N, *event)``, N ≥ 1, finite, without a gradient, in the model's floating-point type.

    Args:
        name: What the caller calls the argument.
        x: The points: a tensor, an array, a data frame or rows of numbers.
        model: The model p(x, z).
        guide: The guide, whose type counts where the model has no parameters.

    Raises:
        TypeError: If x holds anything but numbers.
        ValueError: If its shape is another, or a value is not finite, also in the model's type.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> from pyro_vmonf.evaluation.evaluating import validate_points
        >>> validate_points("x", [[0, 1], [2, 3]], FlowMixture(RealNVP(2, 3)))
        tensor([[0., 1.],
                [2., 3.]])
    """
    shape = model.components.event_shape
    points = check_events(name, as_floats(name, x), shape)
    if points.dim() != len(shape) + 1 or not len(points):
        expected = f"(N, {', '.join(map(str, shape))}) with N ≥ 1"
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(points.shape)}")
    check_finite(name, points)
    parameters = [*model.parameters(), *(guide.parameters() if guide else ())]
    points = points.to(next((p.dtype for p in parameters), points.dtype))
    check_finite(f"{name} in the model's type {points.dtype}", points)
    return points
