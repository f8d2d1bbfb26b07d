"""The classes and functions that a saved file may name, each by a short name."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn
from torch.distributions import Distribution, Transform

__all__ = ["enter", "is_function", "name_of", "register", "registered", "same_definition"]

Registered = TypeVar("Registered", bound=Callable[..., Any])

_BY_NAME: dict[str, Callable[..., Any]] = {}
_NAMES: dict[Callable[..., Any], str] = {}


def register(what: Registered, *, name: str | None = None) -> Registered:
    """Lets ``save`` and ``load`` know a class or a function of the user's own; returns it, so that it may decorate.

    A file never names a module to import, only such a name. The program that loads the file registers the same class
    under the same name first. An object is rebuilt from its attributes, without its constructor: numbers, texts, None,
    lists, tuples, dictionaries, tensors, modules, distributions, and functions that are registered. A class whose
    attributes have changed since may define ``__setstate__``, as for pickle, to read files of before.

    Args:
        what: A subclass of ``torch.nn.Module`` or of torch's ``Distribution`` or ``Transform``, a dataclass, or a
            function such as the activation of a network.
        name: The name in the file; by default that of the class or function.

    Raises:
        TypeError: If ``what`` is of another kind.
        ValueError: If the name is no identifier, or is that of another class or function.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.persistence import register
        >>> @register
        ... class Cosine(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.cos()
    """
    if not is_class(what) and not is_function(what):
        raise TypeError(f"register: expected a class of modules or distributions, or a function, got {what!r}")
    own = what.__name__ if name is None else name
    if not isinstance(own, str) or not own.isidentifier():
        raise ValueError(f"register: expected a name without dots or blanks, got {own!r}; pass another, name=")
    enter(own, what)
    return what


def is_class(what: object) -> bool:
    """Returns whether objects of a class can be rebuilt from their attributes."""
    return isinstance(what, type) and (
        issubclass(what, nn.Module | Distribution | Transform) or dataclasses.is_dataclass(what)
    )


def is_function(what: object) -> bool:
    """Returns whether ``what`` is a function that has a name, and no method of an object."""
    return inspect.isroutine(what) and not inspect.ismethod(what)


def enter(name: str, what: Callable[..., Any]) -> None:
    """Puts a class or function under a name; raises ``ValueError`` where another has it."""
    before = _BY_NAME.get(name, what)
    if not same_definition(before, what):
        raise ValueError(f"register: the name {name!r} is that of {before!r}; pass another, name=")
    _NAMES.pop(before, None)
    _BY_NAME[name], _NAMES[what] = what, name


def same_definition(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Returns whether both are the same, or come from the same line, as when a notebook's cell runs again."""
    places = [(getattr(each, "__module__", None), getattr(each, "__qualname__", None)) for each in (one, other)]
    return one is other or (places[0] == places[1] and "<" not in str(places[0][1]))


def name_of(what: object) -> str | None:
    """Returns the name of a class or function, or None if it is not registered."""
    return _NAMES.get(what) if isinstance(what, type) or is_function(what) else None  # type: ignore[call-overload]


def registered(name: object) -> Callable[..., Any] | None:
    """Returns the class or function of a name, or None if there is none."""
    return _BY_NAME.get(name) if isinstance(name, str) else None
