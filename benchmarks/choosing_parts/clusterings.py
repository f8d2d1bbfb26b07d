"""The number of clusters by density, and by the silhouette of k-means."""

from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import silhouette_score

__all__ = ["by_density", "silhouette"]


def by_density(x, most, seed):
    """The clusters of HDBSCAN of a fiftieth of the points or more, noise not counted; at least one."""
    labels = HDBSCAN(min_cluster_size=max(5, len(x) // 50), copy=True).fit_predict(x)
    return max(1, int(labels.max()) + 1)


def silhouette(x, most, seed):
    """The number from 2 with the greatest mean silhouette of k-means, the best of ten starts."""

    def score(k):
        return silhouette_score(x, KMeans(k, n_init=10, random_state=seed).fit_predict(x))

    return max(range(2, most + 1), key=score)
