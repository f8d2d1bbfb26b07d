"""Where a fit begins: a clustering of the data, in a space of one's choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pyro_vmonf._validation import check_count
from pyro_vmonf.initialization.clustering import METHODS, PCA_FEATURES, REDUCTIONS, Array, flatten, method_of
from pyro_vmonf.initialization.gaussians import gaussians_of
from pyro_vmonf.initialization.mixture_settings import USUAL, MixtureSettings
from pyro_vmonf.initialization.responsibilities import (
    ARRAY_TYPES,
    ClusterMethod,
    FeatureStep,
    as_responsibilities,
    fit_clusterer,
    is_method,
    with_seed,
)
from pyro_vmonf.initialization.supervised import learns_from_labels, with_labels
from pyro_vmonf.labels import Labels

__all__ = ["STARTS", "Initializer", "Start", "as_initializers"]

STARTS = ("gmm", "gmm-tied", "gmm-diag", "spectral", "ward", "linkage")
"""The methods that ``"auto"`` lets compete in the space of x."""

STARTS_ON_PCA = ("gmm", "spectral")  # of principal components, where a trial of the flows takes longest


@dataclass(frozen=True)
class Start:
    """What an initializer found.

    Attributes:
        responsibilities: The share of each component in each point, ``(N, K)``, rows that sum to 1.
        log_weights: The logarithm of the components' shares of all points, ``(K,)``.
        means: The means of the method's own Gaussians in the space of x, ``(K, D)``, where it has any.
        covariances: Their covariances, ``(K, D, D)``.
        weights: Their weights in the mixture, ``(K,)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import Initializer
        >>> x = torch.cat([torch.randn(20, 2) - 5, torch.randn(20, 2) + 5])
        >>> start = Initializer("gmm").start(x, 2)
        >>> start.responsibilities.shape, start.covariances.shape
        (torch.Size([40, 2]), torch.Size([2, 2, 2]))
    """

    responsibilities: Tensor
    log_weights: Tensor
    means: Tensor | None = None
    covariances: Tensor | None = None
    weights: Tensor | None = None

    def ordered(self, order: Tensor) -> "Start":
        """Returns the same with the components in another order, ``(K,)`` integers."""
        fields = (self.means, self.covariances, self.weights)
        gaussians = (None if one is None else one[order.to(one.device)] for one in fields)
        here = order.to(self.responsibilities.device)
        return Start(self.responsibilities[:, here], self.log_weights[here], *gaussians)


@dataclass(frozen=True)
class Initializer:
    """A clustering whose responsibilities r(z | x) teach a model and its guide first.

    Attributes:
        method: ``"kmeans"``, ``"gmm"`` (a Gaussian mixture with full covariances), ``"gmm-tied"`` (with one of all
            components), ``"gmm-diag"`` (with diagonal ones), ``"spectral"`` (on the graph of nearest neighbours, for
            shapes that are no clouds), ``"ward"`` (agglomerative), ``"linkage"`` (single linkage that leaves no small
            clusters, for shapes that do not touch), any scikit-learn clusterer or mixture, responsibilities
            ``(N, K)``, or a function from features ``(N, F)``, an array, to labels ``(N,)`` or responsibilities
            ``(N, K)``. The label −1 stands for equal shares. With labels it may also be a scikit-learn classifier that
            takes −1 for none, such as ``LabelSpreading``.
        features: The space to cluster in: None for x itself, ``"pca"`` (30 components), ``"umap"`` (5 dimensions;
            needs ``pip install umap-learn``), features ``(N, F)``, a function from a tensor to features, a
            scikit-learn transformer, or a list of these, one after the other.
        warmup_epochs: The number of passes over the data in which the responsibilities take the place of q(z | x).
        mixture: How a Gaussian mixture by name is fitted; the defaults of
            :class:`~pyro_vmonf.initialization.MixtureSettings` if it is not given.

    Raises:
        TypeError: If the method or a step to the features is none of these.
        ValueError: For an unknown name.

    Examples:
        >>> from pyro_vmonf import Initializer
        >>> Initializer("spectral", "pca", warmup_epochs=5).name
        'spectral on pca'
    """

    method: ClusterMethod = "gmm"
    features: FeatureStep | Sequence[FeatureStep] | None = None
    warmup_epochs: int = 20
    mixture: MixtureSettings | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "warmup_epochs", check_count("warmup_epochs", self.warmup_epochs, 0))
        if isinstance(self.method, str) and self.method not in METHODS:
            raise ValueError(
                f"initializer: expected 'auto', one of {sorted(METHODS)}, a clusterer, an array or a function, "
                f"got {self.method!r}"
            )
        if not isinstance(self.method, (str, *ARRAY_TYPES)) and not is_method(self.method):
            raise TypeError(f"initializer: expected a name, a clusterer, an array or a function, got {self.method!r}")
        for step in self.feature_steps():
            if not isinstance(step, str | Tensor | np.ndarray) and not is_method(step):
                raise TypeError(f"features: expected a name, an array, a function or a transformer, got {step!r}")
            if isinstance(step, str) and step not in REDUCTIONS:
                raise ValueError(
                    f"features: expected one of {sorted(REDUCTIONS)}, an array, a function or a transformer, "
                    f"got {step!r}"
                )

    @property
    def name(self) -> str:
        """The method, and the space if it is not x, for tables."""
        parts = [short_name(self.method), *(short_name(step) for step in self.feature_steps())]
        return " on ".join([parts[0], " ".join(parts[1:])] if parts[1:] else parts)

    def feature_steps(self) -> list[FeatureStep]:
        """Returns the steps from x to the features."""
        if self.features is None:
            return []
        return list(self.features) if isinstance(self.features, list | tuple) else [self.features]  # type: ignore[list-item]

    def start(
        self,
        x: Tensor,
        n_components: int,
        *,
        weight: Tensor | None = None,
        seed: int = 0,
        y: Tensor | None = None,
        labels: Labels | None = None,
    ) -> Start:
        """Clusters x and returns what a fit begins from.

        Weights count in the shares of the components. Methods that know weights of points (k-means and the Gaussian
        mixtures by name) use them for the clusters too; the others cluster the points as they are.

        Args:
            x: The points ``(N, *event)``.
            n_components: The number of components, K.
            weight: The weights of the points, ``(N,)``.
            seed: The seed of the method.
            y: Labels ``(N,)`` or soft labels ``(N, C)``, −1 where there is none. The components are put in the order
                that agrees best with them.
            labels: The classes of the components; each is a class of its own if they are not given.

        Raises:
            ValueError: If the method's answer is no labels ``(N,)`` of K clusters and no responsibilities ``(N, K)``.
            NoClustersError: If ``"linkage"`` finds fewer than K clusters; it is a ``ValueError``.
            ImportError: For ``"umap"`` where it is not installed.
        """
        if y is not None:
            found = with_labels(self, x, y, labels or Labels(range(n_components)), weight, seed)
            return Start(found, log_shares(found, weight))
        if learns_from_labels(self.method):
            raise ValueError(f"initializer: expected labels in y for {self.name} to learn, got none")
        if isinstance(self.method, ARRAY_TYPES):
            found = as_responsibilities(self.method, len(x), n_components).to(x)
            return Start(found, log_shares(found, weight))
        found, method = self.cluster(self.reduce(x, seed), n_components, seed, weight)
        found = found.to(x)
        gaussians = gaussians_of(method, x) if self.features is None else None
        return Start(found, log_shares(found, weight), *(gaussians or ()))

    def cluster(self, features: Array, k: int, seed: int, weight: Tensor | None = None) -> tuple[Tensor, object]:
        """Returns r(z | x) ``(N, k)`` by the method, which is no array, and the fitted estimator, if it is one."""
        if isinstance(self.method, str):
            mass = None if weight is None else weight.cpu().numpy()
            answer, method = method_of(self.method, self.mixture or USUAL)(features, k, seed, mass)
        elif hasattr(self.method, "fit"):
            method = with_seed(self.method, seed)
            answer = fit_clusterer(method, features)
        else:
            answer, method = self.method(features), None  # type: ignore[operator]
        return as_responsibilities(answer, len(features), k), method

    def reduce(self, x: Tensor, seed: int = 0) -> Array:
        """Returns the features of x ``(N, *event)``: ``(N, F)``."""
        features: object = x.detach().cpu()
        for step in self.feature_steps():
            if isinstance(step, str):
                features = REDUCTIONS[step](flatten(features), seed)
            elif isinstance(step, Tensor | np.ndarray):
                features = step
            elif hasattr(step, "fit_transform"):
                features = with_seed(step, seed).fit_transform(flatten(features))  # type: ignore[attr-defined]
            else:
                features = cast(Callable[[Tensor], object], step)(torch.as_tensor(features))
        rows = flatten(features)
        if len(rows) != len(x):
            raise ValueError(f"features: expected {len(x)} rows, one for each x, got {len(rows)}")
        return rows

    def at(self, rows: Tensor, n: int) -> "Initializer":
        """Returns the same initializer for some of n points: arrays given for all of them are taken there.

        Args:
            rows: The numbers of the points.
            n: How many points there were.
        """
        steps = [rows_of(step, rows, n) for step in self.feature_steps()]
        return replace(self, method=rows_of(self.method, rows, n), features=steps or None)  # type: ignore[arg-type]


def rows_of(part: object, rows: Tensor, n: int) -> object:
    """Returns some rows of an array of n, and anything else as it is."""
    if not isinstance(part, ARRAY_TYPES) or len(part) != n:
        return part
    array = part if isinstance(part, Tensor) else np.asarray(part)
    return array[rows.to(array.device)] if isinstance(array, Tensor) else array[rows.cpu().numpy()]


def log_shares(responsibilities: Tensor, weight: Tensor | None) -> Tensor:
    """Returns the logarithm of the components' shares of all points, ``(K,)``."""
    if weight is None:
        return responsibilities.mean(0).log()
    weight = weight.to(responsibilities)
    return ((weight @ responsibilities) / weight.sum()).log()


