"""A mixture and its encoder in one file: written whole or not at all, and read without executing anything."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vmonf._io import Json, check_file, read_tensors, write_tensors
from pyro_vmonf.automatic.arguments import checked_device
from pyro_vmonf.checkpointing.checkpointer import CheckpointError
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.persistence.catalogue import enter_all
from pyro_vmonf.persistence.describing import Description
from pyro_vmonf.persistence.rebuilding import HeaderError, Rebuilding, as_table
from pyro_vmonf.persistence.trial import answers, check_history, check_pair, try_out

__all__ = ["SavedMixture", "SavedMixtureError", "load", "save"]

FORMAT = "pyro_vmonf.mixture"
VERSION = 1

enter_all()


class SavedMixtureError(CheckpointError):
    """A file of a saved mixture that cannot be used; nothing was loaded.

    Attributes:
        path: The file.
        field: The part of it that is damaged or does not fit.
    """

    kind = "saved mixture"


class SavedMixture(NamedTuple):
    """What a file held.

    Attributes:
        model: The mixture, in the mode, training or evaluation, in which it was saved.
        guide: Its encoder.
        history: The history of the fit, or None if none was saved.
        header: What else was saved, by name.
    """

    model: FlowMixture
    guide: SoftmaxEncoder
    history: History | None
    header: dict[str, Json]


def save(
    path: str | Path, model: FlowMixture, guide: SoftmaxEncoder, history: History | None = None, **header: Json
) -> None:
    """Writes a mixture and its encoder, and perhaps the history of their fit, to one file, whole or not at all.

    The file is safetensors with a JSON header that describes every module by the registered name of its class, and by
    its attributes. The library's classes are registered, and those of torch and Pyro that networks are usually made
    of; a class of the user's own needs :func:`~pyro_vmonf.persistence.register`. Neither the state of an optimizer nor
    that of the random generators is saved: to go on with a broken fit, see ``checkpoint``.

    Args:
        path: The file. If it exists, it is replaced once the new one is written.
        model: The mixture.
        guide: The encoder.
        history: What ``fit`` or ``fit_mixture`` returned with them.
        **header: Anything else that JSON knows, by name, which ``load`` returns.

    Raises:
        TypeError: If a part cannot be saved; the message names it. Nothing is written then.
        ValueError: If model and guide do not belong together.
        OSError: If the file cannot be written; before any work, if its folder is not there, or it is a folder itself.

    Examples:
        >>> import tempfile
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, load, mlp, save
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/mixture.safetensors", model, guide, unit="mm")
        ...     again = load(f"{folder}/mixture.safetensors")
        >>> x = torch.randn(4, 2)
        >>> torch.equal(again.model.evidence(x), model.evidence(x)), again.header
        (True, {'unit': 'mm'})
    """
    check_file("path", path, to_write=True)
    check_pair(model, guide)
    check_history(history)
    described = Description()
    roots: dict[str, Json] = {"model": described.add("model", model), "guide": described.add("guide", guide)}
    roots["history"] = None if history is None else described.add("history", history)
    written: dict[str, Json] = {"version": VERSION, "roots": roots, "objects": described.objects}
    written |= {"tensors": described.table(), "header": checked_header(header)}
    check_twin(model, guide, written, described.tensors)
    write_tensors(Path(path), described.tensors, FORMAT, written)


def load(path: str | Path, *, device: str | torch.device = "cpu") -> SavedMixture:
    """Returns the mixture, the encoder, the history and the header that :func:`save` wrote.

    Nothing in the file is executed, and no module is imported that it names. Before it is loaded, classes of the user's
    own must be registered.

    Args:
        path: The file.
        device: Where the tensors are put, wherever they were saved.

    Raises:
        SavedMixtureError: If the file is damaged, is of another kind or version, or names a class that is not
            registered; it says which part. It is a ``CheckpointError``.
        OSError: If the file cannot be read, or is a folder.
        ValueError: If there is no such device.
    """
    path, place = Path(path), checked_device(device)
    check_file("path", path)
    with path.open("rb"):  # so that a file that is not there is no damaged one
        pass
    try:
        tensors, header = read_tensors(path, FORMAT)
    except ValueError as error:
        raise SavedMixtureError(path, "file", f"expected a saved mixture, got: {error}") from error
    try:
        saved = rebuilt(header, tensors, place)
        try_out(saved.model, saved.guide, saved.history)
    except HeaderError as error:
        raise SavedMixtureError(path, error.field, str(error)) from error
    return saved


def checked_header(header: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the caller's header; raises ``TypeError`` if JSON would give it back as something else."""
    for name, value in header.items():
        try:
            same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise TypeError(f"{name}: expected what JSON knows, finite numbers, texts, lists and tables, got {value!r}")
    return dict(header)


def rebuilt(header: dict[str, Json], tensors: Mapping[str, Tensor], device: torch.device | None = None) -> SavedMixture:
    """Returns what a header describes; raises ``HeaderError`` if it is wrong."""
    if header.get("version") != VERSION:
        raise HeaderError("version", f"expected {VERSION}, got {header.get('version')!r}")
    parts = Rebuilding(header.get("objects"), header.get("tensors"), tensors, device)
    roots = as_table("roots", header.get("roots"))
    model, guide = (parts.rooted(name, roots.get(name)) for name in ("model", "guide"))
    history = None if roots.get("history") is None else parts.rooted("history", roots["history"])
    return SavedMixture(model, guide, history, as_table("header", header.get("header")))


def check_twin(
    model: FlowMixture, guide: SoftmaxEncoder, written: Mapping[str, Json], tensors: Mapping[str, Tensor]
) -> None:
    """Raises ``TypeError`` if a pair rebuilt from what is to be written does not say of a point what the pair says."""
    try:
        twin = rebuilt(json.loads(json.dumps(written)), tensors)
        try_out(twin.model, twin.guide, twin.history)
    except HeaderError as error:
        raise TypeError(f"{error.field}: cannot save it, since it cannot be loaded: {error}") from error
    names, own_answers = ("model", "guide"), answers(model, guide)
    for name, own, other in zip(names, own_answers, answers(twin.model, twin.guide), strict=True):
        if not torch.allclose(own, other, rtol=1e-4, equal_nan=True):
            raise TypeError(f"{name}: cannot save it, since its attributes do not tell all: rebuilt, it differs")
