"""A mixture of flows as a classifier of scikit-learn that learns from rows without a label too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from pyro_vmonf._validation import check_count
from pyro_vmonf.estimator.classes import component_labels, read_targets
from pyro_vmonf.estimator.described import Description
from pyro_vmonf.estimator.fitting import fit_rows
from pyro_vmonf.estimator.rows import Array, evaluation_of, read_rows, read_weights, tensor_to_array
from pyro_vmonf.estimator.saving import SavableEstimator
from pyro_vmonf.estimator.settings import seed_of, settings_of
from pyro_vmonf.evaluation.evaluating import Posterior
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.labels import Labels
from pyro_vmonf.persistence import SavedMixture

__all__ = ["VMoNFClassifier"]

# scikit-learn's names of arguments:
# ruff: noqa: N803


class VMoNFClassifier(ClassifierMixin, SavableEstimator):
    """A classifier whose classes are components of a mixture of flows; rows without a label are learned from, too.

    It is fitted by :func:`~pyro_vmonf.fit_mixture` with labels. NaN, None and pandas's NA stand for no label. In
    ``GridSearchCV`` and ``cross_val_score`` such labels need ``cv=KFold(…)``: the stratified folds that scikit-learn
    makes for classifiers do not take them.

    Args:
        components_per_class: The number M of components of each class. With more than one, the labelled rows of a class
            are divided among its components by a Gaussian mixture of their own before the fit.
        unlabelled: A further label that stands for none, such as −1.
        components, covariance_type, n_init, init_params, max_iter, tol, reg_covar: As of :class:`~pyro_vmonf.VMoNF`.
            With ``init_params="auto"``, classifiers that learn from the labels join the clusterings.
        random_state, verbose, device: As of :class:`~pyro_vmonf.VMoNF`.

    Attributes:
        classes_: The labels that occur in rows of weight above 0, sorted, ``(C,)``.
        n_iter_, converged_, lower_bound_, lower_bounds_, history_, model_, guide_: As of :class:`~pyro_vmonf.VMoNF`;
            component c M + m of the model is the m-th of class c.
        n_features_in_, feature_names_in_: As of :class:`~pyro_vmonf.VMoNF`.

    Examples:
        >>> from pyro_vmonf import VMoNFClassifier
        >>> from pyro_vmonf.data import pinwheel
        >>> x, y = pinwheel(50, wings=2)
        >>> names = [("left", "right")[label] if i % 5 == 0 else None for i, label in enumerate(y.tolist())]
        >>> classifier = VMoNFClassifier(components="gaussian", random_state=0).fit(x, names)
        >>> classifier.classes_.tolist(), classifier.predict_proba(x).shape
        (['left', 'right'], (100, 2))
    """

    _kind = "VMoNFClassifier"

    def __init__(
        self,
        components_per_class: int = 1,
        *,
        unlabelled: object = None,
        components: str = "auto",
        covariance_type: str = "auto",
        n_init: int = 3,
        init_params: str | Initializer | Callable[[Array], Any] = "auto",
        max_iter: int = 200,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        device: str = "cpu",
    ) -> None:
        self.components_per_class = components_per_class
        self.unlabelled = unlabelled
        self.components = components
        self.covariance_type = covariance_type
        self.n_init = n_init
        self.init_params = init_params
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def fit(self, X: object, y: object, sample_weight: object = None) -> "VMoNFClassifier":
        """Fits the classifier.

        Args:
            X: The rows ``(N, D)``, as of :meth:`VMoNF.fit <pyro_vmonf.VMoNF.fit>`.
            y: The labels ``(N,)`` of any type; NaN, None or NA where there is none.
            sample_weight: The weights of the rows ``(N,)``, at least 0: a row of weight 2 counts as two.

        Raises:
            TypeError, ValueError: For rows, labels, weights or parameters that cannot be used, before any work.

        Warns:
            UserWarning: If −1 is among other integer classes, and ``unlabelled`` is not −1.
            ConvergenceWarning: If no flow was trained for want of rows, or training ended before it could converge.
        """
        settings, per_class = settings_of(self), check_count("components_per_class", self.components_per_class)
        rows = read_rows(self, X, reset=True)
        weight, seed = read_weights(sample_weight, rows), seed_of(self.random_state)
        targets = read_targets(y, len(rows), self.unlabelled).of_positive(weight)
        labels = component_labels(rows, targets, weight, per_class, seed)
        n_classes = len(targets.classes)
        fit = fit_rows(rows, per_class * n_classes, weight, settings, seed, labels=labels)
        owners = np.repeat(np.arange(n_classes), per_class).tolist()
        fit.model.labels, fit.guide.labels = (Labels(owners).to(settings.device) for _ in range(2))
        self.classes_ = targets.classes
        self._keep(fit)
        return self

    @classmethod
    def _restored(cls, saved: SavedMixture, given: Description) -> "VMoNFClassifier":
        """Returns the estimator of what a file holds."""
        cls._check_kind(given)
        count = saved.model.labels.n_classes
        if given.classes is None:
            raise ValueError("expected a classifier, got a mixture without classes, which VMoNF.load opens")
        if given.classes.shape != (count,):
            raise ValueError(f"expected {count} classes, got {given.classes.shape}; VMoNF.load opens a mixture alone")
        found = cls(device=str(saved.guide.temperature.device))
        found._keep_modules(saved.model, saved.guide, saved.history, given.feature_names)
        found.classes_ = given.classes
        return found

    def predict_proba(self, X: object, posterior: Posterior = "encoder") -> Array:
        """Returns the probabilities of the classes, ``(N, C)``.

        Args:
            X: The rows.
            posterior: ``"encoder"`` for q(z | x), or ``"exact"`` for p(z | x) = p(x, z) / p(x).

        Raises:
            ValueError: If ``posterior`` is neither.
        """
        return tensor_to_array(evaluation_of(self, X).class_probs(posterior))

    def predict(self, X: object) -> npt.NDArray[Any]:
        """Returns the most probable class of each row by the encoder, ``(N,)``."""
        best = self.predict_proba(X).argmax(1)
        found: npt.NDArray[Any] = self.classes_[best]
        return found

    def score_samples(self, X: object) -> Array:
        """Returns the log-density log p(x) of each row in nats, in the units of X, ``(N,)``."""
        return tensor_to_array(evaluation_of(self, X).evidence)

    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Returns the accuracy over the rows that have a label, weighed by ``sample_weight``.

        Raises:
            ValueError: If no row has a label.
        """
        found = self.predict(X)
        targets = read_targets(y, len(found), self.unlabelled)
        own = targets.is_labelled
        if not own.any():
            raise ValueError("y: expected a label of at least one row, got none")
        weight = None if sample_weight is None else np.asarray(sample_weight)[own]
        return float(accuracy_score(targets.values(), found[own], sample_weight=weight))
