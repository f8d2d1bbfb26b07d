"""How a benchmark's row is fitted: the numbers of the fit, its restarts, and the terms of its objective."""

from dataclasses import dataclass, replace

from pyro_vmonf.initialization import as_initializers
from pyro_vmonf.objectives import Consistency, Elbo, ExpectationMaximization, LabelTerm
from pyro_vmonf.training import Restarts, TrainingConfig, fit

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The numbers of a fit and its warm-up, how starts compete, and what is added to the ELBO."""

    config: TrainingConfig
    warmup_epochs: int = 20
    repeats: int = 1
    trial_epochs: int = 20
    consistency: Consistency | None = None
    label_weight: float = 1.0

    def shortened(self, epochs):
        """The same for so many epochs, to try things."""
        return replace(self, config=replace(self.config, epochs=epochs), warmup_epochs=1, trial_epochs=1)

    def restarts(self, start, features):
        """What ``fit(initializer=…)`` takes, with this warm-up."""
        each = as_initializers(start, features)
        each = [one if one is None else replace(one, warmup_epochs=self.warmup_epochs) for one in each]
        return Restarts(each, self.repeats, self.trial_epochs)

    def objective(self, labelled, exact):
        """The sum of the terms; consistency aims at p(z | x) where the bound is exact."""
        terms = ExpectationMaximization() if exact else Elbo()
        if labelled:
            terms = terms + LabelTerm(self.label_weight)
        if self.consistency is None:
            return terms
        return terms + (replace(self.consistency, target="exact") if exact else self.consistency)

    def fit(self, model, guide, x, y=None, *, start="auto", exact=False, seed=0, checkpoint=None):
        """Fits model and guide; the history."""
        return fit(
            model,
            guide,
            x,
            y,
            initializer=self.restarts(start, x[0].numel()),
            objective=self.objective(y is not None, exact),
            config=self.config,
            checkpoint=checkpoint,
            seed=seed,
            progress=False,
        )
