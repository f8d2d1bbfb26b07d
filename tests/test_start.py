"""How a fit begins: clusterings, their responsibilities, what they set, and competitions among them."""

import copy
import importlib

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.mixture import BayesianGaussianMixture
from sklearn.pipeline import make_pipeline

from pyro_vmonf.components import FlowList, RealNVP
from pyro_vmonf.data import Noise, pinwheel, two_circles
from pyro_vmonf.evaluation import accuracy, evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.inference import DeadComponentWarning, NonFiniteError, Start, StartWarning, fit
from pyro_vmonf.inference.opening import draw_anew
from pyro_vmonf.inference.start import match_labels, starts
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.transforms.networks import MADE, ConditionerMLP, MaskedLinear

opening = importlib.import_module("pyro_vmonf.inference.opening")
module = importlib.import_module("pyro_vmonf.inference.clustering")
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.DeadComponentWarning")
CENTRES = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
Z = torch.arange(3).repeat_interleave(torch.tensor([100, 60, 40]))
X = CENTRES[Z] + torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pair(components=None, weights="learned"):
    components = components or RealNVP(2, 3, transforms=2)
    k = components.n_components
    return FlowMixture(components, weights), SoftmaxEncoder(mlp(2, k), k)


def quick(model, guide, x, **settings):
    base = {"epochs": 2, "init_epochs": 3, "trial_epochs": 1, "batch_size": 64, "progress": False}
    return fit(model, guide, x, **base | settings)


def by_hand(features):
    """A user's own clustering."""
    return np.argmin([np.linalg.norm(features - c, axis=1) for c in CENTRES.numpy()], axis=0)


METHODS = ["kmeans", "gmm", "spectral", AgglomerativeClustering(3), BayesianGaussianMixture(n_components=3), by_hand]
METHODS += [HDBSCAN(min_cluster_size=20, copy=True), Z.numpy(), torch.nn.functional.one_hot(Z, 3)]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: getattr(m, "__name__", None) or str(m).split("(")[0][:12])
def test_every_method_finds_the_clouds(method):
    r = Start(method).responsibilities(X, 3, seed=1)
    assert r.shape == (200, 3)
    assert r.dtype == X.dtype
    assert bool((r >= 0).all())
    torch.testing.assert_close(r.sum(-1), torch.ones(200))
    assert accuracy(Z, r.argmax(-1)) > 0.98


FEATURES = [None, "pca", X, X.numpy(), lambda x: x * 2, FastICA(2), [lambda x: x + 1, "pca"]]


@pytest.mark.parametrize("features", FEATURES, ids=["x", "pca", "tensor", "array", "function", "transformer", "list"])
def test_every_space_will_do(features):
    r = Start("gmm", features).responsibilities(X, 3)
    assert accuracy(Z, r.argmax(-1)) > 0.98


def test_umap_is_a_space():
    pytest.importorskip("umap")
    start = Start("spectral", "umap")
    assert start.reduce(X).shape == (200, 5)
    assert accuracy(Z, start.responsibilities(X, 3).argmax(-1)) > 0.98


def test_the_spectral_start_sees_rings_where_the_others_see_halves():
    x, y = two_circles(200)
    assert accuracy(y, Start("spectral").responsibilities(x, 2).argmax(-1)) == 1.0
    assert accuracy(y, Start("gmm").responsibilities(x, 2).argmax(-1)) < 0.7


def test_many_points_are_clustered_by_their_neighbours(monkeypatch):
    monkeypatch.setattr("pyro_vmonf.inference.clustering.SPECTRAL_POINTS", 90)
    assert accuracy(Z, Start("spectral").responsibilities(X, 3).argmax(-1)) > 0.98


def test_noise_points_are_shared_alike():
    labels = Z.numpy().copy()
    labels[:5] = -1
    r = Start(labels).responsibilities(X, 3)
    torch.testing.assert_close(r[:5], torch.full((5, 3), 1 / 3))


def test_names_for_tables():
    assert Start("gmm").name == "gmm"
    assert Start("spectral", [by_hand, "umap"]).name == "spectral on by_hand umap"
    assert Start(AgglomerativeClustering(3), X).name == "AgglomerativeClustering on array"


