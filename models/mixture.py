"""The generative model p(x, z) = π_z p_z(x), as a Pyro program."""

from collections.abc import Sequence

import pyro
import torch
from pyro.distributions import Categorical
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vmonf._validation import check_count
from pyro_vmonf.components.base import Components
from pyro_vmonf.labels import Labels, as_labels, is_labelled
from pyro_vmonf.models.weights import as_weights, log_mean

__all__ = ["FlowMixture"]


class FlowMixture(PyroModule):
    r"""A mixture whose components are normalizing flows::

        π ~ weights;  for n in plate("data", size):
            z_n ~ Categorical(π);  [y_n ~ p(y | z_n), obs];  x_n ~ p(x | z_n), obs

    z is enumerable: with a guide that enumerates z the loss of ``TraceEnum_ELBO`` is the exact K-sum ELBO
    Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]; with a guide that leaves z out it is −log p(x).
    Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.

    Args:
        components: p(x | z).
        weights: ``"uniform"``, ``"learned"``, K numbers, or a module that returns log π ``(K,)``, such as a prior
            (:class:`~pyro_vmonf.models.DirichletWeights`), which draws π in the program.
        labels: p(y | z); each component a class of its own, whose labels are right, if not given. The guide has the
            same.
    """

    def __init__(
        self,
        components: Components,
        weights: "str | Tensor | Sequence[float] | nn.Module" = "uniform",
        labels: Labels | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(components, Components):
            raise TypeError(f"components: expected Components, got {type(components).__name__}")
        self.components = components
        self.weights = as_weights(weights, components.n_components)
        self.labels = as_labels(labels, components.n_components)

    @property
    def n_components(self) -> int:
        """K."""
        return self.components.n_components

    def forward(self, x: Tensor | None = None, y: Tensor | None = None, size: int | None = None) -> Tensor:
        """The program.

        Args:
            x: a batch ``(N, *event)``; None to sample ``size`` points (1 if not given).
            y: labels ``(N,)`` of x, −1 where unlabelled, observed. Without noise and with one component a class they
                fix z; the ELBO of a labelled point is then log p(x, y) and does not teach the guide, for which ``fit``
                adds −log q(y | x). Soft labels ``(N, C)`` are no observations: they enter by the guide alone.
            size: number of points in the whole data set, by which the plate scales the batch; N if not given.

        Returns:
            x.
        """
        if y is not None:
            if x is None:
                raise ValueError("y: expected labels of an observed x, got labels without x")
            y = self.labels.validated(y, len(x))
        log_weights = self.weights()
        with self.plate(x, size):
            z = pyro.sample("z", Categorical(logits=log_weights), infer={"enumerate": "parallel"})
            if y is not None and y.dim() == 1:
                pyro.sample("y", Categorical(logits=self.labels()[z]).mask(is_labelled(y)), obs=y.clamp(min=0))
            value: Tensor = pyro.sample("x", self.components.conditional(z), obs=x)
        return value

    def plate(self, x: Tensor | None, size: int | None) -> pyro.plate:
        """The plate over the data: the batch x stands for ``size`` points."""
        if x is None:
            return pyro.plate("data", check_count("size", 1 if size is None else size), dim=-1)
        if size is not None and size < len(x):
            raise ValueError(f"size: expected at least the {len(x)} points of the batch, got {size}")
        return pyro.plate("data", size or len(x), subsample=torch.arange(len(x), device=x.device), dim=-1)

    def log_joint(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """log p(x, z = k) in nats: x ``(*batch, *event)`` → ``(K, *batch)``.

        Args:
            x: points.
            log_weights: log π ``(K,)``; the model's own if not given, the prior's mean where π has a prior.
        """
        table = self.components.log_prob(x)
        own: Tensor = log_mean(self.weights) if log_weights is None else log_weights
        return table + own.reshape(-1, *[1] * (table.dim() - 1))

    def evidence(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """log p(x) = logsumexp_k [log π_k + log p_k(x)] in nats: x ``(*batch, *event)`` → ``(*batch)``."""
        return self.log_joint(x, log_weights).logsumexp(0)

    def responsibilities(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """p(z = k | x), exactly: x ``(*batch, *event)`` → ``(*batch, K)``."""
        return self.log_joint(x, log_weights).softmax(0).movedim(0, -1)
