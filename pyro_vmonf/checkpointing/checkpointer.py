"""A fit's state on disk: read whole or not at all, written whole or not at all, never executed."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pyro_vmonf._io import Json, read_tensors, remove_temporary, writable_folder, write_tensors
from pyro_vmonf._validation import check_positive
from pyro_vmonf.architecture import first_difference
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.state import MOMENTS, TrainingState

__all__ = ["CheckpointError", "CheckpointWarning", "Checkpointer"]

FORMAT = "pyro_vmonf.training"
VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; nothing was loaded.

    Attributes:
        path: The file.
        field: The part of it that is damaged or does not fit.
    """

    kind = "checkpoint"

    def __init__(self, path: Path, field: str, message: str) -> None:
        super().__init__(f"{self.kind} {str(path)!r}, {field}: {message}")
        self.path, self.field = path, field


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the fit goes on and tries again."""


class Checkpointer:
    """Loads a fit's state from a file and saves it there every few minutes.

    The file is safetensors with a JSON header: a format version, the history and the fingerprint, and a SHA-256
    checksum over all of it.

    Args:
        path: The file. A fit whose file exists continues from it, to the parameters of a fit without interruption. If
            it is None nothing is loaded or saved.
        minutes: The time between two saves, at the end of an epoch.

    Raises:
        ValueError: If ``minutes`` is not above 0.
        OSError: If the folder cannot be written.

    Examples:
        >>> from pyro_vmonf.training import Checkpointer
        >>> Checkpointer("fit.safetensors", minutes=1.0).path.name
        'fit.safetensors'
    """

    def __init__(self, path: str | Path | None, *, minutes: float = 5.0) -> None:
        self.path = Path("" if path is None else path)
        self.is_idle = path is None
        self.seconds = 60 * check_positive("minutes", minutes)
        self.saved = time.monotonic()
        if not self.is_idle:
            writable_folder("checkpoint", self.path.parent)

    def load(self, template: TrainingState) -> TrainingState | None:
        """Returns the state in the file, None if there is no file; nothing is changed but what was left half written.

        Args:
            template: A state of the same fit, whose names, shapes and types the file's must have.

        Raises:
            CheckpointError: If the file is damaged, or is that of another fit, naming the first part that differs.
        """
        if self.is_idle:
            return None
        if not self.path.exists():
            remove_temporary(self.path)
            return None
        try:
            tensors, header = read_tensors(self.path, FORMAT)
        except (OSError, ValueError) as error:
            raise CheckpointError(self.path, "file", f"expected the state of a fit, got: {error}") from error
        self.check_header(header, template)
        self.check_tensors(tensors, template)
        self.check_steps(tensors, header["rows"])
        remove_temporary(self.path)
        rows, restarts, stopped = header["rows"], header["restarts"], header["stopped"]
        history = History(rows, restarts, stopped)  # type: ignore[arg-type]
        return TrainingState(tensors, history, template.fingerprint)

    def check_header(self, header: dict[str, Json], template: TrainingState) -> None:
        """Raises ``CheckpointError`` if the header has not what a state has, or another fit's fingerprint."""
        if header.get("version") != VERSION:
            raise CheckpointError(self.path, "version", f"expected {VERSION}, got {header.get('version')!r}")
        for name in ("rows", "restarts"):
            table = header.get(name)
            needed = {"rows": {"epoch", "phase", "steps", "seconds"}, "restarts": {"initializer", "chosen"}}[name]
            if not isinstance(table, list) or not all(is_row(row, needed) for row in table):
                raise CheckpointError(self.path, name, f"expected a list of rows with {sorted(needed)}")
        if not isinstance(header.get("stopped"), str):
            raise CheckpointError(self.path, "stopped", f"expected a text, got {header.get('stopped')!r}")
        fingerprint = header.get("fingerprint")
        if difference := first_difference(fingerprint, dict(template.fingerprint)):
            field, written, here = difference
            message = f"it was written by a fit with {written!r}, this fit has {here!r}; use the same or another file"
            raise CheckpointError(self.path, field or "fingerprint", message)

    def check_tensors(self, tensors: dict[str, Tensor], template: TrainingState) -> None:
        """Raises ``CheckpointError`` if a tensor is missing, is none of this fit's, or has another shape or type."""
        expected = dict(template.tensors)
        modules = {n: t for n, t in expected.items() if n.startswith(("model.", "guide."))}
        for copy in ("initial.", "best."):
            if any(name.startswith(copy) for name in tensors):
                expected |= {copy + name: t for name, t in modules.items()}
        for name in sorted({*expected, *tensors}):
            optional = name.startswith(("optimizer.", "target", "random.cuda"))
            if name not in tensors and not optional:
                raise CheckpointError(self.path, name, "expected a tensor, got none")
            if name in tensors:
                self.check_tensor(name, tensors[name], expected.get(name))
        for name in {n.rsplit(".", 1)[0] for n in tensors if n.startswith("optimizer.")}:
            if missing := [m for m in MOMENTS if f"{name}.{m}" not in tensors]:
                raise CheckpointError(self.path, f"{name}.{missing[0]}", "expected a tensor, got none")

    def check_steps(self, tensors: dict[str, Tensor], rows: Json) -> None:
        """Raises ``CheckpointError`` if the optimizer has not taken the steps that the rows tell of."""
        told = sum(row["steps"] for row in rows)  # type: ignore[call-overload, index, misc, union-attr]
        taken = max((float(t) for name, t in tensors.items() if name.endswith(".step")), default=0.0)
        if told != taken:
            raise CheckpointError(self.path, "rows", f"expected those of the optimizer's {taken:g} steps, got {told:g}")

    def check_tensor(self, name: str, found: Tensor, like: Tensor | None) -> None:
        """Raises ``CheckpointError`` if a tensor is not as the template's, or holds NaN or infinite values."""
        if like is None:
            raise CheckpointError(self.path, name, "expected no such tensor in this fit")
        if found.shape != like.shape or found.dtype != like.dtype:
            given = f"{tuple(found.shape)} {found.dtype}"
            raise CheckpointError(self.path, name, f"expected {tuple(like.shape)} {like.dtype}, got {given}")
        if found.is_floating_point() and not bool(torch.isfinite(found).all()):
            raise CheckpointError(self.path, name, "expected finite numbers, got NaN or infinite ones")

    def save(self, state: Callable[[], TrainingState], *, now: bool = False) -> None:
        """Writes what ``state()`` returns if it is time, or ``now``; warns where that fails, and tries again later."""
        if self.is_idle or (not now and time.monotonic() - self.saved <= self.seconds):
            return
        self.saved = time.monotonic()
        found = state()
        header: dict[str, Json] = {
            "version": VERSION,
            "fingerprint": dict(found.fingerprint),
            "rows": list(found.history.rows),  # type: ignore[arg-type]
            "restarts": list(found.history.restarts),  # type: ignore[arg-type]
            "stopped": found.history.stopped,
        }
        try:
            write_tensors(self.path, dict(found.tensors), FORMAT, header)
        except OSError as error:
            message = f"checkpoint: {str(self.path)!r} could not be written ({error}); the fit goes on and tries again"
            warnings.warn(message, CheckpointWarning, stacklevel=2)


def is_row(row: Json, needed: set[str]) -> bool:
    """Whether a part of a header is a row of plain values with the columns needed, which but for names are numbers."""
    if not isinstance(row, dict) or not needed <= set(row):
        return False
    return all(isinstance(value, str if name == "initializer" else int | float) for name, value in row.items())
