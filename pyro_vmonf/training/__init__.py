"""Fitting a model and its guide: phases of epochs, restarts, checkpoints."""

from pyro_vmonf.checkpointing.checkpointer import Checkpointer, CheckpointError, CheckpointWarning
from pyro_vmonf.checkpointing.history import EpochState, History, Row
from pyro_vmonf.checkpointing.state import TrainingState
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.data import TrainingData
from pyro_vmonf.training.fitting import DeadComponentWarning, DivergenceWarning, fit
from pyro_vmonf.training.restarts import Restarts
from pyro_vmonf.training.schedules import ConstantRate, CosineRate, Schedule, Temperature
from pyro_vmonf.training.trainer import NonFiniteError, Phase, Trainer

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "Checkpointer",
    "ConstantRate",
    "CosineRate",
    "DeadComponentWarning",
    "DivergenceWarning",
    "EpochState",
    "History",
    "NonFiniteError",
    "Phase",
    "Restarts",
    "Row",
    "Schedule",
    "Temperature",
    "Trainer",
    "TrainingConfig",
    "TrainingData",
    "TrainingState",
    "fit",
]
