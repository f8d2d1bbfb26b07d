"""The numbers of a fit."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor

from pyro_vmonf._io import Json
from pyro_vmonf._validation import check_choice, check_count, check_fraction, check_nonnegative, check_positive
from pyro_vmonf.architecture import describe
from pyro_vmonf.training.schedules import ConstantRate, CosineRate, Schedule

__all__ = ["TrainingConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a fit trains, beside what it minimises and where it begins.

    Attributes:
        epochs: The number of passes over the data, after the warm-up.
        batch_size: The number of points in a step.
        learning_rate: That of Adam; the default suits small flows, a tenth of it those of images.
        schedule: ``"cosine"``, by which the learning rate falls to zero over the epochs, or ``"constant"``.
        weight_decay: That of Adam (L2).
        max_grad_norm: The greatest Euclidean norm of the gradient in a step, or None to leave it as it is.
        temperature: The encoder's temperature in each epoch, such as :class:`Temperature`; the guide's own throughout
            if it is None. The guide keeps the last temperature, so let the schedule reach its floor.
        augment: A function that each step's points pass through first, such as ``Noise(0.01)`` or
            ``Logit().redequantize``. It keeps flows from following single points; what is fitted is the density of
            what comes out.
        labelled_fraction: The fraction ρ of labelled points in a batch, drawn in turn from those with labels; an epoch
            is then a pass over the others. If it is None, it is their fraction of all points.
        patience: The number of epochs after the warm-up without a better held-out ELBO (evidence, where the objective
            maximises that) after which a fit ends; model and guide then have the parameters of the epoch with the best.
            It needs ``fit(validation=…)``. None trains for all epochs, and keeps the last parameters.

    Raises:
        TypeError, ValueError: Naming the first attribute that is of the wrong kind or out of range.

    Examples:
        >>> from pyro_vmonf import TrainingConfig
        >>> TrainingConfig(epochs=50).batch_size
        256
    """

    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 5e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    temperature: Schedule | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    labelled_fraction: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        # Plain numbers take the place of NumPy's, which JSON does not know.
        checked: dict[str, object] = {
            "epochs": check_count("epochs", self.epochs, 0),
            "batch_size": check_count("batch_size", self.batch_size),
            "learning_rate": check_positive("learning_rate", self.learning_rate),
            "weight_decay": check_nonnegative("weight_decay", self.weight_decay),
        }
        if self.max_grad_norm is not None:
            checked["max_grad_norm"] = check_positive("max_grad_norm", self.max_grad_norm)
        if self.labelled_fraction is not None:
            checked["labelled_fraction"] = check_fraction("labelled_fraction", self.labelled_fraction, below_one=True)
        if self.patience is not None:
            checked["patience"] = check_count("patience", self.patience)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        for name, of in (("temperature", "an epoch"), ("augment", "a batch")):
            if not callable(getattr(self, name)) and getattr(self, name) is not None:
                raise TypeError(f"{name}: expected a function of {of} or None, got {getattr(self, name)!r}")

    def rate(self) -> Schedule:
        """Returns the learning rate as a function of the epoch."""
        if self.schedule == "constant":
            return ConstantRate(self.learning_rate)
        return CosineRate(self.learning_rate, self.epochs)

    def fingerprint(self) -> dict[str, Json]:
        """Returns what a resumed fit must share with the one that wrote a checkpoint.

        That is everything but ``epochs`` where the learning rate does not depend on it: these may grow.
        """
        kept = [one.name for one in fields(self) if one.name != "epochs" or self.schedule == "cosine"]
        if self.patience is None:  # as in files that were written before there was one
            kept.remove("patience")
        return {name: describe(getattr(self, name)) for name in sorted(kept, key=lambda name: name != "schedule")}
