"""A mixture whose start, flows and number of steps are chosen by the data."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vmonf._io import Json, writable_folder
from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import check_count, check_seed
from pyro_vmonf.architecture import describe, digest
from pyro_vmonf.automatic.arguments import (
    checked_config,
    checked_device,
    checked_initializers,
    checked_warps,
    checked_weights,
    is_auto,
)
from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.covariances import covariance_note
from pyro_vmonf.automatic.folds import Folds
from pyro_vmonf.automatic.label_starts import labelled_candidates
from pyro_vmonf.automatic.labelled import as_probabilities, labelled_folds, merged
from pyro_vmonf.automatic.memory import peak_memory
from pyro_vmonf.automatic.modules import modules_of
from pyro_vmonf.automatic.problem import Problem
from pyro_vmonf.automatic.samples import sample_note
from pyro_vmonf.automatic.search import Search
from pyro_vmonf.automatic.starts import Candidate, candidates
from pyro_vmonf.automatic.table import Table, held_out, table_of
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.stages import Stages
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["fit_mixture"]


def fit_mixture(
    x: object,
    n_components: int,
    y: object = None,
    *,
    sample_weight: object = None,
    validation: object = None,
    components: str | Sequence[str] = "auto",
    weights: object = "learned",
    initializer: object = "auto",
    config: SearchConfig | None = None,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
    progress: bool = True,
) -> tuple[FlowMixture, SoftmaxEncoder, History]:
    r"""Fits a mixture of flows whose start, flows and number of steps are chosen by the data.

    The points are standardised. Gaussian mixtures and clusterings compete as starts: each becomes a mixture of flows
    that has exactly the density of its Gaussians, with an encoder that has exactly their responsibilities. Where the
    clusters of some hardly touch in the graph of nearest neighbours, the start that cuts the fewest of its edges is
    chosen. Else all are trained with shared affine couplings on some of the points, until others, held out, have no
    greater ELBO, and the best is chosen, unless the worst cluster of another has less than half its edges to others.

    The chosen start is offered all flows, more of those that are best, and less noise. They are judged by the same
    held-out points, less ten nats times the share of edges that their labels cut beyond those of the start, and the
    best is trained on all points for as many steps. Where it is not better than the best of the Gaussian mixtures by
    half a standard error, the result is that Gaussian mixture.

    With labels, each component is a class. The clusterings are put in the order that agrees best with the labels, label
    spreading, two classifiers and Gaussian mixtures in which labelled points keep their labels join them, and the start
    r(z | x) is the mean of all, weighed by the likelihood of labels that were hidden from them in turn. The encoders
    learn it first, and then all is trained by the objective of ``fit``, with one term more::

        mean over labelled points of log p(x, y), and over the others of the ELBO, by their numbers
        + mean over labelled points of log q(y | x) + mean over all points of Σ_z r(z | x) log q(z | x)

    The last keeps the encoder by the start where the density does not follow the classes. Held-out points judge by the
    ELBO and that term; of their labels the fold knows nothing, and the report says how many of them it tells. No
    Gaussian mixture takes the place of the result, and differences between encoder and posterior are no warning. Where
    there are fewer than two labels for each class to hide, or a class that no label names, the clusterings compete.

    Args:
        x: The points ``(N, D)``: a tensor, an array, a data frame or rows of numbers, finite, in any units.
        n_components: The number K of components.
        y: Labels, integers ``(N,)`` from 0 to K − 1, −1 where there is none; or soft labels, the probabilities of the
            components ``(N, K)``, −1 throughout a row where there is none; or None. Components that no label names are
            left for the clusters to find. Equal rows of x are one point, whose label is the weighted mean of theirs.
        sample_weight: The weights of the points ``(N,)``, at least 0: a point of weight 2 counts as two.
        validation: Points ``(M, D)`` to choose by, on which nothing is trained, or the fraction of x to hold out while
            all is chosen. By default that is a fifth of x; of up to 500 points each fifth in turn, and three of up to
            2,000.
        components: What may be added to the Gaussians of a start: ``"auto"`` for all of the following, or some of
            them: ``"N"``, nothing; ``"P"``, splines of each component; ``"PP"``, twice as many, which are tried where
            these were best; ``"S"``, splines that all components share; ``"A"``, affine couplings that all share;
            ``"AP"``, these and splines of each component, tried where A was best; ``"M"``, splines of single features
            that all share.
        weights: The weights of the components: ``"learned"``, ``"uniform"``, or K positive numbers that sum to 1, the
            greatest of which belongs to the greatest cluster, and so on, or with labels those of the classes.
        initializer: The clusterings that compete, and with labels classifiers too, as ``fit`` takes them: methods by
            their names see features divided by their ranges, others the standardised points; ``"auto"`` for three
            Gaussian mixtures, a spectral clustering, Ward's and single linkage, and with labels those above.
        config: The numbers of the search.
        checkpoint: A file to which the mixtures are written after each part of the search; if it exists the search goes
            on from it, and ends as an unbroken one.
        device: Where mixtures are trained, and where the result is.
        seed: The seed of all that is random.
        progress: Whether to show a progress bar, on a terminal.

    Returns:
        The model and the guide, plain Pyro modules in float64 that take x in its own units, and a history whose
        ``search`` says what was tried and what each try scored. With labels, component c is class c.

    Raises:
        TypeError, ValueError: For data or settings that cannot be used, before any work. Missing and infinite values
            are among them; the message names their columns.
        CheckpointError: If the checkpoint is damaged or that of another fit.
        OSError: If the checkpoint's folder cannot be written, before any work.

    Warns:
        ColumnWarning: If columns are constant, linear functions of others, or have few distinct values.
        InitializationWarning: If one of the clusterings of ``"auto"`` fails; the others compete without it.
        InferenceGapWarning: If the encoder and the exact posterior choose different components for more than 5 % of
            the held-out points.
        SearchWarning: If a Gaussian mixture describes the points as well, or clusterings that agree with each other
            do not agree with the result.

    Examples:
        >>> from pyro_vmonf import evaluate, fit_mixture
        >>> from pyro_vmonf.data import pinwheel
        >>> x, _ = pinwheel(15, wings=2)
        >>> model, guide, history = fit_mixture(100 * x, 2, initializer="gmm", components="P", progress=False)
        >>> evaluate(model, guide, 100 * x).encoder_probs.shape
        torch.Size([30, 2])
    """
    k, seed = check_count("n_components", n_components), check_seed(seed)
    warps, shares, place = checked_warps(components), checked_weights(weights, k), checked_device(device)
    config, table = checked_config(config), table_of(x, sample_weight, k)
    labels = labels_of(y, table, k, validation)
    mixtures = config.mixtures.scaled(table.scale.mean.tolist(), table.scale.deviation.tolist())
    found = checked_initializers(initializer, table.x.shape[1], mixtures)
    methods = [one.at(table.rows, table.total) for one in found]
    check_folder(checkpoint)
    more = table.x[:0]
    if labels is None:
        folds, more = held_out(validation, table, k, seed)
        with isolated_random_state(seed):
            starts = candidates(methods, table.x, k, table.weight, seed, may_fail=is_auto(initializer))
        reasons = list[str]()
        if shares is not None:
            starts, shares = [one.ordered(table.weight) for one in starts], shares.sort(descending=True).values
    else:
        folds, starts, reasons = labelled_starts(methods, table, labels, seed, is_auto=is_auto(initializer))
    starts = [one.extended(table.x, more) for one in starts]
    points, weight = torch.cat([table.x, more]), torch.cat([table.weight, table.weight.new_ones(len(more))])
    own = torch.arange(len(table.x))
    problem = Problem(points, weight, k, folds=folds, own=own, labels=labels, weights=shares, device=place, seed=seed)
    settings = (k, warps, shares, config, labels, seed)
    stages = Stages(checkpoint, fingerprint(problem, starts, settings))
    log_units = float(table.scale.deviation.log().sum())
    search = Search(problem, starts, config=config, warps=warps, stages=stages, log_units=log_units)
    with tqdm(total=search.parts, desc="fit_mixture", disable=None if progress else True, unit="part") as bar:
        with torch.enable_grad():
            ensemble, report = search.run(lambda text: told(bar, text))
        bar.update(bar.total - bar.n)
    n, features = table.x.shape
    report.reasons = [*reasons, *report.reasons, *sample_note(n), *covariance_note(n, k, features)]
    report.peak_memory = peak_memory()
    with isolated_random_state(seed):
        model, guide = modules_of(ensemble.double(), table.scale)
    return model.to(place), guide.to(place), History(stopped=report.stopped, search=report)


def labels_of(y: object, table: Table, n_components: int, validation: object) -> Tensor | None:
    """Returns the labels of the points ``(N, K)``, all 0 where there is none, or None where there are none at all."""
    labels = as_probabilities(y, table.total, n_components)
    if labels is None:
        return None
    if validation is not None:
        raise ValueError("validation: expected None with labels y, of which each class is dealt out to the folds")
    found = merged(labels[table.kept], table.given_weight, table.index, len(table.x))
    return found if bool((found > 0).any()) else None  # rows of weight 0 say nothing


def labelled_starts(
    methods: Sequence[Initializer], table: Table, labels: Tensor, seed: int, *, is_auto: bool
) -> tuple[Folds, list[Candidate], list[str]]:
    """Returns the folds and the starts of a search with labels, and what is to be said of them."""
    folds, parts = labelled_folds(labels, seed)
    with isolated_random_state(seed):
        found, reasons = labelled_candidates(
            methods, table.x, labels, parts, table.weight, folds=len(folds), is_auto=is_auto, seed=seed
        )
    return folds, found, reasons


def told(bar: "tqdm[NoReturn]", text: str) -> None:
    """Says which part of a search begins."""
    bar.update(1)
    bar.set_description_str(f"fit_mixture: {text}")


def check_folder(checkpoint: str | Path | None) -> None:
    """Raises ``OSError`` if the folder of a checkpoint cannot be written, before any work."""
    if checkpoint is not None:
        writable_folder("checkpoint", Path(checkpoint).parent)


def fingerprint(problem: Problem, starts: Sequence[Candidate], settings: Sequence[object]) -> dict[str, Json]:
    """Returns what must be the same where a search goes on; of starts what they found, not how."""
    names = ("n_components", "components", "weights", "config", "y", "seed")
    folds = torch.cat([part for parts in (problem.folds.kept, problem.folds.held_out) for part in parts])
    data: Json = {"x": digest(problem.x), "sample_weight": digest(problem.weight), "validation": digest(folds)}
    found: Json = [[one.name, digest(one.responsibilities)] for one in starts]
    described = {name: describe(one) for name, one in zip(names, settings, strict=True)}
    return {**described, "data": data, "initializer": found}
