"""Fitting a mixture and its encoder by the exact K-sum ELBO."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vmonf._checks import check_count, check_events, check_finite, check_labels, check_positive
from pyro_vmonf._files import writable_folder
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference import checkpoint as checkpoints
from pyro_vmonf.inference.history import History, Row
from pyro_vmonf.inference.reading import read
from pyro_vmonf.inference.temperature import Temperature
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["NonFiniteError", "fit"]


class NonFiniteError(ArithmeticError):
    """The loss or its gradient was NaN or infinite; model and guide hold the last parameters that were good."""


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
    clip_norm: float | None = None,
    validation: Tensor | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 5.0,
    progress: bool = True,
) -> History:
    r"""Trains model and guide, in place, with Adam on mini-batches.

    Unlabelled points contribute the exact K-sum ELBO, Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]; labelled ones
    log p(x, y) + log q(y | x), whose second term is what teaches the encoder. With labels in y the fit is the thesis's
    (section 5.1.2): ``pretrain_epochs`` passes over the labelled points alone, then ``epochs`` in which a pass over the
    labelled and a pass over the unlabelled points take turns.

    Both modules end on ``device`` and in evaluation mode. The same seed gives the same result, and the global random
    state is left as it was.

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: ``(N, *event)``, floating-point, finite; converted to the model's floating-point type.
        y: labels ``(N,)``, −1 where unlabelled; None for none.
        epochs: passes over the data, after the pretraining.
        batch_size: points in a step.
        learning_rate: of Adam.
        weight_decay: of Adam (L2).
        temperature: the encoder's schedule over the ``epochs``; the guide's own temperature throughout if not given.
        pretrain_epochs: supervised passes before that; needs labels.
        clip_norm: greatest Euclidean norm of the gradient (per observation) in a step; None to leave it as it is.
        validation: held-out points, whose ELBO and evidence are recorded each epoch.
        seed: of the order of the points, and of any randomness in the networks.
        device: where to train.
        checkpoint: a file to which the whole state is written every ``checkpoint_minutes`` (at the end of an epoch),
            and at the end; if it exists the fit goes on from it and ends with the same parameters as an unbroken one.
        checkpoint_minutes: see above.
        progress: whether to show a progress bar.

    Returns:
        one row an epoch.

    Raises:
        TypeError, ValueError: for data or settings that cannot be used, before any work.
        NonFiniteError: if the loss or its gradient is NaN or infinite, naming the step.
    """
    for name, count, least in (
        ("epochs", epochs, 0),
        ("batch_size", batch_size, 1),
        ("pretrain_epochs", pretrain_epochs, 0),
    ):
        check_count(name, count, least)
    check_positive("learning_rate", learning_rate)
    if clip_norm is not None:
        check_positive("clip_norm", clip_norm)
    x, y = check_data(model, guide, x, y)
    if pretrain_epochs and (y is None or not bool((y >= 0).any())):
        raise ValueError("pretrain_epochs: expected labels in y to pretrain on, got none")
    if validation is not None:
        validation = check_points("validation", validation, model)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None:
        writable_folder("checkpoint", path.parent)

    model.to(device)
    guide.to(device)
    run = Run(model, guide, x, y, batch_size, learning_rate, weight_decay, clip_norm, torch.device(device))
    settings = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "seed": seed,
        "pretrain_epochs": pretrain_epochs,
        "temperature": None if temperature is None else [temperature.start, temperature.decay, temperature.floor],
        "shape of x": list(x.shape),
        "sum of x": float(x.double().sum()),
        "sum of y": None if y is None else int(y.sum()),
    }
    rows: list[Row] = []
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        if path is not None and path.exists():
            state = checkpoints.load(path, settings)
            checkpoints.restore(state, model, guide, run.optimizer)
            rows = state.rows
        total = pretrain_epochs + epochs
        saved = time.monotonic()
        with tqdm(total=total, initial=min(len(rows), total), unit="epoch", disable=not progress) as bar:
            for epoch in range(len(rows), total):
                start = time.monotonic()
                if temperature is not None:
                    guide.temperature.fill_(temperature(max(epoch - pretrain_epochs, 0)))
                row: Row = {"epoch": epoch, "temperature": float(guide.temperature)}
                row |= run.epoch(supervised_only=epoch < pretrain_epochs)
                if validation is not None:
                    reading = read(model, guide, validation)
                    row["heldout_elbo"] = float(reading.elbo.mean())
                    row["heldout_evidence"] = float(reading.evidence.mean())
                row["seconds"] = time.monotonic() - start
                rows.append(row)
                bar.update()
                bar.set_postfix({k: f"{row[k]:.3f}" for k in ("elbo", "labelled", "heldout_evidence") if k in row})
                late = time.monotonic() - saved > 60 * checkpoint_minutes or epoch == total - 1
                if path is not None and late:
                    checkpoints.save(path, checkpoints.snapshot(len(rows), model, guide, run.optimizer, rows, settings))
                    saved = time.monotonic()
    model.eval()
    guide.eval()
    return History(rows)


def check_data(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, y: Any) -> tuple[Tensor, Tensor | None]:
    """x and y as a fit can use them; raises ``TypeError`` or ``ValueError`` if it cannot."""
    x = check_points("x", x, model)
    if len(x) < model.n_components:
        raise ValueError(f"x: expected at least as many points as the {model.n_components} components, got {len(x)}")
    if guide.n_components != model.n_components:
        raise ValueError(f"guide: expected {model.n_components} components, as the model has, got {guide.n_components}")
    return x, None if y is None else check_labels("y", y, len(x), model.n_components)


def check_points(name: str, x: Tensor, model: FlowMixture) -> Tensor:
    """x ``(N, *event)``, N ≥ 1, finite, in the model's floating-point type."""
    shape = model.components.event_shape
    x = check_events(name, x, shape)
    if x.dim() != len(shape) + 1 or not len(x):
        raise ValueError(f"{name}: expected shape (N, {', '.join(map(str, shape))}) with N ≥ 1, got {tuple(x.shape)}")
    check_finite(name, x)
    dtype = next((p.dtype for p in model.parameters()), x.dtype)
    return x.to(dtype)


