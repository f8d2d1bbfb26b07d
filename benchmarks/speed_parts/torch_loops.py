"""Flows of other PyTorch libraries in a loop over K, trained by the exact K-sum ELBO and one fused Adam."""

import math
import time
import warnings
from functools import partial

import pyro
import torch
from speed_parts.clock import Contender, timed
from speed_parts.options import MissingError
from speed_parts.ours import ENCODER, LEARNING_RATE
from torch import nn

from pyro_vmonf.guides import mlp

__all__ = ["torchflows_contender", "without_validation", "zuko_contender", "zuko_flow", "zuko_note"]


def imported(name):
    """A rival's module, without what it does to the validation of distributions in the whole process."""
    try:
        module = __import__(name)
    except ImportError as error:
        raise MissingError(f"{name} is not installed: pip install {name}") from error
    finally:
        pyro.enable_validation(True)
    return module


def zuko_flow(size):
    """One flow as zuko's users write it."""
    flows = imported("zuko").flows
    common = {"transforms": size.transforms, "hidden_features": size.hidden}
    if size.kind == "affine":
        return flows.NICE(size.features, **common)
    if size.kind == "maf":
        return flows.MAF(size.features, **common)
    if size.kind == "nsf":
        return flows.NSF(size.features, bins=size.bins, **common)
    from zuko.transforms import MonotonicRQSTransform

    shapes = [(size.bins,), (size.bins,), (size.bins - 1,)]
    return flows.NICE(
        size.features, univariate=partial(MonotonicRQSTransform, bound=size.bound), shapes=shapes, **common
    )


def zuko_contender(size, x):
    """zuko in a loop."""
    flows = nn.ModuleList(zuko_flow(size) for _ in range(size.components))
    return loop(size, x, flows, lambda x: torch.stack([flow().log_prob(x) for flow in flows]), zuko_note(size))


def zuko_note(size):
    """How its flows differ from ours."""
    note = "it softclips raw parameters"
    note += ", its masks alternate in the place of reversals" if size.is_coupling else ""
    return note + (", its splines end at 5" if size.kind == "nsf" else "")


def torchflows_flow(size, library):
    """One flow as torchflows' users write it, with the widths of ours."""
    from torchflows.bijections.finite.autoregressive import architectures

    widths = {"n_hidden": size.hidden[0], "n_layers": len(size.hidden) + 1, "nonlinearity": nn.ReLU}
    common = {"n_layers": size.transforms, "conditioner_kwargs": widths}
    if size.kind == "affine":
        return library.Flow(architectures.RealNVP(size.features, **common))
    splines = {"boundary": size.bound, "n_bins": size.bins}
    return library.Flow(architectures.CouplingRQNSF(size.features, transformer_kwargs=splines, **common))


def torchflows_contender(size, x):
    """The flows of torchflows' mixture, each scored in turn as the mixture does."""
    imported("torchflows")
    if not size.is_coupling:
        raise MissingError("its masked networks are others than ours")
    from torchflows import flows as library

    warnings.filterwarnings("ignore", "Using a non-tuple sequence", module="torchflows")

    mixture = library.FlowMixture([torchflows_flow(size, library) for _ in range(size.components)])
    note = "two elementwise affine maps and an ActNorm after each coupling more than ours"
    return loop(size, x, mixture, lambda x: torch.stack([flow.log_prob(x) for flow in mixture.flows]), note)


def loop(size, x, flows, score, note):
    """A contender whose step scores flows, encodes, and updates both."""
    encoder = mlp(size.features, size.components, ENCODER)
    parameters = [*flows.parameters(), *encoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def step():
        optimizer.zero_grad()
        log_q = encoder(x).log_softmax(-1)
        gains = score(x).T - math.log(size.components) - log_q
        loss = -(log_q.exp() * gains).sum(-1).mean()
        loss.backward()
        optimizer.step()

    step = without_validation(step)
    began = time.process_time()
    step()
    setup = time.process_time() - began
    return Contender(timed(step), setup, sum(p.numel() for p in flows.parameters() if p.requires_grad), note=note)


def without_validation(step):
    """The step without validation of distributions, as zuko's users have it."""

    def quick():
        with pyro.validation_enabled(False):
            step()

    return quick
