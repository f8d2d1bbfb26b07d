"""Model and guide in the tools of plain Pyro: automatic guides, NUTS, plates that draw their own batches."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import Categorical, Normal
from pyro.infer import MCMC, NUTS, SVI, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta

from pyro_vmonf import FlowList, FlowMixture
from pyro_vmonf.models import DirichletWeights

CENTRES = (-5.0, 5.0)
COUNTS = torch.tensor([30.0, 10.0], dtype=torch.float64)
X = torch.cat([torch.linspace(-6, -4, 30), torch.linspace(4, 6, 10)]).unsqueeze(-1).double()


def clouds():
    """Two fixed clouds so far apart that each point's component is sure."""
    return FlowList([Normal(torch.tensor([centre]), torch.ones(1)).to_event(1) for centre in CENTRES])


def test_auto_delta_finds_the_mode_with_z_summed():
    model = FlowMixture(clouds(), DirichletWeights(2.0, 2))
    guide = AutoDelta(poutine.block(model, hide=["z"]))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), TraceEnum_ELBO(max_plate_nesting=1))
    for _ in range(200):
        svi.step(X)
    expected = (COUNTS + 1) / (COUNTS.sum() + 2)
    torch.testing.assert_close(guide.median()["weights"].detach(), expected, atol=1e-3, rtol=0)


def test_nuts_draws_the_posterior_with_z_enumerated():
    model = FlowMixture(clouds(), DirichletWeights(1.0, 2))
    mcmc = MCMC(NUTS(model, max_plate_nesting=1), num_samples=150, warmup_steps=50, disable_progbar=True)
    mcmc.run(X)
    drawn = mcmc.get_samples()["weights"]
    exact = torch.distributions.Dirichlet(COUNTS + 1)
    torch.testing.assert_close(drawn.mean(0), exact.mean, atol=5 * float(exact.stddev[0]) / 150**0.5, rtol=0)
    assert float(drawn.std(0)[0]) == pytest.approx(float(exact.stddev[0]), rel=0.4)


def test_a_plate_draws_its_own_batches():
    """In a user's program the plate may draw the batch: its loss is that of the whole, on average."""
    components = clouds()
    weights = torch.tensor([0.75, 0.25])

    def program(size):
        with pyro.plate("data", len(X), subsample_size=size) as batch:
            z = pyro.sample("z", Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", components.conditional(z), obs=X[batch])

    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    losses = torch.tensor([elbo.loss(program, lambda size: None, 8) for _ in range(300)])
    whole = elbo.loss(program, lambda size: None, len(X))
    assert whole == pytest.approx(-float(FlowMixture(components, weights).evidence(X).sum()))
    assert float(losses.mean()) == pytest.approx(whole, abs=5 * float(losses.std()) / 300**0.5)


def test_subsamples_of_the_model_itself():
    """The model's own plate takes the batch it is given, and stands for ``size`` points."""
    model = FlowMixture(clouds(), [0.75, 0.25])
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    parts = [elbo.loss(model, lambda x, y=None, size=None: None, batch, None, len(X)) for batch in X.split(10)]
    assert sum(parts) / len(parts) == pytest.approx(elbo.loss(model, lambda x: None, X))
