"""What a fit minimises: objectives for a batch, which add up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_vmonf._torch import frozen_parameters_allowed, isolated_parameter_store, validation_disabled
from pyro_vmonf._validation import check_choice, check_nonnegative, check_positive
from pyro_vmonf.data.perturbations import Noise, apply_perturbation
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture

__all__ = [
    "Batch",
    "Consistency",
    "Elbo",
    "ExpectationMaximization",
    "LabelTerm",
    "Loss",
    "MatchResponsibilities",
    "Objective",
    "Sum",
]


@dataclass(frozen=True)
class Batch:
    """The points of one step, on the device of the model.

    Attributes:
        x: The points ``(N, *event)``.
        size: The size of the whole data set, or the sum of its weights, by which a prior on parameters is divided.
        y: The labels ``(N,)`` or soft labels ``(N, C)``, −1 where there is none; None where no point has one.
        weight: The weights ``(N,)``, or None where all are 1.
        target: The initializer's responsibilities ``(N, K)``, where there are any.
        all_labelled: Whether every point has a label, a fact known on the host.
        labelled: Labelled points that teach the encoder beside a batch that is not labelled throughout.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.objectives import Batch
        >>> Batch(torch.zeros(4, 2), size=100).all_labelled
        False
    """

    x: Tensor
    size: float
    y: Tensor | None = None
    weight: Tensor | None = None
    target: Tensor | None = None
    all_labelled: bool = False
    labelled: Batch | None = None


class Loss(NamedTuple):
    """A loss per observation, and numbers for the history, detached, in nats per observation."""

    value: Tensor
    metrics: dict[str, Tensor]


class Objective(ABC):
    """A loss of a batch; objectives add up: ``Elbo() + LabelTerm(2.0)``."""

    @abstractmethod
    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        """Returns the loss of a batch, a mean per observation in nats."""

    def warm_up(self) -> Objective:
        """Returns the objective that teaches an initializer's responsibilities before this one takes over."""
        return self

    def check(self, model: FlowMixture, guide: SoftmaxEncoder, x: Tensor) -> None:
        """Raises ``ValueError`` if the pair cannot be trained by this objective; x holds two points."""
        return  # most objectives train any pair

    @property
    def ranks_by(self) -> str:
        """The number by which trials are ranked on held-out points: ``"elbo"`` or ``"evidence"``."""
        return "elbo"

    def terms(self) -> tuple[Objective, ...]:
        """Returns the parts of a sum; of another objective, itself alone."""
        return (self,)

    def __add__(self, other: Objective) -> Objective:
        return Sum(self.terms() + other.terms())


@dataclass(frozen=True)
class Sum(Objective):
    """A sum of objectives.

    Attributes:
        parts: The terms. Label terms are evaluated first, so that their gradients are added last, the others in the
            order given.

    Examples:
        >>> from pyro_vmonf.objectives import Elbo, LabelTerm
        >>> Elbo() + LabelTerm()
        Sum(parts=(Elbo(), LabelTerm(label_weight=1.0)))
    """

    parts: tuple[Objective, ...]

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        ordered = sorted(self.parts, key=lambda part: not isinstance(part, LabelTerm))
        losses = [part(model, guide, batch) for part in ordered]
        metrics = {name: number for loss in losses for name, number in loss.metrics.items()}
        return Loss(torch.stack([loss.value for loss in losses]).sum(), metrics)

    def warm_up(self) -> Objective:
        return Sum(tuple(part.warm_up() for part in self.parts))

    def check(self, model: FlowMixture, guide: SoftmaxEncoder, x: Tensor) -> None:
        for part in self.parts:
            part.check(model, guide, x)

    @property
    def ranks_by(self) -> str:
        return "evidence" if any(part.ranks_by == "evidence" for part in self.parts) else "elbo"

    def terms(self) -> tuple[Objective, ...]:
        return self.parts


