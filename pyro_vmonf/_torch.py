"""The only place that switches global state of torch and Pyro: random state, parameter store, modes, validation."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import pyro
import torch
from torch import Tensor, nn

__all__ = [
    "evaluation_mode",
    "foreign_parameters",
    "frozen_parameters_allowed",
    "isolated_parameter_store",
    "isolated_random_state",
    "random_states",
    "restore_random_states",
    "seed_everything",
    "validation_disabled",
]


@contextmanager
def isolated_random_state(seed: int | None = None) -> Iterator[None]:
    """Leaves the random state of the CPU and of all CUDA devices as it was, whatever is drawn inside.

    Args:
        seed: The seed that is set inside; the random state goes on from where it is if not given.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        if seed is not None:
            seed_everything(seed)
        yield


def isolated_parameter_store(state: Any = None) -> AbstractContextManager[Any]:
    """Replaces Pyro's global parameter store by one with ``state``, or an empty one, and afterwards restores it."""
    return pyro.get_param_store().scope(state)


def validation_disabled() -> AbstractContextManager[None]:
    """Switches Pyro's and torch's validation of distributions off, and afterwards restores what was set."""
    return pyro.validation_enabled(False)


@contextmanager
def frozen_parameters_allowed() -> Iterator[None]:
    """Silences Pyro's warning that its store leaves out a frozen parameter of a module in training mode."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* was not registered in the param store", UserWarning)
        yield


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode; afterwards each of its parts is in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def seed_everything(seed: int) -> None:
    """Sets the seed of the CPU and of all other devices, inside an isolated random state."""
    if has_other_devices():
        torch.manual_seed(seed)
    else:  # for a CUDA that is not there torch would write down the stack of calls, which takes longer than all else
        torch.default_generator.manual_seed(seed)


@cache
def has_other_devices() -> bool:
    """Returns whether torch knows a device beside the CPU here."""
    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()


def random_states() -> dict[str, Tensor]:
    """Returns the states of the random generators by device: ``"cpu"``, ``"cuda.0"``, …"""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda.{i}": state for i, state in enumerate(cuda)}}


def restore_random_states(states: Mapping[str, Tensor]) -> None:
    """Puts the random generators into ``states``; those of devices that are not there are left out."""
    torch.set_rng_state(states["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda.{i}" in states:
            torch.cuda.set_rng_state(states[f"cuda.{i}"], i)


def foreign_parameters(*modules: nn.Module) -> list[str]:
    """Returns the names of parameters in Pyro's store that belong to none of the modules."""
    own = {id(p) for module in modules for p in module.parameters()}
    return [name for name, p in pyro.get_param_store().named_parameters() if id(p) not in own]
