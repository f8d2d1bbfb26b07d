"""Starts by name: mixtures with weights, Ward's clusters, single linkage without crumbs; the edges between clusters."""

import importlib
import time

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from pyro_vmonf.data import two_circles
from pyro_vmonf.evaluation import accuracy
from pyro_vmonf.initialization import Initializer, NoClustersError
from pyro_vmonf.initialization.gaussian_mixture import default_ridge, log_joint
from pyro_vmonf.initialization.gaussians import cluster_gaussians
from pyro_vmonf.initialization.linkage import cut_tree, reachability_tree, single_linkage
from pyro_vmonf.initialization.separation import edge_cut, nearest_neighbours
from pyro_vmonf.transforms import PLUAffine

module = importlib.import_module("pyro_vmonf.initialization.clustering")
KINDS = ["full", "tied", "diag"]
NAMES = {"full": "gmm", "tied": "gmm-tied", "diag": "gmm-diag"}
CENTRES = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
Z = torch.arange(3).repeat_interleave(torch.tensor([100, 60, 40]))
X = CENTRES[Z] + torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("method", ["gmm", "gmm-tied", "gmm-diag", "ward", "linkage"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_name_finds_the_clouds(method, dtype):
    found = Initializer(method).start(X.to(dtype), 3, seed=1)
    assert found.responsibilities.dtype == dtype
    assert accuracy(Z, found.responsibilities.argmax(-1)) > 0.98
    assert (found.means is None) == (method in ("ward", "linkage"))


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_without_weights_are_those_of_scikit_learn(kind):
    ridge = default_ridge(X, torch.ones(200))
    theirs = GaussianMixture(3, covariance_type=kind, n_init=5, reg_covar=ridge, random_state=3).fit(X.numpy())
    found = Initializer(NAMES[kind]).start(X, 3, seed=3)
    order, other = found.log_weights.argsort(), torch.as_tensor(theirs.weights_).argsort()
    torch.testing.assert_close(found.means[order], torch.as_tensor(theirs.means_)[other], atol=1e-6, rtol=1e-6)
    probs = torch.as_tensor(theirs.predict_proba(X.numpy()))
    torch.testing.assert_close(found.responsibilities[:, order], probs[:, other], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_count_weights_in_their_clusters(kind):
    """Two far points that weigh next to nothing are no cluster of their own, as if they were not there."""
    x = torch.cat([X[Z < 2], torch.tensor([[0.0, 300.0], [0.0, 301.0]])])
    weight = torch.cat([torch.ones(160), torch.full((2,), 1e-9)])
    found = Initializer(NAMES[kind]).start(x, 2, weight=weight)
    alone = Initializer(NAMES[kind]).start(X[Z < 2], 2)
    assert accuracy(Z[Z < 2], found.responsibilities[:160].argmax(-1)) == 1.0
    order, other = found.log_weights.argsort(), alone.log_weights.argsort()
    torch.testing.assert_close(found.covariances[order], alone.covariances[other], atol=1e-3, rtol=1e-3)


def test_linkage_sees_rings_and_moons():
    x, y = two_circles(300)
    assert accuracy(y, Initializer("linkage").start(x, 2).responsibilities.argmax(-1)) == 1.0
    points, labels = make_moons(300, noise=0.06, random_state=0)
    assert accuracy(labels, Initializer("linkage").start(torch.as_tensor(points), 2).responsibilities.argmax(-1)) > 0.98


@pytest.mark.parametrize("method", ["ward", "linkage"])
def test_of_many_points_some_are_clustered(monkeypatch, method):
    given = []
    monkeypatch.setattr(module, "LINKAGE_POINTS", 90)
    monkeypatch.setattr(module, "label_by_neighbours", spy(module.label_by_neighbours, given))
    start = Initializer(method).start(X, 3, seed=2)
    assert accuracy(Z, start.responsibilities.argmax(-1)) > 0.98
    assert [len(labels) for _, _, labels in given] == [90]
    assert torch.equal(start.responsibilities, Initializer(method).start(X, 3, seed=2).responsibilities)


def spy(function, given):
    """The function, which keeps what it was given."""

    def called(*arguments):
        given.append(arguments)
        return function(*arguments)

    return called


def cut_one_by_one(tree, k, least):
    """Tries the edges from the longest down, and finds the pieces anew for each."""
    order, parent, length = tree
    n, kept, parts = len(order), {v for v in order if v != order[0]}, 1

    def pieces():
        ends = list(kept), [parent[v] for v in kept]
        return connected_components(coo_matrix((np.ones(len(kept)), ends), (n, n)), directed=False)[1]

    for v in sorted(kept, key=lambda v: -length[v]):
        if parts == k:
            break
        kept.remove(v)
        labels = pieces()
        if min((labels == labels[v]).sum(), (labels == labels[parent[v]]).sum()) >= least:
            parts += 1
        else:
            kept.add(v)
    return pieces()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 5])
def test_cuts_are_those_of_trying_every_edge(seed, k):
    random = np.random.default_rng(seed)
    points = random.standard_normal((60, 2)) * (1 + 3 * (random.uniform(size=(60, 1)) < 0.2))
    tree = reachability_tree(points)
    for least in (1, 3, 8):
        found, expected = cut_tree(tree, k, least), cut_one_by_one(tree, k, least)
        assert len(np.unique(found)) == len(np.unique(expected)) <= k
        assert accuracy(expected, found) == 1.0
        assert np.bincount(found).min() >= least


@pytest.mark.parametrize("d", [1, 2, 6])
def test_the_tree_is_a_minimum_spanning_tree(d):
    points = np.random.default_rng(d).standard_normal((80, d))
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    core = np.sort(distance, axis=1)[:, 5]
    distance = np.maximum(distance, np.maximum(core[:, None], core))
    np.fill_diagonal(distance, 0)
    order, parent, length = reachability_tree(points)
    assert sorted(order) == list(range(80))
    assert length[0] == np.inf
    np.testing.assert_allclose(length[1:], distance[np.arange(1, 80), parent[1:]])
    np.testing.assert_allclose(length[1:].sum(), minimum_spanning_tree(distance).sum())
    reached = {point: at for at, point in enumerate(order)}
    assert all(reached[parent[v]] < reached[v] for v in order[1:])


def test_linkage_is_fast():
    points = np.random.default_rng(0).standard_normal((3000, 3))
    begun = time.process_time()
    tree = reachability_tree(points)
    cut_tree(tree, 10, 20)
    assert time.process_time() - begun < 5  # trying every edge takes minutes


def test_what_single_linkage_cannot_part_is_said():
    message = "initializer: expected single linkage to find 2 clusters of at least 4 of 30 points, got 1"
    with pytest.raises(NoClustersError, match=message):
        Initializer("linkage").start(torch.tensor([[0.0]] + 29 * [[9.0]]), 2)
    with pytest.raises(NoClustersError, match="find 3 clusters of at least 3 of 3 points, got 1"):
        single_linkage(X[:3].numpy(), 3)
    assert issubclass(NoClustersError, ValueError)
    assert single_linkage(X[:1].numpy(), 1).tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
def test_gaussians_of_a_clustering_are_its_moments(kind):
    r = torch.nn.functional.one_hot(Z, 3).double()
    weights, means, covariances = cluster_gaussians(X, r, covariance_type=kind, ridge=0.5)
    own = torch.stack([X[k == Z].T.cov(correction=0) for k in range(3)])
    sizes = torch.tensor([100.0, 60.0, 40.0])
    own, n = (
        (own, sizes)
        if kind != "tied"
        else ((weights @ own.flatten(1)).reshape(1, 2, 2).expand(3, 2, 2), 200 + 0 * sizes)
    )
    shrink = (2 / n).square() if kind != "diag" else torch.ones(3)
    own = torch.where(torch.eye(2) > 0, own, (1 - shrink)[:, None, None] * own)
    torch.testing.assert_close(weights, sizes / 200)
    torch.testing.assert_close(means, torch.stack([X[k == Z].mean(0) for k in range(3)]))
    torch.testing.assert_close(covariances, own + 0.5 * torch.eye(2))
    assert accuracy(Z, log_joint(X, weights, means, covariances).argmax(0)) > 0.98


@pytest.mark.parametrize("kind", KINDS)
def test_gaussians_count_weights(kind):
    r = Initializer("gmm").start(X, 3).responsibilities
    weight = torch.arange(200).remainder(4).double()
    found = cluster_gaussians(X, r, covariance_type=kind, weight=weight, ridge=0.0)
    doubled = cluster_gaussians(X, r, covariance_type=kind, weight=2 * weight, ridge=0.0)
    kept = weight > 0
    fewer = cluster_gaussians(X[kept], r[kept], covariance_type=kind, weight=weight[kept], ridge=0.0)
    for one, two, three in zip(found, doubled, fewer, strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(one, three)
    rows = torch.arange(200).repeat_interleave(weight.long())
    copies = cluster_gaussians(X[rows], r[rows], covariance_type="diag", ridge=0.0)
    if kind == "diag":  # of the others n differs, as do copies from points of their own
        for one, two in zip(found, copies, strict=True):
            torch.testing.assert_close(one, two)


def test_gaussians_whiten_as_an_affine_map_does():
    r = Initializer("gmm").start(X, 3).responsibilities
    _, means, covariances = cluster_gaussians(X, r, ridge=0.0)
    affine = PLUAffine(2, components=3)
    affine.initialize(X.expand(3, -1, -1), r.mT)
    white = torch.randn(3, 5, 2)
    matrix = torch.linalg.cholesky(covariances)
    torch.testing.assert_close(affine(white), white @ matrix.mT + means[:, None], atol=1e-4, rtol=1e-4)


def test_one_point_has_a_gaussian():
    _, means, covariances = cluster_gaussians(X, torch.eye(200)[:, :1] + 0.0, ridge=0.1)
    torch.testing.assert_close(means, X[:1])
    torch.testing.assert_close(covariances, 0.1 * torch.eye(2)[None])
    MultivariateNormal(means, covariances).log_prob(X)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"covariance_type": "round"}, "covariance_type: expected one of"),
        ({"ridge": -1.0}, "ridge: expected a finite number of at least 0"),
        ({"weight": torch.ones(3)}, r"weight: expected shape \(200,\)"),
        ({"responsibilities": torch.ones(3, 3)}, r"responsibilities: expected shape \(N, K\) .* got \(3, 3\)"),
        (
            {"responsibilities": torch.eye(200)[:, :2] * torch.tensor([1.0, 0.0])},
            r"responsibilities: .* none for \[1\]",
        ),
    ],
)
def test_bad_clusterings_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        cluster_gaussians(**{"x": X, "responsibilities": torch.ones(200, 3)} | changed)


