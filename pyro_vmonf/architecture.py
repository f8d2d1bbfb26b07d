"""Modules, functions and settings as JSON, by which a checkpoint or a saved recipe is recognised."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vmonf._io import Json

__all__ = ["changing_buffers", "describe", "describe_module", "digest", "first_difference"]


def describe(value: object) -> Json:
    """Returns a description that differs where the value does, as far as that can be told without its code.

    Numbers and texts stand for themselves, arrays for their checksum, dataclasses and modules for their class and
    contents, functions for their name, and other objects for their ``repr`` without addresses.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return digest(torch.as_tensor(value))
    if isinstance(value, nn.Module):
        return describe_module(value)
    if isinstance(value, Mapping):
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {one.name: describe(getattr(value, one.name)) for one in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **parts}
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        return [describe(owner), getattr(value, "__name__", "")]
    text = getattr(value, "__qualname__", None) or repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(value).__name__} {text}")


def describe_module(module: nn.Module, changing: Collection[str] = (), prefix: str = "") -> dict[str, Json]:
    """Returns a module's class, settings, parameters, buffers and parts, in the order in which they are registered.

    A parameter is described by its shape, its type and whether it is trained; a buffer by its values too, unless it is
    one of those that training changes. Plain attributes (numbers, texts, and sequences of them) are settings.

    Args:
        module: The module.
        changing: The names of buffers whose values are no part of the description.
        prefix: The path of ``module``, before the names of its own tensors.
    """
    described: dict[str, Json] = {"class": f"{type(module).__module__}.{type(module).__qualname__}"}
    settings: dict[str, Json] = {
        name: plain for name, value in vars(module).items() if (plain := setting(name, value)) is not None
    }
    if settings:
        described["settings"] = settings
    if parameters := dict(module.named_parameters(recurse=False)):
        described["parameters"] = {
            name: [list(p.shape), str(p.dtype), "trained" if p.requires_grad else "frozen"]
            for name, p in parameters.items()
        }
    if buffers := dict(module.named_buffers(recurse=False)):
        described["buffers"] = {
            name: [list(b.shape), str(b.dtype), "changes" if prefix + name in changing else digest(b)]
            for name, b in buffers.items()
        }
    if parts := {name: describe_module(p, changing, f"{prefix}{name}.") for name, p in module.named_children()}:
        described["parts"] = [[name, part] for name, part in parts.items()]
    return described


def setting(name: str, value: object) -> Json:
    """Returns a plain public attribute of a module as JSON, and None for what is no setting."""
    if name.startswith("_") or name == "training":
        return None
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(part, bool | int | float | str) for part in value):
        return list(value)
    return None


def digest(tensor: Tensor) -> str:
    """Returns a checksum of a tensor's values, shape and type."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + content).hexdigest()[:16]


@torch.no_grad()
def changing_buffers(modules: nn.Module, forward: Callable[[], None]) -> set[str]:
    """Returns the names of the buffers that ``forward()`` changes in training mode, such as running averages.

    Buffers and modes are as before afterwards.
    """
    training = {part: part.training for part in modules.modules()}
    before = [(name, buffer, buffer._version, buffer.clone()) for name, buffer in modules.named_buffers()]
    modules.train()
    forward()
    for part, mode in training.items():
        part.training = mode
    # Batch normalization changes its averages without a new version, others may put back what they had.
    changed = [one for one in before if one[1]._version != one[2] or not torch.equal(one[1], one[3])]
    for _, buffer, _, value in changed:
        buffer.data.copy_(value)
    return {name for name, *_ in changed}


def first_difference(written: Json, here: Json, path: str = "") -> tuple[str, Json, Json] | None:
    """Returns the place where two descriptions first differ, and what each has there; None where they are equal."""
    if isinstance(written, dict) and isinstance(here, dict):
        pairs = [(f"{path}.{key}".lstrip("."), written.get(key), here.get(key)) for key in {**here, **written}]
    elif isinstance(written, list) and isinstance(here, list) and len(written) == len(here):
        pairs = [(f"{path}{part_name(a, i)}", a, b) for i, (a, b) in enumerate(zip(written, here, strict=True))]
    else:
        return None if written == here and type(written) is type(here) else (path, written, here)
    return next((found for name, a, b in pairs if (found := first_difference(a, b, name)) is not None), None)


def part_name(part: Json, index: int) -> str:
    """Returns how the part of a list is called: by the name it begins with, or by its index."""
    return f".{part[0]}" if isinstance(part, list) and len(part) == 2 and isinstance(part[0], str) else f"[{index}]"
