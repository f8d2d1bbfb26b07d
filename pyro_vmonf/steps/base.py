"""What a trainer knows of a step."""

from typing import Protocol

from torch import Tensor
from torch.optim import Optimizer

from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Objective

__all__ = ["Step", "StepFactory"]


class Step(Protocol):
    """One update of a model and a guide from a batch.

    A step reads nothing back to the host. It returns the metrics of its objective and ``non_finite``, a tensor that is
    1 once the loss or the norm of its gradient was NaN or infinite and 0 before. From then on the step leaves all
    parameters, buffers and the state of the optimizer as they were before the update that failed.
    """

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Updates the parameters and returns the metrics, tensors without shape."""
        ...

    def begin_epoch(self) -> None:
        """Prepares for the steps of an epoch; a caller may have changed numbers in the modules since the last one."""
        ...

    def close(self) -> None:
        """Ends the phase: what the step held of parameters and optimizer has memory of its own again."""
        ...


class StepFactory(Protocol):
    """Makes the step of one phase of a fit."""

    def __call__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        objective: Objective,
        optimizer: Optimizer,
        max_grad_norm: float | None,
    ) -> Step:
        """Returns the step."""
        ...
