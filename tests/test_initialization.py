"""Initializers: clusterings by any method in any space, their responsibilities, weights and Gaussians."""

import importlib

import numpy as np
import pytest
import torch
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.pipeline import make_pipeline

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import two_circles
from pyro_vmonf.evaluation import accuracy
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import STARTS, Initializer, Start, as_initializers
from pyro_vmonf.initialization.supervised import match_labels
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.training import Restarts, fit

module = importlib.import_module("pyro_vmonf.initialization.clustering")
CENTRES = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
Z = torch.arange(3).repeat_interleave(torch.tensor([100, 60, 40]))
X = CENTRES[Z] + torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_hand(features):
    """A user's own clustering."""
    return np.argmin([np.linalg.norm(features - c, axis=1) for c in CENTRES.numpy()], axis=0)


METHODS = ["kmeans", "gmm", "spectral", AgglomerativeClustering(3), BayesianGaussianMixture(n_components=3), by_hand]
METHODS += [HDBSCAN(min_cluster_size=20, copy=True), Z.numpy(), torch.nn.functional.one_hot(Z, 3)]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: getattr(m, "__name__", None) or str(m).split("(")[0][:12])
def test_every_method_finds_the_clouds(method):
    r = Initializer(method).start(X, 3, seed=1).responsibilities
    assert r.shape == (200, 3)
    assert r.dtype == X.dtype
    assert bool((r >= 0).all())
    torch.testing.assert_close(r.sum(-1), torch.ones(200))
    assert accuracy(Z, r.argmax(-1)) > 0.98


FEATURES = [None, "pca", X, X.numpy(), lambda x: x * 2, FastICA(2), [lambda x: x + 1, "pca"]]


@pytest.mark.parametrize("features", FEATURES, ids=["x", "pca", "tensor", "array", "function", "transformer", "list"])
def test_every_space_will_do(features):
    r = Initializer("gmm", features).start(X, 3).responsibilities
    assert accuracy(Z, r.argmax(-1)) > 0.98


def test_umap_is_a_space():
    pytest.importorskip("umap")
    initializer = Initializer("spectral", "umap")
    assert initializer.reduce(X).shape == (200, 5)
    assert accuracy(Z, initializer.start(X, 3).responsibilities.argmax(-1)) > 0.98


def test_the_spectral_start_sees_rings_where_the_others_see_halves():
    x, y = two_circles(200)
    assert accuracy(y, Initializer("spectral").start(x, 2).responsibilities.argmax(-1)) == 1.0
    assert accuracy(y, Initializer("gmm").start(x, 2).responsibilities.argmax(-1)) < 0.7


def test_many_points_are_clustered_by_their_neighbours(monkeypatch):
    monkeypatch.setattr(module, "SPECTRAL_POINTS", 90)
    assert accuracy(Z, Initializer("spectral").start(X, 3).responsibilities.argmax(-1)) > 0.98


def test_noise_points_are_shared_alike():
    labels = Z.numpy().copy()
    labels[:5] = -1
    r = Initializer(labels).start(X, 3).responsibilities
    torch.testing.assert_close(r[:5], torch.full((5, 3), 1 / 3))


def test_names_for_tables():
    assert Initializer("gmm").name == "gmm"
    assert Initializer("spectral", [by_hand, "umap"]).name == "spectral on by_hand umap"
    assert Initializer(AgglomerativeClustering(3), X).name == "AgglomerativeClustering on array"


def test_auto_reduces_what_has_many_features():
    assert [s.name for s in as_initializers("auto", 30)] == list(STARTS)
    assert [s.name for s in as_initializers("auto", 784)] == ["gmm on pca", "spectral on pca"]
    assert [s.name for s in as_initializers(["kmeans", Initializer("gmm", "pca")], 2)] == ["kmeans", "gmm on pca"]
    assert as_initializers(None, 2) == as_initializers("random", 2) == [None]
    assert [s.warmup_epochs for s in as_initializers("auto", 2)] == [20] * 6


def test_labels_order_the_components():
    r = torch.nn.functional.one_hot((Z + 1) % 3, 3).double()
    y = torch.where(torch.arange(200) % 20 == 0, Z, -1)
    assert torch.equal(match_labels(r, y, Labels(range(3)))[0].argmax(-1), Z)


