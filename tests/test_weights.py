"""Priors on the weights: their densities, their posteriors, and what plain SVI makes of them."""

import itertools

import numpy as np
import pyro
import pyro.optim
import pytest
import torch
from pyro import poutine
from pyro.distributions import Beta, Dirichlet, Normal, TransformedDistribution
from pyro.infer import SVI, Predictive, TraceEnum_ELBO
from pyro.nn import PyroModule
from pyro.nn.module import to_pyro_module_
from torch.distributions import constraints

from pyro_vmonf.components import FlowList, RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import evaluate, posterior_predictive
from pyro_vmonf.guides import (
    DirichletPosterior,
    MAPWeights,
    SoftmaxEncoder,
    StickBreakingPosterior,
    WeightsPosterior,
    mlp,
)
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import DirichletWeights, FlowMixture, SparseDirichletWeights, StickBreakingWeights, WeightsPrior
from pyro_vmonf.objectives import ExpectationMaximization
from pyro_vmonf.reproduce.recipes import Recipe, train_by_recipe
from pyro_vmonf.simplex import StickBreaking
from pyro_vmonf.training import CheckpointError, TrainingConfig, fit

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")

K = 3
PRIORS = {
    "dirichlet": lambda: DirichletWeights([2.0, 1.0, 3.0]),
    "sparse": lambda: SparseDirichletWeights(K),
    "sticks": lambda: StickBreakingWeights(K, 2.0),
}
POSTERIORS = {"point": MAPWeights, "dirichlet": DirichletPosterior, "sticks": StickBreakingPosterior}


class Known(torch.nn.Module):
    """An encoder that knows which of −4, 0 and 4 a point is near, and learns how each one's components share it."""

    def __init__(self, each=1):
        super().__init__()
        self.centres = torch.tensor([-4.0, 0.0, 4.0]).repeat_interleave(each)
        self.offsets = torch.nn.Parameter(torch.zeros(len(self.centres)))

    def forward(self, x):
        return self.offsets - 20 * (x - self.centres).abs()


def apart(counts):
    """Points about −4, 0 and 4, and a mixture of narrow Gaussians there."""
    centres = torch.tensor([-4.0, 0.0, 4.0]).repeat_interleave(torch.tensor(counts))
    x = (centres + 0.1 * torch.randn(len(centres)))[:, None]
    return x[torch.randperm(len(x))], FlowList([Normal(torch.tensor([c]), 0.1).to_event(1) for c in (-4.0, 0.0, 4.0)])


@pytest.mark.parametrize("batch", [60, 20])
@pytest.mark.parametrize(
    ("prior", "posterior", "exact"),
    [
        (DirichletWeights([2.0, 1.0, 3.0]), DirichletPosterior, lambda n: Dirichlet(torch.tensor([2.0, 1.0, 3.0]) + n)),
        (
            StickBreakingWeights(K, 2.0),
            StickBreakingPosterior,
            lambda n: TransformedDistribution(
                Beta(1 + n[:-1], 2.0 + n.flip(0).cumsum(0).flip(0)[1:]).to_event(1), [StickBreaking()]
            ),
        ),
    ],
)
def test_svi_finds_the_conjugate_posterior_whatever_the_batch(prior, posterior, exact, batch):
    counts = [33, 18, 9]
    x, components = apart(counts)
    model, guide = FlowMixture(components, prior), SoftmaxEncoder(Known(), K, weights=posterior(K, 20.0))
    rate = pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.01 ** (1 / 700)})
    svi = SVI(model, guide, rate, TraceEnum_ELBO(num_particles=32, vectorize_particles=True, max_plate_nesting=1))
    pyro.clear_param_store()
    for _ in range(700):
        svi.step(x[torch.randperm(60)[:batch]], size=60)
    found, true = (d.sample((200_000,)) for d in (guide.weights.distribution(), exact(torch.tensor(counts).double())))
    torch.testing.assert_close(found.mean(0), true.mean(0), atol=0.015, rtol=0)
    torch.testing.assert_close(found.var(0), true.var(0), atol=0, rtol=0.2)


