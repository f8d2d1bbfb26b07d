"""Fitting a mixture and its encoder."""

import math
import warnings
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Literal

import torch

from pyro_vmonf._io import Json
from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf._validation import check_choice, check_count
from pyro_vmonf.architecture import digest
from pyro_vmonf.checkpointing.checkpointer import Checkpointer, CheckpointError
from pyro_vmonf.checkpointing.history import OBJECTIVES, EpochState, History, OnEpoch, Row
from pyro_vmonf.checkpointing.state import TrainingState, template
from pyro_vmonf.evaluation.agreement import warn_of_disagreement
from pyro_vmonf.evaluation.evaluating import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.initialization.assignment import GaussianStartWarning, InitializationWarning
from pyro_vmonf.initialization.initializer import Initializer
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Consistency, Elbo, LabelTerm, Objective
from pyro_vmonf.steps.auto import AutoStep, key_of
from pyro_vmonf.steps.base import StepFactory
from pyro_vmonf.steps.eager import EagerStep
from pyro_vmonf.training.batches import batches_of
from pyro_vmonf.training.compatibility import check_data, check_pair, check_sites, fingerprint, place_perturbations
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.data import TrainingData
from pyro_vmonf.training.restarts import Plan, Restarts, Unset, as_restarts, begin, run_restarts
from pyro_vmonf.training.schedules import ConstantRate
from pyro_vmonf.training.trainer import Phase, Trainer

__all__ = ["DeadComponentWarning", "DivergenceWarning", "fit", "train"]


class DeadComponentWarning(UserWarning):
    """A component is the encoder's choice for no point."""


class DivergenceWarning(UserWarning):
    """The objective ended far below where it was after the start."""


