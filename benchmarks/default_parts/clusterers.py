"""Methods that give clusters alone. Those that know only their training points lend the cluster of the nearest one."""

import numpy as np
from default_parts.found import Found
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.neighbors import KNeighborsClassifier

__all__ = ["carried", "genie", "hdbscan", "kmeans", "spectral", "ward"]

SMALLEST = (5, 10, 15, 25, 50, 100, 200)


def kmeans(x, k, x_test, seed):
    """k-means, the best of ten."""
    return Found(labels=KMeans(k, n_init=10, random_state=seed).fit(x).predict(x_test))


def carried(cluster):
    """A method from a function ``(x, k, seed)`` that returns the clusters of the training points, −1 for none."""

    def run(x, k, x_test, seed):
        labels = cluster(x, k, seed)
        known = labels >= 0
        if not known.any():
            return Found(labels=np.zeros(len(x_test), int), notes={"clusters": 0})
        nearest = KNeighborsClassifier(1).fit(x[known], labels[known])
        return Found(labels=nearest.predict(x_test), notes={"clusters": len(np.unique(labels[known]))})

    return run


def spectral(x, k, seed):
    """Spectral clustering of the graph of ten neighbours."""
    method = SpectralClustering(
        k, affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr", random_state=seed
    )
    return method.fit_predict(x)


def ward(x, k, seed):
    """Ward's linkage."""
    return AgglomerativeClustering(k, linkage="ward").fit_predict(x)


def hdbscan(x, k, seed):
    """HDBSCAN with the least size of a cluster that gives nearest to K clusters, and among those the least noise."""
    found = [HDBSCAN(min_cluster_size=size, copy=True).fit_predict(x) for size in SMALLEST if size <= len(x) // 2]
    return min(found, key=lambda labels: (abs(labels.max() + 1 - k), np.mean(labels < 0)))


def genie(x, k, seed):
    """Genie with its own defaults."""
    from genieclust import Genie

    return Genie(n_clusters=k).fit_predict(x)
