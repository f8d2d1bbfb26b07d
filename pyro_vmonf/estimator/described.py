"""What an estimator is beside its mixture, as JSON: its parameters, the names of its features, its classes."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from pyro_vmonf._io import Json

__all__ = ["KEY", "Description", "describe", "read_description"]

KEY = "pyro_vmonf.estimator"
"""The entry of a file's header; no keyword of ``save`` can have a dot."""

PLACE = "device"  # the parameter that a file does not have: load is told it
TYPES = {"bool", "str", "object", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))}
TYPES |= {"float16", "float32", "float64"}
ENTRIES = {"class", "parameters", "feature_names", "classes"}

Classes = npt.NDArray[Any]


@dataclass(frozen=True)
class Description:
    """What a file says of its estimator.

    Attributes:
        kind: ``"VMoNF"`` or ``"VMoNFClassifier"``; None where a file holds a mixture alone.
        parameters: The parameters of the constructor, by name.
        feature_names: The names of the features, or None.
        classes: The classes of a classifier, or None.
    """

    kind: str | None
    parameters: dict[str, Any]
    feature_names: list[str] | None
    classes: Classes | None


def describe(estimator: BaseEstimator, kind: str) -> dict[str, Json]:
    """Returns what is saved of an estimator.

    Raises:
        TypeError: If its classes are of a type that JSON does not know.

    Warns:
        UserWarning: Of parameters that are no numbers, texts or lists, which the file does not keep.
    """
    classes, names = getattr(estimator, "classes_", None), getattr(estimator, "feature_names_in_", None)
    found: dict[str, Json] = {"class": kind, "classes": None if classes is None else described_classes(classes)}
    found["feature_names"] = None if names is None else [str(name) for name in names]
    found["parameters"] = described_parameters(estimator.get_params(deep=False))
    return found


def described_parameters(parameters: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the parameters that JSON knows, and warns of the others."""
    found: dict[str, Json] = {}
    for name, value in parameters.items():
        if name == PLACE:
            continue
        try:
            found[name] = json.loads(json.dumps(value, allow_nan=False, default=as_lists))
        except (AttributeError, TypeError, ValueError):
            message = f"{name}: {value!r} cannot be saved; the estimator that is loaded has the default"
            warnings.warn(message, UserWarning, stacklevel=4)
    return found


def as_lists(value: Any) -> Any:
    """Returns numbers of numpy or torch as plain ones."""
    return value.tolist()


def described_classes(classes: Classes) -> Json:
    """Returns classes with the name of their type; raises ``TypeError`` if it is one that JSON does not know."""
    name, values = type_name(classes), classes.tolist()
    if name not in TYPES or (name == "object" and not all(isinstance(value, str) for value in values)):
        raise TypeError(f"classes_: expected texts, integers, floats or booleans, got {classes.dtype}")
    return {"type": name, "values": values}


def type_name(classes: Classes) -> str:
    """Returns the name of the type of an array; that of texts is ``"str"``, however long they are."""
    return "str" if classes.dtype.kind == "U" else classes.dtype.name


def read_description(header: Mapping[str, Json], features: int) -> Description:
    """Returns what the header of a file says of its estimator.

    A file of ``save`` says nothing. One of the command has the names of the columns and the classes.

    Args:
        header: What was saved beside the mixture, by name.
        features: The number of features.

    Raises:
        ValueError, TypeError, KeyError: If it is damaged.
    """
    if KEY not in header:
        columns, classes = header.get("columns"), header.get("classes")
        return Description(None, {}, names_of(columns, features), classes_of_command(classes))
    given: Any = header[KEY]
    if set(given) != ENTRIES:
        raise ValueError(f"expected {sorted(ENTRIES)}, got {sorted(given)}")
    names, classes = given["feature_names"], given["classes"]
    if names is not None and texts(names) is None:
        raise ValueError(f"feature_names: expected texts, got {names!r}")
    found = None if classes is None else read_classes(**classes)
    return Description(given["class"], dict(given["parameters"]), names, found)


def names_of(columns: Json, features: int) -> list[str] | None:
    """Returns the names of columns, or None where there are none, or numbers in their place."""
    names, numbers = texts(columns), [str(i) for i in range(features)]
    return None if names is None or len(names) != features or names == numbers else names


def texts(given: Json) -> list[str] | None:
    """Returns a list of texts, or None if it is something else."""
    found = [value for value in given if isinstance(value, str)] if isinstance(given, list) else []
    return found if found and found == given else None


def classes_of_command(classes: Json) -> Classes | None:
    """Returns the classes of a fit by the command, or None where it had none."""
    if not isinstance(classes, list) or not classes or len({type(value) for value in classes}) > 1:
        return None
    return np.array(classes)


def read_classes(type: str, values: list[Any]) -> Classes:  # noqa: A002  (the names in the file)
    """Returns classes that :func:`described_classes` wrote; raises ``ValueError`` if they are of another type."""
    if type not in TYPES:
        raise ValueError(f"classes: expected a type of {sorted(TYPES)}, got {type!r}")
    found: Classes = np.array(values, dtype=type)
    if found.tolist() != values:
        raise ValueError(f"classes: expected values of type {type}, got {values!r}")
    return found
