"""The semi-supervised variational autoencoder of Pyro's own example, as a baseline.

    y ~ Cat(1/C);  z ~ N(0, I);  x ~ Bernoulli(decoder(y, z)), or a Normal for points;  q(y | x), q(z | x, y) amortized

Reference: Kingma et al., 2014 (arXiv:1406.5298), model M2. The mean of −log q(y | x) of labelled points is part of the
loss per observation, with weight 1; in the paper .1, and in Pyro's own example a step of its own.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import nn

from pyro_vmonf.guides import mlp

__all__ = ["SSVAE", "train"]


class SSVAE(nn.Module):
    """Model and guide; ``images``: pixels in 0 … 1 with a Bernoulli likelihood, else points with a Normal one."""

    def __init__(self, features, n_classes, *, latent, hidden, images):
        super().__init__()
        self.n_classes, self.latent, self.images = n_classes, latent, images
        self.encode_y = mlp(features, n_classes, hidden)
        self.encode_z = mlp(features + n_classes, 2 * latent, hidden)
        self.decode = mlp(latent + n_classes, features if images else 2 * features, hidden)

    def model(self, x, y=None):
        """The generative program; y is one-hot."""
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(len(x), self.n_classes)), obs=y)
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1).expand([len(x), self.latent]).to_event(1))
            out = self.decode(joined(z, y))
            if self.images:
                pyro.sample("x", dist.Bernoulli(logits=out).to_event(1), obs=x)
            else:
                mean, log_scale = out.chunk(2, -1)
                pyro.sample("x", dist.Normal(mean, log_scale.clamp(-5, 2).exp()).to_event(1), obs=x)

    def guide(self, x, y=None):
        """q(y | x) q(z | x, y)."""
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.encode_y(x)))
            mean, log_scale = self.encode_z(joined(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_scale.clamp(-7, 3).exp()).to_event(1))


def joined(a, b):
    """Both in one vector, broadcast over an enumerated axis."""
    shape = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return torch.cat([a.expand(*shape, -1), b.expand(*shape, -1)], -1)


def train(vae, x, y, *, epochs, batch_size, learning_rate=4e-4, labelled_batch=100, label_weight=1.0):
    """Adam on the ELBO per observation, plus ``label_weight`` · mean −log q(y | x); each step sees labelled points."""
    labelled, others = (y >= 0).nonzero().squeeze(-1), (y < 0).nonzero().squeeze(-1)
    share = len(labelled) / len(x)
    codes = nn.functional.one_hot(y.clamp(min=0), vae.n_classes).to(x)
    elbo, summed = TraceEnum_ELBO(max_plate_nesting=1), config_enumerate(vae.guide, "parallel", expand=True)
    optimizer = torch.optim.Adam(vae.parameters(), learning_rate)
    with pyro.validation_enabled(False):
        for _ in range(epochs):
            for indices in others[torch.randperm(len(others))].split(batch_size):
                some = labelled[torch.randperm(len(labelled))][:labelled_batch]
                loss = elbo.differentiable_loss(vae.model, summed, x[indices]) / len(indices)
                supervised = elbo.differentiable_loss(vae.model, vae.guide, x[some], codes[some]) / len(some)
                loss = (1 - share) * loss + share * supervised
                loss = loss + label_weight * nn.functional.cross_entropy(vae.encode_y(x[some]), y[some])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
