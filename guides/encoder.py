"""The amortized posterior q(z | x) = softmax(network(x) / T), as a Pyro program."""

import pyro
import torch
from pyro.distributions import Categorical
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vmonf._plate import data_plate
from pyro_vmonf._validation import check_count, check_positive, check_tensor
from pyro_vmonf.guides.weights import WeightsPosterior
from pyro_vmonf.labels import Labels, as_labels

__all__ = ["SoftmaxEncoder"]


class SoftmaxEncoder(PyroModule):
    """The guide of a mixture: q(z | x) = softmax(network(x) / T), conditioned on a label where there is one.

    A high temperature T makes q nearly uniform, so that early in training every component learns from all points. A
    fit with a schedule of the temperature lowers it to 1.

    Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.2.

    Args:
        network: The network that maps x ``(N, *event)`` to K logits ``(N, K)``.
        n_components: The number of components K.
        temperature: The temperature T at the start.
        labels: The distribution p(y | z) of labels, which must be that of the model (``model.labels``). If it is not
            given, each component is a class.
        weights: The posterior q(π), where the model has a prior of its weights: a
            :class:`~pyro_vmonf.guides.DirichletPosterior`, or another ``WeightsPosterior``.

    Attributes:
        temperature: The temperature T, a buffer.

    Raises:
        TypeError: If ``network``, ``labels`` or ``weights`` are of the wrong kind.
        ValueError: If K < 1, T is not positive, or labels or weights are not those of K components.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import SoftmaxEncoder, mlp
        >>> guide = SoftmaxEncoder(mlp(2, 3), 3, temperature=1e9)
        >>> guide.probs(torch.zeros(1, 2)).detach()  # a high temperature makes it uniform
        tensor([[0.3333, 0.3333, 0.3333]])
    """

    temperature: Tensor

    def __init__(
        self,
        network: nn.Module,
        n_components: int,
        temperature: float = 1.0,
        labels: Labels | None = None,
        weights: WeightsPosterior | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network: expected a module, got {type(network).__name__}")
        self.network = network
        self.n_components = check_count("n_components", n_components)
        self.labels = as_labels(labels, self.n_components)
        self.weights = None if weights is None else self._validate_weights(weights)
        self.register_buffer("temperature", torch.tensor(check_positive("temperature", temperature)))

    def _validate_weights(self, weights: object) -> WeightsPosterior:
        """Returns ``weights``; raises ``TypeError`` or ``ValueError`` if they are no posterior of K weights."""
        if not isinstance(weights, WeightsPosterior):
            raise TypeError(f"weights: expected a posterior such as DirichletPosterior(K), got {weights!r}")
        with torch.no_grad():
            shape = tuple(weights.mean().shape)
        if shape != (self.n_components,):
            raise ValueError(f"weights: expected a posterior of {self.n_components} weights, got one of shape {shape}")
        return weights

    def forward(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        size: float | None = None,
        weight: Tensor | None = None,
    ) -> Tensor | None:
        """Runs the program: draws the weights π where they have a posterior, then z for a batch x.

        The arguments are those of the model (see ``FlowMixture``). Without x the program draws π alone, so that
        ``Predictive(model, guide=guide)(size=N)`` gives new points.

        z follows q(z | x, y) ∝ q(z | x) p(y | z), or the soft label y of its class (see ``Labels.posterior``). Where
        a label determines z, the ELBO has no gradient for the network. To teach the network such labels, add
        ``-guide.label_log_prob(x, y).mean()`` of the labelled points to the loss, as ``fit`` does.

        Returns:
            The components z ``(N,)``, or None without x.

        Raises:
            ValueError: If labels, ``size`` or ``weight`` do not fit the batch, or the network's output is not
                ``(N, K)``.
        """
        if self.weights is not None:
            self.weights()
        if x is None:
            return None
        with data_plate(x, size, weight):
            observed = None if y is None else self.labels.validated(y, len(x))
            log_probs = self.labels.posterior(self.log_probs(x), observed)
            z: Tensor = pyro.sample("z", Categorical(logits=log_probs), infer={"enumerate": "parallel"})
        return z

    def log_weights(self) -> Tensor | None:
        """Returns log E_q[π] ``(K,)``, or None where the weights have no posterior.

        The density p(x) is linear in π, so these weights give the predictive density.
        """
        return None if self.weights is None else self.weights.log_mean()

    def log_probs(self, x: Tensor) -> Tensor:
        """Returns log q(z = k | x) without labels: x ``(N, *event)`` → ``(N, K)``.

        Raises:
            TypeError: If x is no tensor, or one of another type than the parameters.
            ValueError: If the network's output is not ``(N, K)``.
        """
        try:
            scores: Tensor = self.network(x)
        except (AttributeError, RuntimeError, TypeError):
            check_tensor("x", x, next(self.parameters(), None))
            raise
        if scores.shape != (len(x), self.n_components):
            raise ValueError(
                f"network: expected an output of shape ({len(x)}, {self.n_components}), got {tuple(scores.shape)}"
            )
        return (scores / self.temperature).mT.log_softmax(-2).mT  # with the batch last, several times as fast

    def probs(self, x: Tensor) -> Tensor:
        """Returns the probabilities q(z = k | x) without labels: x ``(N, *event)`` → ``(N, K)``."""
        return self.log_probs(x).exp()

    def label_log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns log q(y | x) ``(N,)`` in nats for labelled points, from which the encoder learns the labels.

        For soft labels y it is Σ_c y_c log q(c | x).
        """
        return self.labels.log_prob(self.log_probs(x), y)
