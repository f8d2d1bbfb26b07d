"""Objects from their descriptions, which may have been written by anyone."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vmonf._io import Json
from pyro_vmonf.persistence.blank import blank
from pyro_vmonf.persistence.describing import tensor_entry
from pyro_vmonf.persistence.registry import registered

__all__ = ["HeaderError", "Rebuilding"]

HINT = "; one of your own must be registered before, see pyro_vmonf.persistence.register"
TABLES = {"class", "attributes", "parameters", "buffers", "transient", "parts"}

CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "size": torch.Size,
    "slice": lambda parts: slice(*parts),
}


class HeaderError(ValueError):
    """A description from which nothing can be rebuilt.

    Attributes:
        field: The part of it that is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Rebuilding:
    """The objects of a list of descriptions, each rebuilt from its attributes and from objects before it.

    No constructor of a module or a distribution is called, so that nothing is allocated but what the tensors hold.
    Dataclasses are made by their constructor, whose defaults stand for fields that an older file does not have.

    Args:
        objects: The descriptions.
        table: The type, the shape and the use of each tensor.
        tensors: The tensors, of which each object receives copies.
        device: Where these are; where the tensors are if it is None.

    Raises:
        HeaderError: If a description or a tensor is wrong.
    """

    def __init__(
        self, objects: Json, table: Json, tensors: Mapping[str, Tensor], device: torch.device | None = None
    ) -> None:
        declared = as_table("tensors", table)
        check_tensors(declared, tensors)
        self.tensors = {name: own_copy(name, tensor, declared[name], device) for name, tensor in tensors.items()}
        self.built: list[Any] = []
        if not isinstance(objects, list):
            raise HeaderError("objects", f"expected a list, got {type(objects).__name__}")
        for i, entry in enumerate(objects):
            self.built.append(self.rebuild(f"objects[{i}]", entry))

    def rebuild(self, field: str, entry: Json) -> Any:
        """Returns the object of one description; raises ``HeaderError`` that names ``field`` if it is wrong."""
        try:
            given = as_table(field, entry)
            if unknown := set(given) - TABLES:
                raise ValueError(f"expected tables {sorted(TABLES)}, got {sorted(unknown)}")
            cls = registered(given.get("class"))
            if not isinstance(cls, type):
                raise ValueError(f"expected the name of a registered class, got {given.get('class')!r}{HINT}")
            return self.filled(cls, given)
        except HeaderError:
            raise
        except Exception as error:  # whatever a class makes of wrong attributes
            raise HeaderError(field, f"{error} ({type(error).__name__})") from error

    def filled(self, cls: type, given: Mapping[str, Json]) -> Any:
        """Returns an object of a class with the attributes, tensors and parts of its description."""
        attributes = {
            name: self.value(value) for name, value in as_table("attributes", given.get("attributes", {})).items()
        }
        if dataclasses.is_dataclass(cls) and not issubclass(cls, nn.Module):
            return cls(**attributes)
        check_names(cls, attributes)
        one = blank(cls)
        if isinstance(one, nn.Module):
            self.fill(one, given)
        if hasattr(one, "__setstate__"):
            one.__setstate__(attributes)
        else:
            vars(one).update(attributes)
        return one

    def fill(self, module: nn.Module, given: Mapping[str, Json]) -> None:
        """Gives a module its parameters, buffers and parts."""
        transient = given.get("transient", [])
        for name, parameter in as_table("parameters", given.get("parameters", {})).items():
            module.register_parameter(name, self.tensor(parameter))  # type: ignore[arg-type]
        for name, buffer in as_table("buffers", given.get("buffers", {})).items():
            module.register_buffer(name, self.tensor(buffer), persistent=name not in transient)  # type: ignore[operator]
        for name, place in as_table("parts", given.get("parts", {})).items():
            module.add_module(name, None if place is None else self.object(place))

    def tensor(self, name: Json) -> Tensor | None:
        """Returns the tensor of a name; raises ``ValueError`` if there is none."""
        if name is None:
            return None
        if not isinstance(name, str) or name not in self.tensors:
            raise ValueError(f"expected the name of a tensor, got {name!r}")
        return self.tensors[name]

    def object(self, place: Json) -> Any:
        """Returns an object that has been rebuilt; raises ``ValueError`` if it is not among those before."""
        if type(place) is not int or not 0 <= place < len(self.built):
            raise ValueError(f"expected an object before this one, from 0 to {len(self.built) - 1}, got {place!r}")
        return self.built[place]

    def rooted(self, name: str, place: Json) -> Any:
        """Returns an object that the file names; raises ``HeaderError`` if there is none."""
        try:
            return self.object(place)
        except ValueError as error:
            raise HeaderError(name, str(error)) from error

    def value(self, given: Json) -> Any:
        """Returns what :meth:`~pyro_vmonf.persistence.describing.Description.value` described."""
        if isinstance(given, list):
            return [self.value(part) for part in given]
        if not isinstance(given, dict):
            return given
        if len(given) != 1:
            raise ValueError(f"expected a table with one key, got {list(given)[:5]}")
        [(kind, content)] = given.items()
        if kind in CONTAINERS and isinstance(content, list):
            return CONTAINERS[kind]([self.value(part) for part in content])
        if kind == "dict" and isinstance(content, dict):
            return {name: self.value(part) for name, part in content.items()}
        readers = {"tensor": self.tensor, "object": self.object, "function": registered_function, "float": infinite}
        if kind not in readers:
            raise ValueError(f"expected a value, got a table of {kind!r}")
        return readers[kind](content)