def fit(
    model: FlowMixture,
    guide: SoftmaxEncoder,
    x: object,
    y: object = None,
    *,
    sample_weight: object = None,
    validation: object = None,
    initializer: object = "auto",
    objective: Objective | None = None,
    config: TrainingConfig | None = None,
    step: Literal["auto", "eager"] | StepFactory = "auto",
    checkpoint: str | Path | Checkpointer | None = None,
    on_epoch: OnEpoch | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    r"""Trains model and guide, in place, with Adam on mini-batches, where they lie.

    A fit begins with a clustering of x. Components become its Gaussians: those of a Gaussian mixture, with its own
    covariances, or those of the clusters, with shrunk ones (see
    :func:`~pyro_vmonf.initialization.gaussians.cluster_gaussians`), of the points as ``config.augment`` makes them.
    Learned weights become its weights, and its responsibilities r(z | x) teach model and guide in a warm-up. Where
    several initializers compete, each is trained a little on nine tenths of x, and the one with the greatest ELBO on
    the rest (evidence, where the objective maximises that) goes on; labels have no part in that score. Then the
    objective is, per observation,

        ρ · mean over labelled points of log p(x, y) + (1 − ρ) · mean over the others of the ELBO
        + α · mean over labelled points of log q(y | x)

    with the exact K-sum ELBO Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]. The first line is what ``SVI`` maximises
    on model and guide with y through ``obs``; the second teaches the encoder what labels say (Kingma et al., 2014,
    arXiv:1406.5298, equation 9). α is the weight of :class:`~pyro_vmonf.objectives.LabelTerm` and ρ the fraction of
    labelled points among all, or ``config.labelled_fraction``. With label noise, several components a class, or soft
    labels, log p(x, y) is the ELBO of x and y.

    Both modules end in evaluation mode. The same seed gives the same result, and the global random state is left as
    it was.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x), on the model's device.
        x: The points ``(N, *event)``: a tensor, an array, a data frame or rows of numbers, finite and of about unit
            scale; converted to the model's floating-point type.
        y: Labels, integers ``(N,)``, −1 where unlabelled, or soft labels, probabilities of the classes ``(N, C)``, −1
            throughout a row where there is none; None for none. Components belong to classes as ``model.labels`` says,
            and an initializer's are put in the order that agrees best with them; classes that no label names are left
            for the components to discover.
        sample_weight: The weights of the points ``(N,)``, at least 0: a point of weight 2 counts as two in every mean
            and size. Points of weight 0 are left out.
        validation: Held-out points, or the fraction of x to hold out, whose ELBO and evidence are recorded after each
            epoch but those of trials. ``config.patience`` chooses by them when the fit ends and which parameters it
            keeps; otherwise nothing is chosen by them.
        initializer: Where to begin: ``"kmeans"``, ``"gmm"``, ``"gmm-tied"``, ``"gmm-diag"``, ``"spectral"``,
            ``"ward"``, ``"linkage"``, a scikit-learn clusterer, responsibilities ``(N, K)``, a function, with labels a
            classifier such as ``LabelSpreading``, or an :class:`~pyro_vmonf.Initializer`, which says what these are and
            names the space to cluster in; a list of such, which compete, or
            :class:`~pyro_vmonf.training.Restarts`; ``"auto"`` for the first three Gaussian mixtures, a spectral
            clustering, Ward's and single linkage, or for a Gaussian mixture and a spectral clustering of 30 principal
            components where x has more features; None for the parameters as they are. Of those that find the same
            clusters one competes for all.
        objective: What is minimised. It is ``Elbo()``, and ``Elbo() + LabelTerm()`` with labels, if it is not given.
        config: The numbers of the fit.
        step: ``"auto"`` for steps that repeat captured operations where these are many, and eager ones elsewhere (see
            :class:`~pyro_vmonf.steps.AutoStep`), which give the same result; ``"eager"``, or a function that makes the
            step of each phase.
        checkpoint: A file, or a :class:`~pyro_vmonf.training.Checkpointer`, to which the whole state is written after
            each trial, every few minutes (at the end of an epoch), and at the end; if it exists the fit goes on from
            it and ends with the same parameters as an unbroken one.
        on_epoch: A function that is called after each epoch but those of trials; returning True ends the fit. What it
            draws does not change the fit.
        seed: The seed of the initializers, the order of the points, and of any randomness in the networks.
        progress: Whether to show a progress bar.

    Returns:
        One row an epoch, and one for each trial.

    Raises:
        TypeError, ValueError: For data or settings that cannot be used, before any work.
        CheckpointError: If the checkpoint is damaged or that of another fit, before anything is changed.
        OSError: If the checkpoint's folder cannot be written, before any work.
        NonFiniteError: If the loss or its gradient is NaN or infinite, naming the step.

    Warns:
        DeadComponentWarning: At the end, if a component is the encoder's choice for no point.
        DivergenceWarning: At the end, if the objective is far below that after the start.
        InferenceGapWarning: At the end, if the encoder and the exact posterior choose different components for more
            than 5 % of the held-out points, or of x where there are none.
        InitializationWarning: If a component has no part that can follow data.
        GaussianStartWarning: If a component has one, but does not begin as the Gaussian of the start.
        UserWarning: If y is given, and the objective has no label term; or if ``config.patience`` is given, and
            held-out points have at no epoch a better score than at the start.

    Examples:
        >>> from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, TrainingConfig, fit, mlp
        >>> from pyro_vmonf.data import pinwheel
        >>> x, _ = pinwheel(50, wings=3)
        >>> model = FlowMixture(RealNVP(2, 3, transforms=2), "learned")
        >>> guide = SoftmaxEncoder(mlp(2, 3), 3)
        >>> history = fit(model, guide, x, initializer="gmm", config=TrainingConfig(epochs=5), progress=False)
        >>> len(history.rows)  # 20 of the warm-up and 5
        25
    """
    config = checked(config, on_epoch)
    seed = check_count("seed", seed, 0)
    check_pair(model, guide)
    data, held_out = check_data(model, guide, x, y, sample_weight, validation=validation, seed=seed)
    objective = checked_objective(objective, data, config)
    restarts = as_restarts(initializer, data.x[0].numel())
    restarts = restarts if data.rows is None else restarts.at(data.rows, len(x))  # type: ignore[arg-type]
    saver = checkpoint if isinstance(checkpoint, Checkpointer) else Checkpointer(checkpoint)
    plan = Plan(restarts, phases_of(config, objective, restarts), seed)
    trainer = Trainer(model, guide, data, config, step=as_step(step, plan, data, config), validation=held_out)
    unset = train(trainer, plan, saver, on_epoch=on_epoch, progress=progress)
    warn(trainer.history, unset)
    warn_of_clusters(trainer)
    return trainer.history


def train(
    trainer: Trainer, plan: Plan, saver: Checkpointer, *, on_epoch: OnEpoch | None = None, progress: bool = True
) -> Unset:
    """Resumes or begins a fit, and trains through its phases; what :func:`fit` and the thesis's recipes share.

    Args:
        trainer: The fit, not begun.
        plan: The initializers, and the phases of a fit that begins from each.
        saver: Loads and saves the state.
        on_epoch: Called after each epoch.
        progress: Whether to show a progress bar.

    Returns:
        What an initializer could not set.
    """
    if trainer.config.patience is not None and trainer.validation is None:
        raise ValueError("patience: expected held-out points in validation to stop by, got none")
    two = trainer.data.x[:2].to(trainer.device)
    check_sites(trainer.model, trainer.guide, plan.objective, two)
    place_perturbations(trainer.config, plan.objective, two)
    state = None if saver.is_idle else load(trainer, plan, saver)
    try:
        with isolated_random_state(plan.seed):
            unset = resume_or_begin(trainer, plan, state, saver, progress)
            trainer.run(plan.chosen(trainer.history), after_epoch(trainer, saver, on_epoch), progress=progress)
            saver.save(trainer.state, now=True)
            trainer.restore_best()  # a longer fit goes on from the last parameters, which the file has
    finally:
        trainer.modules.eval()
    return unset


def load(trainer: Trainer, plan: Plan, saver: Checkpointer) -> TrainingState | None:
    """Gives the fit its fingerprint, and returns the state on disk, if there is one; changes nothing else.

    Raises:
        CheckpointError: If it is damaged, that of another fit, or of more epochs than the plan has.
    """
    data, first = trainer.data, plan.phases(plan.trials[0].initializer)
    phases: list[Json] = [[phase.name, phase.epochs] for phase in first[:-1]]
    mark = fingerprint(trainer.model, trainer.guide, data, trainer.config, plan.objective)
    if trainer.config.patience is not None and trainer.validation is not None:
        held_out = {"x": trainer.validation.x, "sample_weight": trainer.validation.weight}
        mark["validation"] = {name: None if tensor is None else digest(tensor) for name, tensor in held_out.items()}
    trainer.fingerprint = {**mark, "restarts": plan.restarts.fingerprint(), "seed": plan.seed, "phases": phases}
    target = torch.zeros(len(data), trainer.model.n_components, dtype=data.x.dtype)
    state = saver.load(template(trainer.state(), trainer.modules, target))
    if state is not None:
        total, done = sum(phase.epochs for phase in plan.chosen(state.history)), len(state.history.rows)
        if done > total:
            message = f"expected at most the {total} (with the warm-up) of this fit, got {done}"
            raise CheckpointError(saver.path, "epochs", f"{message}; use another checkpoint for a shorter fit")
    return state


def resume_or_begin(
    trainer: Trainer, plan: Plan, state: TrainingState | None, saver: Checkpointer, progress: bool
) -> Unset:
    """Brings the trainer to a state, or through its start; returns what could not be set."""
    alone = len(plan.trials) == 1
    if state is not None and (alone or len(state.history.restarts) == len(plan.trials)):
        trainer.load_state(state)
        return Unset()
    if alone:
        return begin(trainer, plan.start(trainer, plan.trials[0]))
    return run_restarts(trainer, plan, state, saver, progress=progress)


def after_epoch(trainer: Trainer, saver: Checkpointer, on_epoch: OnEpoch | None) -> OnEpoch:
    """Returns a function that calls ``on_epoch`` in an isolated random state, and saves if it is time."""

    def call(state: EpochState) -> bool:
        with isolated_random_state():
            stop = on_epoch is not None and bool(on_epoch(state))
        if not stop:
            saver.save(trainer.state)
        return stop

    return call


def checked(config: TrainingConfig | None, on_epoch: OnEpoch | None) -> TrainingConfig:
    """Returns the numbers of the fit; raises ``TypeError`` if these or ``on_epoch`` are something else."""
    if config is not None and not isinstance(config, TrainingConfig):
        raise TypeError(f"config: expected a TrainingConfig, such as TrainingConfig(epochs=50), got {config!r}")
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(f"on_epoch: expected a function of an EpochState or None, got {on_epoch!r}")
    return TrainingConfig() if config is None else config


def checked_objective(objective: Objective | None, data: TrainingData, config: TrainingConfig) -> Objective:
    """Returns the objective; warns where labels are given and no term teaches them."""
    if config.labelled_fraction is not None and data.y is None:
        raise ValueError("labelled_fraction: expected labels in y to take a fraction of, got none")
    if objective is None:
        return Elbo() if data.y is None else Elbo() + LabelTerm()
    if not isinstance(objective, Objective):
        raise TypeError(f"objective: expected an Objective such as Elbo(), got {objective!r}")
    terms = objective.terms()
    if all(isinstance(term, LabelTerm | Consistency) for term in terms):
        raise ValueError(f"objective: expected a term that trains the flows beside it, such as Elbo(), got {objective}")
    if data.y is not None and not any(isinstance(term, LabelTerm) for term in terms):
        message = "objective: expected a label term beside labels in y, since nothing then teaches the encoder"
        warnings.warn(f"{message}; see Elbo() + LabelTerm()", UserWarning, stacklevel=3)
    return objective


def as_step(step: str | StepFactory, plan: Plan, data: TrainingData, config: TrainingConfig) -> StepFactory:
    """Returns the step's factory."""
    if callable(step):
        return step
    check_choice("step", step, ("auto", "eager"))
    if step == "eager":
        return EagerStep
    planned: dict[Hashable, int] = {}
    for trial in plan.trials:
        for phase in plan.phases(trial.initializer):
            steps = phase.epochs * math.ceil(len(data) / config.batch_size)
            planned[key_of(phase.objective)] = planned.get(key_of(phase.objective), 0) + steps
    return AutoStep(planned)


def phases_of(
    config: TrainingConfig, objective: Objective, restarts: Restarts
) -> Callable[[Initializer | None], list[Phase]]:
    """Returns the phases of a fit: the warm-up that teaches an initializer's responsibilities, and the epochs after it.

    A trial that begins from the parameters as they are competes after as many epochs as the others.
    """
    longest = max((one.warmup_epochs for one in restarts.initializers if isinstance(one, Initializer)), default=0)
    batches, temperature = batches_of(config), config.temperature

    def phases(one: Initializer | None) -> list[Phase]:
        epochs, taught = (longest, objective) if one is None else (one.warmup_epochs, objective.warm_up())
        # An initializer says what q is to be, so it is learned at the last temperature, 1 in most schedules.
        first = 0 if one is None else max(config.epochs - 1, 0)
        during = None if temperature is None else ConstantRate(temperature(first))
        return [
            Phase("warm-up", epochs, taught, batches, ConstantRate(config.learning_rate), during),
            Phase("main", config.epochs, objective, batches, config.rate(), temperature),
        ]

    return phases


def warn_of_clusters(trainer: Trainer) -> None:
    """Says, at the caller of :func:`fit`, which components have no point, and where the encoder is not to be trusted.

    About 10,000 points are asked, held-out ones for the encoder, where there are any.
    """
    own = some(trainer.data)
    evaluation = evaluate(trainer.model, trainer.guide, own.x)
    counts = torch.bincount(evaluation.encoder_probs.argmax(-1), minlength=trainer.model.n_components)
    if dead := [k for k, count in enumerate(counts.tolist()) if count == 0]:
        message = f"components {dead} own no point; try another initializer or more Restarts, a temperature schedule"
        message += " that starts higher or decays more slowly, or fewer components"
        warnings.warn(message, DeadComponentWarning, stacklevel=3)
    if trainer.validation is None:
        warn_of_disagreement(evaluation, own.weight, points="points", stacklevel=4)
        return
    held_out = some(trainer.validation)
    evaluation = evaluate(trainer.model, trainer.guide, held_out.x)
    warn_of_disagreement(evaluation, held_out.weight, points="held-out points", stacklevel=4)


def some(data: TrainingData) -> TrainingData:
    """Returns about 10,000 of the points."""
    return data.subset(torch.arange(0, len(data), max(1, len(data) // 10_000)))


def warn(history: History, unset: Unset) -> None:
    """Says, at the caller of :func:`fit`, what went wrong without an error."""
    if unset.not_set:
        message = f"components {sorted(unset.not_set)} have no part that follows data (see ActNorm, PLUAffine): the"
        warnings.warn(f"{message} initializer reaches them by training alone", InitializationWarning, stacklevel=3)
    if other := sorted(unset.not_gaussian - unset.not_set):
        message = f"components {other} do not begin as the Gaussians of the start: that takes a base N(0, I), an affine"
        message += " map of each component (PLUAffine; ActNorm where the start's covariances are diagonal), and other"
        message += " transforms that begin as the identity, none of them a BatchNorm"
        warnings.warn(message, GaussianStartWarning, stacklevel=3)
    if history.best_epoch == -1:
        message = "held-out points are never better described than by the start, whose parameters are kept"
        warnings.warn(
            f"{message}; a Gaussian mixture or a smaller learning_rate may do as well", UserWarning, stacklevel=3
        )
    if (fall := fall_of(history)) is not None:
        start, end = fall
        message = f"the objective ended at {end:.4g} nats, below the {start:.4g} after the start"
        warnings.warn(f"{message}; try a lower learning_rate", DivergenceWarning, stacklevel=3)


def fall_of(history: History) -> tuple[float, float] | None:
    """Returns the objective before and at the end, if it fell within a phase and is below that at the end of the fit.

    What phases maximise may differ by a constant, such as the density of a prior, so each is compared with itself. Of
    an epoch's mean a fall by a nat and a hundredth counts; of the first step's batch, before any update, a great one.
    """
    rows = history.rows if history.best_epoch is None else history.rows[: history.best_epoch + 1]
    final = objective_of(rows[-1]) if rows else math.inf
    for phase in dict.fromkeys(row["phase"] for row in rows):
        own = [row for row in rows if row["phase"] == phase]
        end, first, initial = max(final, objective_of(own[-1])), objective_of(own[0]), own[0].get("initial", -math.inf)
        for start, fall in ((first, max(1.0, 0.01 * abs(first))), (initial, max(10.0, abs(initial)))):
            if end < start - fall:
                return start, final
    return None


def objective_of(row: Row) -> float:
    """Returns what an epoch maximised, and infinity where its row does not say."""
    return next((row[name] for name in OBJECTIVES if name in row), math.inf)
