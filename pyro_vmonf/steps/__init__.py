"""One update from one batch: what a step is, the eager one, the one that repeats captured operations, the choice."""

from pyro_vmonf.steps.auto import AutoStep
from pyro_vmonf.steps.base import Step, StepFactory
from pyro_vmonf.steps.captured import ReplayStep
from pyro_vmonf.steps.eager import EagerStep
from pyro_vmonf.steps.replay import CaptureError

__all__ = ["AutoStep", "CaptureError", "EagerStep", "ReplayStep", "Step", "StepFactory"]
