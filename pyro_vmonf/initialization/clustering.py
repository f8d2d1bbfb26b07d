"""Clusterings by name, and the spaces to cluster in."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph
from torch import Tensor

from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture
from pyro_vmonf.initialization.linkage import single_linkage
from pyro_vmonf.initialization.mixture_settings import USUAL, MixtureSettings

__all__ = ["METHODS", "MIXTURES", "PCA_FEATURES", "REDUCTIONS", "Array", "flatten", "kmeans", "method_of"]

Array: TypeAlias = npt.NDArray[Any]  # of features, of labels or of indices

NEIGHBOURS = 10
SPECTRAL_POINTS = 5000  # the spectral start clusters so many at a time
SPECTRAL_TRIES = 10
LINKAGE_POINTS = 3000  # what "ward" and "linkage" cluster at most
PCA_FEATURES = 30


def flatten(features: object) -> Array:
    """Returns features as an array ``(N, F)``."""
    array = np.asarray(features.detach().cpu() if isinstance(features, Tensor) else features)
    return array.reshape(len(array), -1)


def kmeans(features: Array, k: int, seed: int, weight: Array | None = None) -> tuple[Array, object]:
    """Returns the labels of k-means, the best of 10, with the points' weights, and the fitted estimator."""
    method = KMeans(k, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType]
    return np.asarray(method.fit_predict(features, sample_weight=weight)), method


def gmm(
    features: Array,
    k: int,
    seed: int,
    weight: Array | None = None,
    *,
    covariance_type: str = "full",
    settings: MixtureSettings = USUAL,
) -> tuple[Array, object]:
    """Returns the responsibilities of a Gaussian mixture with the points' weights, and its fit."""
    found = fit_gaussian_mixture(
        features,
        k,
        covariance_type=covariance_type,
        weight=weight,
        means=settings.means,
        n_init=settings.n_init,
        ridge=settings.ridge,
        tol=settings.tol,
        seed=seed,
    )
    return found.responsibilities.numpy(), found


def ward(features: Array, k: int, seed: int, weight: Array | None = None) -> tuple[Array, object]:
    """Returns the labels of Ward's agglomerative clustering, and None; weights have no part.

    Of more than 3,000 points it clusters 3,000, chosen at random, and gives the others the cluster of their neighbours.
    """
    if len(features) <= k:
        return np.arange(len(features)), None
    return cluster_some(features, seed, lambda points: AgglomerativeClustering(k).fit_predict(points)), None


def linkage(features: Array, k: int, seed: int, weight: Array | None = None) -> tuple[Array, object]:
    """Returns the labels of single linkage that leaves no small clusters, and None; weights have no part.

    Of more than 3,000 points it clusters 3,000, chosen at random, and gives the others the cluster of their neighbours.
    :class:`~pyro_vmonf.initialization.linkage.NoClustersError` is raised where there are no K such clusters.
    """
    return cluster_some(features, seed, lambda points: single_linkage(points, k)), None


def cluster_some(features: Array, seed: int, cluster: Callable[[Array], Array]) -> Array:
    """Labels of all points, by a clustering of at most 3,000 that are chosen at random."""
    if len(features) <= LINKAGE_POINTS:
        return np.asarray(cluster(features))
    some = np.random.default_rng(seed).permutation(len(features))[:LINKAGE_POINTS]
    return label_by_neighbours(features, some, cluster(features[some]))


def label_by_neighbours(features: Array, some: Array, labels: Array) -> Array:
    """Labels of all points, where those of some are known: the others get that of most of their 5 neighbours."""
    found, others = np.empty(len(features), dtype=np.int64), np.setdiff1d(np.arange(len(features)), some)
    found[some] = labels
    found[others] = KNeighborsClassifier(5).fit(features[some], labels).predict(features[others])
    return found


def spectral(features: Array, k: int, seed: int, weight: Array | None = None) -> tuple[Array, object]:
    """Returns the labels of spectral clustering on the graph of nearest neighbours, and None; weights have no part.

    Of more than 5,000 points it clusters 5,000 at a time, chosen at random, and gives the others the cluster of their
    neighbours: ten times, and keeps the answer with the least normalized cut of the whole graph (Shi and Malik, 2000,
    *IEEE TPAMI* 22(8), equation 2). Of fifteen single answers on UMAP embeddings of MNIST six joined two digits
    (accuracy .82 in the place of .97); the least cut was right on each of the three embeddings.
    """
    if len(features) <= SPECTRAL_POINTS:
        return spectral_labels(features, k, seed), None
    random, graph = np.random.default_rng(seed), neighbour_graph(features, k)
    found = [spectral_of_some(features, k, random.permutation(len(features)), seed) for _ in range(SPECTRAL_TRIES)]
    return min(found, key=lambda labels: normalized_cut(graph, labels, k)), None


