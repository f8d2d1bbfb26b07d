"""Labels in the default call: merged with equal rows, dealt out among folds, taught, and told in the report."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from sklearn.datasets import make_moons
from sklearn.semi_supervised import LabelSpreading

from pyro_vmonf import evaluate, fit_mixture
from pyro_vmonf.automatic import Schedule, SearchConfig, arguments
from pyro_vmonf.automatic.data import EnsembleData
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import SOME, fold_count
from pyro_vmonf.automatic.label_encoder import copy_encoders, said, teach_encoders, teach_encoders_for
from pyro_vmonf.automatic.label_methods import LABEL_METHODS, clamped_mixture
from pyro_vmonf.automatic.label_starts import labelled_candidates, members_of, weights_of
from pyro_vmonf.automatic.label_terms import bounds, known, label_log_probs
from pyro_vmonf.automatic.labelled import accuracy_of, as_probabilities, hidden, labelled_folds, merged
from pyro_vmonf.automatic.training import Leg, train, train_for
from pyro_vmonf.automatic.values import objective
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.initialization import InitializationWarning
from pyro_vmonf.initialization import clustering as clusterings
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.labels import Labels

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),  # so short fits leave one
]

K, N = 3, 60


def points(seed=0):
    """Three clouds of 20 points, and their classes."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(N) % K
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    return (centres[y] + 0.6 * torch.randn(N, 2, generator=random)).double(), y


def shown(y, count):
    """The labels of the first points of each class, −1 elsewhere."""
    found = torch.full_like(y, -1)
    for c in range(int(y.max()) + 1):
        rows = (y == c).nonzero().squeeze(-1)[:count]
        found[rows] = c
    return found


@pytest.fixture
def short(monkeypatch):
    """Trains for a short time, where the quality is not the subject."""
    budget = Schedule(40, 30, 20)
    monkeypatch.setattr(arguments, "SearchConfig", partial(SearchConfig, short=budget, long=budget))


def test_labels_as_probabilities():
    assert as_probabilities(None, 3, 2) is None
    assert as_probabilities([-1, -1, -1], 3, 2) is None
    assert as_probabilities([0, -1, 0], 3, 1) is None
    assert as_probabilities([1, -1, 0], 3, 2).tolist() == [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    soft = torch.tensor([[0.25, 0.75], [-1.0, -1.0]])
    assert as_probabilities(soft, 2, 2).tolist() == [[0.25, 0.75], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1], r"y: expected shape \(60,\), one label for each x, got \(2,\)"),
        ([3] * N, "y: expected labels from -1 \\(unlabelled\\) to 2, got 3 to 3"),
        ([-2] * N, "y: expected labels from -1"),
        ([0.5] * N, "y: expected integer labels, got torch.float"),
        (["a"] * N, "y: expected numbers"),
        (torch.full((N, 2), 0.5), r"y: expected soft labels of shape \(60, 3\), got \(60, 2\)"),
        (torch.full((N, K), 0.5), "y: expected soft labels ≥ 0 that sum to 1 in each row"),
    ],
)
def test_errors_name_y(y, message, monkeypatch):
    monkeypatch.setattr("pyro_vmonf.automatic.fitting.labelled_candidates", pytest.fail)  # before any work
    with pytest.raises((ValueError, TypeError), match=message):
        fit_mixture(points()[0], K, y, progress=False)


def test_equal_rows_have_the_mean_of_their_labels():
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    found = merged(labels, torch.tensor([1.0, 3.0, 9.0, 1.0]), torch.tensor([0, 0, 0, 1]), 2)
    assert found.tolist() == [[0.25, 0.75], [0.0, 0.0]]  # rows without a label have no part in the mean


