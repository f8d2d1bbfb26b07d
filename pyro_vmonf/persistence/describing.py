"""Modules and what they hold as JSON and named tensors, from which they can be rebuilt."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform

from pyro_vmonf._io import Json
from pyro_vmonf.persistence.blank import BASE_STATE, base_attributes
from pyro_vmonf.persistence.registry import is_function, name_of
from pyro_vmonf.transforms.stacking import clear_caches

__all__ = ["DTYPES", "Description", "tensor_entry"]

DTYPES = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
"""The types of numbers that a file may hold."""


class Description:
    """A list of objects, each after those that it refers to, and the tensors that they hold.

    An object or a tensor that is used twice is described once, so that what was shared is shared again.

    Attributes:
        objects: The descriptions, as JSON.
        tensors: The tensors by name, not copied.
    """

    def __init__(self) -> None:
        self.objects: list[Json] = []
        self.tensors: dict[str, Tensor] = {}
        self._places: dict[int, int | None] = {}  # by id; None while an object is being described
        self._names: dict[int, str] = {}

    def table(self) -> dict[str, Json]:
        """Returns the type, the shape and the use of each tensor."""
        return {name: tensor_entry(tensor) for name, tensor in self.tensors.items()}

    def add(self, path: str, one: object) -> int:
        """Describes an object and all that it holds, and returns its place in the list.

        Raises:
            TypeError: If a part of it cannot be saved; the message names the part.
        """
        place = self._places.get(id(one), -1)
        if place is None:
            raise TypeError(f"{path}: cannot save an object that holds itself, {type(one).__name__}")
        if place < 0:
            self._places[id(one)] = None
            self.objects.append({"class": class_name(path, one), **self.parts(path, one)})
            place = self._places[id(one)] = len(self.objects) - 1
        return place

    def parts(self, path: str, one: object) -> dict[str, Json]:
        """Returns the tables of what an object holds, those that are not empty."""
        tables: dict[str, Json] = {}
        if isinstance(one, nn.Module):
            clear_caches(one)
            check_plain(path, one)
            tables["parameters"] = self.named_tensors(path, one._parameters)
            tables["buffers"] = self.named_tensors(path, one._buffers)
            tables["transient"] = list[Json](sorted(one._non_persistent_buffers_set))
            tables["parts"] = {
                name: None if part is None else self.add(f"{path}.{name}", part) for name, part in one._modules.items()
            }
        state = attributes_of(one)
        tables["attributes"] = {name: self.value(f"{path}.{name}", value) for name, value in state.items()}
        return {name: table for name, table in tables.items() if table}

    def named_tensors(self, path: str, tensors: Mapping[str, Tensor | None]) -> dict[str, Json]:
        """Returns the names in the file of tensors by their names in a module."""
        return {
            name: None if tensor is None else self.tensor(f"{path}.{name}", tensor) for name, tensor in tensors.items()
        }

    def tensor(self, path: str, tensor: Tensor) -> str:
        """Returns the name of a tensor in the file; raises ``TypeError`` if it is of a kind that files do not hold."""
        if id(tensor) in self._names:
            return self._names[id(tensor)]
        plain = tensor.layout is torch.strided and tensor.device.type != "meta"
        if not plain or tensor.dtype not in DTYPES or path in self.tensors:
            raise TypeError(f"{path}: cannot save a tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device}")
        self.tensors[path] = tensor
        self._names[id(tensor)] = path
        return path

    def value(self, path: str, value: object) -> Json:
        """Returns what an attribute holds; tables with one key stand for what JSON does not have."""
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or type(value) in (bool, int, float, str):
            return plain(value)
        if isinstance(value, Tensor):
            return {"tensor": self.tensor(path, value)}
        if isinstance(value, nn.Module | Distribution | Transform) or dataclasses.is_dataclass(value):
            return {"object": self.add(path, value)}
        if type(value) in (list, tuple, torch.Size, slice, dict):
            return self.container(path, value)
        if name := name_of(value):
            return {"function": name}
        raise TypeError(unsaveable(path, value))

    def container(self, path: str, value: Any) -> Json:
        """Returns a list, a tuple, a shape, a slice or a dictionary by what it holds."""
        if type(value) is dict:
            if any(type(key) is not str for key in value):
                raise TypeError(f"{path}: cannot save a dictionary whose keys are no texts")
            return {"dict": {key: self.value(f"{path}[{key!r}]", part) for key, part in value.items()}}
        parts = [value.start, value.stop, value.step] if isinstance(value, slice) else value
        each = [self.value(f"{path}[{i}]", part) for i, part in enumerate(parts)]
        return each if type(value) is list else {type(value).__name__.lower(): each}


def plain(value: Any) -> Json:
    """Returns a number or a text as JSON, which has no infinite numbers."""
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def class_name(path: str, one: object) -> str:
    """Returns the registered name of an object's class; raises ``TypeError`` that says how to register it."""
    if name := name_of(type(one)):
        return name
    raise TypeError(not_registered(path, type(one)))


def not_registered(path: str, what: object) -> str:
    """Returns a message that says how to register a class or a function."""
    full = f"{getattr(what, '__module__', '')}.{getattr(what, '__qualname__', what)}"
    name = getattr(what, "__name__", "it")
    return (
        f"{path}: cannot save {full}, which is not registered; write @pyro_vmonf.persistence.register above it, or "
        f"call register({name})"
    )


def unsaveable(path: str, value: object) -> str:
    """Returns a message about an attribute that cannot be saved."""
    if is_function(value):
        return not_registered(path, value)
    kinds = "numbers, texts, lists, tuples, dictionaries, tensors, modules, distributions and registered functions"
    return f"{path}: cannot save {type(value).__name__} as an attribute, only {kinds}"


def check_plain(path: str, module: nn.Module) -> None:
    """Raises ``TypeError`` if a module has hooks, or parameters or samples of Pyro's own kinds."""
    kept = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"}
    for name in base_attributes(type(module)):
        value = vars(module).get(name)
        if name not in kept and isinstance(value, dict | set) and value:
            raise TypeError(f"{path}: cannot save the {name.strip('_').replace('_', ' ')} of {type(module).__name__}")


def attributes_of(one: object) -> dict[str, object]:
    """Returns the attributes of an object, without those that its base class sets and keeps for itself."""
    if dataclasses.is_dataclass(one):
        return {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    base = base_attributes(type(one))
    return {name: value for name, value in vars(one).items() if name not in base or name in BASE_STATE}


def tensor_entry(tensor: Tensor) -> dict[str, Json]:
    """Returns the type and shape of a tensor, and whether it is a parameter, trained or not."""
    entry: dict[str, Json] = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
    return entry | ({"trained": tensor.requires_grad} if isinstance(tensor, nn.Parameter) else {})
