"""All that the rest of a fit depends on, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vmonf._io import Json
from pyro_vmonf._torch import random_states, restore_random_states
from pyro_vmonf.checkpointing.history import History

__all__ = [
    "MOMENTS",
    "TrainingState",
    "read_modules",
    "read_optimizer",
    "read_random",
    "template",
    "write_modules",
    "write_optimizer",
    "write_random",
]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""Adam's state of a parameter."""


@dataclass(frozen=True)
class TrainingState:
    """The state of a fit at the end of an epoch.

    Attributes:
        tensors: ``model.*`` and ``guide.*``, each parameter and persistent buffer once, ``optimizer.NAME.MOMENT``,
            ``random.*`` the generators' states, ``target`` the responsibilities taught, while trials go on
            ``initial.*``, the modules before any of them, and ``best.*``, those of the best held-out epoch so far.
        history: The rows so far.
        fingerprint: What must be the same where the fit goes on.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.training import History, TrainingState
        >>> sorted(TrainingState({"model.weights.logits": torch.zeros(3)}, History()).copy().tensors)
        ['model.weights.logits']
    """

    tensors: Mapping[str, Tensor]
    history: History
    fingerprint: Mapping[str, Json] = field(default_factory=dict)

    def copy(self) -> "TrainingState":
        """Returns a state whose tensors and rows are its own."""
        rows, restarts = [dict(row) for row in self.history.rows], [dict(row) for row in self.history.restarts]
        tensors = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        return TrainingState(tensors, History(rows, restarts, self.history.stopped), self.fingerprint)


def named_tensors(modules: nn.ModuleDict) -> dict[str, Tensor]:
    """Returns parameters and persistent buffers, one that is used twice under its first name alone."""
    persistent = modules.state_dict(keep_vars=True)
    return {
        name: tensor
        for name, tensor in [*modules.named_parameters(), *modules.named_buffers()]
        if name in persistent and isinstance(tensor, Tensor)
    }


def read_modules(modules: nn.ModuleDict, prefix: str = "") -> dict[str, Tensor]:
    """Returns the tensors of model and guide, not copied, under their names."""
    return {prefix + name: tensor.detach() for name, tensor in named_tensors(modules).items()}


@torch.no_grad()
def write_modules(modules: nn.ModuleDict, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Copies tensors into model and guide, all of whose names are there, with the shapes that they have."""
    for name, tensor in named_tensors(modules).items():
        tensor.copy_(tensors[prefix + name])


def trained(modules: nn.ModuleDict) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields the parameters that are trained, with their names."""
    return ((name, p) for name, p in modules.named_parameters() if p.requires_grad)


def read_optimizer(modules: nn.ModuleDict, optimizer: Optimizer) -> dict[str, Tensor]:
    """Returns Adam's moments and step counts under the names of their parameters; those without steps have none."""
    return {
        f"optimizer.{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in trained(modules)
        if optimizer.state.get(parameter)
        for moment in MOMENTS
    }


def write_optimizer(modules: nn.ModuleDict, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts moments and step counts into Adam, by name."""
    optimizer.state.clear()
    for name, parameter in trained(modules):
        if f"optimizer.{name}.step" in tensors:
            given = {moment: tensors[f"optimizer.{name}.{moment}"].detach().clone() for moment in MOMENTS}
            moments = {moment: tensor.to(parameter) for moment, tensor in given.items() if moment != "step"}
            optimizer.state[parameter] = {"step": given["step"].to(parameter.device), **moments}


def read_random() -> dict[str, Tensor]:
    """Returns the random generators' states as tensors."""
    return {f"random.{name}": state for name, state in random_states().items()}


def write_random(tensors: Mapping[str, Tensor]) -> None:
    """Puts the random generators into the states among ``tensors``."""
    restore_random_states({n.removeprefix("random."): t for n, t in tensors.items() if n.startswith("random.")})


def template(state: TrainingState, modules: nn.ModuleDict, target: Tensor) -> TrainingState:
    """Returns a state that has each tensor which a later state of the same fit may have, for its shapes and types.

    Args:
        state: The state of the fit, not begun.
        modules: Its model and guide.
        target: Responsibilities as an initializer would give them.
    """
    tensors = {**state.tensors, "target": target}
    for name, parameter in trained(modules):
        moments = (torch.zeros((), dtype=torch.float32), parameter.detach(), parameter.detach())
        tensors |= {f"optimizer.{name}.{moment}": t for moment, t in zip(MOMENTS, moments, strict=True)}
    return TrainingState(tensors, state.history, state.fingerprint)
