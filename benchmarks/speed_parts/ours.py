"""Our mixtures of a given size, and their eager and replayed steps."""

import time
from functools import partial

import torch
from speed_parts.clock import Contender, timed
from speed_parts.options import MissingError
from speed_parts.sizes import Size

import pyro_vmonf
from pyro_vmonf import components, steps, transforms
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import Batch, Elbo

__all__ = ["ENCODER", "LEARNING_RATE", "STEPS", "contender", "pair", "points", "required", "step_of", "warm_up"]

ENCODER = (16,)
LEARNING_RATE = 1e-4
STEPS = {"eager": "EagerStep", "replayed": "ReplayStep"}


def flows(size):
    """The components of a size."""
    common = {"transforms": size.transforms, "hidden_features": size.hidden, "whiten": False}
    if size.kind == "affine":
        return components.RealNVP(size.features, size.components, **common)
    if size.kind == "maf":
        return components.MAF(size.features, size.components, **common)
    if size.kind == "spline":
        recipe = required(pyro_vmonf, "NSF")
        return recipe(size.features, size.components, bins=size.bins, bound=size.bound, **common)
    transform = partial(required(transforms, "spline_autoregressive"), bins=size.bins, bound=size.bound)
    return components.recipes.AlternatingFlow(size.features, size.components, transform, **common)


def required(module, name):
    """An attribute of a module; raises :class:`MissingError` if this version has none."""
    if not hasattr(module, name):
        raise MissingError(f"{module.__name__} has no {name}")
    return getattr(module, name)


def pair(size, seed=0):
    """A model and its guide, whose last layers are drawn five times as large as usual, so that no map is near identity.

    Otherwise a mistake in a rival's map would hardly show in the log-densities.
    """
    torch.manual_seed(seed)
    model = FlowMixture(flows(size))
    guide = SoftmaxEncoder(mlp(size.features, size.components, ENCODER), size.components)
    with torch.no_grad():
        for network in model.modules():
            if isinstance(network, transforms.ConditionerMLP):
                network.layers[-1].weight *= 5
    return model, guide


def warm_up():
    """Trains something tiny once, so that no contender pays for what torch and Pyro load when it is first used."""
    size = Size("affine", 2, 2, 1, (2,), 2)
    step_of("eager", *pair(size), points(size))()


def points(size, seed=0):
    """The points of a step."""
    return torch.randn(size.batch, size.features, generator=torch.Generator().manual_seed(seed))


def step_of(name, model, guide, x):
    """A function that trains a pair by one step on x, as ``fit`` does."""
    parameters = [*model.parameters(), *guide.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    step, batch = required(steps, STEPS[name])(model, guide, Elbo(), optimizer, None), Batch(x, size=len(x))
    return lambda: step(batch)


def contender(name, size, x):
    """Ours, eager or replayed."""
    model, guide = pair(size)
    model.train(), guide.train()
    with torch.no_grad():
        table = model.components.log_prob(x)
    began = time.process_time()
    step = step_of(name, model, guide, x)
    step()
    setup = time.process_time() - began
    return Contender(timed(step), setup, sum(p.numel() for p in model.components.parameters()), table)
