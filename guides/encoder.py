"""The amortized posterior q(z | x) = softmax(network(x) / T), as a Pyro program."""

import pyro
import torch
from pyro.distributions import Categorical
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.guides.weights import WeightsPosterior
from pyro_vmonf.labels import Labels, as_labels

__all__ = ["SoftmaxEncoder"]


class SoftmaxEncoder(PyroModule):
    """The guide of a mixture: q(z | x) = softmax(network(x) / T), restricted by a label where one is given.

    A high temperature T makes q nearly uniform, so that early in training every component learns from all points; the
    fit lowers it to 1. Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.2.

    Args:
        network: maps x ``(N, *event)`` to K logits ``(N, K)``.
        n_components: K.
        temperature: T at the start.
        labels: p(y | z), the model's (``model.labels``); each component a class of its own if not given.
        weights: q(π), where the model has a prior on its weights: a
            :class:`~pyro_vmonf.guides.DirichletPosterior`, or another ``WeightsPosterior``.

    Raises:
        ValueError: if K < 1 or T is not positive.
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
        """``weights``, if they are a posterior of K weights."""
        if not isinstance(weights, WeightsPosterior):
            raise TypeError(f"weights: expected a posterior such as DirichletPosterior(K), got {weights!r}")
        with torch.no_grad():
            shape = tuple(weights.mean().shape)
        if shape != (self.n_components,):
            raise ValueError(f"weights: expected a posterior of {self.n_components} weights, got one of shape {shape}")
        return weights

    def forward(self, x: Tensor | None = None, y: Tensor | None = None, size: int | None = None) -> Tensor | None:
        """The program: samples z for a batch x, with the arguments of the model's (see ``FlowMixture``); before it π,
        where that has a posterior. Without x it samples π alone, so that ``Predictive(model, guide=guide)(size=N)``
        gives new points.

        z follows q(z | x, y) ∝ q(z | x) p(y | z), or the soft label y of its class (see ``Labels.posterior``). Where
        that is known for sure the ELBO has no gradient for the network; to teach it the labels add
        ``-guide.label_log_prob(x, y).mean()`` of the labelled points to the loss, as ``fit`` does.
        """
        if self.weights is not None:
            self.weights()
        if x is None:
            return None
        with pyro.plate("data", size or len(x), subsample=torch.arange(len(x), device=x.device), dim=-1):
            observed = None if y is None else self.labels.validated(y, len(x))
            log_probs = self.labels.posterior(self.log_probs(x), observed)
            z: Tensor = pyro.sample("z", Categorical(logits=log_probs), infer={"enumerate": "parallel"})
        return z

    def log_weights(self) -> Tensor | None:
        """log E_q[π] ``(K,)``, where π has a posterior; p(x) is then the predictive density, for it is linear in π."""
        return None if self.weights is None else self.weights.log_mean()

    def log_probs(self, x: Tensor) -> Tensor:
        """log q(z = k | x) without labels: x ``(N, *event)`` → ``(N, K)``.

        Raises:
            ValueError: if the network's output is not ``(N, K)``.
        """
        scores: Tensor = self.network(x)
        if scores.shape != (len(x), self.n_components):
            raise ValueError(
                f"network: expected an output of shape ({len(x)}, {self.n_components}), got {tuple(scores.shape)}"
            )
        return (scores / self.temperature).log_softmax(-1)

    def probs(self, x: Tensor) -> Tensor:
        """q(z = k | x) without labels: x ``(N, *event)`` → ``(N, K)``."""
        return self.log_probs(x).exp()

    def label_log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log q(y | x) ``(N,)`` of labelled points, Σ_c y_c log q(c | x) for soft labels: what teaches the encoder."""
        return self.labels.log_prob(self.log_probs(x), y)
