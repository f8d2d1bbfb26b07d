"""One update from one batch: what a step is, and the step that evaluates everything anew."""

from pyro_vmonf.steps.base import Step, StepFactory
from pyro_vmonf.steps.eager import EagerStep

__all__ = ["EagerStep", "Step", "StepFactory"]