@pytest.mark.filterwarnings("ignore::pyro_vmonf.initialization.InitializationWarning")
@pytest.mark.parametrize("batch", [60, 20])
@pytest.mark.parametrize("initializer", ["kmeans", None])
@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_fit_finds_the_conjugate_posterior_of_a_strong_prior_too(strength, initializer, batch):
    counts, a = [33, 18, 9], torch.tensor([3.0, 2.0, 1.0]).flip(0) * strength
    x, components = apart(counts)
    model, guide = (
        FlowMixture(components, DirichletWeights(a)),
        SoftmaxEncoder(Known(), K, weights=DirichletPosterior(K)),
    )
    config = TrainingConfig(epochs=900 * batch // 60, batch_size=batch, learning_rate=2e-2)
    fit(model, guide, x, initializer=initializer, config=config, progress=False)
    found, exact = guide.weights.distribution(), Dirichlet(a + torch.tensor(counts))
    torch.testing.assert_close(found.mean.detach(), exact.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(found.variance.detach(), exact.variance, atol=0, rtol=0.3)


@pytest.mark.parametrize("name", PRIORS)
def test_a_posterior_begins_as_the_conjugate_one(name):
    prior, counts = PRIORS[name](), torch.tensor([33.0, 18.0, 9.0])
    posterior = (StickBreakingPosterior if name == "sticks" else DirichletPosterior)(K)
    posterior.initialize(counts, prior)
    points = Dirichlet(torch.ones(K)).sample((20,))
    ratio = posterior.distribution().log_prob(points) - prior.distribution().log_prob(points)
    likelihood = (counts * points.log()).sum(-1)
    torch.testing.assert_close(ratio - likelihood, (ratio - likelihood).mean().expand(20))


def test_sticks_begin_as_a_dirichlet_posterior_where_the_prior_is_one():
    counts, prior = torch.tensor([33.0, 18.0, 9.0]), DirichletWeights([2.0, 1.0, 3.0])
    posterior = StickBreakingPosterior(K)
    posterior.initialize(counts, prior)
    points = Dirichlet(torch.ones(K)).sample((20,))
    exact = Dirichlet(prior.concentration + counts).log_prob(points)
    torch.testing.assert_close(posterior.distribution().log_prob(points), exact)


@pytest.mark.parametrize(
    "prior",
    [
        DirichletWeights(1.0, 4),
        DirichletWeights([2.0, 0.9, 1.0, 3.0]),
        *(StickBreakingWeights(4, a) for a in (0.5, 1.0, 2.9, 3.0)),
    ],
)
def test_a_prior_has_a_mode_where_its_density_is_bounded(prior):
    """Near the corners and edges of the simplex, at least one of four directions is as steep as any."""
    few = torch.tensor([1e-4, 1e-8, 1e-12])
    corners = [
        torch.stack([few if i in small else (1 - len(small) * few) / (4 - len(small)) for i in range(4)], -1)
        for n in (1, 2, 3)
        for small in itertools.combinations(range(4), n)
    ]
    heights = torch.stack([prior.distribution().log_prob(corner) for corner in corners])
    assert bool((heights.diff(dim=-1) < 1e-2).all()) == prior.has_mode


def test_the_mode_is_found():
    """MAP: π_k ∝ N_k + a_k − 1."""
    counts = [33, 18, 9]
    x, components = apart(counts)
    model = FlowMixture(components, DirichletWeights([2.0, 1.0, 3.0]))
    guide = SoftmaxEncoder(Known(), K, weights=MAPWeights(K))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), TraceEnum_ELBO(max_plate_nesting=1))
    pyro.clear_param_store()
    for _ in range(400):
        svi.step(x)
    torch.testing.assert_close(guide.weights.mean(), torch.tensor([34.0, 18.0, 11.0]) / 63, atol=1e-4, rtol=0)


def test_stick_breaking_inverts_and_its_determinant_is_autograds():
    v = torch.rand(5, 4)
    transform = StickBreaking()
    weights = transform(v)
    assert bool(constraints.simplex.check(weights).all())
    torch.testing.assert_close(transform.inv(weights), v)
    for one, value in zip(v, transform.log_abs_det_jacobian(v, weights), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda u: transform(u)[:-1], one)
        torch.testing.assert_close(value, torch.linalg.slogdet(jacobian).logabsdet)


