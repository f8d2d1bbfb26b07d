"""The generative model p(x, z) = π_z p_z(x), as a Pyro program."""

from collections.abc import Sequence

import pyro
import torch
from pyro.distributions import Categorical
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vmonf._plate import data_plate
from pyro_vmonf._validation import check_count, check_tensor
from pyro_vmonf.components.base import Components
from pyro_vmonf.labels import Labels, as_labels, is_labelled
from pyro_vmonf.models.weights import as_weights, log_mean

__all__ = ["FlowMixture"]


class FlowMixture(PyroModule):
    r"""A mixture whose components are normalizing flows::

        π ~ weights;  for n in plate("data", size):
            z_n ~ Categorical(π);  [y_n ~ p(y | z_n), obs];  x_n ~ p(x | z_n), obs

    z can be enumerated: with a guide that enumerates z, the loss of ``TraceEnum_ELBO`` is minus the exact K-sum ELBO
    Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]; with a guide that has no z it is −log p(x).

    Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.

    Args:
        components: The distributions p(x | z) of the K components.
        weights: The weights π: ``"uniform"``, ``"learned"``, K numbers, or a module that returns log π ``(K,)``, such
            as a prior (:class:`~pyro_vmonf.models.DirichletWeights`), which draws π in the program.
        labels: The distribution p(y | z) of labels. If it is not given, each component is a class, and labels are
            always right. The guide must have the same labels.

    Attributes:
        components: The distributions p(x | z).
        weights: The module that returns log π ``(K,)``.
        labels: The distribution p(y | z).

    Raises:
        TypeError: If ``components``, ``weights`` or ``labels`` are of the wrong kind.
        ValueError: If the weights or the labels are not those of K components.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP
        >>> model = FlowMixture(RealNVP(2, 3), weights=[0.5, 0.3, 0.2])
        >>> model.responsibilities(torch.zeros(4, 2)).shape
        torch.Size([4, 3])
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
        """The number of components K."""
        return self.components.n_components

    def forward(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        size: float | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Runs the program.

        Args:
            x: The batch ``(N, *event)``. If it is None, the program draws ``size`` points, or one.
            y: The observed labels ``(N,)`` of x, −1 where a point has none. Without noise and with one component a
                class they determine z. The ELBO of a labelled point is then log p(x, y), which has no gradient for the
                guide; therefore ``fit`` adds −log q(y | x) to the loss. Soft labels ``(N, C)`` are not observed: they
                change the guide alone.
            size: The number of points in the whole data set, or the sum of their weights, to which the plate scales
                the batch. It is that of the batch if it is not given.
            weight: The weights of the batch's points ``(N,)``: a point of weight 2 counts as two. They need a guide
                that enumerates z; where z is enumerated in the model alone, Pyro raises "enumeration only supports
                scalar poutine.scale" (use :meth:`evidence`, which needs no enumeration).

        Returns:
            The points x, observed or drawn.

        Raises:
            ValueError: If there are labels without x, or labels, ``size`` or ``weight`` do not fit the batch.
        """
        if y is not None:
            if x is None:
                raise ValueError("y: expected labels of an observed x, got labels without x")
            y = self.labels.validated(y, len(x))
        log_weights = self.weights()
        with data_plate(x, size, weight):
            z = pyro.sample("z", Categorical(logits=log_weights), infer={"enumerate": "parallel"})
            if y is not None and y.dim() == 1:
                pyro.sample("y", Categorical(logits=self.labels()[z]).mask(is_labelled(y)), obs=y.clamp(min=0))
            value: Tensor = pyro.sample("x", self.components.conditional(z), obs=x)
        return value

    @torch.no_grad()
    def sample(self, n: int = 1, log_weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draws n points and their components, on the model's device.

        ``posterior_predictive`` draws whole data sets, each with weights of its own where these have a posterior.

        Args:
            n: The number of points.
            log_weights: The logarithms log π ``(K,)``. If they are not given, they are the model's, or those of the
                prior's mean where the weights have a prior; ``guide.log_weights()`` are those of the posterior's mean.

        Returns:
            The points x ``(n, *event)`` and their components z ``(n,)``.

        Examples:
            >>> from pyro_vmonf import FlowMixture, RealNVP
            >>> x, z = FlowMixture(RealNVP(2, 3)).sample(100)
            >>> x.shape, z.shape
            (torch.Size([100, 2]), torch.Size([100]))
        """
        own = log_mean(self.weights) if log_weights is None else log_weights
        z = torch.multinomial(own.exp(), check_count("n", n), replacement=True)
        return self.components.sample(z), z

    def log_joint(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """Returns log p(x, z = k) in nats: x ``(*batch, *event)`` → ``(K, *batch)``.

        Args:
            x: The points.
            log_weights: The logarithms log π ``(K,)``. If they are not given, they are the model's, or those of the
                prior's mean where the weights have a prior.

        Raises:
            TypeError: If x is no tensor, or one of another type than the parameters.
        """
        try:
            table = self.components.log_prob(x)
        except (AttributeError, RuntimeError, TypeError):
            check_tensor("x", x, next(self.parameters(), None))
            raise
        own = log_mean(self.weights) if log_weights is None else log_weights
        return table + own.reshape(-1, *[1] * (table.dim() - 1))

    def evidence(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """Returns log p(x) = logsumexp_k [log π_k + log p_k(x)] in nats: x ``(*batch, *event)`` → ``(*batch)``."""
        return self.log_joint(x, log_weights).logsumexp(0)

    def responsibilities(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """Returns the exact posterior p(z = k | x): x ``(*batch, *event)`` → ``(*batch, K)``."""
        return self.log_joint(x, log_weights).softmax(0).movedim(0, -1)
