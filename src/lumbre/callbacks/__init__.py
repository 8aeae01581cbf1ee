"""Callbacks: things that happen at chosen moments of a run. Write your own from `lumbre.Callback`."""

from lumbre.callbacks._checkpoint import ModelCheckpoint as ModelCheckpoint
from lumbre.callbacks._early_stopping import EarlyStopping as EarlyStopping
from lumbre.callbacks._learning_rate import LearningRate as LearningRate
from lumbre.callbacks._learning_rate import LRScheduler as LRScheduler
from lumbre.callbacks._progress import Progress as Progress

__all__ = ["EarlyStopping", "LRScheduler", "LearningRate", "ModelCheckpoint", "Progress"]