def test_auto_reduces_what_has_many_features():
    assert [s.name for s in starts("auto", 2)] == ["gmm", "spectral"]
    assert [s.name for s in starts("auto", 784)] == ["gmm on pca", "spectral on pca"]
    assert [s.name for s in starts(["kmeans", Start("gmm", "pca")], 2)] == ["kmeans", "gmm on pca"]
    assert starts(None, 2)[0].random


def test_labels_order_the_components():
    r = torch.nn.functional.one_hot((Z + 1) % 3, 3).double()
    y = torch.where(torch.arange(200) % 20 == 0, Z, -1)
    assert torch.equal(match_labels(r, y, Labels(range(3)))[0].argmax(-1), Z)


def test_a_start_whitens_each_share_and_sets_the_weights():
    model, guide = pair()
    quick(model, guide, X, init=Z.numpy(), init_epochs=0, epochs=0)
    torch.testing.assert_close(model.weights().exp().detach(), torch.tensor([0.5, 0.3, 0.2]), atol=1e-9, rtol=0)
    whiten = model.components.transforms[-1]
    for k in range(3):
        u = whiten.inv(X.expand(3, *X.shape))[k, k == Z]
        torch.testing.assert_close(u.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(u.T.cov(correction=0), torch.eye(2), atol=0.02, rtol=0)


def test_the_first_epochs_teach_the_responsibilities():
    model, guide = pair()
    r = torch.nn.functional.one_hot(Z, 3).double() * 0.9 + 0.1 / 3
    history = quick(model, guide, X, init=r, init_epochs=150, epochs=0, learning_rate=2e-2)
    assert len(history.rows) == 150
    evaluation = evaluate(model, guide, X)
    assert accuracy(Z, evaluation.encoder_probs.argmax(-1)) > 0.98
    torch.testing.assert_close(evaluation.encoder_probs.mean(0), r.mean(0), atol=0.02, rtol=0)


def test_members_that_cannot_follow_data_are_named():
    plain = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
    model, guide = pair(FlowList([RealNVP(2, 1, transforms=2), plain, RealNVP(2, 1, transforms=2, whiten=False)]))
    with pytest.warns(StartWarning, match=r"components \[1, 2\] have no part that follows data"):
        quick(model, guide, X, init="gmm")


def test_a_competition_is_won_by_held_out_elbo():
    x, _ = two_circles(200)
    model, guide = pair(RealNVP(2, 2, transforms=6, hidden_features=(16,)))
    settings = {"init_epochs": 30, "trial_epochs": 10, "epochs": 20, "learning_rate": 1e-2}
    history = quick(model, guide, x, init="auto", n_init=2, **settings)
    assert [(row["start"], row["repetition"]) for row in history.restarts] == [
        ("gmm", 0),
        ("spectral", 0),
        ("gmm", 1),
        ("spectral", 1),
    ]
    chosen = [row for row in history.restarts if row["chosen"]]
    assert chosen == [max(history.restarts, key=lambda row: row["validation_elbo"])]
    assert [row["epoch"] for row in history.rows] == list(range(50))


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_broken_competition_goes_on_to_the_same_end(tmp_path, monkeypatch, after):
    x, _ = pinwheel(60, wings=3)
    pairs = [pair() for _ in range(3)]
    for other in pairs[1:]:
        for mine, theirs in zip(pairs[0], other, strict=True):
            theirs.load_state_dict(mine.state_dict())
    settings = {"init": ["gmm", "random"], "n_init": 2, "epochs": 6, "trial_epochs": 2}
    whole = quick(*pairs[0], x, **settings)
    trials = []

    def broken(self, *args, trial=opening.Opening.trial):
        trials.append(args)
        if len(trials) > after:
            raise KeyboardInterrupt
        return trial(self, *args)

    path = tmp_path / "checkpoint.pt"
    if after > 1:  # what the rest begins from is in the file, not in the modules it is given
        pairs[2] = pair()
    monkeypatch.setattr(opening.Opening, "trial", broken)
    with pytest.raises(KeyboardInterrupt):
        quick(*pairs[1], x, checkpoint=path, **settings)
    monkeypatch.undo()
    rest = quick(*pairs[2], x, checkpoint=path, **settings)
    for mine, theirs in zip(pairs[0], pairs[2], strict=True):
        for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    keys = ("start", "repetition", "validation_elbo", "chosen")
    assert [[r[k] for k in keys] for r in whole.restarts] == [[r[k] for k in keys] for r in rest.restarts]


def test_restarts_draw_parameters_anew():
    torch.manual_seed(1)
    model, _ = pair()
    before = copy.deepcopy(model.state_dict())
    model.apply(draw_anew)
    weights = [name for name in before if name.endswith("weight")]
    assert weights
    for name in weights:
        assert not torch.equal(before[name], model.state_dict()[name])
        assert model.state_dict()[name].std() == pytest.approx(float(before[name].std()), rel=0.5)
    assert not before["components.transforms.3.shift"].any()


@pytest.mark.parametrize("network", [ConditionerMLP(8, (32,), 8), MADE(32, (64,))], ids=["ConditionerMLP", "MADE"])
def test_networks_start_small_again(network):
    sizes = [float(p.detach().abs().max()) for p in network.parameters()]
    network.apply(draw_anew)
    for now, then in zip(network.parameters(), sizes, strict=True):
        assert float(now.detach().abs().max()) < 2 * then + 1e-12
    for part in network.modules():
        if isinstance(part, MaskedLinear):
            assert not part.weight[part.mask == 0].any()


def test_a_component_without_points_is_reported():
    model, guide = pair(RealNVP(2, 4, transforms=2))
    network = guide.network
    with torch.no_grad():
        network[-1].bias[3] = -50.0
    with pytest.warns(DeadComponentWarning, match=r"components \[.*3\] own no point; try another init"):
        quick(model, guide, X, init=None, epochs=1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"init": "best"}, ValueError, "init: expected 'auto', one of .*'kmeans'.* got 'best'"),
        ({"init": 3}, TypeError, "init: expected a name, a clusterer, an array or a function, got 3"),
        (
            {"init": torch.ones(200, 2)},
            ValueError,
            r"init: expected responsibilities of shape \(200, 3\) .* \(200, 2\)",
        ),
        ({"init": -torch.ones(200, 3)}, ValueError, "init: expected finite responsibilities ≥ 0"),
        ({"init": torch.zeros(200, 3)}, ValueError, "init: .* with a sum above 0 in each row"),
        ({"init": torch.ones(200, 3) / 0}, ValueError, "init: expected finite responsibilities"),
        ({"init": torch.tensor([[1.0, 0.0, 0.0]]).repeat(200, 1)}, ValueError, r"init: .* none for \[1 2\]"),
        ({"init": AgglomerativeClustering(2)}, ValueError, "init: expected 3 clusters, one for each component, got 2"),
        ({"init": lambda f: f}, ValueError, r"init: .* \(200, 3\) or integer labels \(200,\), got float64 \(200, 2\)"),
        ({"init": Start("gmm", X[:5])}, ValueError, "features: expected 200 rows, one for each x, got 5"),
        ({"n_init": 0}, ValueError, "n_init: expected an integer of at least 1, got 0"),
        ({"init_epochs": -1}, ValueError, "init_epochs: expected an integer of at least 0"),
        ({"trial_epochs": -1}, ValueError, "trial_epochs: expected an integer of at least 0"),
        ({"posterior": "map"}, ValueError, r"posterior: expected one of \('encoder', 'exact'\), got 'map'"),
        ({"schedule": "linear"}, ValueError, "schedule: expected one of"),
        ({"augment": 3}, TypeError, "augment: expected a function of a batch or None, got 3"),
        ({"augment": lambda x: x[:1]}, ValueError, "augment: expected a function that keeps the batch's shape"),
        ({"consistency": 1.0}, TypeError, "consistency: expected a Consistency or None, got 1.0"),
    ],
)
def test_bad_starts_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        quick(*pair(), X, **{"init": "gmm"} | settings)