@dataclass(frozen=True)
class Elbo(Objective):
    r"""The negative ELBO per observation, by Pyro's ``TraceEnum_ELBO`` on the two programs.

    −ELBO(x) = −Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]; where y is given it is −ELBO(x, y), which is
    −log p(x, y) where a label fixes z. A prior on parameters counts once for the whole data set.

    Metrics: ``elbo``, or ``labelled_elbo`` for a batch that is labelled throughout.
    Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 3.

    Examples:
        >>> from pyro_vmonf.objectives import Elbo, LabelTerm
        >>> len((Elbo() + LabelTerm(2.0)).terms())
        2
    """

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        given = [batch.x, batch.y, batch.size, *([] if batch.weight is None else [batch.weight])]
        # Pyro's own validation costs a third of a small step, and the data were checked before the fit.
        with isolated_parameter_store(), validation_disabled(), frozen_parameters_allowed():
            elbo = TraceEnum_ELBO(max_plate_nesting=1)
            loss: Tensor = elbo.differentiable_loss(model, guide, *given) / batch.size
        return Loss(loss, {"labelled_elbo" if batch.all_labelled else "elbo": -loss.detach()})

    def warm_up(self) -> Objective:
        return MatchResponsibilities()


@dataclass(frozen=True)
class ExpectationMaximization(Objective):
    r"""Generalised EM: the flows maximise log p(x), and the encoder learns the exact posterior beside them.

    The loss is −log p(x) − Σ_z p(z|x) log q(z|x), whose second term has no gradient for the flows; where y is given,
    log p(x, y) and p(z|x, y) take their place. z is summed in closed form.

    Metrics: ``evidence``. Reference: Pires and Figueiredo, 2020 (arXiv:2009.00585); thesis, section 2.5.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> from pyro_vmonf.objectives import Batch, ExpectationMaximization
        >>> loss = ExpectationMaximization()(model, guide, Batch(torch.randn(8, 2), size=8))
        >>> list(loss.metrics)
        ['evidence']
    """

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        log_joint, labels = model.log_joint(batch.x).T, model.labels
        target = labels.posterior(log_joint.detach().log_softmax(-1), batch.y).exp()
        joint = log_joint if batch.y is None else log_joint + labels.log_likelihood(batch.y)
        flows = bound_loss(joint, target, batch.weight)
        encoder = cross_entropy(guide.log_probs(batch.x), target, batch.weight)
        return Loss(flows + encoder, {"evidence": -flows.detach()})

    def warm_up(self) -> Objective:
        return MatchResponsibilities()

    def check(self, model: FlowMixture, guide: SoftmaxEncoder, x: Tensor) -> None:
        with isolated_parameter_store():
            nodes = poutine.trace(model).get_trace(x).nodes.items()
        sites = {name for name, site in nodes if site.get("type") == "sample" and not site_is_subsample(site)}
        if others := sorted(sites - {"x", "y", "z"}):
            raise ValueError(
                f"objective: expected Elbo() for a model with the sites {others}, got ExpectationMaximization(), "
                "which sums z alone"
            )

    @property
    def ranks_by(self) -> str:
        return "evidence"


@dataclass(frozen=True)
class MatchResponsibilities(Objective):
    r"""Teaches the initializer's responsibilities r(z|x) to the flows and to the encoder.

    The loss is −Σ_z r(z|x) [log p(x, z) − log r(z|x)] − Σ_z r(z|x) log q(z|x), in which priors on parameters have no
    part. Metrics: ``elbo``, the negative first term.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, mlp
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> from pyro_vmonf.objectives import Batch, MatchResponsibilities
        >>> batch = Batch(torch.randn(8, 2), size=8, target=torch.full((8, 3), 1 / 3))
        >>> list(MatchResponsibilities()(model, guide, batch).metrics)
        ['elbo']
    """

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        target = responsibilities_of(batch)
        flows = bound_loss(model.log_joint(batch.x, guide.log_weights()).T, target, batch.weight)
        encoder = cross_entropy(guide.log_probs(batch.x), target, batch.weight)
        return Loss(flows + encoder, {"elbo": -flows.detach()})


@dataclass(frozen=True)
class LabelTerm(Objective):
    r"""``label_weight`` times −log q(y | x) of labelled points, which teaches the encoder what labels say.

    The ELBO does not: where a label fixes z it has no gradient for the encoder. A batch that is not labelled
    throughout brings labelled points beside it, so that few labels do not drown in the rest.

    Metrics: ``label_log_prob``. Reference: Kingma et al., 2014 (arXiv:1406.5298), equation 9.

    Attributes:
        label_weight: The weight α.

    Raises:
        ValueError: If the weight is negative.

    Examples:
        >>> from pyro_vmonf.objectives import Elbo, LabelTerm
        >>> (Elbo() + LabelTerm(2.0)).terms()
        (Elbo(), LabelTerm(label_weight=2.0))
    """

    label_weight: float = 1.0

    def __post_init__(self) -> None:
        check_nonnegative("label_weight", self.label_weight)

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        shown = batch if batch.all_labelled else batch.labelled
        if shown is None or shown.y is None:
            return Loss(batch.x.new_zeros(()), {})
        loss = -average(guide.label_log_prob(shown.x, shown.y), shown.weight)
        return Loss(self.label_weight * loss, {"label_log_prob": -loss.detach()})


