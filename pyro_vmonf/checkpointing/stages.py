"""Parts of a long work, each of which is written to a file once it is done."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pyro_vmonf._io import Json, read_tensors, remove_temporary, writable_folder, write_tensors
from pyro_vmonf.architecture import first_difference
from pyro_vmonf.checkpointing.checkpointer import CheckpointError, CheckpointWarning

__all__ = ["Stages"]

FORMAT = "pyro_vmonf.search"
VERSION = 1


class Stages:
    """The tensors that each part of a long work ended with, in a file of safetensors, written whole or not at all.

    Args:
        path: The file. What is in it is taken as done. If it is None nothing is read or written.
        fingerprint: What must be the same where the work goes on.

    Raises:
        CheckpointError: If the file is damaged, or that of another work.
        OSError: If its folder cannot be written.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.checkpointing.stages import Stages
        >>> Stages(None, {}).get("first", {"mean": torch.zeros(3)}) is None
        True
    """

    def __init__(self, path: str | Path | None, fingerprint: Mapping[str, Json]) -> None:
        self.path = None if path is None else Path(path)
        self.fingerprint = dict(fingerprint)
        self.tensors: dict[str, Tensor] = {}
        if self.path is not None:
            writable_folder("checkpoint", self.path.parent)
            if self.path.exists():
                self.tensors = self.read(self.path)
            remove_temporary(self.path)

    def read(self, path: Path) -> dict[str, Tensor]:
        """Returns the tensors of a file; raises ``CheckpointError`` where it cannot be used."""
        try:
            tensors, header = read_tensors(path, FORMAT)
        except (OSError, ValueError) as error:
            raise CheckpointError(path, "file", f"expected the state of a search, got: {error}") from error
        if header.get("version") != VERSION:
            raise CheckpointError(path, "version", f"expected {VERSION}, got {header.get('version')!r}")
        if difference := first_difference(header.get("fingerprint"), self.fingerprint):
            field, written, here = difference
            message = f"it was written by a fit with {written!r}, this fit has {here!r}; use the same or another file"
            raise CheckpointError(path, field or "fingerprint", message)
        return tensors

    def get(self, name: str, like: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Returns the tensors of a part, or None if it has not been done.

        Args:
            name: The name of the part.
            like: Tensors of the same names, shapes and types.

        Raises:
            CheckpointError: If they differ from those.
        """
        prefix = f"{name}/"
        found = {n.removeprefix(prefix): tensor for n, tensor in self.tensors.items() if n.startswith(prefix)}
        if not found or self.path is None:
            return None
        for one in sorted({*found, *like}):
            mine, theirs = (
                f"{tuple(t.shape)} {t.dtype}" if t is not None else "none" for t in (like.get(one), found.get(one))
            )
            if mine != theirs:
                raise CheckpointError(self.path, prefix + one, f"expected a tensor {mine}, got {theirs}")
        return found

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keeps the tensors of a part, and writes all parts; warns where that fails, and tries again with the next."""
        if self.path is None:
            return
        self.tensors |= {f"{name}/{one}": tensor.detach().cpu().clone() for one, tensor in tensors.items()}
        try:
            write_tensors(self.path, self.tensors, FORMAT, {"version": VERSION, "fingerprint": self.fingerprint})
        except OSError as error:
            message = f"checkpoint: {str(self.path)!r} could not be written ({error}); the fit goes on and tries again"
            warnings.warn(message, CheckpointWarning, stacklevel=2)
