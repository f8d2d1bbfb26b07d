"""Labels: what they say of z, the objective they enter, and what a fit makes of a few of them."""

import copy

import numpy as np
import pytest
import torch
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.optim import Adam
from sklearn.cluster import AgglomerativeClustering
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from pyro_vmonf import plots
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel, two_circles
from pyro_vmonf.evaluation import calibration, calibration_error, evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.inference import fit
from pyro_vmonf.inference.options import Options
from pyro_vmonf.inference.run import Run
from pyro_vmonf.inference.start import Start, match_labels, with_labels
from pyro_vmonf.models import FlowMixture, Labels

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.DeadComponentWarning")
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
    settings = {"init": None, "schedule": "constant", "batch_size": 100, "learning_rate": 1e-3, "label_weight": 0.7}
    history = fit(model, guide, x, given, epochs=1, progress=False, **settings)

    def with_labels(model, guide, *args):
        term = guide.label_log_prob(x[y >= 0], given[y >= 0]).mean()
        return TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, guide, *args) / N - 0.7 * term

    # Pyro asks an ELBO for both, and steps on the second.
    svi = SVI(*twins, Adam({"lr": 1e-3}), loss=with_labels, loss_and_grads=backward(with_labels))
    value = svi.step(x, given)
    assert value == pytest.approx(-history.rows[0]["elbo"] - 0.7 * history.rows[0]["labels"], abs=1e-10)
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


@pytest.mark.parametrize("posterior", ["encoder", "exact"])
def test_all_labelled_is_supervised_training(posterior):
    """Each component by maximum likelihood on its class alone, the weights on the shares, q by log q(y | x)."""
    x, y = pinwheel(10, wings=3)
    model, guide = pair(Labels([0, 1, 2]))
    twins = copy.deepcopy((model, guide))
    settings = {"init": None, "schedule": "constant", "batch_size": 100, "learning_rate": 1e-3, "progress": False}
    fit(model, guide, x, y, epochs=3, posterior=posterior, **settings)
    if posterior == "exact":  # the encoder has a second term then
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
    run = Run(model, guide, x, y, Options(posterior="exact"), torch.device("cpu"))
    found = run.objective(x, y, torch.arange(N), N)[0]
    torch.testing.assert_close(found, loss(model, lambda *args: None, x, y) / N)


def test_batches_have_the_share_of_labels_asked_for():
    x, y = torch.randn(100, 2), torch.where(torch.arange(100) < 7, 0, -1)
    run = Run(*pair(Labels([0, 1])), x, y, Options(batch_size=20, labelled_share=0.25), torch.device("cpu"))
    batches = run.mixed()
    assert all(abs(int((y[b] >= 0).sum()) - 0.25 * len(b)) < 1 for b in batches)
    indices = torch.cat(batches)
    counts = torch.bincount(indices, minlength=100)
    assert bool((counts[7:] == 1).all())
    assert int(counts[:7].max() - counts[:7].min()) <= 1
    plain = Run(*pair(Labels([0, 1])), x, y, Options(batch_size=20), torch.device("cpu")).mixed()
    assert torch.equal(torch.cat(plain).sort().values, torch.arange(100))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_batch_that_is_not_full_has_that_share_too(share):
    x, y = torch.randn(100, 2), torch.where(torch.arange(100) < 10, 0, -1)
    (batch,) = Run(*pair(Labels([0, 1])), x, y, Options(labelled_share=share), torch.device("cpu")).mixed()
    assert float((y[batch] >= 0).double().mean()) == pytest.approx(share, abs=0.01)


def test_given_weights_place_the_classes_that_no_label_names():
    counts = torch.tensor([60, 30, 210])
    blob = torch.arange(3).repeat_interleave(counts)
    x = torch.randn(300, 2) + 8 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[blob]
    seen = torch.full((300,), -1)
    seen[:3] = 0
    for y in (None, seen):
        model = FlowMixture(RealNVP(2, 3, transforms=2), [0.2, 0.1, 0.7])
        guide = SoftmaxEncoder(mlp(2, 3), 3)
        fit(model, guide, x, y, init="kmeans", epochs=3, init_epochs=10, batch_size=64, progress=False)
        owned = torch.bincount(model.components.log_prob(x).argmax(0), minlength=3)
        assert bool(((owned - counts).abs() < 6).all()), owned


def test_labels_come_back_with_their_state(tmp_path):
    saved, other = Labels([0, 0, 1], 0.1), Labels([0, 1, 1])
    other.load_state_dict(saved.state_dict())
    assert str(other) == str(saved)
    torch.testing.assert_close(other(), saved())
    settings = {"init": None, "epochs": 1, "progress": False, "checkpoint": tmp_path / "fit.pt"}
    fit(*pair(saved), X, torch.where(torch.arange(20) < 3, 0, -1), **settings)
    with pytest.raises(ValueError, match="labels"):
        fit(*pair(Labels([0, 1, 1])), X, torch.where(torch.arange(20) < 3, 0, -1), **settings)