def test_more_components_than_distinct_points():
    with pytest.raises(ValueError, match="x: expected at least 3 distinct points, one for each component, got 2"):
        quick(*pair(), X[:2].repeat(10, 1))


def test_unknown_features():
    with pytest.raises(ValueError, match=r"features: expected one of \['pca', 'umap'\]"):
        Start("gmm", "tsne")


def test_augmentation_fits_the_blurred_data():
    x = torch.zeros(500, 2)
    model, guide = pair(RealNVP(2, 1, transforms=2))
    quick(
        model, guide, x + 1e-3 * torch.randn(500, 2), init="kmeans", augment=Noise(0.5), epochs=60, learning_rate=1e-2
    )
    spread = model.components.sample(torch.zeros(4000).long()).std(0)
    torch.testing.assert_close(spread, torch.full((2,), 0.5), atol=0.06, rtol=0)


def test_with_labels_components_are_classes():
    y = torch.where(torch.arange(200) % 25 == 0, (Z + 1) % 3, -1)
    model, guide = pair()
    fit(model, guide, X, y, init="gmm", epochs=5, init_epochs=40, batch_size=64, learning_rate=1e-2, progress=False)
    assert float((evaluate(model, guide, X).encoder_probs.argmax(-1) == (Z + 1) % 3).double().mean()) > 0.98


