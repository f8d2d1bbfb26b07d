"""A quadratic discriminant, and a perceptron that corrects it."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_count, check_widths
from pyro_vmonf.transforms.networks import Linear
from pyro_vmonf.transforms.whitening import Whitening

__all__ = ["DiscriminantNetwork"]


class DiscriminantNetwork(nn.Module):
    """The logits ``log π_k + log N(x | μ_k, Σ_k) + f_k(x)``, up to a constant, with a perceptron f that begins at 0.

    Set by :meth:`set_gaussians`, their softmax is the responsibilities of a Gaussian mixture. The weights, f, and a
    correction of each Gaussian are learned, see :class:`~pyro_vmonf.transforms.Whitening`.

    Shapes: x ``(N, D)`` → ``(N, K)``, or for V networks at once x ``(V, N, D)`` → ``(V, N, K)``.

    Args:
        features: The number D of features.
        n_components: The number K of components.
        hidden_features: The widths of the perceptron's hidden layers, each followed by a hyperbolic tangent.
        stack: The number V of networks that are held at once, or None for one.

    Raises:
        ValueError: If a count or a width is too small.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.guides import DiscriminantNetwork
        >>> network = DiscriminantNetwork(2, 3)
        >>> network.set_gaussians(torch.tensor([0.2, 0.3, 0.5]).log(), torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2))
        >>> network(torch.randn(10, 2)).softmax(-1)[0].detach()
        tensor([0.2000, 0.3000, 0.5000])
    """

    def __init__(
        self,
        features: int,
        n_components: int,
        hidden_features: Sequence[int] = (32, 32),
        *,
        stack: int | None = None,
    ) -> None:
        super().__init__()
        self.n_components = check_count("n_components", n_components)
        self.gaussians = Whitening(features, components=n_components * (stack or 1))
        self.log_weights = nn.Parameter(torch.zeros(self.gaussians.components or 1))
        widths = [features, *check_widths("hidden_features", hidden_features), n_components]
        self.layers = nn.ModuleList(Linear(i, o, components=stack) for i, o in pairwise(widths))
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def set_gaussians(self, log_weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Sets the discriminant to that of Gaussian mixtures.

        Args:
            log_weights: The logarithms of the components' weights, ``(K,)`` or ``(V K,)``.
            means: The means, ``(K, D)`` or ``(V K, D)``.
            covariances: The covariances, ``(K, D, D)`` or ``(V K, D, D)``.
        """
        self.log_weights.copy_(log_weights)
        self.gaussians.set_gaussians(means, covariances)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits, in the shape given above."""
        return self.table(x).mT

    def table(self, x: Tensor) -> Tensor:
        """Returns the logits with the components first: ``(K, N)`` or ``(V, K, N)``."""
        k, h = self.n_components, x
        copies = x.unsqueeze(-3).expand(*x.shape[:-2], k, *x.shape[-2:])
        z: Tensor = self.gaussians._inverse(copies.reshape(-1, *x.shape[-2:]))
        offset = self.log_weights + self.gaussians.log_det()
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        quadratic = torch.add(offset.unsqueeze(-1), z.square().sum(-1), alpha=-0.5)
        return quadratic.view(*x.shape[:-2], k, -1) + self.layers[-1](h).mT