BAD = [
    ("best", ValueError, "expected 'auto', one of .*'kmeans'.* got 'best'"),
    (3, TypeError, "expected a name, a clusterer, an array or a function, got 3"),
    (KMeans, TypeError, "expected a name, a clusterer, an array or a function, got"),
    (torch.ones(200, 2), ValueError, r"expected responsibilities of shape \(200, 3\) .* \(200, 2\)"),
    (-torch.ones(200, 3), ValueError, "expected finite responsibilities ≥ 0"),
    (torch.zeros(200, 3), ValueError, ".* with a sum above 0 in each row"),
    (torch.ones(200, 3) / 0, ValueError, "expected finite responsibilities"),
    (torch.tensor([[1.0, 0.0, 0.0]]).repeat(200, 1), ValueError, r".* none for \[1 2\]"),
    (AgglomerativeClustering(2), ValueError, "expected 3 clusters, one for each component, got 2"),
    (lambda f: f, ValueError, r".* \(200, 3\) or integer labels \(200,\), got float64 \(200, 2\)"),
    (["gmm", torch.ones(200, 3)], TypeError, r"expected names, .* in a list, got \['Tensor'\]"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD)
def test_bad_initializers_are_named_before_any_work(given, error, message):
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(mlp(2, 3), 3)
    before = [tensor.clone() for part in (model, guide) for tensor in part.state_dict().values()]
    with pytest.raises(error, match=f"initializer: {message}"):
        fit(model, guide, X, initializer=given, progress=False)
    after = [tensor for part in (model, guide) for tensor in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Initializer("gmm", X[:5]).start(X, 3), "features: expected 200 rows, one for each x, got 5"),
        (lambda: Initializer("gmm", warmup_epochs=-1), "warmup_epochs: expected an integer of at least 0"),
        (lambda: Restarts(["gmm"], repeats=0), "repeats: expected an integer of at least 1, got 0"),
        (lambda: Restarts(["gmm"], trial_epochs=-1), "trial_epochs: expected an integer of at least 0"),
        (lambda: Restarts(["gmm"], validation_fraction=1.0), "validation_fraction: expected a number between 0 and 1"),
        (lambda: Restarts([]), "initializer: expected at least one, got an empty list"),
        (lambda: Restarts(["best"]), "initializer: expected 'auto', one of"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_features():
    with pytest.raises(ValueError, match=r"features: expected one of \['pca', 'umap'\]"):
        Initializer("gmm", "tsne")


def test_pipelines_are_seeded_in_all_their_parts():
    pipeline = make_pipeline(PCA(2), KMeans(3, n_init=1, init="random"))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (Initializer(pipeline).start(X, 3, seed=4).responsibilities for _ in range(2))
    assert torch.equal(first, second)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_lists_of_starts():
    found = as_initializers(["auto", KMeans(3), by_hand, None], 2)
    names = ["random" if one is None else one.name for one in found]
    assert names == [*STARTS, "KMeans", "by_hand", "random"]
    with pytest.raises(ValueError, match="initializer: expected at least one, got an empty list"):
        as_initializers([], 2)


@pytest.mark.parametrize("features", [3, [None], KMeans])
def test_bad_features_are_named(features):
    with pytest.raises(TypeError, match="features: expected a name, an array, a function or a transformer"):
        Initializer("gmm", features)


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
    assert accuracy(y, module.spectral(points, 2, 0)[0]) == 1.0
    assert not answers


def test_the_spectral_start_of_many_points_finds_rings(monkeypatch):
    x, y = two_circles(400, seed=0)
    monkeypatch.setattr(module, "SPECTRAL_POINTS", 400)
    assert accuracy(y, module.spectral(x.numpy(), 2, 0)[0]) == 1.0


def test_a_graph_of_many_pieces_has_more_neighbours():
    """Rounded to a few digits, points are many copies of few; any grouping of these would cut nothing."""
    points = np.repeat(np.concatenate([X[Z < 2].numpy()[::5]]), 30, axis=0)
    assert module.connected_components(module.kneighbors_graph(points, 10, include_self=True), directed=False)[0] > 2
    assert module.connected_components(module.neighbour_graph(points, 2), directed=False)[0] <= 2
    found = Initializer("spectral").start(torch.as_tensor(points), 2).responsibilities.argmax(-1)
    assert accuracy((points[:, 0] > 0).astype(int), found) == 1.0


def test_as_many_points_as_components_will_do():
    for method in ("spectral", "ward"):
        assert Initializer(method).start(X[:3], 3).responsibilities.shape == (3, 3)


KINDS = ["full", "tied", "diag", "spherical"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mixture", [GaussianMixture, BayesianGaussianMixture])
def test_a_mixture_brings_its_gaussians(mixture, kind):
    """A start holds what the mixture says of each point: its responsibilities follow from its Gaussians alone."""
    method = mixture(n_components=3, covariance_type=kind, random_state=0)
    found = Initializer(method).start(X, 3)
    assert found.means.shape == (3, 2)
    assert found.covariances.shape == (3, 2, 2)
    assert found.means.dtype == found.covariances.dtype == X.dtype
    same = mixture(n_components=3, covariance_type=kind, random_state=0).fit(X.numpy())
    torch.testing.assert_close(found.means, torch.as_tensor(same.means_))
    torch.testing.assert_close(found.responsibilities, torch.as_tensor(same.predict_proba(X.numpy())))
    if mixture is GaussianMixture:  # the other's densities are expectations, which are no Gaussian's
        each = torch.distributions.MultivariateNormal(found.means, found.covariances).log_prob(X[:, None])
        joint = each + torch.as_tensor(same.weights_).log()
        torch.testing.assert_close(joint.softmax(-1), found.responsibilities, atol=1e-8, rtol=1e-8)
    if kind == "tied":
        assert torch.equal(found.covariances[0], found.covariances[1])
    if kind in ("diag", "spherical"):
        assert not bool(found.covariances[:, 0, 1].any())


def test_the_gaussians_of_the_name_are_those_of_the_clouds():
    found = Initializer("gmm").start(X, 3)
    order = [int(found.responsibilities[k == Z].mean(0).argmax()) for k in range(3)]
    torch.testing.assert_close(found.means[order], torch.stack([X[k == Z].mean(0) for k in range(3)]), atol=0.1, rtol=0)
    own = torch.stack([X[k == Z].T.cov(correction=0) for k in range(3)])
    torch.testing.assert_close(found.covariances[order], own, atol=0.1, rtol=0)
    images = X.reshape(200, 2, 1).float()
    flat = Initializer("gmm").start(images, 3)
    assert flat.means.shape == (3, 2)
    assert flat.means.dtype == torch.float32


GAUSSIANS = ["kmeans", "spectral", AgglomerativeClustering(3), Z.numpy(), torch.nn.functional.one_hot(Z, 3), by_hand]


@pytest.mark.parametrize("method", GAUSSIANS, ids=lambda m: getattr(m, "__name__", None) or str(m).split("(")[0][:12])
def test_other_methods_have_none(method):
    found = Initializer(method).start(X, 3)
    assert isinstance(found, Start)
    assert found.means is None
    assert found.covariances is None


def test_gaussians_in_another_space_are_none_of_x():
    for features in ("pca", X, lambda x: x):
        found = Initializer("gmm", features).start(X, 3)
        assert (found.means, found.covariances) == (None, None)
    y = torch.where(torch.arange(200) % 20 == 0, Z, -1)
    found = Initializer("gmm").start(X, 3, y=y)  # labels have changed its responsibilities
    assert (found.means, found.covariances) == (None, None)


@pytest.mark.parametrize("method", ["kmeans", "gmm", torch.nn.functional.one_hot(Z, 3)])
@pytest.mark.parametrize("labelled", [False, True])
def test_weights_count_in_the_shares(method, labelled):
    y = torch.where(torch.arange(200) % 20 == 0, Z, -1) if labelled else None
    weight = torch.arange(200) / 50 + 0.5
    found = Initializer(method).start(X, 3, weight=weight, y=y)
    shares = (weight[:, None] * found.responsibilities).sum(0) / weight.sum()
    torch.testing.assert_close(found.log_weights.exp(), shares)
    plain = Initializer(method).start(X, 3, y=y)
    torch.testing.assert_close(plain.log_weights.exp(), plain.responsibilities.mean(0))
    assert not torch.allclose(plain.log_weights, found.log_weights)


def test_kmeans_counts_weights_in_its_clusters():
    """Two far points that weigh next to nothing are no cluster of their own."""
    x = torch.cat([X[Z < 2], torch.tensor([[0.0, 300.0], [0.0, 301.0]])])
    weight = torch.cat([torch.ones(160), torch.full((2,), 1e-9)])
    plain, weighted = (Initializer("kmeans").start(x, 2, weight=w).responsibilities.argmax(-1) for w in (None, weight))
    assert accuracy((torch.arange(162) >= 160).long(), plain) == 1.0
    assert accuracy(Z[Z < 2], weighted[:160]) == 1.0