def spectral_of_some(features: Array, k: int, order: Array, seed: int) -> Array:
    """Labels of all points, by a spectral clustering of the first in ``order``."""
    some = order[:SPECTRAL_POINTS]
    return label_by_neighbours(features, some, spectral_labels(features[some], k, seed))


def spectral_labels(points: Array, k: int, seed: int) -> Array:
    """Labels of spectral clustering."""
    if len(points) <= k:
        return np.arange(len(points))
    graph = neighbour_graph(points, k)
    method = SpectralClustering(k, affinity="precomputed", random_state=seed)
    with warnings.catch_warnings():
        # Clusters that no edge connects are what one hopes for.
        warnings.filterwarnings("ignore", "Graph is not fully connected", UserWarning)
        return np.asarray(method.fit_predict(graph))


def neighbour_graph(points: Array, k: int) -> csr_matrix:
    """The graph of nearest neighbours, sparse and symmetric; an edge weighs what share of neighbours its ends have.

    That is |N(i) ∩ N(j)| / |N(i) ∪ N(j)|, where N(i) are point i and its nearest neighbours, so that the few edges
    between two clusters weigh little (Jarvis and Patrick, 1973, *IEEE Trans. Computers* C-22(11); the weights are those
    of Levine et al., 2015, *Cell* 162(1)).

    There are at least 10 neighbours; more, up to 100, where the graph would otherwise fall into more than k pieces: a
    clustering could only group those at random, and any grouping of them cuts nothing.
    """
    neighbours = min(NEIGHBOURS, len(points) - 1)
    while True:
        graph = csr_matrix(kneighbors_graph(points, neighbours + 1, include_self=True))
        most = min(10 * NEIGHBOURS, (len(points) - 1) // 2)
        if neighbours >= most or connected_components(graph, directed=False)[0] <= k:
            return by_shared_neighbours(graph)
        neighbours = min(neighbours * 3 // 2, most)


def by_shared_neighbours(graph: csr_matrix) -> csr_matrix:
    """The edges of a graph, whose points have the same number of neighbours each, by the share that their ends have."""
    size = graph[0].sum()
    common = (((graph + graph.T) > 0).multiply(graph @ graph.T)).tocsr()
    common.data = common.data / (2 * size - common.data)
    return common


def normalized_cut(graph: csr_matrix, labels: Array, k: int) -> float:
    """Σ_k cut(k, rest) / volume(k) of a sparse, symmetric graph; infinite if one of the k clusters is empty."""
    if len(np.unique(labels)) < k:
        return math.inf
    member = np.eye(k)[labels]
    volume = member.T @ np.asarray(graph.sum(1)).ravel()
    inside = (member * (graph @ member)).sum(0)
    return float((1 - inside / volume).sum())


def pca(features: Array, seed: int) -> Array:
    """The first principal components."""
    size = min(PCA_FEATURES, *features.shape)
    return np.asarray(PCA(size, random_state=seed).fit_transform(features))


def umap(features: Array, seed: int) -> Array:
    """A UMAP embedding made for clustering: McInnes et al., 2018 (arXiv:1802.03426), min_dist 0, 5 dimensions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages it would like to have, and of its own versions
        try:
            from umap import UMAP
        except ImportError as error:
            raise ImportError("features: 'umap' needs umap-learn: pip install umap-learn") from error
        reducer = UMAP(n_components=5, n_neighbors=15, min_dist=0.0, random_state=seed, n_jobs=1)
        return np.asarray(reducer.fit_transform(features))


Method: TypeAlias = Callable[..., tuple[Array, object]]  # of features, K, a seed, weights, and settings of mixtures

METHODS: dict[str, Method] = {
    "kmeans": kmeans,
    "gmm": gmm,
    "gmm-tied": partial(gmm, covariance_type="tied"),
    "gmm-diag": partial(gmm, covariance_type="diag"),
    "spectral": spectral,
    "ward": ward,
    "linkage": linkage,
}
MIXTURES = {"gmm": "full", "gmm-tied": "tied", "gmm-diag": "diag"}
"""The methods that are Gaussian mixtures, and the type of the covariances of each."""

REDUCTIONS: dict[str, Callable[[Array, int], Array]] = {"pca": pca, "umap": umap}


def method_of(name: str, settings: MixtureSettings = USUAL) -> Method:
    """Returns a method by its name, and a Gaussian mixture with its settings."""
    method = METHODS[name]
    return partial(method, settings=settings) if name in MIXTURES else method
