"""A mixture whose start, flows and number of steps are chosen by the data."""

import torch
from tqdm.auto import tqdm

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import as_floats, check_count, check_weights
from pyro_vmonf.automatic.columns import check_complete, column_names, warn_of_columns
from pyro_vmonf.automatic.covariances import covariance_note, starts_for
from pyro_vmonf.automatic.folds import Scale, distinct, first_of
from pyro_vmonf.automatic.memory import peak_memory
from pyro_vmonf.automatic.modules import modules_of
from pyro_vmonf.automatic.samples import sample_note
from pyro_vmonf.automatic.search import Search
from pyro_vmonf.automatic.starts import STARTS, candidates
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.initialization.initializer import Initializer, as_initializers
from pyro_vmonf.models.mixture import FlowMixture

__all__ = ["fit_mixture"]


def fit_mixture(
    x: object,
    n_components: int,
    *,
    sample_weight: object = None,
    initializer: object = "auto",
    seed: int = 0,
    progress: bool = True,
) -> tuple[FlowMixture, SoftmaxEncoder, History]:
    """Fits a mixture of flows whose start, flows and number of steps are chosen by the data.

    The points are standardised. Gaussian mixtures and clusterings compete as starts: each becomes a mixture of flows
    that has exactly the density of its Gaussians, with an encoder that has exactly their responsibilities, and is
    trained on some of the points until others, held out, have no greater ELBO. The best two by held-out ELBO, and those
    whose clusters hardly touch in the graph of nearest neighbours, are nominated, and the one that cuts the fewest
    edges of that graph is offered other flows. These are judged by the same held-out points, less ten nats times the
    share of edges that their labels cut, and the best is trained on all points for as many steps. Where it is not
    better than the best of the Gaussian mixtures by a standard error, the result is that Gaussian mixture.

    Args:
        x: The points ``(N, D)``: a tensor, an array, a data frame or rows of numbers, finite, in any units.
        n_components: The number K of components.
        sample_weight: The weights of the points ``(N,)``, at least 0: a point of weight 2 counts as two.
        initializer: The clusterings that compete, as ``fit`` takes them; ``"auto"`` for three Gaussian mixtures, a
            spectral clustering, Ward's and single linkage.
        seed: The seed of all that is random.
        progress: Whether to show a progress bar.

    Returns:
        The model and the guide, plain Pyro modules in float64 that take x in its own units, and a history whose
        ``search`` says what was tried and what each try scored.

    Raises:
        TypeError, ValueError: For data or settings that cannot be used, before any work. Missing and infinite values
            are among them; the message names their columns.

    Warns:
        ColumnWarning: If columns are constant, linear functions of others, or have few distinct values.
        InitializationWarning: If one of the clusterings of ``"auto"`` fails; the others compete without it.

    Examples:
        >>> from pyro_vmonf import evaluate, fit_mixture
        >>> from pyro_vmonf.data import pinwheel
        >>> x, _ = pinwheel(15, wings=2)
        >>> model, guide, history = fit_mixture(100 * x, 2, initializer="gmm", progress=False)
        >>> evaluate(model, guide, 100 * x).encoder_probs.shape
        torch.Size([30, 2])
    """
    k, seed = check_count("n_components", n_components), check_count("seed", seed, 0)
    points = as_floats("x", x).double()
    if points.dim() != 2 or not points.shape[1]:
        raise ValueError(f"x: expected shape (N, D), got {tuple(points.shape)}")
    names = column_names(x, points.shape[1])
    check_complete("x", points, names)
    weight = torch.ones(len(points)) if sample_weight is None else check_weights("sample_weight", sample_weight, points)
    kept = (weight > 0).nonzero().squeeze(-1)
    total, weight = len(points), weight[kept].double()
    points, weight, index = distinct(points[kept], weight / weight.mean())
    rows = kept[first_of(index, len(points))]
    if len(points) < 5 or len(points) - len(points) // 5 <= k:
        least = max(5, k + 1 + (k + 1) // 4)
        raise ValueError(f"x: expected at least {least} distinct points for n_components = {k}, got {len(points)}")
    scale = Scale.of(points, weight)
    standardized = scale.standardized(points)
    warn_of_columns(standardized, weight, names)
    methods = [one.at(rows, total) for one in checked_initializers(initializer, points.shape[1])]
    with isolated_random_state(seed):
        found = candidates(methods, standardized, k, weight, seed, may_fail=is_auto(initializer))
    with tqdm(total=0, desc="fit_mixture", disable=not progress, bar_format="{desc}") as bar:
        log_units = float(scale.deviation.log().sum())
        search = Search(standardized, weight, found, log_units=log_units, seed=seed, progress=bar.set_description_str)
        ensemble, report = search.run()
    report.reasons += [*sample_note(len(points)), *covariance_note(len(points), k, points.shape[1])]
    report.peak_memory = peak_memory()
    with isolated_random_state(seed):
        model, guide = modules_of(ensemble.double(), scale)
    return model, guide, History(search=report)


def checked_initializers(given: object, features: int) -> list[Initializer]:
    """Returns the clusterings that compete; raises ``ValueError`` where there are none."""
    methods = starts_for(STARTS, features) if is_auto(given) else given
    initializers = [one for one in as_initializers(methods, features) if one is not None]
    if not initializers:
        raise ValueError(f"initializer: expected a clustering, got {given!r}")
    return initializers


def is_auto(given: object) -> bool:
    """Returns whether the library chooses the clusterings."""
    return isinstance(given, str) and given == "auto"
