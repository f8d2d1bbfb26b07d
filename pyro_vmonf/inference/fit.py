"""Fitting a mixture and its encoder by the exact K-sum ELBO."""

import time
import warnings
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vmonf._io import writable_folder
from pyro_vmonf._torch import evaluation_mode, isolated_parameter_store, isolated_random_state
from pyro_vmonf._validation import check_count, check_positive
from pyro_vmonf.data.perturbations import apply_perturbation
from pyro_vmonf.evaluation.evaluate import evaluate, validate_points
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.weights import MAPWeights
from pyro_vmonf.inference import checkpoint as checkpoints
from pyro_vmonf.inference.consistency import Consistency
from pyro_vmonf.inference.history import History, Row
from pyro_vmonf.inference.opening import Opening, StartWarning
from pyro_vmonf.inference.options import Options, Posterior, Schedule
from pyro_vmonf.inference.run import Run
from pyro_vmonf.inference.start import starts
from pyro_vmonf.inference.temperature import Temperature
from pyro_vmonf.labels import is_labelled
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.models.priors import WeightsPrior

__all__ = ["DeadComponentWarning", "fit"]


class DeadComponentWarning(UserWarning):
    """A component is the encoder's choice for no point."""


def fit(
    model: FlowMixture,
    guide: SoftmaxEncoder,
    x: Tensor,
    y: Tensor | None = None,
    *,
    init: Any = "auto",
    n_init: int = 1,
    init_epochs: int = 20,
    trial_epochs: int = 20,
    epochs: int = 200,
    batch_size: int = 256,
    learning_rate: float = 5e-3,
    schedule: Schedule = "cosine",
    weight_decay: float = 0.0,
    temperature: Temperature | None = None,
    posterior: Posterior = "encoder",
    consistency: Consistency | None = None,
    label_weight: float = 1.0,
    labelled_share: float | None = None,
    interleave: bool = False,
    augment: Callable[[Tensor], Tensor] | None = None,
    pretrain_epochs: int = 0,
    encoder_delay: int = 0,
    clip_norm: float | None = None,
    seed: int = 0,
    validation: Tensor | None = None,
    device: str | torch.device = "cpu",
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 5.0,
    progress: bool = True,
) -> History:
    r"""Trains model and guide, in place, with Adam on mini-batches.

    A fit begins with a clustering of x, whose responsibilities r(z | x) whiten each component's share, set learned
    weights, and teach model and guide for ``init_epochs``. Where several starts compete, each is trained a little on
    nine tenths of x, and the one with the greatest ELBO on the rest (evidence, for an exact posterior) goes on; labels
    play no part in that score. Then the objective, per observation, is

        ρ · mean over labelled points of log p(x, y) + (1 − ρ) · mean over the others of the ELBO
        + α · mean over labelled points of log q(y | x)

    with the exact K-sum ELBO Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)]. The first line is what ``SVI`` maximises
    on model and guide with y through ``obs``; the second teaches the encoder what labels say (Kingma et al., 2014,
    arXiv:1406.5298, equation 9). α is ``label_weight`` and ρ the share of labelled points among all, or in each batch,
    ``labelled_share``. With label noise, several components a class, or soft labels, log p(x, y) is the ELBO of both.

    With labels in y, ``init=None``, ``schedule="constant"`` and ``interleave=True`` the fit is the thesis's
    (section 5.1.2): ``pretrain_epochs`` passes over the labelled points alone, then ``epochs`` in which a pass over the
    labelled and a pass over the unlabelled points take turns, and count alike, however many points each has.

    Both modules end on ``device`` and in evaluation mode. The same seed gives the same result, and the global random
    state is left as it was.

    Args:
        model: p(x, z).
        guide: q(z | x).
        x: ``(N, *event)``, floating-point, finite, of about unit scale (or start an ActNorm from it); converted to the
            model's floating-point type.
        y: labels, integers ``(N,)``, −1 where unlabelled, or soft labels, probabilities of the classes ``(N, C)``, −1
            throughout a row where there is none; None for none. Components belong to classes as ``model.labels`` says,
            and a start's are put in the order that agrees best with them; classes that no label names are left for
            the components to discover.
        init: where to begin: ``"kmeans"``, ``"gmm"``, ``"spectral"``, a scikit-learn clusterer, responsibilities
            ``(N, K)``, a function, with labels a classifier such as ``LabelSpreading``, or a
            :class:`~pyro_vmonf.inference.Start`, which names the space to cluster in; a list of such, which compete;
            ``"auto"`` for a Gaussian mixture and a spectral clustering, of x or of 30
            principal components where it has more features; ``"random"`` or None for the parameters as they are.
        n_init: how often each start competes, with another seed and, after the first time, trainable parameters drawn
            anew.
        init_epochs: passes over the data with the start's responsibilities in the place of q; priors play no part.
        trial_epochs: passes after those before competing starts are compared; at most half of ``epochs``.
        epochs: passes over the data, after pretraining and start.
        batch_size: points in a step.
        learning_rate: of Adam; the default suits small flows, a tenth of it those of images.
        schedule: of the learning rate over the ``epochs``: ``"cosine"``, which falls to zero, or ``"constant"``.
        weight_decay: of Adam (L2).
        temperature: the encoder's schedule over the ``epochs``; the guide's own temperature throughout if not given.
            The guide keeps the last temperature, so let the schedule reach its floor.
        posterior: ``"encoder"`` for the ELBO. ``"exact"`` for generalised EM (thesis, section 2.5): z is summed in the
            model, log p(x) is maximised, and the encoder learns the exact posterior beside it, by
            −Σ_z p(z|x) log q(z|x).
        consistency: a term that asks the encoder to agree between a point and its perturbation; it changes the
            objective (see :class:`~pyro_vmonf.inference.Consistency`).
        label_weight: α, of log q(y | x).
        labelled_share: ρ, of the points in a batch, drawn in turn from those with labels; an epoch is then a pass over
            the others. None for their share among all points.
        interleave: whether passes over labelled and unlabelled points take turns, in the place of mixed batches.
        augment: a function that each step's points pass through first, such as ``Noise(0.01)`` or
            ``Logit().redequantize``. It keeps flows from following single points; what is fitted is the density of what
            comes out.
        pretrain_epochs: supervised passes before all else; needs labels.
        encoder_delay: with labels, how many of the ``epochs`` train the encoder on labels alone. Flows pretrained on
            few points say absurd things of the others; given time to learn better, they do not mislead the encoder.
        clip_norm: greatest Euclidean norm of the gradient (per observation) in a step; None to leave it as it is.
        seed: of the starts, the order of the points, and of any randomness in the networks.
        validation: held-out points, whose ELBO and evidence are recorded after each epoch but those of competing
            starts; nothing is chosen by them.
        device: where to train.
        checkpoint: a file to which the whole state is written after each competing start, every
            ``checkpoint_minutes`` (at the end of an epoch), and at the end; if it exists the fit goes on from it and
            ends with the same parameters as an unbroken one.
        checkpoint_minutes: see above.
        progress: whether to show a progress bar.

    Returns:
        one row an epoch, and one for each start that competed.

    Raises:
        TypeError, ValueError: for data or settings that cannot be used, before any work.
        OSError: if the checkpoint's folder cannot be written, before any work.
        NonFiniteError: if the loss or its gradient is NaN or infinite, naming the step.

    Warns:
        DeadComponentWarning: at the end, if a component is the encoder's choice for no point.
        StartWarning: if a component has no part that can follow data.
    """
    x, y = check_data(model, guide, x, y)
    n_init, trial_epochs = check_count("n_init", n_init), check_count("trial_epochs", trial_epochs, 0)
    opening = Opening(starts(init, x[0].numel()), n_init, trial_epochs, progress)
    options = Options(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        weight_decay=weight_decay,
        temperature=temperature,
        posterior=posterior,
        consistency=consistency,
        label_weight=label_weight,
        labelled_share=labelled_share,
        interleave=interleave,
        augment=augment,
        init_epochs=check_count("init_epochs", init_epochs, 0) if opening.follows_data else 0,
        pretrain_epochs=pretrain_epochs,
        encoder_delay=encoder_delay,
        clip_norm=clip_norm,
        seed=seed,
    )
    if (pretrain_epochs or encoder_delay or interleave or labelled_share is not None) and y is None:
        names = "pretrain_epochs, encoder_delay, interleave, labelled_share"
        raise ValueError(f"{names}: expected labels in y to train on, got none")
    if validation is not None:
        validation = validate_points("validation", validation, model, guide)
    settings = options.fixed() | opening.fixed() | {"weights": repr(model.weights), "labels": repr(model.labels)}
    saver = Saver(checkpoint, checkpoint_minutes, settings, x, y)
    model.to(device)
    guide.to(device)
    check_sites(model, guide, x[:2].to(device), posterior)
    place_perturbations(options, x[:2].to(device))
    run = Run(model, guide, x, y, options, torch.device(device))
    try:
        history = train(run, opening, saver, validation, progress)
    finally:
        model.eval()
        guide.eval()
    warn(sorted(opening.left), without_points(model, guide, x))
    return history