class Run:
    """The moving parts of one fit: loss, optimiser, and the last parameters that were good."""

    def __init__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        x: Tensor,
        y: Tensor | None,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        clip_norm: float | None,
        device: torch.device,
    ) -> None:
        self.model, self.guide, self.device = model, guide, device
        self.batch_size, self.clip_norm = batch_size, clip_norm
        self.pair = nn.ModuleList([model, guide])
        self.elbo = TraceEnum_ELBO(max_plate_nesting=1)(model, guide)
        self.parameters = [p for p in self.pair.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=learning_rate, weight_decay=weight_decay, fused=device.type in ("cpu", "cuda")
        )
        self.x, self.y = x, y
        labelled = torch.zeros(len(x), dtype=torch.bool) if y is None else y.cpu() >= 0
        self.labelled = labelled.nonzero().squeeze(-1)
        self.unlabelled = (~labelled).nonzero().squeeze(-1)
        self.steps = 0
        self.good: dict[str, Tensor] = {}

    def epoch(self, supervised_only: bool) -> Row:
        """One pass over the labelled points, then, unless ``supervised_only``, one over the others; the mean objectives."""
        self.good = {}
        row: Row = {}
        if len(self.labelled):
            row["labelled"] = self.sweep(self.labelled, supervised=True)
        if len(self.unlabelled) and not supervised_only:
            row["elbo"] = self.sweep(self.unlabelled, supervised=False)
        return row

    def sweep(self, points: Tensor, supervised: bool) -> float:
        """One pass over ``points``; the mean objective per observation."""
        total = 0.0
        for places in self.batches(points):
            x = self.x[places].to(self.device)
            y = self.y[places].to(self.device) if supervised and self.y is not None else None
            total -= self.step(x, y, len(points)) * len(places)
        return total / len(points)

    def batches(self, points: Tensor) -> Iterator[Tensor]:
        """``points`` in random order, ``batch_size`` at a time."""
        yield from points[torch.randperm(len(points))].split(self.batch_size)

    def step(self, x: Tensor, y: Tensor | None, size: int) -> float:
        """One update; the loss per observation before it."""
        self.model.train()
        self.guide.train()
        # Validation costs a third of a small step; the data were checked before the fit.
        with pyro.get_param_store().scope(), pyro.validation_enabled(False):
            loss = self.elbo(x, y, size) / size
        if y is not None:
            loss = loss - self.guide.logits(x).gather(-1, y.unsqueeze(-1)).mean()
        self.optimizer.zero_grad()
        value = float(loss.detach())
        self.check("loss", value)
        loss.backward()
        if not self.good:  # the loss of these parameters is finite
            self.good = {name: tensor.clone() for name, tensor in self.pair.state_dict().items()}
        limit = float("inf") if self.clip_norm is None else self.clip_norm
        self.check("gradient", float(nn.utils.clip_grad_norm_(self.parameters, limit)))
        self.optimizer.step()
        self.steps += 1
        return value

    def check(self, what: str, value: float) -> None:
        """Restores the last good parameters and raises :class:`NonFiniteError` unless ``value`` is finite."""
        if value - value == 0:
            return
        if self.good:
            self.pair.load_state_dict(self.good)
        raise NonFiniteError(
            f"{what}: expected a finite number, got {value} in step {self.steps} of this fit; model and guide hold the last "
            "good parameters. Try a lower learning_rate, a clip_norm, or data scaled to about unit variance."
        )
