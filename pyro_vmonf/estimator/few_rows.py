"""The Gaussian mixture of a table with too few distinct rows to hold any out."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.automatic.arguments import checked_weights
from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.folds import Folds
from pyro_vmonf.automatic.labelled import as_probabilities, merged
from pyro_vmonf.automatic.modules import modules_of
from pyro_vmonf.automatic.problem import Problem
from pyro_vmonf.automatic.starts import LEAST_SHARE, Candidate
from pyro_vmonf.automatic.table import Table
from pyro_vmonf.automatic.values import elbos
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture
from pyro_vmonf.initialization.mixture_settings import MixtureSettings
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["fit_few_rows"]


def fit_few_rows(
    table: Table, n_components: int, labels: object, weights: object, config: SearchConfig, seed: int
) -> tuple[FlowMixture, SoftmaxEncoder, History]:
    """Returns a Gaussian mixture of so few points that none can be held out, as a model and a guide.

    Covariances are diagonal, unless another type alone is asked for. Where there are labels, the Gaussians are those
    of the labelled points. The history's only row has the mean log-density of the points themselves.

    Args:
        table: The points.
        n_components: The number K of components, at most that of the points.
        labels: The labels of all rows as :func:`~pyro_vmonf.fit_mixture` takes them, or None.
        weights: The weights of the components: ``"learned"``, ``"uniform"`` or K numbers.
        config: The numbers of the search, of which those of the mixtures are used.
        seed: The seed of k-means.

    Warns:
        ConvergenceWarning: Always: no flow was trained.
    """
    known = as_probabilities(labels, table.total, n_components)
    if known is None:
        start = mixture_start(table, n_components, config.mixtures, seed)
    else:
        given = merged(known[table.kept], table.given_weight, table.index, len(table.x))
        start = labelled_start(given, kind_of(config.mixtures))
    shares = checked_weights(weights, n_components)
    if shares is not None and known is None:
        start, shares = start.ordered(table.weight), shares.sort(descending=True).values
    rows = torch.arange(len(table.x))
    problem = Problem(
        table.x, table.weight, n_components, folds=Folds([rows], [rows]), own=rows, weights=shares, seed=seed
    )
    ensemble = problem.build("N", [start], [rows])
    elbo = float(table.weight @ elbos(ensemble, table.x[None])[0] / table.weight.sum())
    with isolated_random_state(seed):
        model, guide = modules_of(ensemble, table.scale)
    return model, guide, history_of(start, elbo - float(table.scale.deviation.log().sum()), len(rows))


def kind_of(settings: MixtureSettings) -> str:
    """Returns the type of covariances: diagonal ones, if they are among those that may be chosen."""
    return "diag" if "diag" in settings.covariance_types else settings.covariance_types[0]


def mixture_start(table: Table, n_components: int, settings: MixtureSettings, seed: int) -> Candidate:
    """Returns the best of several Gaussian mixtures of the points."""
    own = settings.scaled(table.scale.mean.tolist(), table.scale.deviation.tolist())
    fitted = fit_gaussian_mixture(
        table.x,
        n_components,
        covariance_type=kind_of(own),
        weight=table.weight,
        means=own.means,
        n_init=own.n_init,
        ridge=own.ridge,
        tol=own.tol,
        seed=seed,
    )
    return Candidate("gmm", fitted.responsibilities, fitted.covariance_type, is_mixture=True, settings=own)


def labelled_start(labels: Tensor, kind: str) -> Candidate:
    """Returns labels ``(N, K)`` as a clustering, in which points without one belong to all components alike."""
    has_label = labels.sum(-1, keepdim=True) > 0
    shares = torch.where(has_label, labels, torch.full_like(labels, 1 / labels.shape[1]))
    return Candidate("labels", (1 - LEAST_SHARE) * shares + LEAST_SHARE / labels.shape[1], kind)


def history_of(start: Candidate, elbo: float, points: int) -> History:
    """Returns a history of one row, and warns."""
    reason = f"With {points} distinct rows none can be held out: no flow is trained, the result is a Gaussian mixture."
    warnings.warn(reason, ConvergenceWarning, stacklevel=5)
    row = Row(start.name, "N", 0.0, elbo, 0, 0.0)
    choice = Choice(start.name, start.covariance_type, "N", 0.0, 0)
    return History(stopped="patience", search=SearchReport(choice, [row], 0, points, [reason]))
