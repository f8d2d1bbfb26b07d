"""Images: MNIST, the embedded 8×8 digits, and the logit map that makes densities of pixels."""

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
    """Integer pixels to reals: ``u = (pixel + noise)/levels``, ``x = logit(α + (1 − 2α) u)``, noise uniform in [0, 1).

    Reference: Papamakarios et al., *MAF*, 2017 (arXiv:1705.07057), appendix E.2 and D.

    Attributes:
        levels: number of grey levels, 256 for bytes.
        alpha: α, which keeps x finite.
    """

    levels: int = 256
    alpha: float = 1e-6

    def __post_init__(self) -> None:
        check_count("levels", self.levels, 2)
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha: expected a number between 0 and 0.5, got {self.alpha!r}")

    def __call__(self, pixels: Tensor, *, seed: int = 0) -> Tensor:
        """x for integer ``pixels`` of any shape; ``seed`` fixes the noise."""
        noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed))
        return (self.alpha + (1 - 2 * self.alpha) * (pixels + noise) / self.levels).logit()

    def redequantize(self, x: Tensor) -> Tensor:
        """x with new noise for the same pixels; as ``fit(augment=…)`` it keeps flows from learning the noise."""
        pixels = (self.images(x) * self.levels).floor().clamp(max=self.levels - 1)
        return (self.alpha + (1 - 2 * self.alpha) * (pixels + torch.rand_like(x)) / self.levels).logit()

    def images(self, x: Tensor) -> Tensor:
        """u in [0, 1], the inverse of the map."""
        return ((x.sigmoid() - self.alpha) / (1 - 2 * self.alpha)).clamp(0, 1)

    def log_det(self, x: Tensor) -> Tensor:
        """log|det dx/du| of each row: ``(N, D)`` → ``(N,)``. Added to log p(x) it gives log p(u)."""
        log_slope = math.log(1 - 2 * self.alpha) - torch.nn.functional.logsigmoid(x)
        return (log_slope - torch.nn.functional.logsigmoid(-x)).sum(-1)

    def bits_per_dim(self, x: Tensor, log_prob: Tensor) -> Tensor:
        """−log₂ of a pixel's probability, averaged over a row: x ``(N, D)``, log p(x) ``(N,)`` in nats → ``(N,)``.

        Counts the map's Jacobian and the noise: −(log p(x) + log|det dx/du|) / (D log 2) + log₂ levels.
        """
        return -(log_prob + self.log_det(x)) / (x.shape[-1] * math.log(2)) + math.log2(self.levels)


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits: pixels 0 … 16 ``(N, 64)`` and classes ``(N,)``."""
    pixels, y = load_digits(return_X_y=True)
    return torch.as_tensor(pixels).long(), torch.as_tensor(y).long()


def mnist_folder() -> Path:
    """``$PYRO_VMONF_DATA``, or ``pyro_vmonf`` in the user's cache folder; MNIST's files lie below in ``MNIST/raw``."""
    if folder := os.environ.get("PYRO_VMONF_DATA"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro_vmonf"


def mnist(train: bool, classes: Sequence[int] = tuple(range(10))) -> tuple[Tensor, Tensor]:
    """MNIST's images of some classes, in file order: pixels 0 … 255 ``(N, 784)`` and classes ``(N,)``.

    Read by ``torchvision`` from :func:`mnist_folder`; downloaded to it if absent.

    Raises:
        FileNotFoundError: if there are neither the files nor a network, naming the folder to fill.
    """
    from torchvision.datasets import MNIST  # slow to import, and needed here alone

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
