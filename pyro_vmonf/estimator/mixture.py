"""A mixture of flows as a clusterer and density estimator of scikit-learn."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import check_count
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.estimator.component_count import choose_components
from pyro_vmonf.estimator.criteria import parameter_count
from pyro_vmonf.estimator.described import Description
from pyro_vmonf.estimator.fitting import Fit, fit_rows
from pyro_vmonf.estimator.moments import moments_of, shaped_covariances
from pyro_vmonf.estimator.rows import Array, evaluation_of, read_rows, read_weights, tensor_to_array
from pyro_vmonf.estimator.saving import SavableEstimator
from pyro_vmonf.estimator.settings import Settings, seed_of, settings_of
from pyro_vmonf.evaluation.evaluating import Posterior, evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.weights import log_mean
from pyro_vmonf.persistence import SavedMixture
from pyro_vmonf.selection import Count

__all__ = ["VMoNF"]

# scikit-learn's names of arguments:
# ruff: noqa: N803


class VMoNF(ClusterMixin, DensityMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, SavableEstimator):
    """A variational mixture of normalizing flows, with the methods of ``sklearn.mixture.GaussianMixture``.

    It is fitted by :func:`~pyro_vmonf.fit_mixture`, which standardises the features: Gaussian mixtures and clusterings
    compete as starts, flows are added to the best where held-out rows gain by them, and the flows are trained until
    these gain no more. Equal rows count as one with the sum of their weights. Log-densities are in nats, in the units
    of X. Everything is read in float64.

    Of fewer than five distinct rows, or hardly more than components, none can be held out: then the fit is a Gaussian
    mixture, its covariances diagonal unless ``covariance_type`` says otherwise, and a ``ConvergenceWarning`` says so.

    Args:
        n_components: The number K of components, or ``"auto"`` for the number, from 1 to 10, of modes that stand
            alone or of Gaussian components, see :func:`~pyro_vmonf.select_components`, which shows other criteria too.
        components: What may be added to the Gaussians of a start: ``"auto"`` for all flows that
            :func:`~pyro_vmonf.fit_mixture` knows, ``"nsf"`` for splines, ``"realnvp"`` for affine couplings, or
            ``"gaussian"`` for nothing. Other flows are trained by :func:`~pyro_vmonf.fit`, see :meth:`from_modules`.
        covariance_type: The covariances of the Gaussians that a fit starts from: ``"full"``, ``"tied"``, ``"diag"``, or
            ``"auto"`` for that with the greatest held-out ELBO. They are those of standardised features.
        weights: The weights of the components: None for learned ones, ``"uniform"``, or K positive numbers that sum to
            1, the greatest of which belongs to the greatest cluster, and so on.
        n_init: The number of runs of k-means from which each Gaussian mixture among the starts begins.
        init_params: The starts that compete: ``"auto"`` for Gaussian mixtures, a spectral clustering, Ward's and single
            linkage; ``"kmeans"`` for Gaussian mixtures that begin from k-means, as in scikit-learn, of all types that
            ``covariance_type`` allows; ``"gmm"`` for one of them; ``"gmm-tied"``, ``"gmm-diag"``, ``"spectral"``,
            ``"ward"`` or ``"linkage"`` for that one alone; an :class:`~pyro_vmonf.Initializer`, a clusterer, or a
            function from distinct, standardised rows to labels or responsibilities.
        means_init: The means ``(K, D)``, in the units of X, from which expectation-maximization begins in the place of
            those of k-means. Then ``"auto"`` is ``"kmeans"``.
        max_iter: The greatest number of iterations. An iteration is five steps of the warm-up, in which the start is
            learned, and eight steps after it. 0 gives the Gaussian mixture that a fit starts from, after
            expectation-maximization has converged (scikit-learn's is before its first update); where the start is
            another clustering, the Gaussians of its clusters.
        tol: Expectation-maximization ends where the mean log-density of the scaled features changes by less, in nats.
        reg_covar: What is added to each variance of a Gaussian mixture, in the unit of the mean variance of the scaled
            features.
        random_state: The seed of all that is random, a ``RandomState``, or None for numpy's own.
        warm_start: Whether a further fit starts from the responsibilities that the last one gives to its rows, in the
            place of ``init_params``, ``means_init`` and ``n_init``. Features and number of components must be the same.
        verbose: Whether to show a progress bar.
        device: Where mixtures are trained, and where the result is: ``"cpu"``, ``"cuda"``, …

    Attributes:
        weights_: The weights of the components, ``(K,)``.
        means_: The means of the components, ``(K, D)``; exact for Gaussians, else those of 10,000 draws of each.
        covariances_: Their covariances likewise, ``(K, D, D)``; ``(D, D)``, the weighted mean, where
            ``covariance_type="tied"``; the variances ``(K, D)`` where it is ``"diag"``.
        labels_: The component of each row of the fit by :meth:`predict`, ``(N,)``.
        n_iter_: The number of iterations of the result: one for its Gaussian mixture, and one for each 13 steps.
        converged_: Whether training ended because held-out rows gained no more; True for Gaussian mixtures.
        lower_bound_: The mean held-out ELBO of the chosen try; of too few rows the mean log-density of these.
        lower_bounds_: The mean held-out ELBO of each try.
        n_components_: The number of components K.
        history_: What was tried and why, which ``print(estimator.history_.search)`` shows.
        model_: The model, a plain Pyro module in float64 that takes x in the units of X.
        guide_: The guide, which has the encoder q(z | x).
        n_features_in_: The number of features D.
        feature_names_in_: Their names, where X was a frame whose columns have names.

    Examples:
        >>> from pyro_vmonf import VMoNF
        >>> from pyro_vmonf.data import pinwheel
        >>> x, _ = pinwheel(50, wings=2)
        >>> mixture = VMoNF(2, components="gaussian", random_state=0).fit(x)
        >>> mixture.score_samples(x).shape, mixture.means_.shape
        ((100,), (2, 2))
    """

    _kind = "VMoNF"

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        components: str = "auto",
        covariance_type: str = "auto",
        weights: object = None,
        n_init: int = 3,
        init_params: str | Initializer | Callable[[Array], Any] = "auto",
        means_init: npt.ArrayLike | None = None,
        max_iter: int = 200,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.components = components
        self.covariance_type = covariance_type
        self.weights = weights
        self.n_init = n_init
        self.init_params = init_params
        self.means_init = means_init
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device

    def fit(self, X: object, y: object = None, sample_weight: object = None) -> "VMoNF":
        """Fits the mixture.

        Args:
            X: The rows ``(N, D)``: an array, a tensor, nested lists, or a frame of pandas, polars or pyarrow.
            y: Not used; :class:`~pyro_vmonf.VMoNFClassifier` has labels.
            sample_weight: The weights of the rows ``(N,)``, at least 0: a row of weight 2 counts as two.

        Raises:
            TypeError, ValueError: For rows, weights or parameters that cannot be used, before any work.

        Warns:
            ConvergenceWarning: If no flow was trained for want of rows, or training ended before it could converge.
            ColumnWarning, SearchWarning, InferenceGapWarning: As :func:`~pyro_vmonf.fit_mixture` does.
        """
        settings = settings_of(self, means=self.means_init, weights=self.weights)
        rows = read_rows(self, X, reset=True)
        weight, seed = read_weights(sample_weight, rows), seed_of(self.random_state)
        count = self._count(rows, weight, settings, seed)
        start = self._previous_responsibilities(rows, count.n_components) if self.warm_start else None
        fit = fit_rows(rows, count.n_components, weight, settings, seed, start=start)
        fit.search.reasons[:0] = count.reasons
        self._keep(fit)
        encoder = evaluate(self.model_, self.guide_, rows).encoder_probs
        self.labels_ = encoder.argmax(-1).cpu().numpy()
        return self

    def _count(self, rows: Array, weight: Array | None, settings: Settings, seed: int) -> Count:
        """Returns the number of components, chosen by the rows where the user leaves it to them, and why."""
        is_auto = isinstance(self.n_components, str) and self.n_components == "auto"
        if is_auto and self.means_init is None:
            return choose_components(rows, weight, seed, settings)
        if is_auto:
            raise ValueError("n_components: expected an integer with means_init, got 'auto'")
        found = check_count("n_components", self.n_components)
        expected = (found, rows.shape[1])
        if self.means_init is not None and np.shape(self.means_init) != expected:
            raise ValueError(f"means_init: expected shape {expected}, got {np.shape(self.means_init)}")
        return Count(found, found, found, [])

    def _previous_responsibilities(self, rows: Array, n_components: int) -> Initializer | None:
        """Returns what the last fit says of rows, as a start; None before the first fit."""
        if not hasattr(self, "model_"):
            return None
        before, now = (self.model_.n_components, *self.model_.components.event_shape), (n_components, rows.shape[1])
        if before != now:
            raise ValueError(
                f"warm_start: expected {before[0]} components of {before[1]} features as in the last fit, got {now[0]} "
                f"of {now[1]}"
            )
        return Initializer(evaluate(self.model_, self.guide_, rows).responsibilities.cpu().double())

    def _keep(self, fit: Fit) -> None:
        """Sets the attributes of a fit, and those that say what its model and guide are."""
        super()._keep(fit)
        self.n_components_ = fit.model.n_components
        own = fit.guide.log_weights()
        with torch.no_grad():
            self.weights_: Array = tensor_to_array((log_mean(fit.model.weights) if own is None else own).exp())
        self._found_moments: tuple[Array, Array] | None = None

    def _moments(self) -> tuple[Array, Array]:
        """Returns the means and covariances of the components, which are computed when they are first asked for."""
        check_is_fitted(self)
        if self._found_moments is None:
            self._found_moments = moments_of(self.model_.components)
        return self._found_moments

    @property
    def means_(self) -> Array:
        """The means of the components, ``(K, D)``."""
        return self._moments()[0]

    @property
    def covariances_(self) -> Array:
        """The covariances of the components, in the shape of ``covariance_type``."""
        return shaped_covariances(self._moments()[1], self.weights_, self.covariance_type)

    @classmethod
    def from_modules(
        cls,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        history: History | None = None,
        *,
        feature_names: Sequence[str] | None = None,
    ) -> "VMoNF":
        """Returns a fitted estimator of a model and a guide of one's own, which it shares with the caller.

        They are read in their own floating-point type. What only a fit knows is not there: ``labels_``, and where the
        history has no search, ``n_iter_``, ``converged_``, ``lower_bound_`` and ``lower_bounds_``. A further
        :meth:`fit` replaces them by a mixture of the library's own, with as many components.

        Args:
            model: The model p(x, z) of vectors x.
            guide: The guide q(z | x).
            history: The history of their fit, if there is one.
            feature_names: The names of the columns, by which those of later frames are checked.

        Raises:
            TypeError: If these are no model and guide.
            ValueError: If x are no vectors, or the numbers of components or of names differ.
        """
        found = cls()
        found._keep_modules(model, guide, history, feature_names)
        return found.set_params(n_components=found.n_components_, device=str(guide.temperature.device))

    @classmethod
    def _restored(cls, saved: SavedMixture, given: Description) -> "VMoNF":
        """Returns the estimator of what a file holds."""
        cls._check_kind(given)
        return cls.from_modules(saved.model, saved.guide, saved.history, feature_names=given.feature_names)

    def predict(self, X: object) -> npt.NDArray[np.int64]:
        """Returns the most probable component of each row by the encoder, ``(N,)``."""
        found: npt.NDArray[np.int64] = self.predict_proba(X).argmax(1)
        return found

    def predict_proba(self, X: object, posterior: Posterior = "encoder") -> Array:
        """Returns the probabilities of the components, ``(N, K)``.

        Args:
            X: The rows.
            posterior: ``"encoder"`` for q(z | x), or ``"exact"`` for p(z | x) = p(x, z) / p(x).

        Raises:
            ValueError: If ``posterior`` is neither.
        """
        if posterior not in ("encoder", "exact"):
            raise ValueError(f"posterior: expected 'encoder' or 'exact', got {posterior!r}")
        found = evaluation_of(self, X)
        return tensor_to_array(found.encoder_probs if posterior == "encoder" else found.responsibilities)

    def score_samples(self, X: object) -> Array:
        """Returns the log-density log p(x) of each row in nats, in the units of X, ``(N,)``."""
        return tensor_to_array(evaluation_of(self, X).evidence)

    def score(self, X: object, y: object = None) -> float:
        """Returns the mean log-density of the rows in nats, in the units of X; y is not used."""
        return float(self.score_samples(X).mean())

    def transform(self, X: object) -> Array:
        """Returns log p(x, z = k) of each row and component in nats, ``(N, K)``."""
        return tensor_to_array(evaluation_of(self, X).log_joint)

    def elbo(self, X: object) -> Array:
        """Returns the evidence lower bound Σ_k q(k|x) [log p(x, k) − log q(k|x)] of each row in nats, ``(N,)``."""
        return tensor_to_array(evaluation_of(self, X).elbo)

    def inference_gap(self, X: object) -> Array:
        """Returns log p(x) − ELBO(x) = KL(q(z|x) ‖ p(z|x)) ≥ 0 of each row in nats, ``(N,)``."""
        return tensor_to_array(evaluation_of(self, X).inference_gap)

    def sample(self, n_samples: int = 1) -> tuple[Array, npt.NDArray[np.int64]]:
        """Draws rows and their components, by ``random_state``.

        Args:
            n_samples: The number n of rows.

        Returns:
            The rows ``(n, D)`` and their components ``(n,)``.
        """
        check_is_fitted(self)
        with isolated_random_state(seed_of(self.random_state)):
            x, z = self.model_.sample(check_count("n_samples", n_samples), self.guide_.log_weights())
        return tensor_to_array(x), z.cpu().numpy()

    def aic(self, X: object) -> float:
        """Returns Akaike's information criterion 2 p − 2 Σ log p(x) of the rows, given p parameters of the density.

        The flows' parameters all count, though training that ends early does not use them in full: the criterion is
        too great for flows, and comparable among Gaussian mixtures.
        """
        return 2 * self._parameter_count() - 2 * float(self.score_samples(X).sum())

    def bic(self, X: object) -> float:
        """Returns the Bayesian information criterion p log N − 2 Σ log p(x) of N rows; see :meth:`aic`."""
        values = self.score_samples(X)
        return self._parameter_count() * math.log(len(values)) - 2 * float(values.sum())

    def _parameter_count(self) -> int:
        """Returns the number of free parameters of the density."""
        search = self.history_.search
        return parameter_count(self.model_, None if search is None else search.choice.covariance_type)

    @property
    def _n_features_out(self) -> int:
        """The number of columns that :meth:`transform` returns."""
        return self.n_components_
