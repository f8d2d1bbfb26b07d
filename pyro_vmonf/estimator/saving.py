"""What both estimators have once they are fitted, in a file and out of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from pyro_vmonf._io import Json
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.estimator.described import KEY, Description, describe, read_description
from pyro_vmonf.estimator.fitting import Fit
from pyro_vmonf.evaluation.evaluating import check_kinds
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.persistence import SavedMixture, SavedMixtureError, load, save

__all__ = ["SavableEstimator"]

Estimator = TypeVar("Estimator", bound="SavableEstimator")


class SavableEstimator(BaseEstimator):
    """An estimator whose fitted state is a mixture, its encoder, and the history of their fit."""

    _kind: ClassVar[str]
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]
    model_: FlowMixture
    guide_: SoftmaxEncoder
    history_: History

    def save(self, path: str | Path, **more: Json) -> None:
        """Writes the fitted estimator to one file, whole or not at all, from which :meth:`load` executes nothing.

        It is the file of :func:`pyro_vmonf.save`, which :func:`pyro_vmonf.load` opens, too. Not kept are ``labels_``,
        the output that ``set_output`` asks for, and parameters that are functions or objects, such as a clusterer in
        ``init_params`` or a ``RandomState``.

        Args:
            path: The file. If it exists, it is replaced once the new one is written.
            **more: Anything else that JSON knows, by name; it is in the ``header`` that ``pyro_vmonf.load`` returns.

        Raises:
            NotFittedError: If the estimator is not fitted.
            TypeError: If a part cannot be saved; the message names it. Nothing is written then.
            OSError: If the file cannot be written, its folder is not there, or it is a folder itself.

        Warns:
            UserWarning: Of each parameter that is not kept.
        """
        check_is_fitted(self)
        save(path, self.model_, self.guide_, self.history_, **{KEY: describe(self, self._kind)}, **more)

    @classmethod
    def load(cls: type[Estimator], path: str | Path, *, device: str | torch.device = "cpu") -> Estimator:
        """Returns the fitted estimator that :meth:`save` wrote, from which nothing is executed.

        A file of :func:`pyro_vmonf.save`, or of the command, such as ``run/mixture.safetensors``, can be opened, too:
        as by :meth:`VMoNF.from_modules <pyro_vmonf.VMoNF.from_modules>`, with the names of the command's columns, and
        as a classifier where the command was given a column of labels.

        Args:
            path: The file.
            device: Where the mixture is put, and where a further fit trains.

        Raises:
            SavedMixtureError: If the file is damaged, or holds another kind of estimator. It is a ``ValueError``.
            OSError: If the file cannot be read, or is a folder.
            ValueError: If there is no such device.
        """
        saved = load(path, device=device)
        try:
            given = read_description(saved.header, saved.model.components.event_shape.numel())
            return cls._restored(saved, given).set_params(**given.parameters)
        except Exception as error:  # whatever the parts make of wrong entries
            raise SavedMixtureError(Path(path), "estimator", str(error)) from error

    @classmethod
    def _restored(cls: type[Estimator], saved: SavedMixture, given: Description) -> Estimator:
        """Returns the estimator of what a file holds, with the default parameters; raises ``ValueError`` for others."""
        raise NotImplementedError

    @classmethod
    def _check_kind(cls, given: Description) -> None:
        """Raises ``ValueError`` if a file holds another kind of estimator."""
        if given.kind not in (None, cls._kind):
            raise ValueError(f"expected a {cls._kind}, got a {given.kind}, which {given.kind}.load opens")

    def _keep(self, fit: Fit) -> None:
        """Sets the attributes of a fit; a history without a search does not say how it went."""
        self.model_, self.guide_, self.history_ = fit.model, fit.guide, fit.history
        if fit.history.search is not None:
            self.n_iter_, self.converged_ = fit.n_iter, fit.has_converged
            self.lower_bound_, self.lower_bounds_ = fit.lower_bound, fit.lower_bounds

    def _keep_modules(
        self, model: Any, guide: Any, history: History | None, feature_names: Sequence[str] | None
    ) -> None:
        """Sets the attributes of a fit that was done elsewhere.

        Raises:
            TypeError: If these are no model and guide.
            ValueError: If x are no vectors, or the numbers of components or of names differ.
        """
        check_kinds(model, guide)
        shape = tuple(model.components.event_shape)
        if len(shape) != 1:
            raise ValueError(f"model: expected one of vectors x, got one of shape {shape}")
        if guide.n_components != model.n_components:
            raise ValueError(f"guide: expected {model.n_components} components, got {guide.n_components}")
        if feature_names is not None:
            if len(feature_names) != shape[0]:
                raise ValueError(f"feature_names: expected {shape[0]}, got {len(feature_names)}")
            self.feature_names_in_ = np.asarray(feature_names, dtype=object)
        self.n_features_in_ = shape[0]
        self._keep(Fit(model, guide, history or History()))