@pytest.mark.parametrize("count", [2, 5, 7])
@pytest.mark.parametrize("n", [N, SOME + 60])
def test_folds_deal_out_each_class(n, count):
    y = torch.arange(n) % K
    labels = as_probabilities(shown(y, count), n, K)
    folds, parts = labelled_folds(labels, seed=0)
    assert len(folds) == fold_count(n)
    assert len({len(rows) for rows in folds.kept}) == len({len(rows) for rows in folds.held_out}) == 1
    for kept, out in zip(folds.kept, folds.held_out, strict=True):
        assert torch.cat([kept, out]).sort().values.tolist() == list(range(n))
    assert sum(labels[rows].sum() for rows in parts) == K * count  # each is hidden once
    for rows in parts:
        each = labels[rows].sum(0)
        assert bool((each <= -(-count // 5)).all())
        assert bool((each >= count // 5).all())


def test_only_label_of_a_class_is_never_held_out():
    labels = as_probabilities(shown(torch.arange(N) % K, 1), N, K)
    folds, parts = labelled_folds(labels, seed=0)
    assert all(not bool(known(labels[rows]).any()) for rows in [*parts, *folds.held_out])


def test_bound_is_that_of_fit():
    random = torch.Generator().manual_seed(0)
    log_joint, log_q = torch.randn(1, K, 4, generator=random), torch.randn(1, K, 4, generator=random).log_softmax(1)
    y = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.3, 0.7], [0.0, 1.0, 0.0]])
    classes = Labels(range(K))
    given = torch.where(known(y).unsqueeze(-1), y, -torch.ones_like(y))
    log_r = classes.posterior(log_q[0].T, given)
    expected = (log_r.exp() * (log_joint[0].T - log_r)).sum(-1)
    torch.testing.assert_close(bounds(log_joint, log_q, y[None])[0], expected, atol=1e-6, rtol=0)
    rows = known(y)
    expected = classes.log_prob(log_q[0].T[rows], y[rows])
    torch.testing.assert_close(label_log_probs(log_q, y[None])[0][rows], expected)


def ensemble_of(x, y, size=2):
    """An ensemble that begins as the Gaussians of the classes."""
    torch.manual_seed(0)
    ensemble = Ensemble(2, K, WARPS["A"], size).double()
    means = torch.stack([x[y == c].mean(0) for c in range(K)])
    ensemble.set_gaussians(
        Gaussians(
            torch.full((size, K), 1 / K).double().log(),
            means.expand(size, -1, -1).contiguous(),
            torch.eye(2).double().expand(size, K, 2, 2).contiguous(),
        )
    )
    return ensemble


def data_of(x, y, counts):
    """The points of an ensemble whose mixtures know so many labels of each class."""
    size = len(counts)
    labels = torch.stack([as_probabilities(shown(y, count), len(x), K) for count in counts])
    target = torch.full((size, len(x), K), 1 / K).double()
    return EnsembleData(x.expand(size, -1, -1).clone(), target, torch.ones(size, len(x)).double(), labels)


@pytest.mark.parametrize("steps", [20, 100])  # eager, and captured
def test_labels_teach_the_encoder(steps):
    x, y = points()
    wrong = (y + 1) % K
    data, ensemble = data_of(x, wrong, (2, 20)), ensemble_of(x, y)
    noise = 0.05 * torch.eye(2).double()
    before = label_log_probs(ensemble(data.x)[1], data.labels).sum(1)
    train_for(ensemble, data, noise, Schedule(steps, steps, 50), [Leg(True, steps)])
    after = label_log_probs(ensemble(data.x)[1], data.labels).sum(1)
    assert bool((after > before).all())


def test_number_of_labels_may_differ_between_mixtures():
    x, y = points()
    both, ensemble = data_of(x, y, (1, 4)), ensemble_of(x, y)
    rows, labels, weight = both.labelled()
    assert rows.shape == (2, 12, 2)
    assert weight.sum(1).tolist() == [3, 12]
    assert labels[1].argmax(-1).bincount().tolist() == [4, 4, 4]
    found = objective(ensemble, both.x, both.target, both.weight, torch.zeros(()), both.labels)
    alone = data_of(x, y, (1,))
    expected = objective(ensemble_of(x, y, 1), alone.x, alone.target, alone.weight, torch.zeros(()), alone.labels)
    torch.testing.assert_close(found[:1], expected)


def test_flows_and_encoders_have_their_own_warm_up():
    x, y = points()
    ensemble, data = ensemble_of(x, y), data_of(x, y, (3, 3))
    found = train(ensemble, data, data, 0.05 * torch.eye(2).double(), Schedule(40, 20, 10), folds=2)
    assert found.encoder_warmup.shape == found.warmup.shape == (1,)


@pytest.mark.parametrize("steps", [30, 100])  # eager, and captured
def test_encoders_learn_before_flows(steps):
    x, y = points()
    target = (0.9 * torch.nn.functional.one_hot((y + 1) % K, K) + 0.1 / K).double()
    data = replace(data_of(x, (y + 1) % K, (3, 3)), target=target.expand(2, -1, -1).clone())
    ensemble = ensemble_of(x, y)
    noise, flows = 0.05 * torch.eye(2).double(), [p.clone() for p in ensemble.groups()[0]]
    before = said(ensemble, data.x, data.target).mean().detach()
    at, score = teach_encoders(ensemble, data, data, noise, Schedule(steps, 0, 50), folds=2)
    assert at.shape == score.shape == (1,)
    assert 0 < int(at[0]) <= steps
    after = said(ensemble, data.x, data.target).mean().detach()
    assert float(after) > float(before)
    torch.testing.assert_close(score[0], after)
    other = ensemble_of(x, y)
    copy_encoders(other, ensemble, [1, 0])
    torch.testing.assert_close(said(other, data.x, data.target).mean().detach(), after)
    assert all(torch.equal(a, b) for a, b in zip(flows, ensemble.groups()[0], strict=True))
    teach_encoders_for(ensemble, data, noise, Schedule(steps, 0, 50), steps)
    assert float(said(ensemble, data.x, data.target).mean().detach()) > float(after)


@pytest.mark.parametrize("name", sorted(LABEL_METHODS))
def test_methods_learn_from_labels(name):
    x, y = points()
    labels = as_probabilities(shown(y, 3), N, K)
    probs = LABEL_METHODS[name](x, labels, torch.ones(N).double())
    torch.testing.assert_close(probs.sum(-1), torch.ones(N).double())
    assert float((probs.argmax(-1) == y).double().mean()) > 0.9


def test_clamped_mixture_counts_weights():
    x, y = points()
    labels = as_probabilities(shown(y, 3), N, K)
    weight = torch.ones(N).double()
    weight[30:40] = 2
    twice = torch.cat([x, x[30:40]])
    again = clamped_mixture(twice, torch.cat([labels, labels[30:40]]), torch.ones(N + 10).double())
    torch.testing.assert_close(clamped_mixture(x, labels, weight), again[:N], atol=1e-2, rtol=0)


def test_weights_follow_hidden_labels():
    labels = torch.eye(2).double().repeat(10, 1)
    right, wrong = 0.9 * labels + 0.05, 0.9 * (1 - labels) + 0.05
    errors, shares = weights_of(torch.stack([right, wrong, right]), labels, torch.ones(20).double())
    assert errors.tolist() == pytest.approx([1 / 22, 21 / 22, 1 / 22])
    assert shares.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=1e-3)


def candidates_of(initializers, labels, x, is_auto=False):
    """The starts of a search, and why these."""
    parts = labelled_folds(labels, 0)[1]
    methods = [Initializer(one) for one in initializers]
    return labelled_candidates(methods, x, labels, parts, torch.ones(len(x)).double(), folds=5, is_auto=is_auto, seed=0)


def test_enough_labels_give_one_start():
    x, y = points()
    labels = as_probabilities(shown(y, 5), N, K)
    (found,), (reason,) = candidates_of(["gmm", "ward"], labels, x, is_auto=True)
    assert found.name == "labels"
    assert len(found.by_fold) == 5
    assert "15 labels" in reason
    assert float((found.labels == y).double().mean()) > 0.95


def test_hidden_labels_have_no_part_in_what_methods_say():
    x, y = points()
    labels = as_probabilities(shown(y, 5), N, K)
    parts = labelled_folds(labels, 0)[1]
    own = parts[0][known(labels[parts[0]])]
    other = labels.clone()
    other[own] = other[own].roll(1, -1)  # the labels that the first part hides are wrong
    methods = [Initializer("gmm"), Initializer(LabelSpreading("knn"))]
    first, second = (
        members_of(methods, x, each, parts, torch.ones(N).double(), is_auto=True, seed=0) for each in (labels, other)
    )
    assert len(first) == 2 + len(LABEL_METHODS)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.by_part[0], b.by_part[0])
        assert not torch.equal(a.by_part[1], b.by_part[1])


