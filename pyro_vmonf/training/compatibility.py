"""What a fit checks before any work: data, model and guide, and that they suit each other."""

from contextlib import ExitStack
from numbers import Real

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vmonf._io import Json
from pyro_vmonf._torch import (
    evaluation_mode,
    foreign_parameters,
    isolated_parameter_store,
    isolated_random_state,
)
from pyro_vmonf._validation import check_fraction, check_weights
from pyro_vmonf.architecture import changing_buffers, describe, describe_module, digest
from pyro_vmonf.data.perturbations import apply_perturbation
from pyro_vmonf.evaluation.evaluating import check_kinds, validate_points
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.weights import MAPWeights
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior
from pyro_vmonf.objectives import Consistency, Objective
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.data import TrainingData

__all__ = ["check_data", "check_pair", "fingerprint", "place_perturbations"]


def check_pair(model: FlowMixture, guide: SoftmaxEncoder) -> None:
    """Raises ``TypeError`` or ``ValueError`` if model and guide cannot be trained together."""
    check_kinds(model, guide)
    for name, given in (("model", model), ("guide", guide)):
        types = {p.dtype for p in given.parameters()}
        if wrong := sorted(map(str, types - {torch.float32, torch.float64})):
            raise TypeError(f"{name}: expected parameters of type float32 or float64, got {', '.join(wrong)}")
    devices = {str(t.device) for part in (model, guide) for t in [*part.parameters(), *part.buffers()]}
    if len(devices) > 1:
        raise ValueError(f"model, guide: expected both on one device, got {sorted(devices)}; see model.to(device)")
    if guide.n_components != model.n_components:
        raise ValueError(f"guide: expected {model.n_components} components, as the model has, got {guide.n_components}")
    if str(model.labels) != str(guide.labels):
        raise ValueError(f"guide: expected the model's labels, {model.labels}, got {guide.labels}")


def check_data(
    model: FlowMixture,
    guide: SoftmaxEncoder,
    x: object,
    y: object = None,
    sample_weight: object = None,
    *,
    validation: object = None,
    seed: int = 0,
) -> tuple[TrainingData, TrainingData | None]:
    """Returns points, labels and weights as a fit can use them, without those of weight 0, and the held-out points.

    Raises:
        TypeError, ValueError: If it cannot use them, naming the argument.
    """
    points = validate_points("x", x, model, guide)
    weight = None if sample_weight is None else check_weights("sample_weight", sample_weight, points)
    data = TrainingData(points, None if y is None else model.labels.check(y, len(points)), weight)
    if weight is not None and not bool((weight > 0).all()):
        data = data.subset((weight > 0).nonzero().squeeze(-1))
    data, held_out = hold_out(data, validation, model, guide, seed)
    check_distinct(data.x, model.n_components)
    check_network(guide, data.x[:1])
    if data.y is not None and not len(data.labelled):
        raise ValueError("y: expected a label at least of the points to train on, got −1 throughout; leave y out then")
    return data, held_out


def hold_out(
    data: TrainingData, validation: object, model: FlowMixture, guide: SoftmaxEncoder, seed: int
) -> tuple[TrainingData, TrainingData | None]:
    """Returns the points to train on, and the held-out ones, given or a fraction of x."""
    if validation is None:
        return data, None
    if isinstance(validation, Real):
        return data.split(check_fraction("validation", validation, below_one=True), seed)
    return data, TrainingData(validate_points("validation", validation, model, guide))


def check_distinct(x: Tensor, k: int) -> None:
    """Raises ``ValueError`` if there are fewer distinct points than components."""
    if len(x[: 10 * k].unique(dim=0)) < k and (distinct := len(x.unique(dim=0))) < k:
        raise ValueError(f"x: expected at least {k} distinct points, one for each component, got {distinct}")


@torch.no_grad()
def check_network(guide: SoftmaxEncoder, x: Tensor) -> None:
    """Raises ``ValueError`` if the encoder's network cannot read x."""
    try:
        with evaluation_mode(guide):
            guide.log_probs(x.to(guide.temperature.device))
    except RuntimeError as error:
        raise ValueError(f"guide: expected a network for x of shape (N, {tuple(x.shape[1:])}), got: {error}") from error


@torch.no_grad()
def check_sites(model: FlowMixture, guide: SoftmaxEncoder, objective: Objective, x: Tensor) -> None:
    """Raises ``ValueError`` if a site is drawn by one program alone: Pyro would warn, and learn something else."""
    with ExitStack() as stack:
        stack.enter_context(isolated_random_state())
        stack.enter_context(isolated_parameter_store())
        for part in (model, guide):
            stack.enter_context(evaluation_mode(part))
        drawn = [set(poutine.trace(part).get_trace(x).stochastic_nodes) for part in (model, guide)]
        strangers = foreign_parameters(model, guide)
        if missing := sorted(drawn[0] - drawn[1]):
            raise ValueError(
                f"guide: expected it to draw the model's sites, but it has no {missing}; where the weights have a "
                "prior, give SoftmaxEncoder(…, weights=DirichletPosterior(K)) or another posterior"
            )
        objective.check(model, guide, x)
    if strangers:
        raise ValueError(
            f"model, guide: expected parameters that belong to the modules (nn.Parameter, PyroParam), got {strangers} "
            "by pyro.param, which fit would not train; use SVI, or make them PyroParams"
        )
    if extra := sorted(drawn[1] - drawn[0]):
        raise ValueError(f"guide: expected it to draw the model's sites alone, but it has {extra} too")
    prior = model.weights
    if isinstance(prior, WeightsPrior) and isinstance(guide.weights, MAPWeights) and not prior.has_mode:
        raise ValueError(f"guide: expected a distribution of π, for this prior has no mode: {prior}; got MAPWeights")


def place_perturbations(config: TrainingConfig, objective: Objective, x: Tensor) -> None:
    """Moves augmentation and perturbations that are modules to the device of x, and tries all of them on x."""
    used = [("augment", config.augment)]
    used += [("perturb", term.perturb) for term in objective.terms() if isinstance(term, Consistency)]
    with isolated_random_state():
        for name, perturb in used:
            if isinstance(perturb, nn.Module):
                perturb.to(x.device)
            if perturb is not None:
                apply_perturbation(name, perturb, x)


def fingerprint(
    model: FlowMixture, guide: SoftmaxEncoder, data: TrainingData, config: TrainingConfig, objective: Objective
) -> dict[str, Json]:
    """Returns what a resumed fit must share with the one that wrote a checkpoint."""
    modules = nn.ModuleDict({"model": model, "guide": guide})
    changing = {name for name, _ in modules.named_buffers() if name.endswith("is_initialized")}
    changing |= {"guide.temperature"} if config.temperature is not None else set()
    x = data.x[:2].to(guide.temperature.device)

    def forward() -> None:
        with isolated_random_state(), isolated_parameter_store():
            model.log_joint(x)
            guide.log_probs(x)

    changing |= changing_buffers(modules, forward)
    tensors = {"x": data.x, "y": data.y, "sample_weight": data.weight}
    return {
        "config": config.fingerprint(),
        "objective": describe(objective),
        "model": describe_module(model, {n.removeprefix("model.") for n in changing}),
        "guide": describe_module(guide, {n.removeprefix("guide.") for n in changing}),
        "data": {name: None if tensor is None else digest(tensor) for name, tensor in tensors.items()},
    }
