"""Labels: what they say of z, the objective they enter, and what a fit makes of a few of them."""

import copy

import numpy as np
import pytest
import torch
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.optim import Adam

from pyro_vmonf import plots
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import calibration, calibration_error
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.objectives import Batch, Elbo, ExpectationMaximization, LabelTerm
from pyro_vmonf.steps import EagerStep
from pyro_vmonf.training import Trainer, TrainingConfig, TrainingData, fit
from pyro_vmonf.training.batches import batches_of

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
KINDS = {"plain": ([0, 1, 2], 0.0), "noisy": ([0, 1, 2], 0.2), "several": ([0, 1, 0, 1, 1], 0.0)}
KINDS["both"] = ([0, 1, 0], 0.1)
N = 12


def pair(labels):
    k = len(labels.classes)
    model = FlowMixture(RealNVP(2, k, transforms=2), "learned", labels)
    guide = SoftmaxEncoder(mlp(2, k, (16,)), k, labels=labels)
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model, guide


def loss(model, guide, *args):
    return TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, guide, *args)


def some_labels(labels):
    """Labels for a third of the points."""
    return torch.where(torch.arange(N) % 3 == 0, torch.randint(labels.n_classes, (N,)), -1)


@pytest.mark.parametrize("kind", KINDS)
def test_restriction_is_bayes_rule(kind):
    labels = Labels(*KINDS[kind])
    torch.testing.assert_close(labels().exp().sum(-1), torch.ones(len(labels.classes)))
    q, y = torch.randn(N, len(labels.classes)).softmax(-1), some_labels(labels)
    table = labels().exp()
    expected = torch.stack([q[n] * table[:, c] if (c := int(y[n])) >= 0 else q[n] for n in range(N)])
    found = labels.posterior(q.log(), y).exp()
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True))
    seen = y >= 0
    torch.testing.assert_close(labels.log_prob(q[seen].log(), y[seen]).exp(), expected[seen].sum(-1))
    torch.testing.assert_close(labels.class_log_probs(q.log()).exp().sum(-1), torch.ones(N))


@pytest.mark.parametrize("kind", ["plain", "several"])
def test_a_certain_soft_label_is_a_label(kind):
    labels = Labels(*KINDS[kind])
    logits, y = torch.randn(N, len(labels.classes)).log_softmax(-1), some_labels(labels)
    soft_labels = torch.nn.functional.one_hot(y.clamp(min=0), labels.n_classes).double()
    soft_labels[y < 0] = -1
    torch.testing.assert_close(labels.posterior(logits, y), labels.posterior(logits, soft_labels))
    seen = y >= 0
    torch.testing.assert_close(labels.log_prob(logits[seen], y[seen]), labels.log_prob(logits[seen], soft_labels[seen]))