def test_few_labels_leave_clusterings_to_compete():
    x, y = points()
    labels = as_probabilities(shown(y, 1), N, K)
    found, reasons = candidates_of(["gmm", "ward"], labels, x)
    assert [one.name for one in found] == ["gmm", "ward"]
    assert "compete" in reasons[0]
    assert all(float((one.labels == y).double().mean()) > 0.95 for one in found)  # in the order of the labels


def test_accuracy_of_held_out_labels():
    table = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    labels = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])
    assert accuracy_of(table, labels, torch.tensor([[3.0, 1.0, 1.0]])) == 0.75
    assert accuracy_of(table, torch.zeros_like(labels), torch.ones(1, 3)) is None


def test_hidden_labels():
    assert hidden(torch.eye(2), torch.tensor([1])).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_components_are_the_classes(short):
    x, y = points()
    model, guide, history = fit_mixture(1000 * x, K, shown(y, 4), initializer=["gmm", "spectral"], progress=False)
    found = evaluate(model, guide, 1000 * x)
    assert float((found.predict() == y).double().mean()) > 0.95
    assert float((found.predict("exact") == y).double().mean()) > 0.95
    assert found.class_probs().shape == (N, K)
    assert "labels" in str(history.search).split("\n")[0]
    assert history.search.rows[0].labels is not None


