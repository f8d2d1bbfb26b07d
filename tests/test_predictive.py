"""Posterior predictive checks: a right model passes at the stated rate, a wrong one fails."""

import pytest
import torch
from pyro.distributions import Laplace, MultivariateNormal, Normal
from scipy import stats

from pyro_vmonf import plots
from pyro_vmonf.components import MAF, FlowList, RealNVP
from pyro_vmonf.data import two_circles
from pyro_vmonf.evaluation import (
    ComponentShares,
    EnergyDistance,
    RadialProfile,
    Replications,
    base_cdf,
    energy_distance,
    nearest_distances,
    posterior_predictive,
    predictive_checks,
    probability_integral_transform,
    quantiles,
)
from pyro_vmonf.guides import DirichletPosterior, SoftmaxEncoder, mlp
from pyro_vmonf.models import DirichletWeights, FlowMixture


def clouds(spread=1.0):
    """Three Gaussians in the plane, with their true weights and spread, or another."""
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    members = [Normal(m, spread * torch.ones(2)).to_event(1) for m in means]
    return FlowMixture(FlowList(members), [0.5, 0.3, 0.2]), SoftmaxEncoder(mlp(2, 3), 3)


def flows():
    model, guide = FlowMixture(RealNVP(2, 3, transforms=3), [0.5, 0.3, 0.2]), SoftmaxEncoder(mlp(2, 3), 3)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model, guide


def test_p_values_of_the_true_model_are_below_alpha_at_that_rate():
    """A hundred data sets, each with nineteen replications of its own, by whose ranks p ≤ .1 has probability .1."""
    model, _ = clouds()
    tries = posterior_predictive(model, size=50, draws=100 * 20, seed=1)
    statistics = {
        "mean": lambda x: x.mean(0),
        "nearest": lambda x: nearest_distances(x).mean(),
        "energy": EnergyDistance(posterior_predictive(model, size=200, draws=1, seed=3).x[0]),
        "radial": RadialProfile(torch.tensor([1.0, 1.0]), 2.0, 1),
        "shares": ComponentShares(model),
    }
    p = []
    for x, z in zip(tries.x.split(20), tries.z.split(20), strict=True):
        rows = predictive_checks(x[0], Replications(x[1:], z[1:]), statistics)
        p.append([row["p"] for row in rows])
    p = torch.tensor(p)
    assert p.shape == (100, 2 + 1 + 1 + 1 + 3)
    for alpha in (0.1, 0.3):
        rate = (p < alpha + 1e-6).double().mean(0)
        error = (alpha * (1 - alpha) / 100) ** 0.5
        assert bool((rate < alpha + 4 * error).all()), rate
        assert float(rate.mean()) == pytest.approx(alpha, abs=2 * error)


def test_a_wrong_model_fails():
    x, _ = two_circles(200, seed=0)
    model = FlowMixture(FlowList([Normal(x.mean(0), x.std(0)).to_event(1)]))
    guide = SoftmaxEncoder(mlp(2, 1), 1)
    drawn = posterior_predictive(model, guide, size=400, draws=99)
    rows = predictive_checks(x, drawn, {"radial": RadialProfile(torch.zeros(2), 1.2, 6)})
    rows += predictive_checks(x, drawn)
    p = {row["statistic"]: row["p"] for row in rows}
    assert p["nearest-neighbour distance"] == 0.02
    assert p["radial[0]"] == 0.02  # the hole
    assert p["mean[0]"] > 0.1  # what the model was given


def test_the_predictive_of_weights_with_a_posterior_draws_them():
    model = FlowMixture(clouds()[0].components, DirichletWeights(1.0, 3))
    guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3))
    guide.weights.initialize(torch.tensor([8000.0, 1000.0, 1000.0]), model.weights)
    state = torch.get_rng_state()
    drawn = posterior_predictive(model, guide, size=300, draws=20)
    assert torch.equal(state, torch.get_rng_state())
    assert drawn.x.shape == (20, 300, 2)
    shares = drawn.z.flatten().bincount(minlength=3) / drawn.z.numel()
    torch.testing.assert_close(shares, torch.tensor([0.8, 0.1, 0.1]), atol=0.03, rtol=0)
    assert torch.equal(drawn.x, posterior_predictive(model, guide, size=300, draws=20).x)


def test_base_variables_of_the_right_model_are_uniform():
    model, _ = flows()
    with torch.no_grad():
        x = model(size=3000)
    values, z = probability_integral_transform(model, x)
    assert values.shape == (3000, 2)
    for k in range(3):
        for column in values[z == k].T:
            assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    wrong, _ = probability_integral_transform(model, 1.3 * x)
    assert min(stats.kstest(column.numpy(), "uniform").pvalue for column in wrong.T) < 1e-6


def zuko_flow():
    zuko = pytest.importorskip("zuko")
    torch.distributions.Distribution.set_default_validate_args(True)  # zuko turned it off
    return zuko.flows.MAF(2, transforms=1, hidden_features=(8,))


