"""What estimators, guides, models, pairs of them, and functions say of points.

They are told apart by their methods, as this package knows no model.
"""

import warnings
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyro_vmonf._torch import evaluation_mode
from pyro_vmonf._validation import as_numbers, check_labels
from pyro_vmonf.plots.points import Numbers

__all__ = [
    "DensitySource",
    "Function",
    "MixtureSource",
    "ProbsSource",
    "is_source",
    "read_choice",
    "read_component_log_densities",
    "read_log_density",
    "read_probs",
    "read_weights",
]

Function: TypeAlias = Callable[[Tensor], Numbers]

MOST_POINTS, MOST_NUMBERS = 10_000, 2**20
"""The greatest number of points, and of numbers in them, that a function receives at a time."""


@runtime_checkable
class Guide(Protocol):
    """A guide, which has an encoder q(z | x)."""

    def probs(self, x: Tensor) -> Tensor: ...

    def log_weights(self) -> Tensor | None: ...


@runtime_checkable
class Model(Protocol):
    """A model p(x, z)."""

    def log_joint(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor: ...

    def evidence(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor: ...

    def responsibilities(self, x: Tensor, log_weights: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class FittedMixture(Protocol):
    """An estimator that is a model and its guide."""

    @property
    def model_(self) -> Model: ...

    @property
    def guide_(self) -> Guide: ...


@runtime_checkable
class ProbsEstimator(Protocol):
    """An estimator that gives probabilities, as those of scikit-learn do."""

    def predict_proba(self, X: npt.NDArray[np.float64], /) -> Numbers: ...  # noqa: N803  (scikit-learn's name)


@runtime_checkable
class DensityEstimator(Protocol):
    """An estimator that gives log-densities, as those of scikit-learn do."""

    def score_samples(self, X: npt.NDArray[np.float64], /) -> Numbers: ...  # noqa: N803  (scikit-learn's name)


MixtureSource: TypeAlias = FittedMixture | Model | tuple[Model, Guide]
DensitySource: TypeAlias = MixtureSource | DensityEstimator | Function
ProbsSource: TypeAlias = MixtureSource | Guide | ProbsEstimator | Function


def parts_of(source: object) -> tuple[Model | None, Guide | None]:
    """Returns the model and the guide that something is or has, and None in the place of what it lacks."""
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], Model) and isinstance(source[1], Guide):
        return source[0], source[1]
    if isinstance(source, FittedMixture):
        return source.model_, source.guide_
    if isinstance(source, Model):
        return source, None
    return None, source if isinstance(source, Guide) else None


def is_source(given: object) -> bool:
    """Whether something gives the probabilities of components."""
    return parts_of(given) != (None, None) or isinstance(given, ProbsEstimator) or callable(given)


def read_probs(source: ProbsSource, x: Tensor) -> Tensor:
    """Returns the probabilities of the components ``(N, K)`` of points.

    They are those of the encoder where there is one, else the exact ones.

    Raises:
        TypeError: If ``source`` cannot say them.
        ValueError: If they are not of shape ``(N, K)``.
    """
    model, guide = parts_of(source)
    if guide is not None:
        table = call("source", guide.probs, x, guide)
    elif model is not None:
        table = call("source", model.responsibilities, x, model)
    elif isinstance(source, ProbsEstimator) and not isinstance(source, type):
        estimator = source
        table = call("source", lambda part: estimator.predict_proba(part.numpy()), x, source)
    elif callable(source) and not isinstance(source, type):
        table = call("source", source, x, owner_of(source))
    else:
        expected = "an estimator with predict_proba, a guide, a model, a pair (model, guide), or a function of points"
        raise TypeError(f"source: expected {expected}, got {kind_of(source)}")
    if table.dim() != 2 or len(table) != len(x):
        expected = f"probabilities of shape ({len(x)}, K), such as those of guide.probs"
        raise ValueError(f"source: expected {expected}, got shape {tuple(table.shape)}")
    return table


def read_choice(name: str, source: ProbsSource, x: Tensor, n_components: int) -> Tensor:
    """Returns the component ``(N,)`` of each point, which a function returns itself.

    Raises:
        TypeError: If ``source`` cannot say them, or they are no integers.
        ValueError: If their number or range is wrong.
    """
    if parts_of(source) == (None, None) and callable(source):
        found = call(name, source, x, owner_of(source))
    else:
        found = read_probs(source, x).argmax(-1)
    return check_labels(name, found, len(x), n_components)


def read_log_density(source: DensitySource, x: Tensor) -> Tensor:
    """Returns log p(x) ``(N,)`` of points in nats.

    Raises:
        TypeError: If ``source`` cannot say it.
        ValueError: If it is not of shape ``(N,)``.
    """
    model, guide = parts_of(source)
    if model is not None:
        evidence, log_weights = model.evidence, None if guide is None else guide.log_weights()
        values = call("source", lambda part: evidence(part, log_weights), x, model)
    elif isinstance(source, DensityEstimator) and not isinstance(source, type):
        estimator = source
        values = call("source", lambda part: estimator.score_samples(part.numpy()), x, source)
    elif callable(source) and guide is None and not isinstance(source, type):
        values = call("source", source, x, owner_of(source))
    else:
        expected = "an estimator with score_samples, a model, a pair (model, guide), or a function of points"
        raise TypeError(f"source: expected {expected}, got {kind_of(source)}")
    if values.shape != (len(x),):
        raise ValueError(f"source: expected log p(x) of shape ({len(x)},), got shape {tuple(values.shape)}")
    return values.double()


def read_component_log_densities(source: MixtureSource, x: Tensor) -> Tensor:
    """Returns log p(x | z = k) ``(N, K)`` of points in nats; raises ``TypeError`` if ``source`` has no model."""
    model, _ = mixture_of(source)
    # With weights of 1 the joint density is that of the component.
    return call("source", lambda part: model.log_joint(part, part.new_zeros(1)).T, x, model).double()


def read_weights(source: MixtureSource) -> npt.NDArray[np.float64]:
    """Returns the weights of the components ``(K,)``; raises ``TypeError`` if ``source`` has no model.

    Where the weights have a posterior or a prior, they are its mean.
    """
    model, guide = mixture_of(source)
    with torch.no_grad():
        own = None if guide is None else guide.log_weights()
        return (prior_log_weights(model) if own is None else own).exp().double().cpu().numpy()


def prior_log_weights(model: Any) -> Tensor:
    """Returns the log-weights of a model ``(K,)``, or those of the mean where they are random."""
    found: Tensor = getattr(model.weights, "log_mean", model.weights)()
    return found


def mixture_of(source: object) -> tuple[Model, Guide | None]:
    """Returns a model, and its guide where there is one; raises ``TypeError`` if there is no model."""
    model, guide = parts_of(source)
    if model is None:
        raise TypeError(f"source: expected a fitted VMoNF, a model, or a pair (model, guide), got {kind_of(source)}")
    return model, guide


def kind_of(source: object) -> str:
    """Returns what something is, as an error message says it."""
    if isinstance(source, type):
        return f"the class {source.__name__}"
    if isinstance(source, tuple):
        return f"({', '.join(type(part).__name__ for part in source)})"
    return type(source).__name__


def owner_of(function: object) -> object:
    """Returns what a method belongs to, and anything else as it is."""
    return getattr(function, "__self__", function)


def call(name: str, function: Function, x: Tensor, owner: object) -> Tensor:
    """Returns what a function returns for points ``(N, *event)``, as a tensor on the CPU.

    Args:
        name: What the caller calls the function.
        function: The function.
        x: The points, in float64.
        owner: What the function belongs to. A module is called in evaluation mode, with points of its type on its
            device; an estimator receives them as they are, and a function in the default floating-point type.
    """
    module = owner if isinstance(owner, nn.Module) else nn.Module()
    like = x if isinstance(owner, ProbsEstimator | DensityEstimator) else next(module.parameters(), torch.empty(0))
    size = min(MOST_POINTS, max(256, MOST_NUMBERS // max(1, x[0].numel())))
    with torch.no_grad(), evaluation_mode(module), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)  # of a grid
        try:
            return torch.cat([as_numbers(name, function(part.to(like))).cpu() for part in x.split(size)])
        except RuntimeError as error:
            if "shape" not in str(error):
                raise
            raise ValueError(f"x: {name} does not take points of shape {tuple(x.shape)}: {error}") from error