def test_order_and_repetition_do_not_matter(short):
    x, y = points()
    given, weight = shown(y, 4), torch.ones(N)
    weight[:10] = 2
    order = torch.randperm(N + 10, generator=torch.Generator().manual_seed(0))
    more, labels = torch.cat([x, x[:10]])[order], torch.cat([given, given[:10]])[order]
    first = fit_mixture(x, K, given, sample_weight=weight, initializer="gmm", progress=False)
    second = fit_mixture(more, K, labels, initializer="gmm", progress=False)
    assert first[2].search.choice == second[2].search.choice
    torch.testing.assert_close(first[1].probs(x), second[1].probs(x), atol=1e-4, rtol=0)


def test_no_label_equals_no_y(short):
    x, y = points()
    first, second = (
        fit_mixture(x, K, given, initializer="gmm", progress=False)[0] for given in (None, torch.full_like(y, -1))
    )
    assert torch.equal(first.evidence(x), second.evidence(x))


def test_labels_settle_what_clusters_leave_open(monkeypatch):
    """Each class is two clouds, so that clusters alone may join them in three ways."""
    monkeypatch.setattr(arguments, "SearchConfig", partial(SearchConfig, long=Schedule(200, 100, 60)))
    random = torch.Generator().manual_seed(0)
    corner = torch.arange(160) % 4
    centres = torch.tensor([[0.0, 0.0], [3.0, 3.0], [3.0, 0.0], [0.0, 3.0]])
    x = centres[corner] + 0.4 * torch.randn(160, 2, generator=random)
    y = (corner > 1).long()
    given = torch.full_like(y, -1)
    given[:24] = y[:24]
    model, guide, _ = fit_mixture(x, 2, given, progress=False)
    assert float((evaluate(model, guide, x).predict() == y).double().mean()) > 0.9


def test_unnamed_class_is_found(short):
    x, y = points()
    given = shown(y, 5)
    given[given == 2] = -1
    model, guide, _ = fit_mixture(x, K, given, initializer=["gmm", "ward"], progress=False)
    assert float((evaluate(model, guide, x).predict() == y).double().mean()) > 0.95


def test_soft_labels(short):
    x, y = points()
    soft = torch.full((N, K), -1.0)
    soft[:12] = 0.1 / K + 0.9 * torch.eye(K)[y[:12]]
    model, guide, _ = fit_mixture(x, K, soft, initializer="gmm", progress=False)
    assert float((evaluate(model, guide, x).predict() == y).double().mean()) > 0.95


def test_moons_with_few_labels(monkeypatch):
    monkeypatch.setattr(arguments, "SearchConfig", partial(SearchConfig, long=Schedule(300, 200, 60)))
    x, y = make_moons(150, noise=0.06, random_state=0)
    given = shown(torch.as_tensor(y), 5)
    model, guide, history = fit_mixture(x, 2, given, progress=False)
    assert float((evaluate(model, guide, x).predict().numpy() == y).mean()) > 0.97, str(history.search)


def test_labels_that_say_little_do_not_stop_a_fit(short):
    x, y = points()
    soft = torch.tensor([0.4, 0.35, 0.25]).expand(N, K).clone()  # one class is the most probable of all
    assert fit_mixture(x, K, soft, progress=False)[0].evidence(x).isfinite().all()
    twice, both = torch.cat([x, x]), torch.cat([y, (y + 1) % K])  # equal rows with different labels
    assert fit_mixture(twice, K, both, progress=False)[0].evidence(x).isfinite().all()


def test_labels_of_points_without_weight_are_none(short):
    x, y = points()
    given = shown(y, 3)
    weight = (given < 0).double()
    model = fit_mixture(x, K, given, sample_weight=weight, initializer="gmm", progress=False)[0]
    other = fit_mixture(x[given < 0], K, initializer="gmm", progress=False)[0]
    torch.testing.assert_close(model.evidence(x), other.evidence(x))


def test_a_start_that_fails_is_left_out(short, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no clusters today")

    monkeypatch.setitem(clusterings.METHODS, "spectral", fails)
    x, y = points()
    with pytest.warns(InitializationWarning, match="no clusters today"):
        fit_mixture(x, K, shown(y, 5), progress=False)


def test_encoder_sees_features_through_their_splines():
    x, _ = points()
    ensemble = Ensemble(2, K, WARPS["M"], 1).double()
    with torch.no_grad():
        for parameter in ensemble.marginal.parameters():
            parameter.add_(torch.randn_like(parameter))
    torch.testing.assert_close(ensemble.log_q(x[None]), ensemble(x[None])[1])