def test_a_soft_label_fixes_the_classes_and_leaves_the_rest():
    labels = Labels(*KINDS["several"])
    logits, soft_labels = torch.randn(1, 5).log_softmax(-1), torch.tensor([[0.3, 0.7]])
    found, q = labels.posterior(logits, soft_labels).exp()[0], logits.exp()[0]
    torch.testing.assert_close(found[[0, 2]], 0.3 * q[[0, 2]] / q[[0, 2]].sum())
    torch.testing.assert_close(found[[1, 3, 4]], 0.7 * q[[1, 3, 4]] / q[[1, 3, 4]].sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_programs_observe_labels(kind):
    """The ELBO of x and y by brute force, and, with z summed in the model, log p(x, y)."""
    labels = Labels(*KINDS[kind])
    model, guide = pair(labels)
    x, y = torch.randn(N, 2), some_labels(labels)
    joint = model.log_joint(x).T + labels.log_likelihood(y)
    q = labels.posterior(guide.log_probs(x), y).exp()
    expected = torch.where(q > 0, q * (joint - q.log()), 0.0).sum()
    torch.testing.assert_close(loss(model, guide, x, y), -expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(loss(model, lambda *args: None, x, y), -joint.logsumexp(-1).sum(), atol=1e-10, rtol=0)
    soft_labels = torch.rand(N, labels.n_classes)
    soft_labels = torch.where((y >= 0).unsqueeze(-1), soft_labels / soft_labels.sum(-1, keepdim=True), -1.0)
    loss(model, guide, x, soft_labels).backward()
    (-guide.label_log_prob(x[y >= 0], y[y >= 0]).mean() + loss(model, guide, x, y)).backward()
    for parameter in [*model.parameters(), *guide.parameters()]:
        assert bool(torch.isfinite(parameter.grad).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("soft_labels", [False, True])
def test_a_step_is_that_of_plain_svi(kind, soft_labels):
    """One step of ``fit`` on all points against Pyro's ``SVI`` on the two programs with the term α log q(y | x)."""
    labels = Labels(*KINDS[kind])
    model, guide = pair(labels)
    twins = copy.deepcopy((model, guide))
    x, y = torch.randn(N, 2), some_labels(labels)
    given = torch.where((y >= 0).unsqueeze(-1), labels().exp()[y.clamp(min=0) % 2], -1.0) if soft_labels else y
    config = TrainingConfig(epochs=1, schedule="constant", batch_size=100, learning_rate=1e-3)
    objective = Elbo() + LabelTerm(0.7)
    history = fit(model, guide, x, given, initializer=None, objective=objective, config=config, progress=False)

    def with_labels(model, guide, *args):
        term = guide.label_log_prob(x[y >= 0], given[y >= 0]).mean()
        return TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, guide, *args) / N - 0.7 * term

    # Pyro asks an ELBO for both, and steps on the second.
    svi = SVI(*twins, Adam({"lr": 1e-3}), loss=with_labels, loss_and_grads=backward(with_labels))
    value = svi.step(x, given)
    assert value == pytest.approx(-history.rows[0]["elbo"] - 0.7 * history.rows[0]["label_log_prob"], abs=1e-10)
    for a, b in zip(
        [*model.parameters(), *guide.parameters()], [p for t in twins for p in t.parameters()], strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def backward(function):
    def loss_and_grads(*args):
        value = function(*args)
        value.backward()
        return value.item()

    return loss_and_grads


@pytest.mark.parametrize("objective", [Elbo(), ExpectationMaximization()])
def test_all_labelled_is_supervised_training(objective):
    """Each component by maximum likelihood on its class alone, the weights on the shares, q by log q(y | x)."""
    x, y = pinwheel(10, wings=3)
    model, guide = pair(Labels([0, 1, 2]))
    twins = copy.deepcopy((model, guide))
    config = TrainingConfig(epochs=3, schedule="constant", batch_size=100, learning_rate=1e-3)
    fit(model, guide, x, y, initializer=None, objective=objective + LabelTerm(), config=config, progress=False)
    if objective == ExpectationMaximization():  # the encoder has a second term then
        guide = twins[1]
    optimizer = torch.optim.Adam([p for t in twins for p in t.parameters()], lr=1e-3)
    for _ in range(3):
        each = [twins[0].components.component(k).log_prob(x[y == k]).sum() for k in range(3)]
        weights = twins[0].weights()[y].sum()
        supervised = -(sum(each) + weights) / 30 - twins[1].log_probs(x)[torch.arange(30), y].mean()
        optimizer.zero_grad()
        supervised.backward()
        optimizer.step()
    for a, b in zip(
        [*model.parameters(), *guide.parameters()], [p for t in twins for p in t.parameters()], strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_posterior_with_labels_maximises_log_p_of_x_and_y(kind):
    labels = Labels(*KINDS[kind])
    model, guide = pair(labels)
    x, y = torch.randn(N, 2), some_labels(labels)
    found = ExpectationMaximization()(model, guide, Batch(x, N, y, all_labelled=bool((y >= 0).all())))
    torch.testing.assert_close(found.metrics["evidence"], -loss(model, lambda *args: None, x, y).detach() / N)
    joint = model.log_joint(x).T + labels.log_likelihood(y)
    encoder = -(joint.detach().softmax(-1) * guide.log_probs(x)).sum(-1).mean()
    torch.testing.assert_close(found.value, encoder - found.metrics["evidence"])


def batches(y, **numbers):
    return list(batches_of(TrainingConfig(**numbers))(TrainingData(torch.randn(len(y), 2), y)))


def test_batches_have_the_fraction_of_labels_asked_for():
    y = torch.where(torch.arange(100) < 7, 0, -1)
    found = batches(y, batch_size=20, labelled_fraction=0.25)
    assert all(abs(int((y[b] >= 0).sum()) - 0.25 * len(b)) < 1 for b in found)
    counts = torch.bincount(torch.cat(found), minlength=100)
    assert bool((counts[7:] == 1).all())
    assert int(counts[:7].max() - counts[:7].min()) <= 1
    plain = batches(y, batch_size=20)
    assert torch.equal(torch.cat(plain).sort().values, torch.arange(100))


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_batch_that_is_not_full_has_that_fraction_too(fraction):
    y = torch.where(torch.arange(100) < 10, 0, -1)
    (batch,) = batches(y, labelled_fraction=fraction)
    assert float((y[batch] >= 0).double().mean()) == pytest.approx(fraction, abs=0.01)


@pytest.mark.parametrize("y", [None, torch.zeros(100).long()])
def test_a_fraction_has_no_part_where_all_points_are_alike(y):
    data = TrainingData(torch.randn(100, 2), y)
    found = list(batches_of(TrainingConfig(batch_size=20, labelled_fraction=0.25))(data))
    assert torch.equal(torch.cat(found).sort().values, torch.arange(100))


def test_labelled_points_join_a_batch_that_is_not_labelled_throughout():
    x, y = torch.randn(100, 2), torch.where(torch.arange(100) < 30, 1, -1)
    trainer = Trainer(*pair(Labels([0, 1])), TrainingData(x, y), TrainingConfig(batch_size=20), step=EagerStep)
    for indices in (torch.arange(20, 40), torch.arange(60, 80)):
        batch = trainer.batch(indices)
        assert torch.equal(batch.x, x[indices])
        assert (batch.y is None) == (not bool((y[indices] >= 0).any()))
        assert not batch.all_labelled
        assert (len(batch.labelled.x), batch.labelled.all_labelled) == (20, True)
        assert len(batch.labelled.x.unique(dim=0)) == 20
        assert bool(torch.isin(batch.labelled.x, x[:30]).all())
    whole = trainer.batch(torch.arange(20))
    assert whole.all_labelled
    assert whole.labelled is None


def test_calibration_is_that_of_the_draws():
    random = np.random.default_rng(0)
    p = random.dirichlet([1.0, 1.0, 1.0], 20000)
    y = (p.cumsum(1) < random.random((20000, 1))).sum(1)
    table = calibration(p, y)
    assert table[:, 0].sum() == pytest.approx(1)
    assert calibration_error(p, y) < 0.02
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    assert calibration_error(sharp, y) > 0.1
    assert calibration_error(np.eye(3)[y], y) == 0
    assert calibration_error([[0.75, 0.25]] * 2, [0, 1]) == pytest.approx(0.25)
    with pytest.raises(TypeError, match="tables: expected a dictionary of names and calibrations, got ndarray"):
        plots.reliability(table)
    assert plots.reliability({"fair": table, "sharp": calibration(sharp, y)}).lines


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda: Labels([0, 2]),
            ValueError,
            r"classes: expected a component for each class from 0, got none for \[1\]",
        ),
        (lambda: Labels([]), ValueError, "classes: expected a component for each class"),
        (lambda: Labels([0, -1]), ValueError, "classes: expected an integer of at least 0, got -1"),
        (lambda: Labels([0, 1], 0.5), ValueError, r"noise: expected a number from 0 to below 0.5, got 0.5"),
        (lambda: Labels([0, 0], 0.1), ValueError, r"noise: expected 0, as there is one class, got 0.1"),
        (lambda: Labels([0, 1], "0.1"), ValueError, "noise: expected a number from 0"),
        (lambda: Labels(3), TypeError, "classes: expected K integers, the class of each component, got 3"),
        (lambda: Labels([0, 1], -0.1), ValueError, "noise: expected a number from 0"),
        (lambda: FlowMixture(RealNVP(2, 2), labels=Labels([0, 1, 1])), ValueError, "labels: .* 2 components, got 3"),
        (lambda: FlowMixture(RealNVP(2, 2), labels=[0, 1]), TypeError, "labels: expected Labels, got list"),
        (lambda: calibration([[0.5, 0.4]], [0]), ValueError, "probabilities: expected numbers ≥ 0 that sum to 1"),
        (lambda: calibration([[0.5, 0.5]], [2]), ValueError, r"probabilities: expected shape \(1, C\)"),
        (lambda: calibration([[0.5, 0.5]], [1], 0), ValueError, "bins: expected an integer of at least 1"),
    ],
)
def test_bad_input_is_named(act, error, message):
    with pytest.raises(error, match=message):
        act()


X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3
SOFT_LABELS = torch.nn.functional.one_hot(Y, 3).double()


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (Y + 1, ValueError, "y: expected labels from -1 .* to 2, got 1 to 3"),
        (Y / 2, TypeError, "y: expected integer labels, got torch.float"),
        (0 * Y - 1, ValueError, "y: expected a label at least of the points to train on, got −1 throughout"),
        (0.9 * SOFT_LABELS, ValueError, "y: expected soft labels ≥ 0 that sum to 1 .* got 20 other rows"),
        (SOFT_LABELS.index_fill(0, torch.tensor([0]), torch.nan), ValueError, "got 1 other rows"),
        (SOFT_LABELS.long(), TypeError, r"y: expected integers \(20,\), or soft labels as floating-point"),
        (np.array(["a"] * 20), TypeError, "y: expected numbers, got ndarray of <U1"),
        (["a"] * 20, TypeError, "y: expected numbers, got list of <U1"),
        (SOFT_LABELS[:, :2], ValueError, r"y: expected soft labels of shape \(20, 3\), got \(20, 2\)"),
    ],
)
def test_a_fit_refuses(y, error, message):
    with pytest.raises(error, match=message):
        fit(*pair(Labels(range(3))), X, y, progress=False)


def test_a_guide_with_other_labels_is_refused():
    model, _ = pair(Labels(range(3)))
    _, guide = pair(Labels(range(3), 0.1))
    with pytest.raises(ValueError, match=r"guide: expected the model's labels, Labels\(.*noise=0\), got"):
        fit(model, guide, X, Y, progress=False)