@pytest.mark.parametrize(
    "member",
    [lambda: MAF(2, 1), lambda: Laplace(torch.zeros(2), torch.ones(2)).to_event(1), zuko_flow],
    ids=["maf", "plain", "zuko"],
)
def test_base_probabilities_of_other_kinds(member):
    components = FlowList([member()])
    x = components.sample(torch.zeros(2000).long())
    with torch.no_grad():
        values = base_cdf(components, 0, x)
    for column in values.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3


def test_energy_distance_by_hand():
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    torch.testing.assert_close(energy_distance(a, b), torch.tensor(2 * 1.5 - 0.5 - 1.5))
    torch.testing.assert_close(energy_distance(a, a), torch.tensor(0.0))


def test_nearest_distances_by_hand():
    x = torch.tensor([[0.0], [1.0], [5.0]])
    assert nearest_distances(x).tolist() == [1.0, 1.0, 4.0]
    assert nearest_distances(x, torch.tensor([[2.0]])).tolist() == [2.0, 1.0, 3.0]


def test_images_are_checked_by_pixels_and_nearest_neighbours():
    model, guide = FlowMixture(MAF(64, 2, transforms=1)), SoftmaxEncoder(mlp(64, 2), 2)
    drawn = posterior_predictive(model, guide, size=20, draws=5)
    rows = predictive_checks(drawn.x[0], drawn)
    assert len(rows) == 4 * 2 + 1
    assert nearest_distances(drawn.x[0], drawn.x[1]).shape == (20,)


def test_pictures():
    model, guide = clouds()
    drawn = posterior_predictive(model, guide, size=60, draws=9)
    rows = predictive_checks(drawn.x[0], drawn)
    assert len(plots.predictive_checks(rows)) == len(rows)
    assert len(plots.replications((drawn.x[0], drawn.z[0]), [(drawn.x[1], drawn.z[1])], 3)) == 2
    assert len(plots.probability_integral_transforms(*probability_integral_transform(model, drawn.x[0]), 3)) == 3


def test_arrays_are_checked_as_tensors_are():
    model, guide = clouds()
    drawn = posterior_predictive(model, guide, size=10, draws=3)
    x, expected = drawn.x[0], predictive_checks(drawn.x[0], drawn)
    assert predictive_checks(x.numpy(), drawn) == expected
    assert predictive_checks(x.numpy(), drawn.x.numpy()) == expected
    assert predictive_checks(x.tolist(), Replications(drawn.x.numpy(), drawn.z.numpy())) == expected


def test_bad_input_is_named():
    model, guide = clouds()
    drawn = posterior_predictive(model, guide, size=10, draws=3)
    with pytest.raises(ValueError, match=r"replications: expected data sets of shape \(8, 2\), got \(10, 2\)"):
        predictive_checks(torch.zeros(8, 2), drawn)
    with pytest.raises(ValueError, match="x: "):
        predictive_checks(torch.zeros(10, 3), drawn)
    with pytest.raises(ValueError, match="draws: expected an integer of at least 1, got 0"):
        posterior_predictive(model, guide, size=10, draws=0)
    with pytest.raises(ValueError, match=r"replications: expected those of posterior_predictive, or .*, got \(10,\)"):
        predictive_checks(drawn.x[0], drawn.x[0, :, 0])
    with pytest.raises(TypeError, match=r"replications: expected a tensor, an array, .* got dict"):
        predictive_checks(drawn.x[0], {"x": drawn.x})
    with pytest.raises(TypeError, match="x: expected real numbers"):
        predictive_checks([["a", "b"]] * 10, drawn)
    with pytest.raises(TypeError, match="model: expected a FlowMixture, got Linear"):
        posterior_predictive(torch.nn.Linear(1, 1), size=3)
    with pytest.raises(ValueError, match="guide: expected one with a posterior of the weights"):
        posterior_predictive(FlowMixture(model.components, DirichletWeights(1.0, 3)), size=3)
    with pytest.raises(ValueError, match="guide: expected 3 components, as the model has, got 2"):
        posterior_predictive(model, SoftmaxEncoder(mlp(2, 2), 2), size=3)
    with pytest.raises(ValueError, match=r"statistics\['odd'\]: "):
        predictive_checks(drawn.x[0], drawn, {"odd": lambda x: float("nan")})
    with pytest.raises(ValueError, match="x: "):
        predictive_checks(drawn.x[0] * float("nan"), drawn)
    with pytest.raises(ValueError, match="reach: expected a finite number above 0"):
        RadialProfile(torch.zeros(2), 0.0)
    with pytest.raises(ValueError, match="others: expected points of 2 coordinates, as x has, got 3"):
        energy_distance(drawn.x[0], torch.zeros(4, 3))
    with pytest.raises(ValueError, match="share: expected a number above 0"):
        quantiles(2.0)
    with pytest.raises(ValueError, match="x: expected at least 2 points, got 1"):
        nearest_distances(torch.zeros(1, 2))
    full = FlowMixture(FlowList([MultivariateNormal(torch.zeros(2), torch.eye(2))]))
    with pytest.raises(TypeError, match="components: expected a flow with a base that has a cdf, got Multivariate"):
        probability_integral_transform(full, torch.zeros(4, 2))
