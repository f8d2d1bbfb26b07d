"""Conditioners: dense and masked networks that hold one set of weights, or K sets multiplied in one batched product."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import check_widths
from pyro_vmonf.transforms.stacking import Stacked

__all__ = ["AFFINE_SHAPES", "MADE", "ConditionerMLP", "Linear"]

AFFINE_SHAPES: tuple[tuple[int, ...], ...] = ((), ())  # a mean and a log-scale for each feature


class Linear(Stacked):
    r"""``y = W x + b`` for one weight matrix or for K of them at once.

    Shapes: x ``(N, in)`` or ``(K, N, in)`` → y ``(N, out)`` or ``(K, N, out)``; W ``(out, in)`` or ``(K, out, in)``.
    Weights are initialized as in ``torch.nn.Linear``: uniform in ``±1/√in``.

    Args:
        in_features: The length of one input.
        out_features: The length of one output.
        components: The number K of components, or None for one set of weights.

    Raises:
        ValueError: If ``components`` is not a positive integer or None.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import Linear
        >>> layer = Linear(2, 5, components=3)
        >>> layer
        Linear(components=3, in_features=2, out_features=5)
        >>> layer(torch.zeros(3, 10, 2)).shape
        torch.Size([3, 10, 5])
    """

    def __init__(self, in_features: int, out_features: int, *, components: int | None = None) -> None:
        super().__init__(components)
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(self.stack(out_features, in_features)))
        self.bias = nn.Parameter(torch.empty(self.stack(out_features)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights."""
        bound = 1 / math.sqrt(max(self.weight.shape[-1], 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Returns y, in the shape given above."""
        return batched_linear(x, self.weight, self.bias)


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns ``x Wᵀ + b``, broadcast over a component axis."""
    # With the batch last, small products run up to three times as fast, and the weight's gradient comes out contiguous.
    # The result is a transposed view, which the next layer transposes back for nothing.
    if x.dim() == weight.dim() == 3:
        return torch.baddbmm(bias.unsqueeze(-1), weight, x.mT).mT
    return (weight @ x.mT + bias.unsqueeze(-1)).mT


def start_at_zero(*layers: nn.Module) -> None:
    """Sets weights to zero: every map that they condition is then the identity, and a flow its base or a Gaussian."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def check_shapes(shapes: object) -> tuple[tuple[int, ...], ...]:
    """Returns ``shapes`` as a tuple of at least one tuple of positive integers; raises ``ValueError`` otherwise."""
    if not isinstance(shapes, Sequence) or not shapes:
        raise ValueError(f"shapes: expected at least one shape, as in ((), (8,)), got {shapes!r}")
    return tuple(check_widths("shapes", shape) for shape in shapes)


def unflatten(outputs: Iterable[Tensor], shapes: Iterable[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """Returns each of ``outputs`` ``(…, features · Π shape)`` in the shape ``(…, features, *shape)``."""
    return tuple(y.unflatten(-1, (-1, *shape)) if shape else y for y, shape in zip(outputs, shapes, strict=True))


class ConditionerMLP(nn.Module):
    """A multilayer perceptron that returns the parameters of a univariate map for each feature, for a coupling.

    The last layer is initialized with zeros, so that a coupling begins at the identity.

    Shapes: x ``(N, in)`` or ``(K, N, in)`` → one tensor ``(…, N, out, *shape)`` for each of ``shapes``.

    Args:
        in_features: The length of one input.
        hidden_features: The widths of the hidden layers, each followed by the activation.
        out_features: The number of features that are mapped.
        shapes: The shape of each parameter for one feature; by default two numbers, a mean and a log-scale.
        components: The number K of components, or None for one set of weights.
        activation: The function after each hidden layer.

    Raises:
        ValueError: If a width or a shape is not a sequence of positive integers, or there is no shape.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import ConditionerMLP
        >>> network = ConditionerMLP(2, (8,), 4, [(), (5,)], components=3)
        >>> shift, heights = network(torch.zeros(3, 10, 2))
        >>> shift.shape, heights.shape
        (torch.Size([3, 10, 4]), torch.Size([3, 10, 4, 5]))
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int],
        out_features: int,
        shapes: Sequence[Sequence[int]] = AFFINE_SHAPES,
        *,
        components: int | None = None,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.shapes = check_shapes(shapes)
        self.sizes = tuple(out_features * math.prod(shape) for shape in self.shapes)
        widths = [in_features, *check_widths("hidden_features", hidden_features), sum(self.sizes)]
        self.layers = nn.ModuleList(Linear(i, o, components=components) for i, o in pairwise(widths))
        start_at_zero(self.layers[-1])

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for layer in self.layers:
            cast(Linear, layer).reset_parameters()
        start_at_zero(self.layers[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns the parameters, in the shapes given above."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        # These are whole rows of memory, and their gradients are joined as such.
        parts = self.layers[-1](x).mT.split(self.sizes, dim=-2)
        return unflatten((part.mT for part in parts), self.shapes)

    def extra_repr(self) -> str:
        """Returns the shapes."""
        return f"shapes={self.shapes}"


class MaskedLinear(Linear):
    """A :class:`Linear` in which output j depends on input i only where ``in_degrees[i] ≤ out_degrees[j]``.

    Half the products are with masked zeros; leaving them out block by block was slower at D = 784.
    """

    mask: Tensor

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, components: int | None = None) -> None:
        super().__init__(len(in_degrees), len(out_degrees), components=components)
        mask = (in_degrees <= out_degrees.unsqueeze(-1)).to(self.weight.dtype)
        self.register_buffer("mask", mask if components is None else mask.unsqueeze(0))
        self.apply_mask()

    def reset_parameters(self) -> None:
        """Draws new weights, and sets masked ones to zero."""
        super().reset_parameters()
        if hasattr(self, "mask"):
            self.apply_mask()

    @torch.no_grad()
    def apply_mask(self) -> None:
        """Sets masked weights to zero."""
        # Masked weights have no gradient but weight decay, under which Adam would let them dwindle to denormal numbers,
        # and arithmetic on those is ten times slower. From zero they stay zero.
        self.weight.mul_(self.mask)

    def forward(self, x: Tensor) -> Tensor:
        """Returns y, in the shape that :class:`Linear` gives."""
        return batched_linear(x, self.weight * self.mask, self.bias)

    def part(self, rows: slice, known: int, x: Tensor | None) -> Tensor:
        """Returns some outputs ``(…, rows, N)``, which depend on the first ``known`` inputs ``(…, inputs, N)``."""
        bias = self.bias[..., rows].unsqueeze(-1)
        return bias if x is None or not known else self.weight[..., rows, :known] @ x[..., :known, :] + bias


class MADE(nn.Module):
    r"""A masked autoencoder: the parameters of the map of feature d depend only on the features before d.

    Hidden layers may have any width. The last layers are initialized with zeros, so that a transform begins at the
    identity.
    Reference: Germain et al., *MADE*, 2015 (arXiv:1502.03509), equations 8–9.

    Shapes: x ``(N, D)`` or ``(K, N, D)`` → one tensor ``(…, N, D, *shape)`` for each of ``shapes``.

    Args:
        features: The number D of features.
        hidden_features: The widths of the hidden layers, each followed by a ReLU.
        shapes: The shape of each parameter for one feature; by default two numbers, a mean and a log-scale.
        components: The number K of components, or None for one set of weights.

    Raises:
        ValueError: If a width or a shape is not a sequence of positive integers, or there is no shape.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.transforms import MADE
        >>> network = MADE(4, (8,), components=3)
        >>> mean, log_scale = network(torch.randn(3, 10, 4))
        >>> mean.shape
        torch.Size([3, 10, 4])
        >>> bool((mean[..., 0] == mean[:, :1, 0]).all())  # the mean of the first feature depends on nothing
        True
    """

    def __init__(
        self,
        features: int,
        hidden_features: Sequence[int],
        shapes: Sequence[Sequence[int]] = AFFINE_SHAPES,
        *,
        components: int | None = None,
    ) -> None:
        super().__init__()
        self.shapes = check_shapes(shapes)
        inputs = torch.arange(features)
        widths = check_widths("hidden_features", hidden_features)
        units = [range(features), *([i * max(features - 1, 1) // width for i in range(width)] for width in widths)]
        # The number of units of each layer whose degree is at most d, for each d.
        self.counts = [[bisect_right(layer, d) for d in range(features)] for layer in units]
        degrees = [torch.tensor(list(layer)) for layer in units]
        self.hidden = nn.ModuleList(MaskedLinear(i, o, components=components) for i, o in pairwise(degrees))
        # The parameters of feature d depend on the hidden units of a degree below d.
        outputs = [(inputs - 1).repeat_interleave(math.prod(shape)) for shape in self.shapes]
        self.outputs = nn.ModuleList(MaskedLinear(degrees[-1], o, components=components) for o in outputs)
        start_at_zero(*self.outputs)

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for layer in [*self.hidden, *self.outputs]:
            cast(MaskedLinear, layer).reset_parameters()
        start_at_zero(*self.outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns the parameters, in the shapes given above."""
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return unflatten([output(x) for output in self.outputs], self.shapes)

    def sequential(self, solve: Callable[..., Tensor], features: int) -> Tensor:
        """Returns x whose feature d follows from the parameters that x itself gives, for each d in turn.

        A hidden unit of degree d needs the features up to d, and is computed once they are there, so that all features
        together cost about one pass.

        Args:
            solve: Returns feature d ``(…, 1, N)``, given d and the parameters of its map, one tensor
                ``(…, Π shape, N)`` for each of ``shapes``.
            features: The number of features to find, from the first on.

        Returns:
            The features ``(…, N, features)``.
        """
        found: list[Tensor] = []
        units: list[Tensor | None] = [None] * len(self.hidden)  # those known of each hidden layer
        for d in range(features):
            if d:
                self.advance(d - 1, found, units)
            last = (torch.cat(found, -2) if found else None) if not units else units[-1]
            known = 0 if d == 0 else self.counts[-1][d - 1]
            parameters = []
            for layer, shape in zip(self.outputs, self.shapes, strict=True):
                rows = slice(d * math.prod(shape), (d + 1) * math.prod(shape))
                parameters.append(cast(MaskedLinear, layer).part(rows, known, last))
            found.append(solve(d, *parameters))
        return torch.cat(found, -2).mT

    def advance(self, degree: int, found: list[Tensor], units: list[Tensor | None]) -> None:
        """Computes the hidden units of a degree, given the features up to it."""
        before: Tensor | None = None
        for i, layer in enumerate(self.hidden):
            first, end = 0 if degree == 0 else self.counts[i + 1][degree - 1], self.counts[i + 1][degree]
            if first < end:
                before = torch.cat(found, -2) if i == 0 else units[i - 1]
                new = torch.relu(cast(MaskedLinear, layer).part(slice(first, end), self.counts[i][degree], before))
                own = units[i]
                units[i] = new if own is None else torch.cat([own, new], -2)

    def extra_repr(self) -> str:
        """Returns the shapes."""
        return f"shapes={self.shapes}"
