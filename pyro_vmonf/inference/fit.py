"""Fitting a mixture and its encoder by the exact K-sum ELBO."""

import time
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vmonf._checks import check_labels, check_positive
from pyro_vmonf._files import writable_folder
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference import checkpoint as checkpoints
from pyro_vmonf.inference.history import History, Row
from pyro_vmonf.inference.options import Options
from pyro_vmonf.inference.reading import check_points, evaluating, read
from pyro_vmonf.inference.run import Run
from pyro_vmonf.inference.temperature import Temperature
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["fit"]


def fit(
    model: FlowMixture,
    guide: SoftmaxEncoder,
    x: Tensor,
    y: Tensor | None = None,
    *,
    epochs: int = 400,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    temperature: Temperature | None = None,
    pretrain_epochs: int = 0,
    encoder_delay: int = 0,
    clip_norm: float | None = None,
    seed: int = 0,
    validation: Tensor | None = None,
    device: str | torch.device = "cpu",
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 5.0,
    progress: bool = True,
) -> History:
    r"""Trains model and guide, in place, with Adam on mini-batches.

    Unlabelled points contribute the exact K-sum ELBO, Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]; labelled ones
    log p(x, y) + log q(y | x), whose second term is what teaches the encoder. With labels in y the fit is the thesis's
    (section 5.1.2): ``pretrain_epochs`` passes over the labelled points alone, then ``epochs`` in which a pass over the
    labelled and a pass over the unlabelled points take turns. The term log q(y | x) is part of every step. The passes
    count alike, however many points each has; learned weights assume labels about as frequent as their classes.

    Both modules end on ``device`` and in evaluation mode. The same seed gives the same result, and the global random
    state is left as it was.

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: ``(N, *event)``, floating-point, finite, of about unit scale (or start an ActNorm from it); converted to the
            model's floating-point type.
        y: labels ``(N,)``, −1 where unlabelled; None for none.
        epochs: passes over the data, after the pretraining.
        batch_size: points in a step.
        learning_rate: of Adam.
        weight_decay: of Adam (L2).
        temperature: the encoder's schedule over the ``epochs``; the guide's own temperature throughout if not given.
            The guide keeps the last temperature, so let the schedule reach its floor.
        pretrain_epochs: supervised passes before that; needs labels.
        encoder_delay: with labels, how many of the ``epochs`` train the encoder on labels alone. Flows pretrained on
            few points say absurd things of the others; given time to learn better, they do not mislead the encoder.
        clip_norm: greatest Euclidean norm of the gradient (per observation) in a step; None to leave it as it is.
        seed: of the order of the points, and of any randomness in the networks.
        validation: held-out points, whose ELBO and evidence are recorded each epoch.
        device: where to train.
        checkpoint: a file to which the whole state is written every ``checkpoint_minutes`` (at the end of an epoch),
            and at the end; if it exists the fit goes on from it and ends with the same parameters as an unbroken one.
        checkpoint_minutes: see above.
        progress: whether to show a progress bar.

    Returns:
        one row an epoch.

    Raises:
        TypeError, ValueError: for data or settings that cannot be used, before any work.
        OSError: if the checkpoint's folder cannot be written, before any work.
        NonFiniteError: if the loss or its gradient is NaN or infinite, naming the step.
    """
    options = Options(
        epochs, batch_size, learning_rate, weight_decay, temperature, pretrain_epochs, encoder_delay, clip_norm, seed
    )
    x, y = check_data(model, guide, x, y)
    if (pretrain_epochs or encoder_delay) and (y is None or not bool((y >= 0).any())):
        raise ValueError("pretrain_epochs, encoder_delay: expected labels in y to train on, got none")
    if validation is not None:
        validation = check_points("validation", validation, model, guide)
    saver = Saver(checkpoint, checkpoint_minutes, options.fixed(), x, y)
    model.to(device)
    guide.to(device)
    run = Run(model, guide, x, y, options, torch.device(device))
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            rows = saver.resume(run)
            with tqdm(range(len(rows), options.total_epochs), unit="epoch", disable=not progress) as bar:
                for epoch in bar:
                    rows.append(one_epoch(run, epoch, validation))
                    bar.set_postfix(brief(rows[-1]), refresh=False)
                    saver.save(run, rows, last=epoch == options.total_epochs - 1)
    finally:
        model.eval()
        guide.eval()
    return History(rows)