def warn(left: list[int], dead: list[int]) -> None:
    """Names the components that a start could not set, and those without points, at the caller of ``fit``."""
    if left:
        warnings.warn(
            f"components {left} have no part that follows data (see ActNorm, PLUAffine): the start reaches them by "
            "training alone",
            StartWarning,
            stacklevel=3,
        )
    if dead:
        warnings.warn(
            f"components {dead} own no point; try another init or a higher n_init, a temperature schedule that starts "
            "higher or decays more slowly, or fewer components",
            DeadComponentWarning,
            stacklevel=3,
        )


def place_perturbations(options: Options, x: Tensor) -> None:
    """Moves those that are modules to the device of x, and tries all of them on x."""
    term = options.consistency
    with isolated_random_state():
        for name, perturb in (("augment", options.augment), ("perturb", None if term is None else term.perturb)):
            if isinstance(perturb, nn.Module):
                perturb.to(x.device)
            if perturb is not None:
                apply_perturbation(name, perturb, x)


def train(run: Run, opening: Opening, saver: "Saver", validation: Tensor | None, progress: bool) -> History:
    """The opening and the epochs after it."""
    options = run.options
    with isolated_random_state(options.seed):
        history = saver.resume(run, opening)
        rows = history.rows
        with tqdm(range(len(rows), options.total_epochs), unit="epoch", disable=not progress) as bar:
            for epoch in bar:
                rows.append(one_epoch(run, epoch, validation))
                bar.set_postfix(brief(rows[-1]), refresh=False)
                saver.save(run, history, last=epoch == options.total_epochs - 1)
    return history