def test_starts_on_a_device(device):
    model, guide = pair()
    history = quick(model, guide, X, init=["gmm", "random"], device=device, posterior="exact")
    assert len(history.restarts) == 2
    assert {p.device.type for p in [*model.parameters(), *guide.parameters()]} == {device}


def test_with_labels_the_start_still_teaches_the_encoder():
    """Two labelled points of one cloud say nothing of the others."""
    y = torch.full((200,), -1)
    y[:2] = 0
    model, guide = pair()
    quick(model, guide, X, init=Z.numpy(), epochs=0, init_epochs=80, learning_rate=1e-2, y=y)
    assert accuracy(Z, evaluate(model, guide, X).encoder_probs.argmax(-1)) > 0.98


@pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning")
def test_frozen_networks_are_not_drawn_anew():
    model, guide = pair()
    guide.network.insert(0, torch.nn.Linear(2, 2).requires_grad_(False))
    before = guide.network[0].weight.clone()
    quick(model, guide, X, init="kmeans", n_init=3)
    assert torch.equal(before, guide.network[0].weight)


@pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.StartWarning")
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_a_fixed_member_is_given_its_own_cloud(order):
    plain = dist.Normal(CENTRES[0].double(), torch.ones(2)).to_event(1)
    model, guide = pair(FlowList([plain, RealNVP(2, 2, transforms=2)]))
    r = torch.nn.functional.one_hot(Z, 3)[:, order]
    quick(model, guide, X, init=r, init_epochs=30, epochs=0, learning_rate=1e-2)
    assert torch.equal(evaluate(model, guide, X).responsibilities.argmax(-1) == 0, Z == 0)


def test_fixed_weights_choose_their_clouds():
    model, guide = pair(weights=[0.2, 0.5, 0.3])
    quick(model, guide, X, init=Z.numpy(), init_epochs=1, epochs=0)
    sizes = torch.bincount(evaluate(model, guide, X).responsibilities.argmax(-1), minlength=3)
    assert sizes.tolist() == [40, 100, 60]


def test_few_points_will_do():
    model, guide = pair(RealNVP(2, 2, transforms=2))
    history = quick(model, guide, X[::25], init=["kmeans", "gmm"])
    assert len(history.restarts) == 2


def test_a_start_that_diverges_loses(monkeypatch):
    trial = opening.Opening.trial

    def diverging(self, run, targets, repetition, number):
        if number == 0:
            raise NonFiniteError("loss")
        return trial(self, run, targets, repetition, number)

    monkeypatch.setattr(opening.Opening, "trial", diverging)
    history = quick(*pair(), X, init=["gmm", "kmeans"])
    assert [row["chosen"] for row in history.restarts] == [False, True]
    monkeypatch.setattr(opening.Opening, "trial", lambda *args: diverging(*args[:-1], 0))
    with pytest.raises(NonFiniteError):
        quick(*pair(), X, init=["gmm", "kmeans"])


