"""A mixture whose start, flows and number of steps are chosen by the data."""

import torch
from tqdm.auto import tqdm

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import as_floats, check_count, check_finite, check_weights
from pyro_vmonf.automatic.folds import Scale, distinct, first_of
from pyro_vmonf.automatic.label_starts import labelled_candidates
from pyro_vmonf.automatic.labelled import as_probabilities, labelled_folds, merged
from pyro_vmonf.automatic.modules import modules_of
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
    y: object = None,
    *,
    sample_weight: object = None,
    initializer: object = "auto",
    seed: int = 0,
    progress: bool = True,
) -> tuple[FlowMixture, SoftmaxEncoder, History]:
    r"""Fits a mixture of flows whose start, flows and number of steps are chosen by the data.

    The points are standardised. Gaussian mixtures and clusterings compete as starts: each becomes a mixture of flows
    that has exactly the density of its Gaussians, with an encoder that has exactly their responsibilities, and is
    trained on some of the points until others, held out, have no greater ELBO. The best two by held-out ELBO, and those
    whose clusters hardly touch in the graph of nearest neighbours, are nominated, and the one that cuts the fewest
    edges of that graph is offered other flows. These are judged by the same held-out points, less ten nats times the
    share of edges that their labels cut, and the best is trained on all points for as many steps. Where it is not
    better than the best of the Gaussian mixtures by a standard error, the result is that Gaussian mixture.

    With labels, each component is a class. The clusterings are put in the order that agrees best with the labels, label
    spreading, two classifiers and Gaussian mixtures in which labelled points keep their labels join them, and the start
    r(z | x) is the mean of all, weighed by the likelihood of labels that were hidden from them in turn. The encoders
    learn it first, and then all is trained by the objective of ``fit``, with one term more::

        mean over labelled points of log p(x, y), and over the others of the ELBO, by their numbers
        + mean over labelled points of log q(y | x) + mean over all points of Σ_z r(z | x) log q(z | x)

    The last keeps the encoder by the start where the density does not follow the classes. Held-out points judge by the
    ELBO and that term; of their labels the fold knows nothing, and the report says how many of them it tells. Where
    there are fewer than two labels for each class to hide, or a class that no label names, the clusterings compete.

    Args:
        x: The points ``(N, D)``: a tensor, an array, a data frame or rows of numbers, finite, in any units.
        n_components: The number K of components.
        y: Labels, integers ``(N,)`` from 0 to K − 1, −1 where there is none; or soft labels, the probabilities of the
            components ``(N, K)``, −1 throughout a row where there is none; or None. Components that no label names are
            left for the clusters to find. Equal rows of x are one point, whose label is the weighted mean of theirs.
        sample_weight: The weights of the points ``(N,)``, at least 0: a point of weight 2 counts as two.
        initializer: The clusterings that compete, and with labels classifiers too, as ``fit`` takes them; ``"auto"``
            for three Gaussian mixtures, a spectral clustering, Ward's and single linkage, and with labels those above.
        seed: The seed of all that is random.
        progress: Whether to show a progress bar.

    Returns:
        The model and the guide, plain Pyro modules in float64 that take x in its own units, and a history whose
        ``search`` says what was tried and what each try scored. With labels, component c is class c.

    Raises:
        TypeError, ValueError: For data or settings that cannot be used, before any work.

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
    check_finite("x", points)
    weight = torch.ones(len(points)) if sample_weight is None else check_weights("sample_weight", sample_weight, points)
    labels = as_probabilities(y, len(points), k)
    kept = (weight > 0).nonzero().squeeze(-1)
    total, weight = len(points), weight[kept].double()
    given_weight = weight / weight.mean()
    points, weight, index = distinct(points[kept], given_weight)
    labels = None if labels is None else merged(labels[kept], given_weight, index, len(points))
    rows = kept[first_of(index, len(points))]
    if len(points) < 5 or len(points) - len(points) // 5 <= k:
        least = max(5, k + 1 + (k + 1) // 4)
        raise ValueError(f"x: expected at least {least} distinct points for n_components = {k}, got {len(points)}")
    scale = Scale.of(points, weight)
    standardized = scale.standardized(points)
    methods = [one.at(rows, total) for one in checked_initializers(initializer, points.shape[1])]
    reasons: list[str] = []
    with isolated_random_state(seed):
        if labels is None:
            found = candidates(methods, standardized, k, weight, seed)
        else:
            folds, parts = labelled_folds(labels, seed)
            is_auto = isinstance(initializer, str) and initializer == "auto"
            found, reasons = labelled_candidates(
                methods, standardized, labels, parts, weight, folds=len(folds), use_labels=is_auto, seed=seed
            )
    with tqdm(total=0, desc="fit_mixture", disable=not progress, bar_format="{desc}") as bar:
        log_units = float(scale.deviation.log().sum())
        search = Search(
            standardized,
            weight,
            found,
            labels=labels,
            log_units=log_units,
            seed=seed,
            progress=bar.set_description_str,
        )
        ensemble, report = search.run()
        report.reasons[:0] = reasons
    with isolated_random_state(seed):
        model, guide = modules_of(ensemble.double(), scale)
    return model, guide, History(search=report)


def checked_initializers(given: object, features: int) -> list[Initializer]:
    """Returns the clusterings that compete; raises ``ValueError`` where there are none."""
    methods = list(STARTS) if isinstance(given, str) and given == "auto" else given
    initializers = [one for one in as_initializers(methods, features) if one is not None]
    if not initializers:
        raise ValueError(f"initializer: expected a clustering, got {given!r}")
    return initializers
