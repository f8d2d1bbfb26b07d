"""Weights of points: a point of weight 2 counts as two, and one of weight 0 is not there."""

import copy

import numpy as np
import pytest
import torch
from pyro.infer import TraceEnum_ELBO

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import DirichletPosterior, MAPWeights, SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import DirichletWeights, FlowMixture, Labels
from pyro_vmonf.objectives import (
    Batch,
    Consistency,
    Elbo,
    ExpectationMaximization,
    LabelTerm,
    MatchResponsibilities,
)
from pyro_vmonf.training import DeadComponentWarning, TrainingConfig, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.initialization.GaussianStartWarning"),  # of parameters moved by hand
]
X, Y = pinwheel(10, wings=3)
X, N = X.double(), 30
WEIGHT = 1 + (torch.arange(N) % 3 == 1).double()
TWICE = torch.cat([torch.arange(N), (WEIGHT == 2).nonzero().squeeze(-1)])
TARGET = torch.rand(N, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(-1)
SEEN = torch.where(torch.arange(N) % 2 == 0, Y, -1)
SOFT = torch.where((SEEN >= 0)[:, None], torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64), -1.0)
CONSISTENCY = {
    name: Consistency(2.0, lambda x: 1.1 * x + 0.3, name)  # a perturbation that is no matter of chance
    for name in ("encoder", "exact", "initializer")
}
OBJECTIVES = {
    "elbo": Elbo(),
    "em": ExpectationMaximization(),
    "match": MatchResponsibilities(),
    "labels": LabelTerm(0.7),
    "sum": Elbo() + LabelTerm(0.5) + CONSISTENCY["encoder"],
    **{f"consistency-{name}": term for name, term in CONSISTENCY.items()},
}
LABELS = {"none": None, "some": SEEN, "all": Y, "soft": SOFT}
PAIRS = {
    "plain": ("learned", None, None),
    "noisy": ("learned", None, lambda: Labels([0, 1, 2], 0.1)),
    "map": (lambda: DirichletWeights(2.0, 3), lambda: MAPWeights(3), None),
    "prior": (lambda: DirichletWeights(2.0, 3), lambda: DirichletPosterior(3, initial=4.0), None),
}


def pair(kind="plain"):
    weights, posterior, make = PAIRS[kind]
    labels = None if make is None else make()
    model = FlowMixture(RealNVP(2, 3, transforms=2), weights if isinstance(weights, str) else weights(), labels)
    guide = SoftmaxEncoder(mlp(2, 3, (8,)), 3, labels=labels, weights=None if posterior is None else posterior())
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model, guide


def batch_of(indices, y, weight):
    """The points as one batch, which is the whole data set, and beside them the labelled ones."""
    x, size = X[indices], float(len(indices)) if weight is None else float(weight.sum())
    y = None if y is None else y[indices]
    target = TARGET[indices]
    has = torch.zeros(len(x), dtype=torch.bool) if y is None else (y if y.dim() == 1 else y.amax(-1)) >= 0
    rows = has.nonzero().squeeze(-1)
    labelled = None
    if len(rows):
        own = None if weight is None else weight[rows]
        labelled = Batch(x[rows], size, y[rows], own, target[rows], len(rows))
    return Batch(x, size, y, weight, target, len(rows), labelled)