def test_sticks_of_fitting_lengths_are_a_dirichlet():
    """v_k ~ Beta(a_k, Σ_{j>k} a_j) breaks into Dirichlet(a)."""
    a = torch.tensor([2.0, 0.5, 3.0, 1.0])
    after = a.flip(0).cumsum(0).flip(0)
    broken = TransformedDistribution(Beta(a[:-1], after[1:]).to_event(1), [StickBreaking()])
    weights = Dirichlet(torch.ones(4)).sample((50,))
    torch.testing.assert_close(broken.log_prob(weights), Dirichlet(a).log_prob(weights))


@pytest.mark.parametrize("name", PRIORS)
def test_a_priors_mean_is_that_of_its_draws(name):
    prior = PRIORS[name]()
    drawn = prior.distribution().sample((100_000,))
    torch.testing.assert_close(drawn.mean(0), prior.mean(), atol=0.01, rtol=0)
    torch.testing.assert_close(prior.log_mean().exp(), prior.mean())


@pytest.mark.parametrize("prior", ["dirichlet", "sticks"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_loss_is_the_sum_over_z_and_the_divergence_of_the_weights(prior, posterior):
    x, y = torch.randn(20, 2), torch.arange(20) % 4 - 1
    model = FlowMixture(RealNVP(2, K, transforms=2), PRIORS[prior]())
    guide = SoftmaxEncoder(mlp(2, K), K, weights=POSTERIORS[posterior](K))
    for labels in (None, y):
        torch.manual_seed(7)
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, guide, x, labels, 60)
        torch.manual_seed(7)
        drawn = guide.weights.distribution().rsample()
        log_q = guide.labels.posterior(guide.log_probs(x), labels)
        terms = log_q.exp() * (model.log_joint(x, drawn.log()).T - log_q.clamp(min=-1e9))
        divergence = guide.weights.distribution().log_prob(drawn) - model.weights.distribution().log_prob(drawn)
        torch.testing.assert_close(-loss, 3 * terms.sum() - divergence, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_fit_trains_and_reads_with_the_posteriors_mean(posterior):
    x, _ = pinwheel(80, wings=3)
    model = FlowMixture(RealNVP(2, K, transforms=2), DirichletWeights(2.0, K))
    guide = SoftmaxEncoder(mlp(2, K), K, weights=POSTERIORS[posterior](K))
    config = TrainingConfig(epochs=3, batch_size=64)
    fit(model, guide, x, initializer=Initializer("gmm", warmup_epochs=3), config=config, progress=False)
    torch.testing.assert_close(guide.weights.mean(), torch.full((3,), 1 / 3), atol=0.1, rtol=0)
    mean = guide.log_weights()
    torch.testing.assert_close(evaluate(model, guide, x).evidence, model.evidence(x, mean).detach())


@pytest.mark.parametrize(("prior", "alive"), [(SparseDirichletWeights(6), 3), (DirichletWeights(50.0, 6), 6)])
def test_surplus_components_lose_their_weight_under_a_sparse_prior(prior, alive):
    """From equal weights: three components where there are points, and three where there are none."""
    x, _ = apart([33, 18, 9])
    components = FlowList([Normal(torch.tensor([c]), 0.1).to_event(1) for c in (-4.0, 0.0, 4.0, -2.0, 2.0, 6.0)])
    model, guide = FlowMixture(components, prior), SoftmaxEncoder(mlp(1, 6), 6, weights=DirichletPosterior(6))
    config = TrainingConfig(epochs=1500, batch_size=60, learning_rate=2e-2)
    fit(model, guide, x, initializer=None, config=config, progress=False)
    shares = guide.weights.mean()
    assert int((shares > 0.01).sum()) == alive
    if alive == 3:
        torch.testing.assert_close(shares[:3], torch.tensor([33.0, 18.0, 9.0]) / 60, atol=0.03, rtol=0)


@pytest.mark.parametrize(("prior", "alive"), [(SparseDirichletWeights(6), 3), (DirichletWeights(50.0, 6), 6)])
def test_a_sparse_prior_empties_the_lesser_of_two_copies(prior, alive):
    """Two components at each of three clusters, of which one already has most of the points."""
    x, _ = apart([33, 18, 9])
    components = FlowList([Normal(torch.tensor([c]), 0.1).to_event(1) for c in (-4.0, 0.0, 4.0) for _ in range(2)])
    model, guide = FlowMixture(components, prior), SoftmaxEncoder(Known(2), 6, weights=DirichletPosterior(6))
    guide.network.offsets.data -= torch.tensor([0.0, 3.0] * 3)
    guide.weights.initialize(torch.tensor([31.0, 2.0, 17.0, 1.0, 8.5, 0.5]), DirichletWeights(0.1, 6))
    config = TrainingConfig(epochs=400, batch_size=60, learning_rate=5e-2)
    fit(model, guide, x, initializer=None, config=config, progress=False)
    assert int((guide.weights.mean() > 0.01).sum()) == alive


@pytest.mark.parametrize("how", ["plain", "fraction", "alternate", "delay"])
def test_labels_do_not_change_how_much_the_prior_weighs(how):
    """The posterior counts each of N points once, whatever passes are made of."""
    x, components = apart([100, 60, 40])
    y = torch.where(torch.arange(200) < 20, (x[:, 0] / 4).round().long() + 1, -1)
    model = FlowMixture(components, DirichletWeights(1.0, K))
    guide = SoftmaxEncoder(Known(), K, weights=DirichletPosterior(K, 200 / 3))
    fraction = 0.5 if how == "fraction" else None
    config = TrainingConfig(epochs=150, batch_size=50, learning_rate=2e-2, labelled_fraction=fraction)
    if how in ("plain", "fraction"):
        fit(model, guide, x, y, initializer=None, config=config, progress=False)
    else:
        recipe = Recipe(config, encoder_delay=150 if how == "delay" else 0, alternate=how == "alternate")
        train_by_recipe(model, guide, x, y, recipe=recipe, progress=False)
    assert float(guide.weights.concentration.sum().detach()) == pytest.approx(203, rel=0.15)
    if how in ("plain", "delay"):
        torch.testing.assert_close(guide.weights.mean(), torch.tensor([101.0, 61.0, 41.0]) / 203, atol=0.03, rtol=0)


def test_a_fit_leaves_the_parameter_store_to_the_next_script():
    x, components = apart([20, 20, 20])
    for prior, posterior in (("learned", None), (DirichletWeights(1.0, K), DirichletPosterior(K))):
        model, guide = FlowMixture(components, prior), SoftmaxEncoder(mlp(1, K), K, weights=posterior)
        fit(model, guide, x, initializer=None, config=TrainingConfig(epochs=1), progress=False)
        posterior_predictive(model, guide, size=5, draws=2)
        assert not pyro.get_param_store().keys()


def test_sticks_invert_in_single_precision_too():
    prior = StickBreakingWeights(20, 0.1).float()
    weights = prior.distribution().sample((500,))
    assert weights.dtype == torch.float32
    assert bool(torch.isfinite(prior.distribution().log_prob(weights)).all())


def test_predictive_draws_the_weights_from_their_posterior():
    x, components = apart([30, 20, 10])
    model = FlowMixture(components, DirichletWeights(1.0, K))
    guide = SoftmaxEncoder(Known(), K, weights=DirichletPosterior(K))
    guide.weights.initialize(torch.tensor([300.0, 200.0, 100.0]), model.weights)
    drawn = Predictive(model, guide=guide, num_samples=200)(x)
    assert drawn["weights"].reshape(200, K).shape == (200, K)
    torch.testing.assert_close(drawn["weights"].mean(0).flatten(), torch.tensor([3.0, 2.0, 1.0]) / 6, atol=0.02, rtol=0)
    new = Predictive(model, guide=guide, num_samples=200)(size=50)
    assert new["x"].shape[:2] == (200, 50)
    assert not torch.equal(new["x"][0], new["x"][1])
    torch.testing.assert_close((new["x"] < -2).double().mean(), torch.tensor(0.5), atol=0.03, rtol=0)
    prior = Predictive(model, num_samples=300)(size=40)
    torch.testing.assert_close(prior["weights"].mean(0).flatten(), torch.full((K,), 1 / 3), atol=0.06, rtol=0)


def test_shapes_and_conditioning():
    model = FlowMixture(RealNVP(2, K, transforms=2), DirichletWeights(1.0, K))
    weights = torch.tensor([0.2, 0.3, 0.5])
    trace = poutine.trace(poutine.condition(model, {"weights": weights})).get_trace(torch.randn(5, 2))
    assert "weights dist" in trace.format_shapes()
    torch.testing.assert_close(trace.nodes["z"]["fn"].probs[0], weights)
    assert "weights -> z" in pyro.render_model(model, model_args=(torch.randn(4, 2),)).source


def test_device(device):
    x, _ = pinwheel(30, wings=3)
    model = FlowMixture(RealNVP(2, K, transforms=2), StickBreakingWeights(K))
    guide = SoftmaxEncoder(mlp(2, K), K, weights=StickBreakingPosterior(K))
    initializer = Initializer("kmeans", warmup_epochs=1)
    fit(model.to(device), guide.to(device), x, initializer=initializer, config=TrainingConfig(epochs=1), progress=False)
    assert guide.log_weights().device.type == device


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DirichletWeights([1.0, 0.0]), "concentration: expected finite numbers above 0, got"),
        (lambda: DirichletWeights([1.0, float("nan")]), "concentration: expected finite numbers above 0, got"),
        (lambda: DirichletWeights(-1.0, 3), "concentration: expected a finite number above 0, got -1.0"),
        (lambda: DirichletWeights(1.0), "n_components: expected K beside one concentration"),
        (lambda: DirichletWeights([1.0, 1.0], 3), "concentration: expected 3 numbers, one a component, got 2"),
        (lambda: FlowMixture(RealNVP(2, 3), DirichletWeights([1.0, 1.0])), r"weights: .* shape \(3,\), got \(2,\)"),
        (lambda: StickBreakingWeights(1), "n_components: expected an integer of at least 2, got 1"),
        (lambda: StickBreakingWeights(3, 0.0), "concentration: expected a finite number above 0, got 0.0"),
        (lambda: SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(4)), "weights: expected a posterior of 3"),
        (lambda: DirichletPosterior(3, 0.0), "initial: expected a finite number above 0, got 0.0"),
    ],
)
def test_bad_priors_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class ByName(WeightsPrior):
    """A prior whose parameter is Pyro's, not a module's."""

    def distribution(self):
        return Dirichlet(pyro.param("counts", torch.ones(K), constraint=constraints.positive))

    def mean(self):
        return self.distribution().mean


