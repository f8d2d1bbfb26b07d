"""The history and the state of a fit, and the file that keeps them."""

from pyro_vmonf.checkpointing.checkpointer import Checkpointer, CheckpointError, CheckpointWarning
from pyro_vmonf.checkpointing.history import EpochState, History, Row
from pyro_vmonf.checkpointing.state import TrainingState

__all__ = ["CheckpointError", "CheckpointWarning", "Checkpointer", "EpochState", "History", "Row", "TrainingState"]
