"""Networks for the encoder: a multilayer perceptron, and a small convolutional network for images."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from pyro_vmonf._validation import check_count, check_widths

__all__ = ["convnet", "mlp"]


def mlp(in_features: int, out_features: int, hidden_features: Sequence[int] = (16,)) -> nn.Sequential:
    """A multilayer perceptron with ReLUs between its layers: ``(N, in)`` → ``(N, out)``.

    Raises:
        ValueError: if a width is below 1.
    """
    ends = check_count("in_features", in_features), check_count("out_features", out_features)
    widths = [ends[0], *check_widths("hidden_features", hidden_features), ends[1]]
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convnet(height: int, width: int, out_features: int, *, channels: Sequence[int] = (16, 32, 64)) -> nn.Sequential:
    """Convolutions that halve the image, each with batch normalisation and ReLU, then one linear layer.

    Shapes: x ``(N, height · width)``, grey images row by row, or ``(N, height, width)`` → ``(N, out)``. The first
    convolution sees 5 × 5 pixels, the others 3 × 3. Batch normalisation needs more than one image in training.

    Args:
        height, width: of the image.
        out_features: number of outputs, K for an encoder.
        channels: of the convolutions, at least one.

    Raises:
        ValueError: if a number is below 1.
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
