"""The moving parts of one fit: passes over the data, steps, and the last parameters that were good."""

import math
from typing import cast

import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn

from pyro_vmonf._torch import isolated_parameter_store, validation_disabled
from pyro_vmonf.data.perturbations import apply_perturbation
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.inference.history import Row
from pyro_vmonf.inference.options import Options
from pyro_vmonf.labels import is_labelled
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
        labelled = torch.zeros(len(x), dtype=torch.bool, device=x.device) if y is None else is_labelled(y).to(x.device)
        self.labelled = labelled.nonzero().squeeze(-1)
        self.unlabelled = (~labelled).nonzero().squeeze(-1)
        self.starting = self.held = False
        self.steps = 0
        self.good: dict[str, Tensor] = {}
        self.good_is_old = True

    def epoch(self, number: int) -> Row:
        """Epoch ``number``: a pass over all points, or, by turns, over the labelled and then the others."""
        options = self.options
        trained = options.trained(number)
        self.starting = options.starting(number) and self.targets is not None
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(number)
        if options.temperature is not None:
            # A start says what q is to be, so it is learned at the last temperature, 1 in most schedules.
            last = max(options.epochs - 1, 0)
            self.guide.temperature.fill_(options.temperature(last if self.starting else max(trained, 0)))
        row: Row = {"epoch": number, "temperature": float(self.guide.temperature)}
        self.good_is_old = True
        pretraining = number < options.pretrain_epochs
        self.held = not pretraining and not self.starting and trained < options.encoder_delay
        if len(self.labelled) and (pretraining or options.interleave):
            row["labelled"], row["labels"] = self.sweep(self.in_batches(self.labelled))
        if not pretraining:
            batches = self.in_batches(self.unlabelled) if options.interleave else self.mixed()
            name = "evidence" if options.posterior == "exact" and not self.starting else "elbo"
            if batches:
                row[name], labels = self.sweep(batches)
                row |= {"labels": labels} if len(self.labelled) else {}
        return row

    def in_batches(self, points: Tensor) -> list[Tensor]:
        """``points`` in random order, in batches."""
        order = points[torch.randperm(len(points)).to(points.device)]
        # Batches of about one size: a last batch of a single point has no variance to normalise by.
        count = math.ceil(len(points) / self.options.batch_size)
        return list(order.tensor_split(count)) if count else []

    def mixed(self) -> list[Tensor]:
        """All points in batches; with a ``labelled_share`` those without label, joined by that share of the others."""
        share = self.options.labelled_share
        if share is None or not len(self.labelled) or not len(self.unlabelled):
            return self.in_batches(torch.arange(len(self.x), device=self.labelled.device))
        size = self.options.batch_size
        most = min(max(1, round(share * size)), size - 1)
        hosts = self.unlabelled[torch.randperm(len(self.unlabelled)).to(self.unlabelled.device)]
        parts = hosts.tensor_split(math.ceil(len(hosts) / (size - most)))
        guests = [max(1, round(share / (1 - share) * len(part))) for part in parts]
        wanted = sum(guests)
        rounds = [torch.randperm(len(self.labelled)) for _ in range(math.ceil(wanted / len(self.labelled)))]
        joined = self.labelled[torch.cat(rounds)[:wanted].to(self.labelled.device)]
        return [torch.cat(pair) for pair in zip(parts, joined.split(guests), strict=True)]

    def sweep(self, batches: list[Tensor]) -> tuple[float, float]:
        """A step for each batch; the mean objective per observation, and log q(y | x) per labelled point shown."""
        size = sum(map(len, batches))
        totals = torch.zeros(2, dtype=torch.float64)
        for places in batches:
            totals += len(places) * torch.tensor(self.step(places, size), dtype=torch.float64)
        return -float(totals[0]) / size, -float(totals[1]) / size

    def step(self, places: Tensor, size: int) -> tuple[float, float]:
        """One update from the points at ``places``; before it, the loss per observation and −log q(y | x).

        Where there are labels every step also teaches the encoder by −log q(y | x), of this batch if it is labelled and
        of some labelled points if not: few labels would soon drown in what the ELBO says of all the rest.
        """
        self.model.train()
        self.guide.train()
        self.optimizer.zero_grad()
        x, y = self.batch(places)
        loss, aside = self.objective(x, y, places, size)
        value, label_value = self.checked("loss", loss), 0.0
        (loss if aside is None else loss + aside).backward()
        if self.held:
            of_weights = set() if self.guide.weights is None else set(self.guide.weights.parameters())
            for parameter in set(self.guide.parameters()) - of_weights:
                parameter.grad = None
        if len(self.labelled):
            some = (x, y) if y is not None and bool(is_labelled(y).all()) else self.batch(self.some_labelled())
            label_loss = self.label_loss(*cast(tuple[Tensor, Tensor], some))
            label_value = self.checked("loss", label_loss)
            (self.options.label_weight * label_loss).backward()
        limit = math.inf if self.options.clip_norm is None else self.options.clip_norm
        self.checked("gradient", nn.utils.clip_grad_norm_(self.parameters, limit))
        # Only now are the parameters known to be good: Pyro leaves NaN probabilities out of the loss.
        if self.good_is_old:
            self.good = {name: tensor.clone() for name, tensor in self.pair.state_dict().items()}
            self.good_is_old = False
        self.optimizer.step()
        self.steps += 1
        return value, label_value

    def objective(self, x: Tensor, y: Tensor | None, places: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
        """What is minimised, but −log q(y | x): the loss that a history reports, and what is added to it."""
        target: Tensor | None = None
        aside: Tensor | None = None
        if self.starting and self.targets is not None:
            target = self.targets[places.to(self.targets.device)].to(x)
            loss = target_loss(self.model.log_joint(x, self.guide.log_weights()).T, target)
            aside = self.encoder_loss(x, target)
        elif self.options.posterior == "exact":
            joint, labels = self.model.log_joint(x).T, self.model.labels
            target = labels.posterior(joint.detach().log_softmax(-1), y).exp()
            loss = target_loss(joint if y is None else joint + labels.log_likelihood(y), target)
            aside = self.encoder_loss(x, target)
        else:
            loss = self.loss(x, y)
        if self.options.consistency is not None:
            target = self.belief(x, y) if target is None else target
            term = self.options.consistency.loss(self.guide.log_probs, x, target)
            aside = term if aside is None else aside + term
        return loss, aside

    def batch(self, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """x, augmented, and y at ``places``, on the device; y is None if none of them has a label."""
        x = self.x[places].to(self.device)
        x = x if self.options.augment is None else apply_perturbation("augment", self.options.augment, x)
        y = None if self.y is None else self.y[places.to(self.y.device)].to(self.device)
        return x, y if y is not None and bool(is_labelled(y).any()) else None

    def some_labelled(self) -> Tensor:
        """A batch of labelled points, chosen at random."""
        return self.labelled[torch.randperm(len(self.labelled)).to(self.labelled.device)][: self.options.batch_size]

    def loss(self, x: Tensor, y: Tensor | None) -> Tensor:
        """−ELBO per observation, which is −log p(x, y) where y is given; a prior counts as one part in N of it."""
        size = max(len(self.x), len(x))  # of the data, whatever a pass is made of; a batch may repeat labelled points
        # Pyro's own validation costs a third of a small step, and the data were checked before the fit. The scope keeps
        # the user's global parameter store as it is.
        with isolated_parameter_store(), validation_disabled():
            loss: Tensor = self.elbo(x, y, size) / size
        return loss

    @torch.no_grad()
    def belief(self, x: Tensor, y: Tensor | None) -> Tensor:
        """q(z | x, y) ``(N, K)``, as a number."""
        return self.guide.labels.posterior(self.guide.log_probs(x), y).exp()

    def encoder_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """−Σ_k r_k log q(k | x), on average."""
        return -(target * self.guide.log_probs(x)).sum(-1).mean()

    def label_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """−log q(y | x) of labelled points, on average."""
        return -self.guide.label_log_prob(x, y).mean()

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


def target_loss(joint: Tensor, target: Tensor) -> Tensor:
    """−Σ_k r_k [log p(x, k) − log r_k], the ELBO's negative at q = r, on average; both ``(N, K)``."""
    owned = torch.where(target > 0, target * joint, joint.new_zeros(()))
    return (torch.special.xlogy(target, target) - owned).sum(-1).mean()
