"""The same mixture as one writes it with Pyro's parts alone: K flows in a loop, SVI and ``pyro.optim.Adam``."""

import time

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineCoupling, permute
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.nn import DenseNN
from speed_parts.clock import Contender, timed
from speed_parts.options import MissingError
from speed_parts.ours import ENCODER, LEARNING_RATE, pair
from speed_parts.weights import conditioners, encoder_layers
from torch import nn

from pyro_vmonf.guides import mlp

__all__ = ["contender"]


class BoundedScale(nn.Module):
    """Pyro's network of a coupling, with the bound on the log-scale that ours has."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        mean, log_scale = self.network(x)
        return mean, log_scale.tanh()


def flow(size):
    """The networks of one flow, and its transforms from the base to the data."""
    half, reverse = size.features // 2, torch.arange(size.features).flip(0)
    rest, parts = size.features - half, []
    for i in range(size.transforms):
        parts += [permute(size.features, reverse)] if i else []
        parts.append(AffineCoupling(half, BoundedScale(DenseNN(half, list(size.hidden), [rest, rest]))))
    return nn.ModuleList(one for one in parts if isinstance(one, nn.Module)), parts


@torch.no_grad()
def load(layers, weights):
    """Puts weights into layers."""
    for layer, (weight, bias) in zip(layers, weights, strict=True):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def loaded(size):
    """Flows and an encoder with the weights of our pair."""
    model, guide = pair(size)
    made, encoder = [flow(size) for _ in range(size.components)], mlp(size.features, size.components, ENCODER)
    for k, (networks, _) in enumerate(made):
        for coupling, weights in zip(networks, conditioners(model), strict=True):
            load(coupling.nn.network.layers, [(weight[k], bias[k]) for weight, bias in weights])
    load([one for one in encoder if isinstance(one, nn.Linear)], encoder_layers(guide))
    return made, encoder


def programs(size, made, encoder):
    """The model and the guide, and the function that scores all flows in a loop."""

    def score(x):
        base = dist.Normal(torch.zeros(size.features), torch.ones(size.features)).to_event(1)
        return torch.stack([dist.TransformedDistribution(base, parts).log_prob(x) for _, parts in made])

    def model(x):
        for k, (networks, _) in enumerate(made):
            pyro.module(f"flow{k}", networks)
        table = score(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(size.components) / size.components))
            pyro.factor("x", table[z, torch.arange(len(x))])

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=encoder(x)), infer={"enumerate": "parallel"})

    return model, guide, score


def contender(size, x):
    """Plain Pyro; raises ``MissingError`` for flows that Pyro's parts make otherwise than ours."""
    if size.kind != "affine":
        raise MissingError("Pyro's own splines and masked networks are others than ours")
    pyro.clear_param_store()
    made, encoder = loaded(size)
    model, guide, score = programs(size, made, encoder)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), TraceEnum_ELBO(max_plate_nesting=1))
    with torch.no_grad():
        table = score(x.clone())
    began = time.process_time()
    # A new tensor each time, or Pyro's transforms answer from their caches.
    svi.step(x.clone())
    setup = time.process_time() - began
    count = sum(p.numel() for networks, _ in made for p in networks.parameters())
    return Contender(timed(lambda: svi.step(x.clone())), setup, count, table)