def test_the_labels_order_a_start_and_overrule_it():
    r = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.0, 0.2, 0.8], [0.0, 0.1, 0.9], [0.1, 0.8, 0.1]])
    found, _ = match_labels(r, torch.tensor([1, -1, 0, -1, 1]), Labels([0, 1, 1]))
    torch.testing.assert_close(found.sum(-1), torch.ones(5))
    assert found[:, 0].tolist() == pytest.approx([0, 0.1, 1, 0.9, 0], abs=1e-9)
    torch.testing.assert_close(found[0, 1:].sort().values, torch.tensor([0.1, 0.9]))


def test_a_start_finds_the_classes_before_their_components():
    """Four arcs of two rings, two of which no label meets: each is in its ring's class all the same."""
    x, y = two_circles(200, seed=0)
    seen = torch.full_like(y, -1)
    for c in (0, 1):
        indices = ((y == c) & (x[:, 0] > 0.3)).nonzero().squeeze(-1)[:2]
        seen[indices] = c
    found = with_labels(Start("spectral"), x, seen, Labels([0, 1, 1, 0]))
    torch.testing.assert_close(found.sum(-1), torch.ones(400))
    assert torch.equal(Labels([0, 1, 1, 0]).classes[found.argmax(-1)], y)
    assert bool((found.sum(0) > 40).all())
    assert with_labels(Start("random"), x, seen, Labels([0, 0, 1, 1])) is None


def test_a_start_with_a_number_of_clusters_of_its_own_keeps_it():
    x, wings = pinwheel(40, wings=4)
    seen = torch.where(torch.arange(160) % 8 == 0, wings % 2, -1)
    found = with_labels(Start(AgglomerativeClustering(4)), x, seen, Labels([0, 0, 1, 1]))
    assert found.shape == (160, 4)
    assert float((Labels([0, 0, 1, 1]).classes[found.argmax(-1)] == wings % 2).double().mean()) > 0.95


@pytest.mark.parametrize("soft_labels", [False, True])
@pytest.mark.parametrize("owners", [[0, 1, 2], [0, 0, 1, 2]])
@pytest.mark.parametrize("method", [LabelSpreading("knn"), SelfTrainingClassifier(LogisticRegression())])
def test_a_start_may_learn_from_the_labels(method, owners, soft_labels):
    x, wings = pinwheel(60, wings=3)
    seen = torch.where(torch.arange(180) % 10 == 0, wings, -1)
    y = torch.where((seen >= 0)[:, None], torch.eye(3)[wings], -1.0) if soft_labels else seen
    found = with_labels(Start(method), x, y, Labels(owners))
    torch.testing.assert_close(found.sum(-1), torch.ones(180))
    assert float((Labels(owners).classes[found.argmax(-1)] == wings).double().mean()) > 0.95
    assert bool((found.sum(0) > 10).all())


def test_points_that_no_label_reaches_have_equal_shares():
    x = torch.cat([torch.randn(20, 2), 100 + torch.randn(20, 2)])
    y = torch.full((40,), -1)
    y[:2] = torch.tensor([0, 1])
    found = with_labels(Start(LabelSpreading("knn", n_neighbors=5)), x, y, Labels([0, 1]))
    torch.testing.assert_close(found[20:], torch.full((20, 2), 0.5))


def test_a_start_that_learns_from_labels_needs_some():
    with pytest.raises(ValueError, match="init: expected labels in y for LabelSpreading to learn, got none"):
        fit(*pair(Labels([0, 1, 2])), torch.randn(30, 2), init=LabelSpreading("knn"), epochs=1, progress=False)


def test_two_arcs_a_ring_are_learned_from_four_labels():
    x, y = two_circles(400, seed=1)
    seen = torch.where(torch.isin(torch.arange(800), torch.cat([(y == c).nonzero()[:2, 0] for c in (0, 1)])), y, -1)
    labels = Labels([0, 0, 1, 1])
    model = FlowMixture(RealNVP(2, 4, transforms=4), "learned", labels=labels)
    guide = SoftmaxEncoder(mlp(2, 4, (32,)), 4, labels=labels)
    fit(model, guide, x, seen, init="spectral", epochs=40, batch_size=64, clip_norm=5.0, progress=False)
    x_test, y_test = two_circles(150, seed=2)
    assert float((evaluate(model, guide, x_test).predict() == y_test).double().mean()) > 0.98


