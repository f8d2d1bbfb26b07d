"""The folder of a fit by the command: its settings, its mixture once it is done, and its checkpoint before that."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_vmonf._io import writable_folder, write_json

if TYPE_CHECKING:
    from pyro_vmonf.persistence import SavedMixture

__all__ = ["CHECKPOINT", "MIXTURE", "Run", "RunError", "finished"]

SETTINGS, MIXTURE, CHECKPOINT = "run.json", "mixture.safetensors", "search.safetensors"


class RunError(ValueError):
    """A folder that is no run of the command, or not one of the kind that is needed."""


@dataclass(frozen=True)
class Run:
    """What a fit by the command was asked for.

    Attributes:
        data: The file of the points.
        components: The number of components.
        columns: The names of the columns.
        label_column: That of the labels, or None.
        seed: The seed.
        device: Where mixtures are trained.
        points: A checksum of the points and labels.
    """

    data: str
    components: int
    columns: list[str]
    label_column: str | None
    seed: int
    device: str
    points: str

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Returns the settings of a run.

        Raises:
            RunError: If the folder has none, or none that can be understood.
        """
        path = folder / SETTINGS
        if not path.is_file():
            raise RunError(f"{folder}: expected the folder of a fit, but there is no {SETTINGS} in it")
        try:
            given = json.loads(path.read_text())
            return cls(**{field.name: given[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: expected the settings of a fit, got something else ({error!r})") from error

    def command(self, folder: Path) -> str:
        """Returns the command that repeats the fit."""
        given = ["fit", self.data, "--components", str(self.components), *options_of(self.columns)]
        given += [] if self.label_column is None else ["--label-column", self.label_column]
        given += ["--seed", str(self.seed), "--device", self.device, "--out", str(folder)]
        return shlex.join(["pyro-vmonf", *given])

    def begin(self, folder: Path) -> None:
        """Writes the settings to a folder in which there is no run.

        A folder in which a fit was refused before it had a state is taken over.

        Raises:
            RunError: If there is one.
            OSError: If the folder cannot be written.
        """
        writable_folder("--out", folder)
        if (folder / MIXTURE).exists():
            raise RunError(f"--out: there is a finished fit in {folder}; name another folder")
        if (folder / CHECKPOINT).exists():
            raise RunError(f"--out: there is a fit in {folder} to go on with: pyro-vmonf resume {folder}")
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Writes the settings to a folder; raises ``OSError`` if it cannot be written."""
        write_json(folder / SETTINGS, asdict(self))

    def file(self, data: Path | None, command: str) -> Path:
        """Returns the file of the points: that which the user names, or that of the fit.

        Args:
            data: What the user names, or None.
            command: What is to be said where the file of the fit is not there any more.

        Raises:
            RunError: If it is not there.
        """
        if data is None and not Path(self.data).is_file():
            raise RunError(f"{self.data}: the file of the fit is not there; if it is elsewhere: {command} FILE")
        return data or Path(self.data)


def options_of(columns: list[str]) -> list[str]:
    """Returns the options that name columns: one with commas between, or one each where a name has a comma."""
    if any("," in name or name != name.strip() for name in columns):
        return [part for name in columns for part in ("--columns", name)]
    return ["--columns", ",".join(columns)]


def finished(folder: Path, device: str = "cpu") -> SavedMixture:
    """Returns the mixture of a run.

    Raises:
        RunError: If the folder has no run, or one that is not finished.
        CheckpointError: If the mixture's file is damaged.
    """
    from pyro_vmonf.persistence import load

    Run.read(folder)
    if not (folder / MIXTURE).exists():
        raise RunError(f"{folder}: the fit is not finished; go on with it: pyro-vmonf resume {folder}")
    return load(folder / MIXTURE, device=device)
