"""The settings of a fit."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from torch import Tensor

from pyro_vmonf._validation import check_count, check_fraction, check_positive
from pyro_vmonf.inference.consistency import Consistency
from pyro_vmonf.inference.start import identity
from pyro_vmonf.inference.temperature import Temperature

__all__ = ["Options", "Posterior", "Schedule"]

Posterior = Literal["encoder", "exact"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Options:
    """The arguments of :func:`~pyro_vmonf.inference.fit.fit` that decide its result, checked.

    Raises:
        TypeError, ValueError: naming the first that is of the wrong kind or out of range.
    """

    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 5e-3
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    temperature: Temperature | None = None
    posterior: Posterior = "encoder"
    consistency: Consistency | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    label_weight: float = 1.0
    labelled_share: float | None = None
    interleave: bool = False
    init_epochs: int = 0
    pretrain_epochs: int = 0
    encoder_delay: int = 0
    clip_norm: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 0, "batch_size": 1, "init_epochs": 0, "pretrain_epochs": 0, "encoder_delay": 0, "seed": 0}
        # Plain numbers in the place of NumPy's, which a checkpoint could not be read with.
        for name, minimum in least.items():
            object.__setattr__(self, name, check_count(name, getattr(self, name), minimum))
        for name in ("learning_rate", "weight_decay", "clip_norm", "label_weight"):
            value = getattr(self, name)
            if name == "learning_rate" or (value is not None and (name == "clip_norm" or value != 0)):
                object.__setattr__(self, name, check_positive(name, value))
        if self.labelled_share is not None and not 0 < check_fraction("labelled_share", self.labelled_share) < 1:
            raise ValueError(f"labelled_share: expected a number between 0 and 1, got {self.labelled_share!r}")
        if self.interleave and self.labelled_share is not None:
            raise ValueError("labelled_share: expected None with interleave, whose passes count alike, got a number")
        if self.augment is not None and not callable(self.augment):
            raise TypeError(f"augment: expected a function of a batch or None, got {self.augment!r}")
        for name, kind in (("temperature", Temperature), ("consistency", Consistency)):
            if not isinstance(getattr(self, name), kind | None):
                given = getattr(self, name)
                raise TypeError(f"{name}: expected a {kind.__name__} or None, got {given!r}")
        for name, choices in (("posterior", ("encoder", "exact")), ("schedule", ("cosine", "constant"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {choices}, got {getattr(self, name)!r}")

    @property
    def total_epochs(self) -> int:
        """Epochs with the pretraining and the start."""
        return self.pretrain_epochs + self.init_epochs + self.epochs

    def trained(self, epoch: int) -> int:
        """How many of the ``epochs`` come before epoch number ``epoch``; negative during pretraining and start."""
        return epoch - self.pretrain_epochs - self.init_epochs

    def starting(self, epoch: int) -> bool:
        """Whether epoch number ``epoch`` teaches the start's responsibilities."""
        return self.pretrain_epochs <= epoch < self.pretrain_epochs + self.init_epochs

    def rate(self, epoch: int) -> float:
        """The learning rate in epoch number ``epoch``: with ``"cosine"`` it falls to zero over the ``epochs``."""
        if self.schedule == "constant" or self.trained(epoch) <= 0:
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * self.trained(epoch) / self.epochs)) / 2

    def fixed(self) -> dict[str, Any]:
        """What a fit that goes on from a checkpoint must share with the one that wrote it.

        That is all but ``epochs``, which may grow where the learning rate does not depend on it.
        """
        plain = asdict(replace(self, consistency=None, augment=None))
        plain["augment"] = identity(self.augment)
        term = self.consistency
        plain["consistency"] = None if term is None else f"{term.weight} {identity(term.perturb)}"
        if self.schedule == "constant":
            del plain["epochs"]
        return plain