def test_edges_out_of_clusters_are_counted():
    points, labels = X.numpy(), Z.numpy()
    assert not edge_cut(points, labels).any()
    near = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(near, np.inf)
    near = near.argsort(1)[:, :10]
    assert np.array_equal(np.sort(near), np.sort(nearest_neighbours(points)))
    halves = (points[:, 1] > 0).astype(int)
    expected = [(halves[near[halves == k]] != k).mean() for k in range(2)]
    np.testing.assert_allclose(edge_cut(points, halves), expected)
    np.testing.assert_allclose(edge_cut(points, halves, nearest_neighbours(points)), expected)
    assert edge_cut(points[:3], np.array([0, 1, 1])).tolist() == [1.0, 0.5]


def test_a_true_clustering_of_rings_cuts_fewer_edges():
    x, y = two_circles(300)
    wrong = Initializer("gmm").start(x, 2).responsibilities.argmax(-1)
    assert edge_cut(x.numpy(), y.numpy()).max() < 0.005 < edge_cut(x.numpy(), wrong.numpy()).min()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.zeros(3, dtype=int)}, r"labels: expected integers of shape \(200,\), got int64 \(3,\)"),
        ({"labels": np.zeros(200)}, r"labels: expected integers of shape \(200,\), got float64"),
        ({"labels": 2 * (Z.numpy() > 0)}, r"labels: expected all of 0 … 2, got \[0, 2\]"),
        ({"labels": Z.numpy() - 1}, r"labels: expected all of 0 … 1, got \[-1, 0, 1\]"),
        ({"neighbours": 0}, "neighbours: expected an integer of at least 1"),
        ({"x": X[:1].numpy(), "labels": np.zeros(1, dtype=int)}, "x: expected at least 2 points, got 1"),
    ],
)
def test_bad_labels_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        edge_cut(**{"x": X.numpy(), "labels": Z.numpy()} | changed)
