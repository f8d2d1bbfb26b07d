"""The default call: mixtures that begin as Gaussian mixtures, trained side by side, and chosen by held-out points."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_circles

from pyro_vmonf import evaluate, fit_mixture
from pyro_vmonf.automatic import search
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Scale, distinct, folds_of
from pyro_vmonf.automatic.modules import modules_of
from pyro_vmonf.automatic.search import is_better
from pyro_vmonf.automatic.training import EnsembleData, Schedule, elbos, train, train_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture, log_joint
from pyro_vmonf.steps.rows import RowAdam

K, V, N = 3, 2, 60


def points(features, seed=0):
    """Three clouds."""
    random = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(K, features, generator=random)
    return (centres[torch.arange(N) % K] + torch.randn(N, features, generator=random)).double()


def mixtures(x, kinds):
    """Gaussian mixtures of several types as starts."""
    fits = [fit_gaussian_mixture(x, K, covariance_type=kind, n_init=1) for kind in kinds]
    return fits, Gaussians.joined([Gaussians(f.weights.log()[None], f.means[None], f.covariances[None]) for f in fits])


def ensemble_of(warp, x, kinds=("full", "tied")):
    """An ensemble that begins as Gaussian mixtures."""
    torch.manual_seed(1)
    ensemble = Ensemble(x.shape[1], K, WARPS[warp], len(kinds)).double()
    fits, start = mixtures(x, kinds)
    ensemble.set_gaussians(start)
    return ensemble, fits


def moved(ensemble):
    """The same ensemble away from where it began."""
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return ensemble


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("warp", sorted(WARPS))
def test_begins_as_gaussian_mixture(warp, features):
    x = points(features)
    ensemble, fits = ensemble_of(warp, x, ("full", "tied", "diag"))
    log_p, log_q = ensemble(x.expand(3, -1, -1))
    for own, q, fitted in zip(log_p, log_q, fits, strict=True):
        expected = log_joint(x, fitted.weights, fitted.means, fitted.covariances)
        torch.testing.assert_close(own, expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(q, expected.log_softmax(0), atol=1e-9, rtol=0)


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("warp", sorted(WARPS))
def test_stack_equals_each_alone(warp, features):
    x = points(features)
    ensemble = moved(ensemble_of(warp, x)[0])
    log_p, log_q = ensemble(torch.stack([x, x + 0.1]))
    for v in range(V):
        alone = Ensemble(features, K, WARPS[warp], 1).double()
        alone.copy_from(ensemble, [v])
        own_p, own_q = alone((x + 0.1 * v)[None])
        torch.testing.assert_close(own_p[0], log_p[v], atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(own_q[0], log_q[v], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("warp", sorted(WARPS))
def test_modules_take_x_in_its_own_units(warp, features):
    z = points(features)
    scale = Scale(torch.full((features,), 1e6).double(), torch.full((features,), 1e-3).double())
    ensemble = Ensemble(features, K, WARPS[warp], 1).double()
    ensemble.copy_from(moved(ensemble_of(warp, z)[0]), [1])
    model, guide = modules_of(ensemble, scale)
    x = z * scale.deviation + scale.mean
    log_p, log_q = ensemble(z[None])
    units = scale.deviation.log().sum()
    torch.testing.assert_close(model.log_joint(x), log_p[0] - units, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(guide.log_probs(x), log_q[0].T, atol=1e-5, rtol=1e-6)
    sampled, _ = model.sample(50)
    assert sampled.dtype == torch.float64
    assert bool((sampled - 1e6).abs().max() < 1)


def data_of(x, fits):
    """The points of an ensemble."""
    target = torch.stack([f.responsibilities for f in fits])
    return EnsembleData(x.expand(len(fits), -1, -1).clone(), target, torch.ones(len(fits), len(x)).double())


def test_not_finite_mixture_leaves_others_alone():
    x = points(2)
    results = []
    for broken in (False, True):
        ensemble, fits = ensemble_of("A", x)
        data = data_of(x, fits)
        if broken:
            data.x[1, 3] = float("nan")
        torch.manual_seed(0)
        train_for(ensemble, data, 0.07 * torch.eye(2).double(), Schedule(5, 15, 10), 5, 15)
        results.append([p.detach().view(V, -1)[0].clone() for p in ensemble.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("steps", [30, 200])  # eager, and captured
def test_best_held_out_state_is_kept(steps):
    x = points(2)
    ensemble, fits = ensemble_of("P", x)
    held = data_of(points(2, seed=1), fits)
    before = elbos(ensemble, held.x).mean(-1)
    torch.manual_seed(0)
    found = train(ensemble, data_of(x, fits), held, 0.07 * torch.eye(2).double(), Schedule(steps // 2, steps, 100))
    after = elbos(ensemble, held.x).mean(-1)
    torch.testing.assert_close(after, found.elbo, atol=1e-9, rtol=0)
    assert bool((after >= before).all())
    assert bool((found.steps <= steps).all())


def test_rows_have_norms_of_their_own():
    parameter = torch.nn.Parameter(torch.zeros(2, 4))
    adam = RowAdam([[parameter]], [0.1], size=2)
    adam.set_gradient([torch.stack([torch.full((4,), 100.0), torch.full((4,), 0.5)])])
    assert torch.allclose(adam.gradients[0].norm(dim=1), torch.tensor([5.0, 1.0]), atol=1e-4)


def test_distinct_points():
    x = torch.tensor([[2.0, 1.0], [0.0, -0.0], [2.0, 1.0], [0.0, 0.0]])
    found, weight, index = distinct(x, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert found.tolist() == [[0.0, 0.0], [2.0, 1.0]]
    assert weight.tolist() == [6.0, 4.0]
    assert index.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("n", "count"), [(20, 5), (1000, 5), (3000, 1)])
def test_folds_hold_each_point_out_once_at_most(n, count):
    folds = folds_of(n, seed=0)
    assert len(folds) == count
    held = torch.cat(folds.held_out)
    assert len(held.unique()) == len(held) == count * (n // 5)
    for kept, out in zip(folds.kept, folds.held_out, strict=True):
        assert torch.cat([kept, out]).sort().values.tolist() == list(range(n))


def test_better_by_a_standard_error():
    difference = torch.tensor([[1.0, 3.0]])  # mean 2, standard error 1 / √2
    zero, ones = torch.zeros(1, 2), torch.ones(1, 2)
    assert is_better(difference, zero, ones)
    assert not is_better(difference - 1.5, zero, ones)
    # A weight counts as copies: 1, 3, 3, 3 have the mean 2.5.
    assert is_better(difference - 2.0, zero, torch.tensor([[1.0, 9.0]]))


@pytest.fixture
def short(monkeypatch):
    """Trains for a short time, where the quality is not the subject."""
    monkeypatch.setattr(search, "SHORT", Schedule(100, 80, 40))
    monkeypatch.setattr(search, "LONG", Schedule(100, 80, 40))


def test_rings(monkeypatch):
    monkeypatch.setattr(search, "LONG", Schedule(600, 300, 100))
    x, y = make_circles(120, noise=0.03, factor=0.4, random_state=0)
    model, guide, history = fit_mixture(1000 * x + 5, 2, initializer=["gmm", "spectral"], progress=False)
    z = evaluate(model, guide, 1000 * x + 5).encoder_probs.argmax(1).numpy()
    assert max(np.mean(z == y), np.mean(z != y)) > 0.99
    assert history.search.choice.warp != "N"
    assert "chosen" in str(history.search)


def test_order_repetition_and_units_do_not_matter(short):
    x = points(2)
    weight = torch.ones(N)
    weight[:10] = 2
    model, guide, history = fit_mixture(x, K, sample_weight=weight, initializer="gmm-diag", progress=False)
    order = torch.randperm(N + 10)
    again, _, other = fit_mixture(1e6 * torch.cat([x, x[:10]])[order] - 3e7, K, initializer="gmm-diag", progress=False)
    assert other.search.choice == history.search.choice
    evidence = again.evidence(1e6 * x - 3e7) + 2 * np.log(1e6)
    torch.testing.assert_close(evidence, model.evidence(x), atol=1e-3, rtol=0)
    assert evaluate(model, guide, x).evidence.isfinite().all()


def test_gaussian_data_keep_the_gaussian_mixture(short):
    torch.manual_seed(0)
    x = torch.randn(400, 2) @ torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    model, guide, history = fit_mixture(x, 1, initializer="gmm", progress=False)
    if history.search.choice.warp == "N":
        fitted = torch.distributions.MultivariateNormal(x.mean(0).double(), x.T.double().cov(correction=0))
        torch.testing.assert_close(model.evidence(x.double()), fitted.log_prob(x.double()), atol=1e-3, rtol=1e-3)
    assert float(evaluate(model, guide, x).inference_gap.max()) < 1e-6


@pytest.mark.parametrize(
    ("x", "k", "more", "message"),
    [
        (torch.zeros(5), 2, {}, r"x: expected shape \(N, D\), got \(5,\)"),
        (torch.full((5, 2), float("nan")), 2, {}, "x: expected finite values, got 10"),
        (torch.zeros(5, 2), 2, {}, "x: expected more than n_components = 2 distinct points, got 1"),
        (points(2), 0, {}, "n_components"),
        (points(2), 2, {"sample_weight": [1.0]}, "sample_weight: expected shape"),
        (points(2), 2, {"initializer": None}, "initializer: expected a clustering, got None"),
        (points(2), 2, {"initializer": "magic"}, "initializer: expected"),
    ],
)
def test_errors_name_the_argument(x, k, more, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit_mixture(x, k, progress=False, **more)