def one_epoch(run: Run, epoch: int, validation: Tensor | None) -> Row:
    """Trains for one epoch and reads the held-out points."""
    start = time.monotonic()
    row = run.epoch(epoch)
    if validation is not None:
        evaluation = evaluate(run.model, run.guide, validation)
        row["validation_elbo"] = float(evaluation.elbo.mean())
        row["validation_evidence"] = float(evaluation.evidence.mean())
    return row | {"seconds": time.monotonic() - start}


def brief(row: Row) -> dict[str, str]:
    """What the progress bar shows of a row."""
    return {name: f"{row[name]:.3f}" for name in ("elbo", "evidence", "labelled", "validation_evidence") if name in row}


class Saver:
    """Writes a fit's state every few minutes, and puts a fit back into it; idle without a path."""

    def __init__(
        self, path: str | Path | None, minutes: float, settings: dict[str, Any], x: Tensor, y: Tensor | None
    ) -> None:
        self.path = None if path is None else Path(path)
        self.seconds = 60 * check_positive("checkpoint_minutes", minutes)
        self.saved = time.monotonic()
        self.settings = settings
        if self.path is not None:
            writable_folder("checkpoint", self.path.parent)
            self.settings = settings | describe(x, y)

    def resume(self, run: Run, opening: Opening) -> History:
        """Brings ``run`` to where the state on disk left it, or through its opening; the history so far."""
        state = None
        if self.path is not None and self.path.exists():
            state = checkpoints.load(self.path, self.settings)
            if len(state.rows) > run.options.total_epochs:
                raise ValueError(
                    f"epochs: expected at least the {len(state.rows)} (with pretraining and start) that "
                    f"{str(self.path)!r} holds, got {run.options.total_epochs}; use another checkpoint for a "
                    "shorter fit"
                )
        if state is None or 0 < len(state.restarts) < len(opening.turns()):
            state = opening.play(run, state, self.write)
        else:
            checkpoints.restore(state, run.model, run.guide, run.optimizer)
        run.targets = state.targets
        return History(state.rows, state.restarts)

    def save(self, run: Run, history: History, last: bool) -> None:
        """Writes the state if it is time, or at the ``last`` epoch."""
        if self.path is not None and (last or time.monotonic() - self.saved > self.seconds):
            parts = run.model, run.guide, run.optimizer, history.rows, history.restarts, run.targets
            self.write(checkpoints.snapshot(*parts, self.settings))

    def write(self, state: checkpoints.State) -> None:
        """Writes ``state``."""
        if self.path is not None:
            checkpoints.save(self.path, replace(state, settings=self.settings))
            self.saved = time.monotonic()