def test_a_class_that_no_label_names_is_discovered():
    x, y = pinwheel(100, wings=3)
    seen = torch.where((torch.arange(300) % 20 == 0) & (y != 1), y, -1)
    model, guide = FlowMixture(RealNVP(2, 3, transforms=4), "learned"), SoftmaxEncoder(mlp(2, 3, (32,)), 3)
    fit(model, guide, x, seen, init="gmm", epochs=40, batch_size=64, progress=False)
    assert float((evaluate(model, guide, x).predict() == y).double().mean()) > 0.95


def test_noisy_labels_are_outvoted():
    x, y = pinwheel(100, wings=3)
    wrong = torch.rand(300, generator=torch.Generator().manual_seed(0)) < 0.3
    noisy = torch.where(wrong, (y + 1 + torch.arange(300) % 2) % 3, y)
    labels = Labels(range(3), 0.3)
    model, guide = (
        FlowMixture(RealNVP(2, 3, transforms=4), "learned", labels),
        SoftmaxEncoder(mlp(2, 3), 3, 1.0, labels),
    )
    fit(model, guide, x, noisy, init="gmm", epochs=40, batch_size=64, progress=False)
    evaluation = evaluate(model, guide, x)
    assert float((evaluation.predict("exact") == y).double().mean()) > 0.97
    assert float((evaluation.predict() == y).double().mean()) > 0.97


def test_several_components_make_a_class():
    x, wings = pinwheel(60, wings=4)
    y = wings % 2
    seen = torch.where(torch.arange(240) % 12 == 0, y, -1)
    labels = Labels([0, 0, 1, 1])
    model = FlowMixture(RealNVP(2, 4, transforms=2), "learned", labels)
    guide = SoftmaxEncoder(mlp(2, 4, (32,)), 4, labels=labels)
    fit(model, guide, x, seen, init="gmm", epochs=30, batch_size=64, learning_rate=1e-2, progress=False)
    evaluation = evaluate(model, guide, x)
    assert evaluation.class_probs("exact").shape == (240, 2)
    for by in ("encoder", "exact"):
        assert float((evaluation.predict(by) == y).double().mean()) > 0.97


def test_soft_labels_train():
    x, y = pinwheel(100, wings=3)
    soft_labels = 0.8 * torch.nn.functional.one_hot(y, 3).double() + 0.2 / 3
    soft_labels[torch.arange(300) % 10 != 0] = -1
    model, guide = FlowMixture(RealNVP(2, 3, transforms=4)), SoftmaxEncoder(mlp(2, 3, (32,)), 3)
    fit(model, guide, x, soft_labels, init="gmm", epochs=30, batch_size=64, labelled_share=0.2, progress=False)
    assert float((evaluate(model, guide, x).predict() == y).double().mean()) > 0.95


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
    assert plots.reliability({"fair": table, "sharp": calibration(sharp, y)}).axes


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
    ("y", "settings", "error", "message"),
    [
        (Y + 1, {}, ValueError, "y: expected labels from -1 .* to 2, got 1 to 3"),
        (Y / 2, {}, TypeError, "y: expected integer labels, got torch.float"),
        (0 * Y - 1, {}, ValueError, "y: expected a label at least, got −1 throughout"),
        (0.9 * SOFT_LABELS, {}, ValueError, "y: expected soft labels ≥ 0 that sum to 1 .* got 20 other rows"),
        (SOFT_LABELS.index_fill(0, torch.tensor([0]), torch.nan), {}, ValueError, "got 1 other rows"),
        (SOFT_LABELS.long(), {}, TypeError, r"y: expected integers \(20,\), or soft labels as floating-point"),
        (np.array(["a"] * 20), {}, TypeError, "y: expected numbers, got ndarray that holds others"),
        (["a"] * 20, {}, TypeError, "y: expected numbers, got list that holds others"),
        (None, {"labelled_share": 0.5}, ValueError, "labelled_share: expected labels in y"),
        (None, {"interleave": True}, ValueError, "interleave.*: expected labels in y"),
        (SOFT_LABELS[:, :2], {}, ValueError, r"y: expected soft labels of shape \(20, 3\), got \(20, 2\)"),
        (Y, {"label_weight": -1.0}, ValueError, "label_weight: expected a finite number above 0, got -1.0"),
        (Y, {"labelled_share": 1.0}, ValueError, "labelled_share: expected a number between 0 and 1, got 1.0"),
        (Y, {"labelled_share": 0.5, "interleave": True}, ValueError, "labelled_share: expected None with interleave"),
    ],
)
def test_a_fit_refuses(y, settings, error, message):
    with pytest.raises(error, match=message):
        fit(*pair(Labels(range(3))), X, y, progress=False, **settings)


def test_a_guide_with_other_labels_is_refused():
    model, _ = pair(Labels(range(3)))
    _, guide = pair(Labels(range(3), 0.1))
    with pytest.raises(ValueError, match=r"guide: expected the model's labels, Labels\(.*noise=0\), got"):
        fit(model, guide, X, Y, progress=False)
