"""The thesis's ways to train as lists of phases, and what only they need.

With labels the thesis trains on the labelled points alone first, then lets passes over labelled and unlabelled points
take turns (section 5.1.2); here the encoder may also wait, trained on labels alone, until the flows know all the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from pyro_vmonf._validation import check_count
from pyro_vmonf.checkpointing.checkpointer import Checkpointer
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Elbo, LabelTerm, Loss, Objective
from pyro_vmonf.training.batches import Batches, batches_of, train_batches
from pyro_vmonf.training.compatibility import check_data, check_pair
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.data import TrainingData
from pyro_vmonf.training.fitting import as_step, train
from pyro_vmonf.training.restarts import Plan, Restarts
from pyro_vmonf.training.schedules import ConstantRate, Schedule
from pyro_vmonf.training.trainer import Phase, Trainer

__all__ = ["FrozenEncoder", "Recipe", "alternating_batches", "labelled_batches", "train_by_recipe"]


@dataclass(frozen=True)
class FrozenEncoder(Objective):
    """An objective that trains everything but the encoder.

    Flows pretrained on few points say absurd things of the others; given time to learn better, they do not mislead
    the encoder.

    Attributes:
        objective: What is minimised.
    """

    objective: Objective

    def __call__(self, model: FlowMixture, guide: SoftmaxEncoder, batch: Batch) -> Loss:
        of_weights = set() if guide.weights is None else set(guide.weights.parameters())
        trained = [p for p in guide.parameters() if p.requires_grad and p not in of_weights]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            return self.objective(model, guide, batch)
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)


@dataclass(frozen=True)
class Recipe:
    """How an experiment trains.

    Attributes:
        config: The numbers of the fit.
        pretrain_epochs: The number of supervised passes before all else.
        encoder_delay: The number of ``config.epochs`` that train the encoder on labels alone.
        alternate: Whether passes over labelled and unlabelled points take turns, in the place of mixed batches.

    Examples:
        >>> from pyro_vmonf import TrainingConfig
        >>> from pyro_vmonf.reproduce.recipes import Recipe
        >>> [phase.name for phase in Recipe(TrainingConfig(epochs=10), encoder_delay=4).phases(labelled=True)]
        ['pretraining', 'encoder delay', 'main']
    """

    config: TrainingConfig
    pretrain_epochs: int = 0
    encoder_delay: int = 0
    alternate: bool = False

    def shortened(self, epochs: int) -> "Recipe":
        """Returns the recipe with another number of epochs, and pretraining in proportion."""
        share = check_count("--epochs", epochs) / self.config.epochs
        pretrain_epochs = max(1, round(share * self.pretrain_epochs)) if self.pretrain_epochs else 0
        return replace(self, config=replace(self.config, epochs=epochs), pretrain_epochs=pretrain_epochs)

    def phases(self, labelled: bool) -> list[Phase]:
        """Returns the phases, with label terms if points are labelled."""
        config, terms = self.config, Elbo() + LabelTerm() if labelled else Elbo()
        delayed = min(self.encoder_delay, config.epochs)
        batches = alternating_batches(config.batch_size) if self.alternate else batches_of(config)
        rate, temperature = config.rate(), config.temperature
        first = None if temperature is None else ConstantRate(temperature(0))
        later = None if temperature is None else shifted(temperature, delayed)
        supervised = labelled_batches(config.batch_size)
        return [
            Phase("pretraining", self.pretrain_epochs, terms, supervised, ConstantRate(rate(0)), first),
            Phase("encoder delay", delayed, FrozenEncoder(Elbo()) + LabelTerm(), batches, rate, temperature),
            Phase("main", config.epochs - delayed, terms, batches, shifted(rate, delayed), later),
        ]


def shifted(schedule: Schedule, epochs: int) -> Schedule:
    """Returns a schedule that begins where another one is after some epochs."""
    return lambda epoch: schedule(epoch + epochs)


def labelled_batches(batch_size: int) -> Batches:
    """Returns batches of the labelled points alone."""
    return lambda data: train_batches(data.labelled, batch_size)


def alternating_batches(batch_size: int) -> Batches:
    """Returns a pass over the labelled points and then one over the others; they count alike, whatever their number."""

    def batches(data: TrainingData) -> Iterator[Tensor]:
        yield from train_batches(data.labelled, batch_size)
        yield from train_batches(data.unlabelled, batch_size)

    return batches


def train_by_recipe(
    model: FlowMixture,
    guide: SoftmaxEncoder,
    x: object,
    y: object = None,
    *,
    recipe: Recipe,
    validation: Tensor | None = None,
    checkpoint: str | Path | Checkpointer | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Trains model and guide, in place, from the parameters as they are.

    Args:
        model: The model p(x, z).
        guide: The guide q(z | x).
        x: The points ``(N, *event)``.
        y: The labels ``(N,)``, −1 where there is none.
        recipe: How to train.
        validation: Held-out points, evaluated after each epoch.
        checkpoint: A file, or a :class:`~pyro_vmonf.training.Checkpointer`, from which a training that was broken off
            goes on.
        seed: The seed of the order of the points.
        progress: Whether to show a progress bar.

    Raises:
        TypeError, ValueError: For data that cannot be used, or a recipe that needs labels where there are none.
    """
    check_pair(model, guide)
    data, held_out = check_data(model, guide, x, y, validation=validation)
    if data.y is None and (recipe.pretrain_epochs or recipe.encoder_delay or recipe.alternate):
        raise ValueError("recipe: expected labels in y to train on, got none")
    phases = recipe.phases(data.y is not None)
    plan = Plan(Restarts([None]), lambda initializer: phases, seed)
    step = as_step("auto", plan, data, recipe.config)
    trainer = Trainer(model, guide, data, recipe.config, step=step, validation=held_out)
    saver = checkpoint if isinstance(checkpoint, Checkpointer) else Checkpointer(checkpoint)
    train(trainer, plan, saver, progress=progress)
    return trainer.history
