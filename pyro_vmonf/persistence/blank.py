"""Objects with nothing but what torch and Pyro keep in each object of theirs."""

from typing import Any

from pyro.distributions.torch_transform import TransformModule
from pyro.nn import PyroModule
from torch import nn
from torch.distributions import Transform

__all__ = ["BASE_STATE", "base_attributes", "blank"]

BASES: tuple[type, ...] = (PyroModule, TransformModule, nn.Module, Transform)

BASE_STATE = {"training", "_cache_size"}
"""The attributes set by a base class that belong to the object's own state."""


def base_attributes(cls: type) -> dict[str, Any]:
    """Returns the attributes that the base class from torch or Pyro sets, as the version that is installed does."""
    base = next((each for each in BASES if issubclass(cls, each)), None)
    return {} if base is None else vars(base())


def blank(cls: type) -> Any:
    """Returns an object of a class with these attributes alone; no constructor of the class has run."""
    one: Any = object.__new__(cls)
    vars(one).update(base_attributes(cls))
    return one