@dataclass(frozen=True)
class Consistency(Objective):
    r"""``consistency_weight`` · KL(q(z | x) ‖ q(z | x′)) on average, in which x′ is a random perturbation of x.

    It changes the objective, which is then no bound of the evidence: the encoder is asked for more than to follow the
    flows. The first argument is held fixed, so that the term teaches the perturbed point what is said of the point
    itself; while an initializer's responsibilities are taught, it is these. Flows have no gradient from it.
    References: Pires and Figueiredo, 2020 (arXiv:2009.00585), section 6; Izmailov et al., *FlowGMM*, 2020
    (arXiv:1912.13025), section 5; Miyato et al., 2018 (arXiv:1704.03976), equation 5.

    Attributes:
        consistency_weight: The weight, in nats of the ELBO, above 0.
        perturb: Maps a batch ``(N, *event)`` to another of the same shape, at random.
        target: The first argument: ``"encoder"`` for q(z | x, y), ``"exact"`` for p(z | x, y), which costs another
            pass through the flows, or ``"initializer"`` for the responsibilities that the batch carries.

    Raises:
        ValueError: If the weight is not positive or, when used, the perturbation changes the shape.
        TypeError: If ``perturb`` cannot be called.

    Examples:
        >>> from pyro_vmonf.data import Noise
        >>> from pyro_vmonf.objectives import Consistency, Elbo
        >>> Elbo() + Consistency(10.0, Noise(0.1))
        Sum(parts=(Elbo(), Consistency(consistency_weight=10.0, perturb=Noise(std=0.1), target='encoder')))
    """

    consistency_weight: float = 1.0
    perturb: Callable[[Tensor], Tensor] = field(default_factory=Noise)
    target: Literal["encoder", "exact", "initializer"] = "encoder"

    def __post_init__(self) -> None:
        check_positive("consistency_weight", self.consistency_weight)
        check_choice("target", self.target, ("encoder", "exact", "initializer"))
        if not callable(self.perturb):
            raise TypeError(f"perturb: expected a function of a batch, got {type(self.perturb).__name__}")

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        target = self.fixed_argument(model, guide, batch)
        log_q = guide.log_probs(apply_perturbation("perturb", self.perturb, batch.x))
        divergence = (torch.special.xlogy(target, target) - target * log_q).sum(-1)
        return Loss(self.consistency_weight * average(divergence, batch.weight), {})

    @torch.no_grad()
    def fixed_argument(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Tensor:
        """Returns the first argument of the divergence, ``(N, K)``, without a gradient."""
        if self.target == "initializer":
            return responsibilities_of(batch)
        if self.target == "exact":
            log_z = model.log_joint(batch.x, guide.log_weights()).T.log_softmax(-1)
        else:
            log_z = guide.log_probs(batch.x)
        return guide.labels.posterior(log_z, batch.y).exp()

    def warm_up(self) -> Objective:
        return replace(self, target="initializer")


def responsibilities_of(batch: Batch) -> Tensor:
    """Returns the batch's responsibilities; raises ``ValueError`` if it has none."""
    if batch.target is None:
        raise ValueError("batch: expected an initializer's responsibilities as target, got None")
    return batch.target


def average(values: Tensor, weight: Tensor | None) -> Tensor:
    """Returns the mean of values ``(N,)``, weighted where weights ``(N,)`` are given."""
    return values.mean() if weight is None else (weight * values).sum() / weight.sum()


def bound_loss(log_joint: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Returns −Σ_k r_k [log p(x, k) − log r_k], the negative ELBO at q = r, on average; both ``(N, K)``."""
    owned = torch.where(target > 0, target * log_joint, log_joint.new_zeros(()))
    return average((torch.special.xlogy(target, target) - owned).sum(-1), weight)


def cross_entropy(log_q: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Returns −Σ_k r_k log q(k | x) on average; both ``(N, K)``."""
    return -average((target * log_q).sum(-1), weight)
