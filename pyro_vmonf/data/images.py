"""Images: MNIST, scikit-learn's 8×8 digits, and the logit map from pixels to real numbers."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from pyro_vmonf._validation import check_count

__all__ = ["Logit", "digits", "mnist", "mnist_folder"]


@dataclass(frozen=True)
class Logit:
    """The map from integer pixels to real numbers, with a uniform noise from [0, 1).

    It is ``u = (pixel + noise) / levels``, ``x = logit(α + (1 − 2α) u)``.

    Reference: Papamakarios et al., *MAF*, 2017 (arXiv:1705.07057), appendix E.2 and D.

    Attributes:
        levels: The number of grey levels, 256 for bytes.
        alpha: The number α between 0 and 0.5, which keeps x finite.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> from pyro_vmonf.data import Logit, digits
        >>> logit = Logit(levels=17)
        >>> x = logit(digits()[0])
        >>> float(logit.images(x).max()) <= 1
        True
    """

    levels: int = 256
    alpha: float = 1e-6

    def __post_init__(self) -> None:
        check_count("levels", self.levels, 2)
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha: expected a number between 0 and 0.5, got {self.alpha!r}")

    def __call__(self, pixels: Tensor, *, seed: int = 0) -> Tensor:
        """Returns x for integer ``pixels`` of any shape.

        Args:
            pixels: The pixels, from 0 to ``levels − 1``.
            seed: The seed of the noise.
        """
        noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed))
        return (self.alpha + (1 - 2 * self.alpha) * (pixels + noise) / self.levels).logit()

    def redequantize(self, x: Tensor) -> Tensor:
        """Returns x with new noise for the same pixels.

        As ``TrainingConfig(augment=…)`` it keeps flows from learning the noise.
        """
        pixels = (self.images(x) * self.levels).floor().clamp(max=self.levels - 1)
        return (self.alpha + (1 - 2 * self.alpha) * (pixels + torch.rand_like(x)) / self.levels).logit()

    def images(self, x: Tensor) -> Tensor:
        """Returns u in [0, 1], by the inverse of the map."""
        return ((x.sigmoid() - self.alpha) / (1 - 2 * self.alpha)).clamp(0, 1)

    def log_det(self, x: Tensor) -> Tensor:
        """Returns log|det dx/du| of each row, ``(N, D)`` → ``(N,)``. Added to log p(x) it gives log p(u)."""
        log_slope = math.log(1 - 2 * self.alpha) - torch.nn.functional.logsigmoid(x)
        return (log_slope - torch.nn.functional.logsigmoid(-x)).sum(-1)

    def bits_per_dim(self, x: Tensor, log_prob: Tensor) -> Tensor:
        """Returns the mean of −log₂ of a pixel's probability over each row, in bits per dimension, ``(N,)``.

        It accounts for the map's Jacobian and the noise: −(log p(x) + log|det dx/du|) / (D log 2) + log₂ levels.

        Args:
            x: The points ``(N, D)``.
            log_prob: The log-densities log p(x) ``(N,)`` in nats.
        """
        return -(log_prob + self.log_det(x)) / (x.shape[-1] * math.log(2)) + math.log2(self.levels)


def digits() -> tuple[Tensor, Tensor]:
    """Returns scikit-learn's 1,797 handwritten digits: pixels ``(N, 64)`` from 0 to 16, and classes ``(N,)``.

    Examples:
        >>> from pyro_vmonf.data import digits
        >>> pixels, y = digits()
        >>> pixels.shape, y.unique().tolist()
        (torch.Size([1797, 64]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    pixels, y = load_digits(return_X_y=True)
    return torch.as_tensor(pixels).long(), torch.as_tensor(y).long()


def mnist_folder() -> Path:
    """Returns the folder that has MNIST's files in ``MNIST/raw``.

    It is the environment variable ``PYRO_VMONF_DATA``, or else ``pyro_vmonf`` in the user's cache folder.

    Examples:
        >>> from pyro_vmonf.data import mnist_folder
        >>> (mnist_folder() / "MNIST" / "raw").name
        'raw'
    """
    if folder := os.environ.get("PYRO_VMONF_DATA"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro_vmonf"


def mnist(train: bool, classes: Sequence[int] = tuple(range(10))) -> tuple[Tensor, Tensor]:
    """Returns MNIST's images of some classes, in file order: pixels ``(N, 784)`` from 0 to 255, and classes ``(N,)``.

    ``torchvision`` reads the files from :func:`mnist_folder`, and downloads them if they are not there.

    Args:
        train: Whether to return the 60,000 training images or the 10,000 test images.
        classes: The classes, integers from 0 to 9.

    Raises:
        FileNotFoundError: If there are neither the files nor a network, naming the folder to fill.

    Examples:
        >>> from pyro_vmonf.data import mnist
        >>> pixels, y = mnist(train=False, classes=[0, 1])  # doctest: +SKIP
        >>> pixels.shape  # doctest: +SKIP
        torch.Size([2115, 784])
    """
    from torchvision.datasets import MNIST  # slow to import, and needed in this function alone

    root = mnist_folder()
    try:
        data = MNIST(root, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"MNIST: expected its four .gz files (train-images-idx3-ubyte.gz, …) in {str(root / 'MNIST' / 'raw')!r}, "
            f"and they could not be downloaded ({error}); fill that folder, or name another in PYRO_VMONF_DATA"
        ) from error
    chosen = torch.isin(data.targets, torch.tensor(list(classes)))
    return data.data[chosen].flatten(1).long(), data.targets[chosen].long()
