"""How many components: several criteria side by side, and the mixture with the number chosen."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from tqdm.auto import tqdm

from pyro_vmonf._validation import as_floats, check_choice, check_count, check_seed
from pyro_vmonf.automatic.arguments import checked_config, checked_device, checked_warps
from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.fitting import fit_mixture
from pyro_vmonf.automatic.judge import is_better
from pyro_vmonf.automatic.table import collapsed, least_points
from pyro_vmonf.selection.choosing import CLUSTERS, Count, count
from pyro_vmonf.selection.criteria import Criteria, Sample, criteria_of, sample_from
from pyro_vmonf.selection.report import Selection, SelectionRow
from pyro_vmonf.selection.trials import Trial, Trials, in_parallel, parts_of, path_of

__all__ = ["SelectionWarning", "count_components", "select_components"]

T = TypeVar("T")
DOUBTS = 2.0  # standard errors of held-out evidence, by which another number is worth a word
FRACTION = 0.2  # of the points, held out while numbers are compared


class Bar(Protocol):
    """A progress bar."""

    def update(self) -> object:
        """Moves by one."""


class SelectionWarning(UserWarning):
    """Criteria by which the number of components is chosen disagree."""


def select_components(
    x: object,
    n_components: Sequence[int] = range(1, 13),
    *,
    clusters: str = "auto",
    fit_all: bool = True,
    sample_weight: object = None,
    components: str | Sequence[str] = "auto",
    validation_fraction: float = FRACTION,
    config: SearchConfig | None = None,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    n_jobs: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Selection:
    r"""Chooses the number K of components, by one of two meanings of a cluster, and shows other criteria beside it.

    A cluster may be a *mode* that stands alone, of any shape. For each K, four clusterings of the points are asked for
    the shallowest valley of density between two of their clusters, and whether halves of the points lead to the same
    clusters. The most clusters with valleys of .25 nats, each of which is found again with a mean Jaccard coefficient
    of .85, or with gaps on all sides, are the modes. Two clouds whose density has no valley between them are one mode.

    Or a cluster may be a *component* of the density, of Gaussian shape, though it overlaps with others. Their number is
    that with the least Bayesian information criterion of Gaussian mixtures, of those whose components are found again
    as above; without that condition, the criterion counts the Gaussians that a curved cluster takes.

    By ``"auto"`` modes count, but where there are more Gaussians, and flows with one component for each mode do not
    describe held-out points better, these count. So points of one mode and no Gaussian shape are one cluster.

    The evidence of held-out points under flows is shown, and does not choose: one flow bends over several clusters, and
    many split one, at hardly any cost. So is the greatest overlap of two components, which is small for parts of a long
    cluster too. Of more than 1,500 distinct points, a random sample is clustered; the criteria of more components than
    a tenth of the points are not asked.

    References: Hennig, 2007 (*Comput. Stat. Data Anal.* 52), for stability, and 2010 (*Adv. Data Anal. Classif.* 4) for
    the two meanings and overlap; Fraley and Raftery, 1998 (*Comput. J.* 41), for the criterion of Gaussians.

    Args:
        x: The points ``(N, D)``, as :func:`~pyro_vmonf.fit_mixture` takes them, in any units.
        n_components: The numbers that are tried.
        clusters: What a cluster is: ``"modes"``, ``"components"``, or ``"auto"``.
        fit_all: Whether a mixture of flows is fitted for each number, for its evidence and overlap. Otherwise only
            the number chosen is, which is faster.
        sample_weight: The weights of the points ``(N,)``.
        components: What may be added to Gaussians, as :func:`~pyro_vmonf.fit_mixture` takes it.
        validation_fraction: The fraction of the points that is held out while numbers are compared.
        config: The numbers of each search.
        checkpoint: A file beside which each fit has one of its own, from which a search that was broken off goes on.
        device: Where mixtures are trained, and where the result is.
        n_jobs: The number of processes, as scikit-learn takes it: None for one, −1 for one for each core.
        seed: The seed of all that is random.
        progress: Whether to show a progress bar, on a terminal.

    Returns:
        The number chosen, the mixture with it, fitted to all points, and the table of all criteria.

    Raises:
        TypeError, ValueError: For data or settings that cannot be used, before any work.

    Warns:
        SelectionWarning: If the numbers of modes and of Gaussian components differ, if the greatest or the least number
            is chosen, or if held-out points are worse off with the number chosen than with the best.

    Examples:
        >>> from sklearn.datasets import make_blobs
        >>> from pyro_vmonf import select_components
        >>> x, _ = make_blobs(200, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
        >>> found = select_components(x, range(1, 5), fit_all=False, components="N", progress=False)
        >>> found.n_components, found.modes, found.gaussians
        (3, 3, 3)
    """
    began = begin(
        x, n_components, clusters, sample_weight, components, validation_fraction, config, device, n_jobs, seed
    )
    file = None if checkpoint is None else Path(checkpoint)
    trials = replace(began.trials, checkpoint=file)
    feasible = [k for k in began.numbers if least_points(k) <= len(trials.parts.x)] if fit_all else []
    total = len(began.numbers) + len(feasible)
    with tqdm(total=total, desc="select_components", disable=None if progress else True) as bar:
        rows = list(counted(in_parallel(began.judged, began.numbers, n_jobs), bar))
        fitted = dict(zip(feasible, counted(in_parallel(trials, feasible, n_jobs), bar), strict=True))
    found = count(rows, clusters, trials, fitted)
    model, guide, history = fit_mixture(
        x,
        found.n_components,
        sample_weight=sample_weight,
        components=components,
        config=config,
        checkpoint=path_of(file, "all"),
        device=device,
        seed=seed,
        progress=progress,
    )
    table = [as_row(row, trials, fitted.get(row.n_components)) for row in rows]
    for text in (doubts := concerns(found, table, trials, fitted)):
        warnings.warn(text, SelectionWarning, stacklevel=2)
    reasons = [*found.reasons, *doubts]
    return Selection(found.n_components, found.modes, found.gaussians, table, reasons, model, guide, history, fitted)


def count_components(
    x: object,
    n_components: Sequence[int] = range(1, 11),
    *,
    clusters: str = "auto",
    sample_weight: object = None,
    components: str | Sequence[str] = "auto",
    config: SearchConfig | None = None,
    device: str = "cpu",
    n_jobs: int | None = None,
    seed: int = 0,
) -> Count:
    """Returns the number of components as :func:`select_components` chooses it, and fits no mixture with it.

    Args and errors are those of :func:`select_components`.

    Examples:
        >>> from sklearn.datasets import make_blobs
        >>> from pyro_vmonf.selection import count_components
        >>> x, _ = make_blobs(200, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
        >>> count_components(x, range(1, 5)).n_components
        3
    """
    began = begin(x, n_components, clusters, sample_weight, components, FRACTION, config, device, n_jobs, seed)
    rows = list(in_parallel(began.judged, began.numbers, n_jobs))
    found = count(rows, clusters, began.trials)
    if doubts := greatest_doubts(found, rows):
        for text in doubts:
            warnings.warn(text, SelectionWarning, stacklevel=2)
        found = replace(found, reasons=[*found.reasons, *doubts])
    return found


@dataclass(frozen=True)
class Judged:
    """The criteria of each number of components of some points."""

    sample: Sample
    seed: int

    def __call__(self, n_components: int) -> Criteria:
        """Returns those of one number."""
        return criteria_of(self.sample, n_components, self.seed)


@dataclass(frozen=True)
class Beginning:
    """What is known once the arguments are checked.

    Attributes:
        numbers: The numbers of components, the least first.
        judged: Their criteria.
        trials: How mixtures of flows are fitted.
    """

    numbers: list[int]
    judged: Judged
    trials: Trials


def begin(
    x: object,
    n_components: Sequence[int],
    clusters: str,
    sample_weight: object,
    components: str | Sequence[str],
    fraction: float,
    config: SearchConfig | None,
    device: str,
    n_jobs: int | None,
    seed: int,
) -> Beginning:
    """Returns what the arguments of :func:`select_components` come to, once they are checked."""
    if not isinstance(n_components, Iterable):
        raise TypeError(f"n_components: expected several numbers, such as range(1, 13), got {n_components!r}")
    numbers = sorted({check_count("n_components", k) for k in n_components})
    if n_jobs == 0:
        raise ValueError("n_jobs: expected None, a number of processes, or −1 for one for each core, got 0")
    if not numbers:
        raise ValueError("n_components: expected at least one number, got none")
    check_choice("clusters", clusters, CLUSTERS)
    checked_warps(components)
    checked_device(device)
    checked_config(config)
    seed, (table, _) = check_seed(seed), collapsed(x, sample_weight)
    least = least_points(numbers[0]) + 2
    if len(table.x) < least:
        raise ValueError(
            f"x: expected at least {least} distinct points, so that some can be held out from K = {numbers[0]}, "
            f"got {len(table.x)}"
        )
    parts = parts_of(as_floats("x", x).double().cpu(), table, fraction, seed)
    trials = Trials(parts, components, config, None, device, seed)
    return Beginning(numbers, Judged(sample_from(table, seed), seed), trials)


def counted(results: Iterable[T], bar: Bar) -> Iterator[T]:
    """Yields results, and moves a progress bar by one at each."""
    for result in results:
        bar.update()
        yield result


def as_row(criteria: Criteria, trials: Trials, trial: Trial | None) -> SelectionRow:
    """Returns a row of the table, with the scores of a mixture where one was fitted."""
    if trial is None:
        return SelectionRow(criteria)
    return SelectionRow(criteria, trials.mean(trial), trials.standard_error(trial), trial.overlap, trial.seconds)


def concerns(found: Count, rows: Sequence[SelectionRow], trials: Trials, fitted: Mapping[int, Trial]) -> list[str]:
    """Returns sentences that say where the criteria disagree, and what that means."""
    texts = greatest_doubts(found, [row.criteria for row in rows])
    if found.modes != found.gaussians:
        texts.append(
            f"n_components: {found.modes} by modes that stand alone, {found.gaussians} by Gaussian components that are "
            f"found again; {found.n_components} is chosen, and clusters='modes' or 'components' chooses the other"
        )
    best = max(fitted, key=lambda k: trials.mean(fitted[k]), default=found.n_components)
    own = fitted.get(found.n_components)
    if own is not None and is_better(fitted[best].values, own.values, trials.parts.held_weight, DOUBTS):
        gain = trials.mean(fitted[best]) - trials.mean(own)
        texts.append(
            f"n_components: held-out points have a density greater by {gain:.3f} nats with {best} components than with "
            f"{found.n_components}; for density alone take {best}"
        )
    return texts


def greatest_doubts(found: Count, rows: Sequence[Criteria]) -> list[str]:
    """Returns a sentence where there may be more components than were tried, or fewer."""
    numbers, k = [row.n_components for row in rows], found.n_components
    known = [row for row in rows if not math.isnan(row.bic)]
    if k == numbers[-1] > 1:
        return [f"n_components: {k}, the greatest number tried, is chosen; there may be more"]
    if k == numbers[0] > 1:
        return [f"n_components: {k}, the least number tried, is chosen; there may be fewer"]
    least = min(known, key=lambda row: row.bic).n_components
    if k == found.gaussians != found.modes and least == known[-1].n_components != k:
        return [
            f"n_components: {k} is chosen, but the BIC is least with the greatest number asked, {least}, whose "
            "Gaussians are not found again; there may be more"
        ]
    return []