def without_points(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor) -> list[int]:
    """Components that are the encoder's choice for none of (about 10,000 of) the points."""
    chosen = evaluate(model, guide, x[:: max(1, len(x) // 10_000)]).encoder_probs.argmax(-1)
    counts = torch.bincount(chosen, minlength=model.n_components)
    return [k for k, count in enumerate(counts.tolist()) if count == 0]


def describe(x: Tensor, y: Tensor | None) -> dict[str, Any]:
    """Enough of the data to notice that a checkpoint belongs to others."""
    checksums = [None if t is None else zlib.crc32(t.detach().cpu().numpy().tobytes()) for t in (x, y)]
    return {"shape of x": list(x.shape), "checksum of x": checksums[0], "checksum of y": checksums[1]}


def check_data(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, y: Any) -> tuple[Tensor, Tensor | None]:
    """x and y as a fit can use them; raises ``TypeError`` or ``ValueError`` if it cannot."""
    for name, given, kind in (("model", model, FlowMixture), ("guide", guide, SoftmaxEncoder)):
        if not isinstance(given, kind):
            raise TypeError(f"{name}: expected a {kind.__name__}, got {type(given).__name__}")
    x = validate_points("x", x, model, guide)
    distinct = len(x[: 10 * model.n_components].unique(dim=0))
    if distinct < model.n_components:
        distinct = len(x.unique(dim=0))
    if distinct < model.n_components:
        raise ValueError(
            f"x: expected at least {model.n_components} distinct points, one for each component, got {distinct}"
        )
    if guide.n_components != model.n_components:
        raise ValueError(f"guide: expected {model.n_components} components, as the model has, got {guide.n_components}")
    if str(model.labels) != str(guide.labels):
        raise ValueError(f"guide: expected the model's labels, {model.labels}, got {guide.labels}")
    probe(guide, x[:1])
    y = None if y is None else model.labels.check(y, len(x))
    if y is not None and not bool(is_labelled(y).any()):
        raise ValueError("y: expected a label at least, got −1 throughout; leave y out where there are none")
    return x, y


@torch.no_grad()
def probe(guide: SoftmaxEncoder, x: Tensor) -> None:
    """Raises ``ValueError`` if the encoder's network cannot read x."""
    try:
        with evaluation_mode(guide):
            guide.log_probs(x.to(guide.temperature.device))
    except RuntimeError as error:
        raise ValueError(f"guide: expected a network for x of shape (N, {tuple(x.shape[1:])}), got: {error}") from error


@torch.no_grad()
def check_sites(model: FlowMixture, guide: SoftmaxEncoder, x: Tensor, posterior: str) -> None:
    """Raises ``ValueError`` if a site is drawn by one program alone: Pyro would warn, and learn something else."""
    with ExitStack() as stack:
        # The random state, the user's parameter store and the modules' modes stay as they are.
        stack.enter_context(isolated_random_state())
        stack.enter_context(isolated_parameter_store())
        for part in (model, guide):
            stack.enter_context(evaluation_mode(part))
        traces = [poutine.trace(part).get_trace(x) for part in (model, guide)]
        own = {id(p) for part in (model, guide) for p in part.parameters()}
        strangers = [name for name, p in pyro.get_param_store().named_parameters() if id(p) not in own]
    if strangers:
        raise ValueError(
            f"model, guide: expected parameters that belong to the modules (nn.Parameter, PyroParam), got {strangers} "
            "by pyro.param, which fit would not train; use SVI, or make them PyroParams"
        )
    drawn = [set(trace.stochastic_nodes) for trace in traces]
    if missing := sorted(drawn[0] - drawn[1]):
        raise ValueError(
            f"guide: expected it to draw the model's sites, but it has no {missing}; where the weights have a prior, "
            "give SoftmaxEncoder(…, weights=DirichletPosterior(K)) or another posterior"
        )
    if extra := sorted(drawn[1] - drawn[0]):
        raise ValueError(f"guide: expected it to draw the model's sites alone, but it has {extra} too")
    sites = {name for name, site in traces[0].nodes.items() if site["type"] == "sample" and not site_is_subsample(site)}
    others = sorted(sites - {"x", "y", "z"})
    if posterior == "exact" and others:
        raise ValueError(
            f"posterior: expected 'encoder' for a model with the sites {others}, got 'exact', which sums z alone"
        )
    prior = model.weights
    if isinstance(prior, WeightsPrior) and isinstance(guide.weights, MAPWeights) and not prior.has_mode:
        raise ValueError(f"guide: expected a distribution of π, for this prior has no mode: {prior}; got MAPWeights")