def short_name(part: object) -> str:
    """Returns a short name for a table."""
    if isinstance(part, str):
        return part
    return "array" if isinstance(part, ARRAY_TYPES) else getattr(part, "__name__", None) or type(part).__name__


def as_initializers(given: object, features: int, warmup_epochs: int = 20) -> list[Initializer | None]:
    """Returns what ``fit(initializer=…)`` takes as initializers, None for one that leaves the parameters as they are.

    Args:
        given: ``"auto"``, ``"random"``, None, an initializer or what its ``method`` may be, or a list of these.
        features: The number of features of x; ``"auto"`` clusters principal components where there are more than 30.
        warmup_epochs: That of the initializers made here.

    Raises:
        TypeError, ValueError: If something else is given, or an empty list.
    """
    if isinstance(given, list | tuple):
        alternatives = [one is None or isinstance(one, str | Initializer) or is_method(one) for one in given]
        if not given:
            raise ValueError("initializer: expected at least one, got an empty list")
        if all(alternatives):
            return [one for part in given for one in as_initializers(part, features, warmup_epochs)]
        if any(alternatives):
            kinds = sorted({type(one).__name__ for one in given if isinstance(one, ARRAY_TYPES)})
            raise TypeError(
                "initializer: expected names, clusterers, functions or Initializers in a list, "
                f"got {kinds}; use Initializer(array)"
            )
    if given is None or (isinstance(given, str) and given == "random"):
        return [None]
    if isinstance(given, str) and given == "auto":
        methods, space = (STARTS, None) if features <= PCA_FEATURES else (STARTS_ON_PCA, "pca")
        return [Initializer(method, space, warmup_epochs) for method in methods]
    return [given if isinstance(given, Initializer) else Initializer(given, None, warmup_epochs)]  # type: ignore[arg-type]
