"""The moving parts of one fit: passes over the data, steps, and the last parameters that were good."""

import math
from collections.abc import Iterator

import pyro
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn

from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference.history import Row
from pyro_vmonf.inference.options import Options
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["NonFiniteError", "Run"]


class NonFiniteError(ArithmeticError):
    """The loss or its gradient was NaN or infinite; model and guide hold the last parameters that were good."""


class Run:
    """One fit of ``model`` and ``guide`` (already on ``device``) to x and y."""

    def __init__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        x: Tensor,
        y: Tensor | None,
        options: Options,
        device: torch.device,
    ) -> None:
        self.model, self.guide, self.x, self.y = model, guide, x, y
        self.options, self.device = options, device
        self.pair = nn.ModuleList([model, guide])
        self.elbo = TraceEnum_ELBO(max_plate_nesting=1)(model, guide)
        self.parameters = [p for p in self.pair.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(
            self.parameters,
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        labelled = torch.zeros(len(x), dtype=torch.bool, device=x.device) if y is None else y.to(x.device) >= 0
        self.labelled = labelled.nonzero().squeeze(-1)
        self.unlabelled = (~labelled).nonzero().squeeze(-1)
        self.steps = 0
        self.good: dict[str, Tensor] = {}

    def epoch(self, number: int) -> Row:
        """Epoch ``number``: a pass over the labelled points, then, after the pretraining, one over the others."""
        trained = number - self.options.pretrain_epochs
        if self.options.temperature is not None:
            self.guide.temperature.fill_(self.options.temperature(max(trained, 0)))
        row: Row = {"epoch": number, "temperature": float(self.guide.temperature)}
        self.good = {}
        if len(self.labelled):
            row["labelled"] = self.sweep(self.labelled, supervised=True)
        if len(self.unlabelled) and trained >= 0:
            hold = len(self.labelled) > 0 and trained < self.options.encoder_delay
            row["elbo"] = self.sweep(self.unlabelled, supervised=False, hold_encoder=hold)
        return row

    def sweep(self, points: Tensor, *, supervised: bool, hold_encoder: bool = False) -> float:
        """One pass over ``points``; the mean objective per observation."""
        total = 0.0
        for places in self.batches(points):
            x = self.x[places].to(self.device)
            y = self.y[places].to(self.device) if supervised and self.y is not None else None
            total -= self.step(x, y, len(points), hold_encoder) * len(places)
        return total / len(points)

    def batches(self, points: Tensor) -> Iterator[Tensor]:
        """``points`` in random order, in batches.

        Labelled points, if they are the fewer, come in as many (smaller) batches as the unlabelled.
        """
        steps = math.ceil(max(len(points), len(self.unlabelled)) / self.options.batch_size)
        order = torch.randperm(len(points)).to(points.device)
        yield from points[order].split(
            math.ceil(len(points) / steps) if points is self.labelled else self.options.batch_size
        )

    def step(self, x: Tensor, y: Tensor | None, size: int, hold_encoder: bool = False) -> float:
        """One update; the loss per observation before it."""
        self.model.train()
        self.guide.train()
        self.optimizer.zero_grad()
        loss = self.loss(x, y, size)
        value = float(loss.detach())
        self.check("loss", value)
        loss.backward()
        if not self.good:  # the loss of these parameters is finite
            self.good = {name: tensor.clone() for name, tensor in self.pair.state_dict().items()}
        if hold_encoder:
            self.guide.zero_grad()
        limit = math.inf if self.options.clip_norm is None else self.options.clip_norm
        self.check("gradient", float(nn.utils.clip_grad_norm_(self.parameters, limit)))
        self.optimizer.step()
        self.steps += 1
        return value

    def loss(self, x: Tensor, y: Tensor | None, size: int) -> Tensor:
        """−ELBO per observation; with labels −log p(x, y) − log q(y | x)."""
        # Pyro's own validation costs a third of a small step, and the data were checked before the fit. The scope keeps
        # the user's global parameter store as it is.
        with pyro.get_param_store().scope(), pyro.validation_enabled(False):
            loss: Tensor = self.elbo(x, y, size) / size
        if y is None:
            return loss
        # z is known, so the ELBO leaves the encoder alone; this term teaches it.
        return loss - self.guide.logits(x).gather(-1, y.unsqueeze(-1)).mean()

    def check(self, what: str, value: float) -> None:
        """Restores the last good parameters and raises :class:`NonFiniteError` unless ``value`` is finite."""
        if math.isfinite(value):
            return
        if self.good:
            self.pair.load_state_dict(self.good)
        raise NonFiniteError(
            f"{what}: expected a finite number, got {value} in step {self.steps} of this fit; model and guide hold the "
            "last good parameters. Try a lower learning_rate, a clip_norm, or data scaled to about unit variance."
        )
