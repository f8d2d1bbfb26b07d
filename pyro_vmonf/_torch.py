"""The only place that switches global state of torch and Pyro: random state, parameter store, modes, validation."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyro
import torch
from torch import nn

__all__ = ["evaluation_mode", "isolated_parameter_store", "isolated_random_state", "validation_disabled"]


@contextmanager
def isolated_random_state(seed: int | None = None) -> Iterator[None]:
    """Leaves the random state of the CPU and of all CUDA devices as it was, whatever is drawn inside.

    Args:
        seed: The seed that is set inside; the random state goes on from where it is if not given.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def isolated_parameter_store(state: Any = None) -> AbstractContextManager[Any]:
    """Replaces Pyro's global parameter store by one with ``state``, or an empty one, and afterwards restores it."""
    return pyro.get_param_store().scope(state)


def validation_disabled() -> AbstractContextManager[None]:
    """Switches Pyro's and torch's validation of distributions off, and afterwards restores what was set."""
    return pyro.validation_enabled(False)


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
