"""The folder of a fit by the command: its settings, its mixture once it is done, and its checkpoint before that."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_vmonf._io import MIXTURE, writable_folder, write_json

if TYPE_CHECKING:
    from pyro_vmonf.persistence import SavedMixture

__all__ = ["CHECKPOINT", "MIXTURE", "Choosing", "Run", "RunError", "checkpoints", "finished", "resuming"]

SETTINGS, CHECKPOINT = "run.json", "search.safetensors"


class RunError(ValueError):
    """A folder that is no run of the command, or not one of the kind that is needed."""


@dataclass(frozen=True)
class Choosing:
    """How ``select`` chooses the number of components.

    Attributes:
        least: The least number that is tried.
        most: The greatest.
        clusters: What a cluster is.
        quick: Whether a mixture is fitted with the number chosen alone.
        jobs: The number of processes.
        plot: The file for a picture of the table, or None.
    """

    least: int
    most: int
    clusters: str
    quick: bool
    jobs: int
    plot: str | None = None

    def options(self) -> list[str]:
        """Returns the options of the command that say so."""
        given = ["--least", str(self.least), "--most", str(self.most), "--clusters", self.clusters]
        given += ["--quick"] if self.quick else []
        given += ["--jobs", str(self.jobs)] if self.jobs != 1 else []
        return given if self.plot is None else [*given, "--plot", self.plot]


@dataclass(frozen=True)
class Run:
    """What a fit by the command was asked for.

    Attributes:
        data: The file of the points.
        components: The number of components, or None until the points have chosen it.
        columns: The names of the columns.
        label_column: That of the labels, or None.
        seed: The seed.
        device: Where mixtures are trained.
        points: A checksum of the points and labels.
        choosing: How ``select`` chooses the number of components, or None for ``fit``.
        reasons: Why the points have chosen their number, in sentences.
    """

    data: str
    components: int | None
    columns: list[str]
    label_column: str | None
    seed: int
    device: str
    points: str
    choosing: Choosing | None = None
    reasons: list[str] = field(default_factory=list)

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
            given: dict[str, Any] = json.loads(path.read_text())
            known = {one.name: given[one.name] for one in fields(cls) if one.name in given}
            choosing = known.pop("choosing", None)
            return cls(**known, choosing=None if choosing is None else Choosing(**choosing))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}: expected the settings of a fit, got something else ({error!r})") from error

    def command(self, folder: Path) -> str:
        """Returns the command that repeats the fit."""
        given = ["fit", self.data, "--components", "auto" if self.components is None else str(self.components)]
        if self.choosing is not None:
            given = ["select", self.data, *self.choosing.options()]
        given += options_of(self.columns)
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
        if checkpoints(folder):
            raise RunError(f"--out: there is a fit in {folder} to go on with: {resuming(folder)}")
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


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints of an unfinished run: that of a fit, or of a selection those of all numbers."""
    checkpoint = Path(CHECKPOINT)
    return sorted(folder.glob(f"{checkpoint.stem}*{checkpoint.suffix}"))


def resuming(folder: Path) -> str:
    """Returns the command that goes on with a run."""
    return shlex.join(["pyro-vmonf", "resume", str(folder)])


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
        raise RunError(f"{folder}: the fit is not finished; go on with it: {resuming(folder)}")
    return load(folder / MIXTURE, device=device)
