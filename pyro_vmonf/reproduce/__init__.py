"""The thesis's experiments, each with its settings, figures and numbers."""

from pyro_vmonf.reproduce.catalogue import EXPERIMENTS
from pyro_vmonf.reproduce.experiment import Experiment, load, run
from pyro_vmonf.reproduce.plate import draw_plate
from pyro_vmonf.reproduce.transforms import draw_transforms

__all__ = ["EXPERIMENTS", "Experiment", "draw_plate", "draw_transforms", "load", "run"]
