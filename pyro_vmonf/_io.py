"""Files written whole or not at all, and read without executing anything."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = [
    "MIXTURE",
    "Json",
    "atomic_write",
    "check_file",
    "read_tensors",
    "remove_temporary",
    "writable_folder",
    "write_json",
    "write_tensors",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


MIXTURE = "mixture.safetensors"
"""The name of the file of the mixture in a folder of the command."""


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Calls ``write`` on a temporary file beside ``path`` and renames it to ``path`` once it is on disk.

    The temporary file has one name, so that what a killed process leaves is overwritten by the next.
    """
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_of(path: Path) -> Path:
    """Returns the name under which ``path`` is written first."""
    return path.with_name(f".{path.name}.partial")


def remove_temporary(path: Path) -> None:
    """Removes what a killed process may have left of writing ``path``."""
    temporary_of(path).unlink(missing_ok=True)


def write_json(path: Path, value: Json | Mapping[str, object]) -> None:
    """Writes ``value`` as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))


def writable_folder(name: str, path: str | Path) -> Path:
    """Makes the folder ``path`` if need be and tries to write in it.

    Raises:
        OSError: Naming the argument ``name``, if that fails.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{name}: expected a folder to write in, got {str(folder)!r} ({error})") from error
    return folder


def check_file(name: str, path: str | Path, *, to_write: bool = False) -> None:
    """Checks that ``path`` is no folder, and that a file that is ``to_write`` has a folder.

    Raises:
        OSError: Naming the argument ``name``, and the file of the mixture if ``path`` is a folder of the command.
    """
    file = Path(path)
    if file.is_dir():
        inside = file / MIXTURE
        hint = f"; the mixture in it is {str(inside)!r}" if inside.is_file() and not to_write else ""
        raise IsADirectoryError(f"{name}: expected a file, got the folder {str(file)!r}{hint}")
    if to_write and not file.parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {str(file.parent)!r}; make it first")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, header: Mapping[str, Json]) -> None:
    """Writes tensors and a JSON header as safetensors, whole or not at all.

    Each tensor is written as a contiguous copy of its own. safetensors has no checksum, so the file carries one.

    Args:
        path: The file.
        tensors: What is written, by name.
        kind: What the file holds, such as ``"pyro_vmonf.training"``.
        header: Anything that JSON knows.
    """
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    text = json.dumps(header)
    metadata = {"kind": kind, "header": text, "sha256": checksum(own, kind, text)}
    atomic_write(path, lambda file: file.write(save(own, metadata)))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """Returns the tensors and the header that :func:`write_tensors` wrote.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a damaged file or none of safetensors ({error})") from error
    if metadata.get("kind") != kind:
        raise ValueError(f"a file of another kind, {metadata.get('kind')!r} where {kind!r} was expected")
    text = metadata.get("header", "")
    if metadata.get("sha256") != checksum(tensors, kind, text):
        raise ValueError("a damaged file, whose checksum is not that of its content")
    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a header that is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise ValueError(f"a header that is no table but {type(header).__name__}")
    return tensors, header


def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Returns the table of pairs of JSON; raises ``ValueError`` where two have one name, of which a reader sees one."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name twice in one table")
    return table


def checksum(tensors: Mapping[str, Tensor], kind: str, header: str) -> str:
    """Returns the SHA-256 checksum of tensors with their names, types and shapes, of a kind and of a header."""
    found = hashlib.sha256(json.dumps([kind, header]).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous().reshape(-1)
        found.update(json.dumps([name, str(tensor.dtype), list(tensors[name].shape)]).encode())
        found.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return found.hexdigest()
