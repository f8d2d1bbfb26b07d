"""The default call: mixtures that begin as Gaussian mixtures, trained side by side, and chosen by held-out points."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import make_circles

from pyro_vmonf import Initializer, evaluate, fit_mixture
from pyro_vmonf.automatic import Schedule, SearchConfig, arguments, fitting, values
from pyro_vmonf.automatic.data import EnsembleData
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import Scale, distinct, first_of, folds_of
from pyro_vmonf.automatic.judge import is_better
from pyro_vmonf.automatic.modules import modules_of
from pyro_vmonf.automatic.starts import candidates
from pyro_vmonf.automatic.training import Leg, train, train_for
from pyro_vmonf.automatic.values import elbos
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture, log_joint
from pyro_vmonf.steps.rows import RowAdam

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),  # so short fits leave one
]

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
        train_for(ensemble, data, 0.07 * torch.eye(2).double(), Schedule(5, 15, 10), [Leg(True, 5), Leg(False, 15)])
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
    assert first_of(index, 2).tolist() == [1, 0]


@pytest.mark.parametrize(("n", "count"), [(20, 5), (1000, 3), (3000, 1)])
def test_folds_hold_each_point_out_once_at_most(n, count):
    folds = folds_of(n, seed=0)
    assert len(folds) == count
    held = torch.cat(folds.held_out)
    assert len(held.unique()) == len(held) == count * (n // 5)
    for kept, out in zip(folds.kept, folds.held_out, strict=True):
        assert torch.cat([kept, out]).sort().values.tolist() == list(range(n))


def test_constant_columns_have_a_deviation_of_one():
    x = torch.tensor([[0.1, 1e8, 1.0], [0.1, 1e8, 3.0], [0.1, 1e8, 5.0]]).double()
    scale = Scale.of(x, torch.tensor([1.0, 2.0, 1.0]).double())
    assert scale.mean.tolist() == pytest.approx([0.1, 1e8, 3.0])
    assert scale.deviation.tolist() == pytest.approx([1.0, 1.0, 2**0.5])


def test_better_by_a_standard_error():
    difference = torch.tensor([[1.0, 3.0]])  # mean 2, standard error 1 / √2
    zero, ones = torch.zeros(1, 2), torch.ones(1, 2)
    assert is_better(difference, zero, ones, 1.0)
    assert not is_better(difference - 1.5, zero, ones, 1.0)
    # A weight counts as copies: 1, 3, 3, 3 have the mean 2.5.
    assert is_better(difference - 2.0, zero, torch.tensor([[1.0, 9.0]]), 1.0)


@pytest.fixture
def short(monkeypatch):
    """Trains for a short time, where the quality is not the subject."""
    budget = Schedule(100, 80, 40)
    monkeypatch.setattr(arguments, "SearchConfig", partial(SearchConfig, short=budget, long=budget))


def test_rings():
    config = SearchConfig(long=Schedule(600, 300, 100))
    x, y = make_circles(120, noise=0.03, factor=0.4, random_state=0)
    model, guide, history = fit_mixture(1000 * x + 5, 2, initializer=["gmm", "spectral"], config=config, progress=False)
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


def test_folds_share_a_step():
    x = points(2)
    ensemble, fits = ensemble_of("P", x)
    held = data_of(points(2, seed=1), fits)
    torch.manual_seed(0)
    found = train(ensemble, data_of(x, fits), held, 0.07 * torch.eye(2).double(), Schedule(20, 20, 9), folds=2)
    assert found.steps.shape == found.elbo.shape == (1,)
    torch.testing.assert_close(elbos(ensemble, held.x).mean(), found.elbo[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("steps", [20, 200])  # eager, and captured
def test_scores_in_blocks_are_the_same(steps, monkeypatch):
    x = points(2)
    results = []
    for block in (10_000, 7):
        monkeypatch.setattr(values, "points_at_once", lambda *_, block=block: block)
        ensemble, fits = ensemble_of("P", x)
        torch.manual_seed(0)
        found = train(
            ensemble, data_of(x, fits), data_of(x, fits), 0.07 * torch.eye(2).double(), Schedule(steps, 9, 99)
        )
        results.append(found.elbo)
    torch.testing.assert_close(*results)


def test_starts_that_stopped_are_as_if_alone():
    """A start whose score gets no better leaves the stack, and the other's best state is kept where it belongs."""
    x = points(2)
    ensemble, fits = ensemble_of("P", x)
    data = data_of(x, fits)
    wrong = EnsembleData(data.x, data.target.roll(1, 1), data.weight)
    target = torch.stack([data.target[0], wrong.target[1]])  # what held-out points contradict is never better
    taught, told = EnsembleData(data.x, target, data.weight), EnsembleData(data.x, data.target, data.weight)
    schedule = Schedule(120, 40, 8)
    torch.manual_seed(0)
    found = train(ensemble, taught, told, 0.07 * torch.eye(2).double(), schedule)
    assert found.warmup[0] > found.warmup[1]
    torch.testing.assert_close(elbos(ensemble, x.expand(2, -1, -1)).mean(1), found.elbo, atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_gaussian_data_keep_the_gaussian_mixture(seed, short):
    random = torch.Generator().manual_seed(seed)
    x = (torch.randn(200, 2, generator=random) @ torch.tensor([[1.0, 0.5], [0.0, 2.0]])).double()
    model, _, history = fit_mixture(x, 1, initializer="gmm", progress=False)
    fitted = fit_gaussian_mixture(x, 1, n_init=1)
    expected = log_joint(x, fitted.weights, fitted.means, fitted.covariances)[0]
    found = model.evidence(x)
    assert history.search.rows[-1].elbo < -2  # nats, in the units of x
    if history.search.choice.warp == "N":
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    else:  # chosen by chance
        assert abs(float((found - expected).detach().mean())) < 0.1


def test_arrays_belong_to_the_rows_as_given(short):
    x = points(2)
    labels = torch.arange(N) % K
    order = torch.randperm(N)
    doubled, given = torch.cat([x[order], x[:5]]), torch.cat([labels[order], labels[:5]])
    start = Initializer(torch.eye(K)[given], warmup_epochs=0)
    with_zero = torch.ones(N + 5)
    with_zero[7] = 0
    seen = []
    fitting_candidates = fitting.candidates

    def spy(*args, **kwargs):
        seen.extend(fitting_candidates(*args, **kwargs))
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "candidates", spy)
        state = torch.get_rng_state()
        fit_mixture(doubled, K, sample_weight=with_zero, initializer=start, progress=False)
        assert torch.equal(state, torch.get_rng_state())
    kept = torch.cat([doubled[:7], doubled[8:]])
    expected = torch.cat([given[:7], given[8:]])[first_of(*unique_of(kept))]
    assert seen[0].labels.tolist() == expected.tolist()