class LogitPosterior(WeightsPosterior):
    """A user's own: it sets no flag."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.counts = torch.nn.Parameter(torch.tensor(logits)), []

    def distribution(self):
        return Dirichlet(self.logits.exp())

    def mean(self):
        return self.logits.softmax(-1)

    def initialize(self, counts, prior):
        self.counts.append(counts.tolist())


@pytest.mark.parametrize("make", [DirichletPosterior, StickBreakingPosterior])
def test_an_initial_value_counts_as_initialized(make):
    assert not make(K).is_initialized
    assert make(K, initial=1.0).is_initialized  # where its parameters may be zero
    x, components = apart([3, 2, 1])
    for posterior in (make(K, initial=1.0), make(K)):
        before = posterior.mean().detach().clone(), [p.detach().clone() for p in posterior.parameters()]
        kept = bool(posterior.is_initialized)
        guide = SoftmaxEncoder(Known(), K, weights=posterior)
        model, config = FlowMixture(components, DirichletWeights(1.0, K)), TrainingConfig(epochs=0)
        fit(model, guide, x, initializer=None, config=config, progress=False)
        assert posterior.is_initialized
        same = [torch.equal(a, b) for a, b in zip(before[1], posterior.parameters(), strict=True)]
        assert all(same) == kept
        loaded = make(K)
        loaded.load_state_dict(posterior.state_dict())
        assert loaded.is_initialized


def test_a_posterior_of_the_users_is_started_once():
    x, components = apart([3, 2, 1])
    posterior = LogitPosterior([0.0, 0.0, 0.0])
    guide = SoftmaxEncoder(Known(), K, weights=posterior)
    for _ in range(2):
        model, config = FlowMixture(components, DirichletWeights(1.0, K)), TrainingConfig(epochs=1)
        fit(model, guide, x, initializer=None, config=config, progress=False)
    assert posterior.counts == [[2.0, 2.0, 2.0]]


class PosteriorByName(ByName, WeightsPosterior):
    pass


def test_parameters_by_name_are_drawn_from_and_refused_by_a_fit():
    x, components = apart([300, 200, 100])
    model = FlowMixture(components, DirichletWeights(1.0, K))
    guide = SoftmaxEncoder(Known(), K, weights=PosteriorByName())
    svi = SVI(
        model,
        guide,
        pyro.optim.Adam({"lr": 0.1}),
        TraceEnum_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1),
    )
    for _ in range(100):
        svi.step(x)
    shares = torch.bincount(posterior_predictive(model, guide, size=600).z.flatten(), minlength=K) / 60_000
    torch.testing.assert_close(shares, guide.weights.mean().detach().to(shares), atol=0.03, rtol=0)
    assert float(shares[0]) > 0.4
    with pytest.raises(ValueError, match=r"by pyro.param, which fit would not train|\['counts'\]"):
        fit(model, guide, x, initializer=None, config=TrainingConfig(epochs=1), progress=False)


def test_a_checkpoint_is_of_one_prior(tmp_path):
    x, components = apart([20, 20, 20])
    for strength in (1.0, 500.0):
        model = FlowMixture(components, DirichletWeights(strength, K))
        guide = SoftmaxEncoder(Known(), K, weights=DirichletPosterior(K))
        settings = {"initializer": None, "config": TrainingConfig(epochs=1), "progress": False}
        settings["checkpoint"] = tmp_path / "fit.safetensors"
        if strength == 1.0:
            fit(model, guide, x, **settings)
        else:
            with pytest.raises(CheckpointError, match="weights"):
                fit(model, guide, x, **settings)


def test_modules_become_pyros_own_kind():
    """Pyro's idiom for priors on parameters finds modules that it can turn."""
    model, guide = FlowMixture(RealNVP(2, K), "learned"), SoftmaxEncoder(mlp(2, K), K)
    x, elbo = torch.randn(5, 2), TraceEnum_ELBO(max_plate_nesting=1)
    before = elbo.loss(model, guide, x)
    for part in (model, guide):
        to_pyro_module_(part)
    assert isinstance(model.components, PyroModule)
    assert elbo.loss(model, guide, x) == pytest.approx(before)


