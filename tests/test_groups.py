"""The hierarchical example: weights of each group over shared components."""

import groups
import pyro
import pyro.optim
import pytest
import torch
from pyro.infer import SVI, Predictive, TraceEnum_ELBO

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel


def test_each_groups_weights_are_found():
    x, wing = pinwheel(400, wings=3)
    group = torch.multinomial(groups.SHARES[:, wing].T.double(), 1).squeeze(-1)
    model, guide = groups.train(x.double(), group, 400)
    owner = model.components.log_prob(x.double()).argmax(0)
    counts = torch.stack([torch.bincount(owner[group == g], minlength=3) for g in range(4)])
    exact = torch.distributions.Dirichlet(1.0 + counts)
    found = torch.distributions.Dirichlet(guide.log_concentration.detach().exp())
    torch.testing.assert_close(found.mean, exact.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(found.stddev, exact.stddev, atol=0, rtol=0.5)
    new = Predictive(model, guide=guide, num_samples=20)(None, group)
    assert new["x"].shape == (20, 1200, 2)


def test_particles_can_be_vectorized():
    model, guide = groups.Model(RealNVP(2, 3)), groups.Guide(torch.ones(4, 3))
    elbo = TraceEnum_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    assert SVI(model, guide, pyro.optim.Adam({}), elbo).step(torch.randn(6, 2), torch.arange(6) % 4) > 0


@pytest.mark.parametrize("group", [[0, 4], [-1, 0], [0.0, 1.0]])
def test_a_group_that_is_not_there_is_named(group):
    model, guide = groups.Model(RealNVP(2, 3)), groups.Guide(torch.ones(4, 3))
    svi = SVI(model, guide, pyro.optim.Adam({}), TraceEnum_ELBO(max_plate_nesting=1))
    with pytest.raises(ValueError, match="group: expected integers from 0 to 3, got"):
        svi.step(torch.zeros(2, 2), torch.tensor(group), 2)