def test_a_trial_is_at_most_half_of_the_fit():
    history = quick(*pair(), X, init=["gmm", "kmeans"], epochs=5, trial_epochs=50, validation=X)
    assert sum("validation_elbo" in row for row in history.rows) == 3  # of epochs on all points


def test_a_checkpoint_of_another_start_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    settings = {"init": Z.numpy(), "augment": Noise(0.1), "checkpoint": path, "learning_rate": np.float64(1e-3)}
    quick(*pair(), X, **settings)
    quick(*pair(), X, **settings)
    with pytest.raises(ValueError, match="with augment"):
        quick(*pair(), X, **settings | {"augment": Noise(0.2)})
    with pytest.raises(ValueError, match="with init"):
        quick(*pair(), X, **settings | {"init": (Z.numpy() + 1) % 3})


def test_pipelines_are_seeded_in_all_their_parts():
    pipeline = make_pipeline(PCA(2), KMeans(3, n_init=1, init="random"))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (Start(pipeline).responsibilities(X, 3, seed=4) for _ in range(2))
    assert torch.equal(first, second)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_augmentations_cannot_alter_the_data():
    before = X.clone()
    quick(*pair(), X, init="gmm", augment=lambda x: x.add_(1.0))
    assert torch.equal(X, before)


def test_lists_of_starts():
    names = [s.name for s in starts(["auto", KMeans(3), by_hand, None], 2)]
    assert names == ["gmm", "spectral", "KMeans", "by_hand", "random"]
    with pytest.raises(ValueError, match="init: expected at least one start, got an empty list"):
        starts([], 2)


@pytest.mark.parametrize("features", [3, [None], KMeans])
def test_bad_features_are_named(features):
    with pytest.raises(TypeError, match="features: expected a name, an array, a function or a transformer"):
        Start("gmm", features)


def test_the_spectral_start_of_many_points_keeps_the_least_cut(monkeypatch):
    x, y = two_circles(400, seed=0)
    points, halves = x.numpy(), (x[:, 0] > 0).numpy().astype(int)
    graph = module.neighbour_graph(points, 2)
    assert module.normalized_cut(graph, y.numpy(), 2) < 1e-9
    assert module.normalized_cut(graph, halves, 2) > 0.01
    assert module.normalized_cut(graph, 0 * halves, 2) == np.inf
    answers = [halves, y.numpy(), 0 * halves]
    monkeypatch.setattr(module, "SPECTRAL_POINTS", 300)
    monkeypatch.setattr(module, "SPECTRAL_TRIES", 3)
    monkeypatch.setattr(module, "spectral_of_some", lambda *some: answers.pop())
    assert accuracy(y, module.spectral(points, 2, 0)) == 1.0
    assert not answers


def test_the_spectral_start_of_many_points_finds_rings(monkeypatch):
    x, y = two_circles(400, seed=0)
    monkeypatch.setattr(module, "SPECTRAL_POINTS", 400)
    assert accuracy(y, module.spectral(x.numpy(), 2, 0)) == 1.0


def test_a_graph_of_many_pieces_has_more_neighbours():
    """Rounded to a few digits, points are many copies of few; any grouping of these would cut nothing."""
    points = np.repeat(np.concatenate([X[Z < 2].numpy()[::5]]), 30, axis=0)
    assert module.connected_components(module.kneighbors_graph(points, 10, include_self=True), directed=False)[0] > 2
    assert module.connected_components(module.neighbour_graph(points, 2), directed=False)[0] <= 2
    found = Start("spectral").responsibilities(torch.as_tensor(points), 2).argmax(-1)
    assert accuracy((points[:, 0] > 0).astype(int), found) == 1.0


def test_as_many_points_as_components_will_do():
    assert Start("spectral").responsibilities(X[:3], 3).shape == (3, 3)
