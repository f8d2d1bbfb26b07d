"""A fit's state on disk, written whole, read without executing anything."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vmonf._io import atomic_write
from pyro_vmonf.inference.history import Row

__all__ = ["State", "load", "restore", "save", "snapshot"]


@dataclass
class State:
    """All that the rest of a fit depends on, at the end of an epoch.

    Attributes:
        model, guide, optimizer: their state dicts.
        random: the random generators' states, by device.
        rows: the history, one row for each epoch done.
        restarts: the starts that have competed so far; the rest of the state is then the best one's.
        targets: the chosen start's responsibilities, if it has any.
        blank: model and guide before any start, while starts compete.
        settings: what must be the same when the fit goes on.
    """

    model: dict[str, Any]
    guide: dict[str, Any]
    optimizer: dict[str, Any]
    random: dict[str, Any]
    rows: list[Row]
    restarts: list[dict[str, Any]]
    targets: Tensor | None
    settings: dict[str, Any]
    blank: list[dict[str, Any]] | None = None


def snapshot(
    model: nn.Module,
    guide: nn.Module,
    optimizer: Optimizer,
    rows: list[Row],
    restarts: list[dict[str, Any]],
    targets: Tensor | None,
    settings: dict[str, Any],
) -> State:
    """The state of a fit now; its tensors are the fit's own, not copies."""
    random: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state_all()
    parts = model.state_dict(), guide.state_dict(), optimizer.state_dict()
    return State(*parts, random, rows, restarts, targets, settings)


def restore(state: State, model: nn.Module, guide: nn.Module, optimizer: Optimizer) -> None:
    """Puts a fit back into ``state``."""
    model.load_state_dict(state.model)
    guide.load_state_dict(state.guide)
    optimizer.load_state_dict(state.optimizer)
    torch.set_rng_state(state.random["cpu"])
    if "cuda" in state.random and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state.random["cuda"])


def save(path: Path, state: State) -> None:
    """Writes ``state`` to a temporary file and renames it to ``path``."""
    atomic_write(path, lambda file: torch.save(vars(state), file))


def load(path: Path, settings: dict[str, Any]) -> State:
    """Reads a state; ``weights_only``, so that the file cannot run code.

    Raises:
        ValueError: if it is no state of a fit, or of a fit with other settings or other data, naming the first that
            differs.
    """
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
    except (EOFError, KeyError, OSError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint: expected the state of a fit in {str(path)!r}, got: {error}") from error
    for name, value in settings.items():
        if state.settings.get(name) != value:
            raise ValueError(
                f"checkpoint: {str(path)!r} was written with {name} = {state.settings.get(name)!r}, "
                f"this fit has {value!r}; use the same settings or another file"
            )
    return state