def loss_and_gradients(pair, objective, batch):
    torch.manual_seed(3)  # a posterior of the weights is drawn from
    for part in pair:
        part.zero_grad()
    loss, metrics = objective(*pair, batch)
    loss.backward()
    return [loss.detach(), *metrics.values()], [p.grad for part in pair for p in part.parameters()]


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_weight_two_is_the_point_twice(objective, labels, kind):
    """Loss, metrics and gradients at full batch, from the same parameters."""
    if labels == "none" and objective == "labels":
        pytest.skip("no labels to teach")
    if PAIRS[kind][1] is not None and objective == "em":
        pytest.skip("generalised EM takes no prior")
    both, y = pair(kind), LABELS[labels]
    found, gradients = loss_and_gradients(both, OBJECTIVES[objective], batch_of(torch.arange(N), y, WEIGHT))
    expected, same = loss_and_gradients(both, OBJECTIVES[objective], batch_of(TWICE, y, None))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
    assert any(p is not None for p in gradients)
    for a, b in zip(gradients, same, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def quick(pair, x=X, y=None, weight=None, **settings):
    numbers = {name: settings.pop(name) for name in ("epochs", "batch_size") if name in settings}
    config = TrainingConfig(**{"epochs": 2, "batch_size": 1000, "schedule": "constant"} | numbers)
    base = {"initializer": None, "config": config, "progress": False}
    return fit(*pair, x, y, sample_weight=weight, **base | settings)


def same(pair, other):
    tensors = ([t for part in parts for t in part.state_dict().values()] for parts in (pair, other))
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


@pytest.mark.parametrize("labels", LABELS)
def test_a_fit_with_weights_is_one_on_repeated_points(labels):
    """One batch an epoch; the labelled points of a batch fit into it, too."""
    both, y = pair(), LABELS[labels]
    twins = copy.deepcopy(both)
    weighted = quick(both, y=y, weight=WEIGHT, validation=X, epochs=4)
    repeated = quick(twins, X[TWICE], None if y is None else y[TWICE], validation=X, epochs=4)
    for a, b in zip(*([p for part in parts for p in part.parameters()] for parts in (both, twins)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-8)
    for row, other in zip(weighted.rows, repeated.rows, strict=True):
        assert {k: v for k, v in row.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in other.items() if k != "seconds"}, abs=1e-8
        )


@pytest.mark.parametrize("initializer", [None, "kmeans", "gmm"])
@pytest.mark.parametrize("labels", LABELS)
def test_points_of_no_weight_are_not_there(labels, initializer):
    weight = WEIGHT * (torch.arange(N) % 5 > 0)
    kept, y = weight > 0, LABELS[labels]
    both = pair()
    twins = copy.deepcopy(both)
    start = None if initializer is None else Initializer(initializer, warmup_epochs=2)
    quick(both, y=y, weight=weight, batch_size=8, initializer=start)
    quick(twins, X[kept], None if y is None else y[kept], weight[kept], batch_size=8, initializer=start)
    assert same(both, twins)


def test_weights_of_one_scale_are_no_weights_but_for_priors():
    both = pair()
    twins = copy.deepcopy(both)
    quick(both, weight=np.full(N, 7), batch_size=8)
    quick(twins, batch_size=8)
    for a, b in zip(*([p for part in parts for p in part.parameters()] for parts in (both, twins)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-8)


BAD = [
    (-WEIGHT, ValueError, "expected numbers of at least 0, one above 0, got -2.0"),
    (WEIGHT - 1.5, ValueError, "expected numbers of at least 0, one above 0, got -0.5"),
    (0 * WEIGHT, ValueError, "expected numbers of at least 0, one above 0, got 0.0"),
    (WEIGHT[:5], ValueError, r"expected shape \(30,\), one for each x, got \(5,\)"),
    (WEIGHT[:, None], ValueError, r"expected shape \(30,\), one for each x, got \(30, 1\)"),
    (2.0, ValueError, r"expected shape \(30,\), one for each x, got \(\)"),
    (WEIGHT.log() / 0, ValueError, "expected finite values"),
    (torch.where(WEIGHT == 1, torch.nan, 1.0), ValueError, "expected finite values, got 20 NaN or infinite of 30"),
    (["a"] * N, TypeError, "expected numbers, got list of <U1"),
]


@pytest.mark.parametrize(("weight", "error", "message"), BAD)
def test_bad_weights_are_named_before_any_work(weight, error, message):
    both = pair()
    before = copy.deepcopy(both)
    with pytest.raises(error, match=f"sample_weight: {message}"):
        quick(both, weight=weight)
    assert same(both, before)


@pytest.mark.parametrize("normalization", [None, "act"])
def test_a_start_sets_weighted_shares_and_moments(normalization):
    """Weights of the mixture, whitening, and what ActNorm standardises, in a fit that does nothing but start."""
    torch.manual_seed(0)
    x, z = torch.randn(200, 2) @ torch.tensor([[1.0, 0.4], [0.0, 0.8]]), torch.arange(200) % 3
    x += 4.0 * torch.nn.functional.one_hot(z, 3)[:, :2]
    weight = torch.rand(200) * 3
    components = RealNVP(2, 3, transforms=2, **{} if normalization is None else {"normalization": normalization})
    both = FlowMixture(components, "learned"), SoftmaxEncoder(mlp(2, 3), 3)
    quick(both, x, weight=weight, initializer=Initializer(z.numpy(), warmup_epochs=0), epochs=0)
    shares = torch.stack([weight[z == k].sum() for k in range(3)]) / weight.sum()
    torch.testing.assert_close(both[0].weights().exp().detach(), shares)
    whiten = components.transforms[-1]
    for k in range(3):
        u, own = whiten.inv(x.expand(3, *x.shape))[k, z == k].detach(), weight[z == k]
        mean = own @ u / own.sum()
        torch.testing.assert_close(mean, torch.zeros(2), atol=1e-5, rtol=0)
        covariance = (own[:, None] * u).T @ u / own.sum()
        torch.testing.assert_close(covariance, torch.eye(2), atol=0.01, rtol=0)
        plain = x[z == k].mean(0)
        assert bool((whiten.inv(plain.expand(3, 1, 2))[k] != 0).all())
    if normalization == "act":
        y = x.expand(3, *x.shape)
        for part in reversed(components.transforms):
            y = part.inv(y).detach()
        for k in range(3):  # couplings start near the identity, so all that came in is standard still
            own = weight[z == k] / weight[z == k].sum()
            assert float((own @ y[k, z == k]).abs().max()) < 0.1


def test_a_posterior_of_the_weights_begins_from_weighted_counts():
    both = pair("prior")
    both[1].weights.is_initialized.fill_(False)
    quick(both, weight=WEIGHT, initializer=Initializer(Y.numpy(), warmup_epochs=0), epochs=0)
    counts = torch.stack([WEIGHT[k == Y].sum() for k in range(3)])
    torch.testing.assert_close(both[1].weights.concentration.detach(), counts + 2.0, atol=1e-6, rtol=0)
    both = pair("prior")
    both[1].weights.is_initialized.fill_(False)
    quick(both, weight=WEIGHT, epochs=0)
    torch.testing.assert_close(both[1].weights.concentration.detach(), torch.full((3,), 40 / 3 + 2.0))


def test_a_held_out_fraction_keeps_its_weights():
    weight = torch.arange(N) + 1.0
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    held = order[:6]
    both = pair()
    history = quick(both, weight=weight, validation=0.2, epochs=1)
    evaluation = evaluate(*both, X[held])
    for name in ("elbo", "evidence"):
        expected = float(weight[held] @ getattr(evaluation, name) / weight[held].sum())
        assert history.rows[0][f"validation_{name}"] == pytest.approx(expected, abs=1e-10)


def test_trials_are_compared_by_weighted_points():
    """The clouds that weigh nothing to speak of decide nothing."""
    weight = torch.where(Y == 0, 1e6, 1.0)
    both = pair()
    starts = [Initializer("kmeans", warmup_epochs=1), None]
    history = quick(both, weight=weight, initializer=starts, epochs=2)
    assert len(history.restarts) == 2
    assert {"validation_elbo", "chosen"} <= set(history.restarts[0])


def test_points_of_no_weight_keep_no_component_alive():
    both = pair()
    far = torch.cat([X, torch.tensor([[100.0, 100.0]])])
    weight = torch.cat([WEIGHT, torch.zeros(1)])
    with torch.no_grad():
        for parameter in both[1].parameters():
            parameter.zero_()
        both[1].network[-1].bias.copy_(torch.tensor([0.0, -60.0, -60.0]))
    with pytest.warns(DeadComponentWarning, match=r"components \[1, 2\] own no point"):
        quick(both, far, weight=weight, epochs=0)


def test_the_program_wants_a_guide_that_enumerates():
    """With z enumerated in the model alone the weights have no scalar scale, and Pyro says so."""
    model, guide = pair()
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    with pytest.raises(ValueError, match=r"enumeration only supports scalar poutine\.scale"):
        elbo.loss(model, lambda *args: None, X, None, None, WEIGHT)
    found = elbo.loss(model, guide, X, None, None, WEIGHT)
    assert found == pytest.approx(float(-(WEIGHT * evaluate(model, guide, X).elbo).sum()), abs=1e-9)
    with pytest.raises(ValueError, match=r"weight: expected shape \(30,\), one for each x, got \(5,\)"):
        elbo.loss(model, guide, X, None, None, WEIGHT[:5])


@pytest.mark.parametrize("features", [None, "array"])
def test_arrays_for_all_points_may_go_with_zero_weights_and_validation(features):
    """An initializer given as an array has a row for each x that the user gave, not for those that are used."""
    torch.manual_seed(0)
    x = torch.cat([torch.randn(30, 2) - 4, torch.randn(30, 2) + 4])
    z = torch.arange(2).repeat_interleave(30)
    weight = (torch.arange(60) % 5 != 0).to(x)
    found = []
    for given, w, start in ((x, weight, z), (x[weight > 0], None, z[weight > 0])):
        torch.manual_seed(1)
        model, guide = FlowMixture(RealNVP(2, 2, transforms=2), "learned"), SoftmaxEncoder(mlp(2, 2), 2)
        initializer = Initializer(start.numpy()) if features is None else Initializer("kmeans", given.numpy())
        config = TrainingConfig(epochs=1)
        fit(
            model, guide, given, sample_weight=w, validation=0.2, initializer=initializer, config=config, progress=False
        )
        found.append(model.weights().detach())
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=0)
