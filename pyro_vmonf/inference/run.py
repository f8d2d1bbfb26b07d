"""The moving parts of one fit: passes over the data, steps, and the last parameters that were good."""

import math

import pyro
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn

from pyro_vmonf.data.perturbations import perturbed
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference.history import Row
from pyro_vmonf.inference.options import Options
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["NonFiniteError", "Run"]


class NonFiniteError(ArithmeticError):
    """The loss or its gradient was NaN or infinite; model and guide hold the last parameters that were good."""


class Run:
    """One fit of ``model`` and ``guide`` (already on ``device``) to x, y and the start's responsibilities."""

    def __init__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        x: Tensor,
        y: Tensor | None,
        options: Options,
        device: torch.device,
        targets: Tensor | None = None,
    ) -> None:
        self.model, self.guide, self.x, self.y = model, guide, x, y
        self.options, self.device, self.targets = options, device, targets
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
        self.starting = False
        self.steps = 0
        self.good: dict[str, Tensor] = {}
        self.good_is_old = True

    def epoch(self, number: int) -> Row:
        """Epoch ``number``: a pass over the labelled points, then, after the pretraining, one over the others."""
        trained = self.options.trained(number)
        self.starting = self.options.starting(number) and self.targets is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(number)
        if self.options.temperature is not None:
            # A start says what q is to be, so it is learned at the last temperature, 1 in most schedules.
            last = max(self.options.epochs - 1, 0)
            self.guide.temperature.fill_(self.options.temperature(last if self.starting else max(trained, 0)))
        row: Row = {"epoch": number, "temperature": float(self.guide.temperature)}
        self.good_is_old = True
        if len(self.labelled):
            row["labelled"] = self.sweep(self.labelled, supervised=True)
        if len(self.unlabelled) and number >= self.options.pretrain_epochs:
            hold = len(self.labelled) > 0 and not self.starting and trained < self.options.encoder_delay
            name = "evidence" if self.options.posterior == "exact" and not self.starting else "elbo"
            row[name] = self.sweep(self.unlabelled, supervised=False, hold_encoder=hold)
        return row

    def sweep(self, points: Tensor, *, supervised: bool, hold_encoder: bool = False) -> float:
        """One pass over ``points``; the mean objective per observation."""
        total = 0.0
        order = points[torch.randperm(len(points)).to(points.device)]
        # Batches of about one size: a last batch of a single point has no variance to normalise by.
        for places in order.tensor_split(math.ceil(len(points) / self.options.batch_size)):
            total -= self.step(places, len(points), supervised, hold_encoder) * len(places)
        return total / len(points)

    def step(self, places: Tensor, size: int, supervised: bool, hold_encoder: bool = False) -> float:
        """One update from the points at ``places``; the loss per observation before it.

        Where there are labels every step also teaches the encoder by −log q(y | x), of this batch if it is labelled and
        of some labelled points if not: few labels would soon drown in what the ELBO says of all the rest.
        """
        self.model.train()
        self.guide.train()
        self.optimizer.zero_grad()
        x, y = self.batch(places)
        x = self.augmented(x)
        loss, aside = (self.loss(x, y, size), None) if supervised else self.unsupervised(x, places, size)
        value = self.checked("loss", loss)
        (loss if aside is None else loss + aside).backward()
        if hold_encoder:
            self.guide.zero_grad()
        if len(self.labelled):
            some = places if supervised else self.some_labelled()
            label_loss = self.label_loss(*self.batch(some))
            label_value = self.checked("loss", label_loss)
            value += label_value if supervised else 0.0
            label_loss.backward()
        limit = math.inf if self.options.clip_norm is None else self.options.clip_norm
        self.checked("gradient", nn.utils.clip_grad_norm_(self.parameters, limit))
        # Only now are the parameters known to be good: Pyro leaves NaN probabilities out of the loss.
        if self.good_is_old:
            self.good = {name: tensor.clone() for name, tensor in self.pair.state_dict().items()}
            self.good_is_old = False
        self.optimizer.step()
        self.steps += 1
        return value

    def unsupervised(self, x: Tensor, places: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
        """What is minimised for points without labels: the loss that a history reports, and what is added to it."""
        target: Tensor | None = None
        aside: Tensor | None = None
        if self.starting and self.targets is not None:
            target = self.targets[places.to(self.targets.device)].to(x)
            loss = self.target_loss(x, target)
            aside = self.encoder_loss(x, target)
        elif self.options.posterior == "exact":
            joint = self.model.log_joint(x)
            loss = -joint.logsumexp(0).mean()
            target = joint.detach().softmax(0).T
            aside = self.encoder_loss(x, target)
        else:
            loss = self.loss(x, None, size)
        if self.options.consistency is not None:
            target = self.belief(x) if target is None else target
            term = self.options.consistency.loss(self.guide.logits, x, target)
            aside = term if aside is None else aside + term
        return loss, aside

    def batch(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """x and y at ``places``, on the device; y is −1 where there are no labels."""
        x = self.x[places].to(self.device)
        y = x.new_full((len(x),), -1, dtype=torch.long) if self.y is None else self.y[places.to(self.y.device)]
        return x, y.to(self.device)

    def augmented(self, x: Tensor) -> Tensor:
        """A batch as the fit sees it."""
        return x if self.options.augment is None else perturbed("augment", self.options.augment, x)

    def some_labelled(self) -> Tensor:
        """A batch of labelled points, chosen at random."""
        return self.labelled[torch.randperm(len(self.labelled)).to(self.labelled.device)][: self.options.batch_size]

    def loss(self, x: Tensor, y: Tensor | None, size: int) -> Tensor:
        """−ELBO per observation, which is −log p(x, y) where y is given."""
        # Pyro's own validation costs a third of a small step, and the data were checked before the fit. The scope keeps
        # the user's global parameter store as it is.
        with pyro.get_param_store().scope(), pyro.validation_enabled(False):
            loss: Tensor = self.elbo(x, y, size) / size
        return loss

    @torch.no_grad()
    def belief(self, x: Tensor) -> Tensor:
        """q(z | x) ``(N, K)``, as a number."""
        return self.guide.probabilities(x)

    def target_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """−Σ_k r_k [log p(x, k) − log r_k], the ELBO's negative at q = r, on average."""
        joint = self.model.log_joint(x).T
        owned = torch.where(target > 0, target * joint, joint.new_zeros(()))
        return (torch.special.xlogy(target, target) - owned).sum(-1).mean()

    def encoder_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """−Σ_k r_k log q(k | x), on average."""
        return -(target * self.guide.logits(x)).sum(-1).mean()

    def label_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """−log q(y | x), on average."""
        return nn.functional.nll_loss(self.guide.logits(x), y)

    def checked(self, what: str, tensor: Tensor) -> float:
        """The number in ``tensor``.

        Raises:
            NonFiniteError: if it is NaN or infinite, after restoring the last good parameters.
        """
        value = float(tensor.detach())
        if math.isfinite(value):
            return value
        if self.good:
            self.pair.load_state_dict(self.good)
        raise NonFiniteError(
            f"{what}: expected a finite number, got {value} in step {self.steps} of this fit; model and guide hold the "
            "last good parameters. Try a lower learning_rate, a clip_norm, or data scaled to about unit variance."
        )