def one_epoch(run: Run, epoch: int, validation: Tensor | None) -> Row:
    """Trains for one epoch and reads the held-out points."""
    start = time.monotonic()
    row = run.epoch(epoch)
    if validation is not None:
        reading = read(run.model, run.guide, validation)
        row["heldout_elbo"] = float(reading.elbo.mean())
        row["heldout_evidence"] = float(reading.evidence.mean())
    return row | {"seconds": time.monotonic() - start}


def brief(row: Row) -> dict[str, str]:
    """What the progress bar shows of a row."""
    return {name: f"{row[name]:.3f}" for name in ("elbo", "labelled", "heldout_evidence") if name in row}


class Saver:
    """Writes a fit's state every few minutes, and puts a fit back into it; idle without a path."""

    def __init__(
        self, path: str | Path | None, minutes: float, settings: dict[str, Any], x: Tensor, y: Tensor | None
    ) -> None:
        self.path = None if path is None else Path(path)
        self.seconds = 60 * check_positive("checkpoint_minutes", minutes)
        self.saved = time.monotonic()
        self.settings = settings
        if self.path is not None:
            writable_folder("checkpoint", self.path.parent)
            self.settings = settings | describe(x, y)

    def resume(self, run: Run) -> list[Row]:
        """Restores the state on disk, if there is one; the rows so far."""
        if self.path is None or not self.path.exists():
            return []
        state = checkpoints.load(self.path, self.settings)
        if len(state.rows) > run.options.total_epochs:
            raise ValueError(
                f"epochs: expected at least the {len(state.rows)} (with pretraining) that {str(self.path)!r} holds, "
                f"got {run.options.total_epochs}; use another checkpoint for a shorter fit"
            )
        checkpoints.restore(state, run.model, run.guide, run.optimizer)
        return state.rows

    def save(self, run: Run, rows: list[Row], last: bool) -> None:
        """Writes the state if it is time, or at the ``last`` epoch."""
        if self.path is not None and (last or time.monotonic() - self.saved > self.seconds):
            state = checkpoints.snapshot(run.model, run.guide, run.optimizer, rows, self.settings)
            checkpoints.save(self.path, state)
            self.saved = time.monotonic()


def describe(x: Tensor, y: Tensor | None) -> dict[str, Any]:
    """Enough of the data to notice that a checkpoint belongs to others."""
    checksums = [None if t is None else zlib.crc32(t.detach().cpu().numpy().tobytes()) for t in (x, y)]
    return {"shape of x": list(x.shape), "checksum of x": checksums[0], "checksum of y": checksums[1]}


def check_data(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, y: Any) -> tuple[Tensor, Tensor | None]:
    """x and y as a fit can use them; raises ``TypeError`` or ``ValueError`` if it cannot."""
    for name, given, kind in (("model", model, FlowMixture), ("guide", guide, SoftmaxEncoder)):
        if not isinstance(given, kind):
            raise TypeError(f"{name}: expected a {kind.__name__}, got {type(given).__name__}")
    x = check_points("x", x, model, guide)
    if len(x) < model.n_components:
        raise ValueError(f"x: expected at least as many points as the {model.n_components} components, got {len(x)}")
    if guide.n_components != model.n_components:
        raise ValueError(f"guide: expected {model.n_components} components, as the model has, got {guide.n_components}")
    probe(guide, x[:1])
    return x, None if y is None else check_labels("y", y, len(x), model.n_components)


@torch.no_grad()
def probe(guide: SoftmaxEncoder, x: Tensor) -> None:
    """Raises ``ValueError`` if the encoder's network cannot read x."""
    try:
        with evaluating(guide):
            guide.logits(x.to(guide.temperature.device))
    except RuntimeError as error:
        raise ValueError(f"guide: expected a network for x of shape (N, {tuple(x.shape[1:])}), got: {error}") from error
