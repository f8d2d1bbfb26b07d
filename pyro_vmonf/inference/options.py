"""The settings of a fit."""

from dataclasses import asdict, dataclass
from typing import Any

from pyro_vmonf._checks import check_count, check_positive
from pyro_vmonf.inference.temperature import Temperature

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """The arguments of :func:`~pyro_vmonf.inference.fit.fit` that decide its result, checked.

    Raises:
        ValueError: naming the first that is out of range.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    temperature: Temperature | None
    pretrain_epochs: int
    encoder_delay: int
    clip_norm: float | None
    seed: int

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 0),
            ("batch_size", 1),
            ("pretrain_epochs", 0),
            ("encoder_delay", 0),
            ("seed", 0),
        ):
            check_count(name, getattr(self, name), least)
        check_positive("learning_rate", self.learning_rate)
        if self.weight_decay != 0:
            check_positive("weight_decay", self.weight_decay)
        if self.temperature is not None and not isinstance(self.temperature, Temperature):
            raise TypeError(f"temperature: expected a Temperature schedule or None, got {self.temperature!r}")
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)

    @property
    def total_epochs(self) -> int:
        """Epochs with the pretraining."""
        return self.pretrain_epochs + self.epochs

    def fixed(self) -> dict[str, Any]:
        """What a fit that goes on from a checkpoint must share with the one that wrote it: all but ``epochs``."""
        return {name: value for name, value in asdict(self).items() if name != "epochs"}