def unique_of(x):
    """The point of each row, and the number of points."""
    found, _, index = distinct(x, torch.ones(len(x)).double())
    return index, len(found)


def test_scale_of_weights_does_not_matter(short):
    x = points(2)
    choices = [
        fit_mixture(x, K, sample_weight=torch.full((N,), w).double(), initializer="gmm", progress=False)[
            2
        ].search.choice
        for w in (1.0, 1e-50)
    ]
    assert choices[0] == choices[1]


def test_mixtures_of_other_covariances_compete_though_they_agree():
    x, weight = points(2), torch.ones(N).double()
    kinds = ["gmm", "gmm-tied", "gmm-diag"]
    found = candidates([Initializer(kind) for kind in kinds], x, 1, weight, 0)
    assert [one.name for one in found] == kinds


@pytest.mark.parametrize(
    ("x", "k", "more", "message"),
    [
        (torch.zeros(5), 2, {}, r"x: expected shape \(N, D\), got \(5,\)"),
        (torch.full((5, 2), float("nan")), 2, {}, "x: expected finite values, got 10"),
        (torch.zeros(5, 2), 2, {}, "x: expected at least 5 distinct points for n_components = 2, got 1"),
        (points(2)[:10], 9, {}, "x: expected at least 12 distinct points for n_components = 9, got 10"),
        (points(2), 0, {}, "n_components"),
        (points(2), 2, {"sample_weight": [1.0]}, "sample_weight: expected shape"),
        (points(2), 2, {"initializer": None}, "initializer: expected a clustering, got None"),
        (points(2), 2, {"initializer": "magic"}, "initializer: expected"),
    ],
)
def test_errors_name_the_argument(x, k, more, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit_mixture(x, k, progress=False, **more)
