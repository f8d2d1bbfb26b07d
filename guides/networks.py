"""Networks for the encoder: a multilayer perceptron, and a small convolutional network for images."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from pyro_vmonf._validation import check_count, check_widths

__all__ = ["convnet", "mlp"]


def mlp(in_features: int, out_features: int, hidden_features: Sequence[int] = (16,)) -> nn.Sequential:
    """Returns a multilayer perceptron with ReLUs between its layers: ``(N, in_features)`` → ``(N, out_features)``.

    Args:
        in_features: The number of inputs.
        out_features: The number of outputs, which is K for an encoder.
        hidden_features: The widths of the hidden layers.

    Raises:
        ValueError: If a width is below 1.

    Examples:
        >>> from pyro_vmonf import mlp
        >>> mlp(2, 5, (32,))
        Sequential(
          (0): Linear(in_features=2, out_features=32, bias=True)
          (1): ReLU()
          (2): Linear(in_features=32, out_features=5, bias=True)
        )
    """
    ends = check_count("in_features", in_features), check_count("out_features", out_features)
    widths = [ends[0], *check_widths("hidden_features", hidden_features), ends[1]]
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convnet(height: int, width: int, out_features: int, *, channels: Sequence[int] = (16, 32, 64)) -> nn.Sequential:
    """Returns convolutions that halve the image, each with batch normalisation and ReLU, and then one linear layer.

    It maps grey images x ``(N, height · width)``, row by row, or ``(N, height, width)`` to ``(N, out_features)``. The
    kernel of the first convolution has 5 × 5 pixels, those of the others have 3 × 3. Batch normalisation needs more
    than one image in training.

    Args:
        height: The height of an image in pixels.
        width: The width of an image in pixels.
        out_features: The number of outputs, which is K for an encoder.
        channels: The numbers of channels of the convolutions, at least one.

    Raises:
        ValueError: If a number is below 1.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import convnet
        >>> convnet(28, 28, 10)(torch.zeros(2, 784)).shape
        torch.Size([2, 10])
    """
    size = check_count("height", height), check_count("width", width)
    check_count("out_features", out_features)
    depths = [1, *check_widths("channels", channels)]
    check_count("channels", len(depths) - 1)
    layers: list[nn.Module] = [nn.Flatten(), nn.Unflatten(1, (1, *size))]
    for i, (before, after) in enumerate(pairwise(depths)):
        kernel = 3 if i else 5
        layers += [nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2), nn.BatchNorm2d(after), nn.ReLU()]
        size = (size[0] + 1) // 2, (size[1] + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(depths[-1] * size[0] * size[1], out_features))
