"""Few labels: what initializers make of them, and what fits reach with them."""

import pytest
import torch
from sklearn.cluster import AgglomerativeClustering
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel, two_circles
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.initialization.supervised import match_labels, with_labels
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.training import TrainingConfig, fit

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


def trained(model, guide, x, y, init, warmup=20, **numbers):
    config = TrainingConfig(**{"batch_size": 64} | numbers)
    fit(model, guide, x, y, initializer=Initializer(init, warmup_epochs=warmup), config=config, progress=False)


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
    found = with_labels(Initializer("spectral"), x, seen, Labels([0, 1, 1, 0]))
    torch.testing.assert_close(found.sum(-1), torch.ones(400))
    assert torch.equal(Labels([0, 1, 1, 0]).classes[found.argmax(-1)], y)
    assert bool((found.sum(0) > 40).all())


def test_a_start_with_a_number_of_clusters_of_its_own_keeps_it():
    x, wings = pinwheel(40, wings=4)
    seen = torch.where(torch.arange(160) % 8 == 0, wings % 2, -1)
    found = with_labels(Initializer(AgglomerativeClustering(4)), x, seen, Labels([0, 0, 1, 1]))
    assert found.shape == (160, 4)
    assert float((Labels([0, 0, 1, 1]).classes[found.argmax(-1)] == wings % 2).double().mean()) > 0.95


@pytest.mark.parametrize("soft_labels", [False, True])
@pytest.mark.parametrize("owners", [[0, 1, 2], [0, 0, 1, 2]])
@pytest.mark.parametrize("method", [LabelSpreading("knn"), SelfTrainingClassifier(LogisticRegression())])
def test_a_start_may_learn_from_the_labels(method, owners, soft_labels):
    x, wings = pinwheel(60, wings=3)
    seen = torch.where(torch.arange(180) % 10 == 0, wings, -1)
    y = torch.where((seen >= 0)[:, None], torch.eye(3)[wings], -1.0) if soft_labels else seen
    found = with_labels(Initializer(method), x, y, Labels(owners))
    torch.testing.assert_close(found.sum(-1), torch.ones(180))
    assert float((Labels(owners).classes[found.argmax(-1)] == wings).double().mean()) > 0.95
    assert bool((found.sum(0) > 10).all())


def test_points_that_no_label_reaches_have_equal_shares():
    x = torch.cat([torch.randn(20, 2), 100 + torch.randn(20, 2)])
    y = torch.full((40,), -1)
    y[:2] = torch.tensor([0, 1])
    found = with_labels(Initializer(LabelSpreading("knn", n_neighbors=5)), x, y, Labels([0, 1]))
    torch.testing.assert_close(found[20:], torch.full((20, 2), 0.5))


def test_a_start_that_learns_from_labels_needs_some():
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(mlp(2, 3), 3)
    with pytest.raises(ValueError, match="initializer: expected labels in y for LabelSpreading to learn, got none"):
        trained(model, guide, torch.randn(30, 2), None, LabelSpreading("knn"), epochs=1)


def test_without_an_initializer_labels_set_nothing():
    x, y = pinwheel(20, wings=3)
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2), "learned"), SoftmaxEncoder(mlp(2, 3), 3)
    before = [tensor.clone() for part in (model, guide) for tensor in part.state_dict().values()]
    fit(model, guide, x, y, initializer=None, config=TrainingConfig(epochs=0), progress=False)
    after = [tensor for part in (model, guide) for tensor in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_given_weights_place_the_classes_that_no_label_names():
    counts = torch.tensor([60, 30, 210])
    blob = torch.arange(3).repeat_interleave(counts)
    x = torch.randn(300, 2) + 8 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[blob]
    seen = torch.full((300,), -1)
    seen[:3] = 0
    for y in (None, seen):
        model = FlowMixture(RealNVP(2, 3, transforms=2), [0.2, 0.1, 0.7])
        guide = SoftmaxEncoder(mlp(2, 3), 3)
        trained(model, guide, x, y, "kmeans", warmup=10, epochs=3)
        owned = torch.bincount(model.components.log_prob(x).argmax(0), minlength=3)
        assert bool(((owned - counts).abs() < 6).all()), owned


def test_two_arcs_a_ring_are_learned_from_four_labels():
    x, y = two_circles(400, seed=1)
    seen = torch.where(torch.isin(torch.arange(800), torch.cat([(y == c).nonzero()[:2, 0] for c in (0, 1)])), y, -1)
    labels = Labels([0, 0, 1, 1])
    model = FlowMixture(RealNVP(2, 4, transforms=4), "learned", labels=labels)
    guide = SoftmaxEncoder(mlp(2, 4, (32,)), 4, labels=labels)
    trained(model, guide, x, seen, "spectral", epochs=60, max_grad_norm=5.0)
    x_test, y_test = two_circles(150, seed=2)
    assert float((evaluate(model, guide, x_test).predict() == y_test).double().mean()) > 0.98


def test_a_class_that_no_label_names_is_discovered():
    x, y = pinwheel(100, wings=3)
    seen = torch.where((torch.arange(300) % 20 == 0) & (y != 1), y, -1)
    model, guide = FlowMixture(RealNVP(2, 3, transforms=4), "learned"), SoftmaxEncoder(mlp(2, 3, (32,)), 3)
    trained(model, guide, x, seen, "gmm", epochs=40)
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
    trained(model, guide, x, noisy, "gmm", epochs=40)
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
    trained(model, guide, x, seen, "gmm", epochs=30, learning_rate=1e-2)
    evaluation = evaluate(model, guide, x)
    assert evaluation.class_probs("exact").shape == (240, 2)
    for by in ("encoder", "exact"):
        assert float((evaluation.predict(by) == y).double().mean()) > 0.97


def test_soft_labels_train():
    x, y = pinwheel(100, wings=3)
    soft_labels = 0.8 * torch.nn.functional.one_hot(y, 3).double() + 0.2 / 3
    soft_labels[torch.arange(300) % 10 != 0] = -1
    model, guide = FlowMixture(RealNVP(2, 3, transforms=4)), SoftmaxEncoder(mlp(2, 3, (32,)), 3)
    trained(model, guide, x, soft_labels, "gmm", epochs=30, labelled_fraction=0.2)
    assert float((evaluate(model, guide, x).predict() == y).double().mean()) > 0.95