class Drawn(torch.nn.Module):
    def forward(self):
        return pyro.sample("weights", Dirichlet(torch.ones(K))).log()


@pytest.mark.parametrize("one", [2.0, torch.tensor(2.0), np.float32(2), np.array(2.0)])
def test_one_concentration_may_be_any_number(one):
    assert DirichletWeights(one, 3).concentration.tolist() == [2.0] * 3


def test_a_concentration_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="concentration: expected a number or K numbers"):
        DirichletWeights("1.0", 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FlowMixture(RealNVP(2, 3), Drawn()),
        lambda: SoftmaxEncoder(mlp(2, 3), 3, weights="dirichlet"),
        lambda: SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior),
        lambda: SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletWeights(1.0, 3)),
        lambda: FlowMixture(RealNVP(2, 3), DirichletPosterior(3)),
        lambda: FlowMixture(RealNVP(2, 3), MAPWeights(3)),
    ],
)
def test_other_things_than_priors_and_posteriors_are_named(make):
    with pytest.raises(TypeError, match="weights: expected a"):
        make()


@pytest.mark.parametrize(
    ("prior", "posterior", "settings", "message"),
    [
        (DirichletWeights(1.0, K), None, {}, r"guide: expected .* it has no \['weights'\]"),
        ("learned", DirichletPosterior(K), {}, r"guide: expected .* it has \['weights'\] too"),
        (SparseDirichletWeights(K), MAPWeights(K), {}, "guide: expected a distribution of π, .* no mode"),
        (StickBreakingWeights(K, 1.9), MAPWeights(K), {}, "guide: expected a distribution of π, .* no mode"),
        (
            DirichletWeights(1.0, K),
            DirichletPosterior(K),
            {"objective": ExpectationMaximization()},
            r"objective: expected Elbo\(\) for a model with the sites \['weights'\]",
        ),
    ],
)
def test_programs_that_do_not_fit_are_named(prior, posterior, settings, message):
    x, _ = pinwheel(20, wings=3)
    model, guide = FlowMixture(RealNVP(2, K), prior), SoftmaxEncoder(mlp(2, K), K, weights=posterior)
    with pytest.raises(ValueError, match=message):
        fit(model, guide, x, config=TrainingConfig(epochs=1), progress=False, **settings)
