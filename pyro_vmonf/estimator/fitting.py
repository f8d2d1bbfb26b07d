"""The fit of both estimators: a search, or the Gaussian mixture of a few rows."""

import math
import warnings
from dataclasses import dataclass

from sklearn.exceptions import ConvergenceWarning

from pyro_vmonf.automatic.fitting import fit_mixture
from pyro_vmonf.automatic.table import collapsed, least_points
from pyro_vmonf.checkpointing.history import History, report_of
from pyro_vmonf.checkpointing.search_report import Row, SearchReport
from pyro_vmonf.estimator.few_rows import fit_few_rows
from pyro_vmonf.estimator.rows import Array
from pyro_vmonf.estimator.settings import STEPS_PER_ITERATION, Settings
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["Fit", "fit_rows"]


@dataclass(frozen=True)
class Fit:
    """A fitted mixture, and how it was found."""

    model: FlowMixture
    guide: SoftmaxEncoder
    history: History

    @property
    def search(self) -> SearchReport:
        """What was tried."""
        return report_of(self.history)

    @property
    def chosen(self) -> Row:
        """The try that was chosen: the last of its start, flows and noise."""
        choice = self.search.choice
        own = (choice.start, choice.warp, choice.noise)
        return [row for row in self.search.rows if (row.start, row.warp, row.noise) == own][-1]

    @property
    def lower_bound(self) -> float:
        """The mean held-out ELBO of the chosen try in nats, in the units of X."""
        return self.chosen.elbo

    @property
    def lower_bounds(self) -> list[float]:
        """The mean held-out ELBO of each try."""
        return [row.elbo for row in self.search.rows]

    @property
    def n_iter(self) -> int:
        """The number of iterations: one for the Gaussian mixture, and one for each 13 steps of its flows."""
        return 1 + math.ceil(self.search.choice.steps / STEPS_PER_ITERATION)

    @property
    def has_converged(self) -> bool:
        """Whether training ended because held-out points did not get better; Gaussian mixtures are not trained."""
        return self.search.choice.warp == "N" or self.search.stopped == "patience"


def fit_rows(
    rows: Array,
    n_components: int,
    weight: Array | None,
    settings: Settings,
    seed: int,
    *,
    labels: object = None,
    start: object = None,
) -> Fit:
    """Fits a mixture of flows, or where there are too few distinct rows to hold some out, a Gaussian mixture.

    Args:
        rows: The rows ``(N, D)``.
        n_components: The number K of components.
        weight: Their weights ``(N,)``, or None.
        settings: The settings of the search.
        seed: The seed of all that is random.
        labels: The labels of the rows as :func:`~pyro_vmonf.fit_mixture` takes them, or None.
        start: Responsibilities ``(N, K)`` to start from, in the place of the clusterings, or None.

    Raises:
        ValueError: If there are fewer distinct rows of weight above 0 than components.

    Warns:
        ConvergenceWarning: If no flow was trained for want of rows, or training ended before it could converge.
    """
    table, _ = collapsed(rows, weight)
    if len(table.x) < n_components:
        raise ValueError(
            f"n_components: expected at most the number of distinct rows of weight above 0, {len(table.x)}, "
            f"got {n_components} (n_samples={len(rows)})"
        )
    if len(table.x) < least_points(n_components):
        model, guide, history = fit_few_rows(table, n_components, labels, settings.weights, settings.config, seed)
        return Fit(model.to(settings.device), guide.to(settings.device), history)
    try:
        model, guide, history = fit_mixture(
            rows,
            n_components,
            labels,
            sample_weight=weight,
            components=settings.components,
            weights=settings.weights,
            initializer=settings.initializer if start is None else start,
            config=settings.config,
            device=settings.device,
            seed=seed,
            progress=settings.progress,
        )
    except ValueError as error:  # which names the argument of fit_mixture
        if not str(error).startswith("initializer:"):
            raise
        raise ValueError(f"init_params:{str(error).removeprefix('initializer:')}") from error
    fit = Fit(model, guide, history)
    if not fit.has_converged:
        message = "training ended at the greatest number of steps, not for want of progress; a larger max_iter may help"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)
    return fit
