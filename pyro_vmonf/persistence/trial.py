"""What a mixture and its encoder say of one point, by which a rebuilt pair is known to work."""

import math

import torch
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode, isolated_random_state, validation_disabled
from pyro_vmonf.checkpointing.checkpointer import is_row
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.components.base import Components
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.persistence.bounds import Bounds
from pyro_vmonf.persistence.rebuilding import HeaderError

__all__ = ["answers", "check_history", "check_pair", "try_out"]

LARGEST = 10_000_000  # numbers in one point, more than in any image


@torch.no_grad()
def answers(model: FlowMixture, guide: SoftmaxEncoder) -> tuple[Tensor, Tensor]:
    """Returns log p(x, z) ``(K, 1)`` and q(z | x) ``(1, K)`` of one point x of zeros."""
    x = zeros_for(model)
    with isolated_random_state(0), validation_disabled(), evaluation_mode(model), evaluation_mode(guide):
        return model.log_joint(x), guide.probs(x)


def zeros_for(model: FlowMixture) -> Tensor:
    """Returns one point of zeros in the type and on the device of a model."""
    first = next((t for t in tensors_of(model) if t.is_floating_point()), torch.zeros(()))
    return torch.zeros(1, *model.components.event_shape, dtype=first.dtype, device=first.device)


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Returns the parameters and buffers of a module."""
    return [*module.parameters(), *module.buffers()]


def check_pair(model: object, guide: object) -> None:
    """Checks that a model and a guide have the same, sensible numbers of components.

    Raises:
        TypeError: If they are no mixture and no encoder.
        ValueError: If the numbers differ, or a point is absurdly large.
    """
    if not isinstance(model, FlowMixture):
        raise TypeError(f"model: expected a FlowMixture, got {type(model).__name__}")
    if not isinstance(guide, SoftmaxEncoder):
        raise TypeError(f"guide: expected a SoftmaxEncoder, got {type(guide).__name__}")
    # The first is the length of a tensor, so that the others are no more than the file holds.
    counts = [len(model.labels.classes), len(guide.labels.classes), guide.n_components, model.components.n_components]
    if len(set(counts)) > 1:
        raise ValueError(f"guide: expected the model's number of components everywhere, got {counts}")
    for part in model.modules():
        if isinstance(part, Components) and part.n_components > counts[0]:
            raise ValueError(f"model: expected parts of at most {counts[0]} components, got {part.n_components}")
        if isinstance(part, Components) and math.prod(part.event_shape) > LARGEST:
            raise ValueError(f"model: expected at most {LARGEST} numbers a point, got {part.event_shape}")


def check_history(history: object) -> None:
    """Raises ``TypeError`` if ``history`` is no history and not None."""
    if not isinstance(history, History | None):
        raise TypeError(f"history: expected a History or None, got {type(history).__name__}")
    if history is not None:
        f"{history} {history.search}"  # rows that are none cannot be shown


def check_rows(history: History | None) -> None:
    """Raises ``TypeError`` if rows or restarts are no rows of numbers and names."""
    rows = [] if history is None else [*history.rows, *history.restarts]
    if not all(is_row(row, set()) for row in rows):  # type: ignore[arg-type]
        raise TypeError("history: expected rows of numbers and names")


def try_out(model: FlowMixture, guide: SoftmaxEncoder, history: History | None) -> None:
    """Raises ``HeaderError`` if a rebuilt pair cannot score a point, or its history cannot be shown."""
    try:
        check_pair(model, guide)
        with Bounds(model, guide):
            answers(model, guide)
        check_history(history)
        check_rows(history)
    except Exception as error:  # whatever the parts make of wrong attributes
        raise HeaderError("objects", f"the parts do not fit together ({type(error).__name__}: {error})") from error