def infinite(name: Json) -> float:
    """Returns the number that JSON does not have; raises ``ValueError`` if it is another."""
    if name not in ("nan", "inf", "-inf"):
        raise ValueError(f"expected nan, inf or -inf, got {name!r}")
    return float(name)


def registered_function(name: Json) -> Any:
    """Returns the function of a name; raises ``ValueError`` if there is none."""
    found = registered(name)
    if found is None or isinstance(found, type):
        raise ValueError(f"expected the name of a registered function, got {name!r}{HINT}")
    return found


def as_table(field: str, given: Json) -> dict[str, Json]:
    """Returns a JSON table; raises ``HeaderError`` if it is none."""
    if not isinstance(given, dict):
        raise HeaderError(field, f"expected a table, got {type(given).__name__}")
    return given


def check_names(cls: type, attributes: Mapping[str, object]) -> None:
    """Raises ``ValueError`` if an attribute would hide a method of the class."""
    for name in attributes:
        if not name.isidentifier() or name.startswith("__") or callable(getattr(cls, name, None)):
            raise ValueError(f"expected the name of an attribute of {cls.__name__}, got {name!r}")


def check_tensors(declared: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> None:
    """Raises ``HeaderError`` if the tensors are not those that the header declares, in names, types and shapes."""
    for name in sorted({*declared, *tensors}):
        entry = declared.get(name)
        expected = None if entry is None else {k: v for k, v in as_table(name, entry).items() if k != "trained"}
        found = tensor_entry(tensors[name].data) if name in tensors else None
        if found != expected:
            raise HeaderError(name, f"expected a tensor {expected or 'of no such name'}, got {found or 'none'}")


def own_copy(name: str, tensor: Tensor, entry: Json, device: torch.device | None) -> Tensor:
    """Returns a copy of a tensor, in memory of its own, as a parameter where it was one."""
    trained = as_table(name, entry).get("trained")
    if trained not in (None, False) and not (trained is True and tensor.is_floating_point()):
        raise HeaderError(name, f"expected a tensor that can be trained, got {tensor.dtype} and {trained!r}")
    # Memory that torch has allocated is aligned; sums over other memory may differ in the last bit.
    copied = tensor.detach().to(device or tensor.device).clone(memory_format=torch.contiguous_format)
    return copied if trained is None else nn.Parameter(copied, requires_grad=trained is True)
