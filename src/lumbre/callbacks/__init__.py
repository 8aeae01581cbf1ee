"""Callbacks: things that happen at chosen moments of a run. Write your own from `lumbre.Callback`."""

from lumbre.callbacks._averages import EMA as EMA
from lumbre.callbacks._averages import SWA as SWA
from lumbre.callbacks._checkpoint import ModelCheckpoint as ModelCheckpoint
from lumbre.callbacks._early_stopping import EarlyStopping as EarlyStopping
from lumbre.callbacks._learning_rate import LearningRate as LearningRate
from lumbre.callbacks._learning_rate import LRScheduler as LRScheduler
from lumbre.callbacks._mix import CutMix as CutMix
from lumbre.callbacks._mix import Mixup as Mixup
from lumbre.callbacks._progress import Progress as Progress
from lumbre.callbacks._step_options import Accumulate as Accumulate
from lumbre.callbacks._step_options import GradientClip as GradientClip

__all__ = [
    "EMA",
    "SWA",
    "Accumulate",
    "CutMix",
    "EarlyStopping",
    "GradientClip",
    "LRScheduler",
    "LearningRate",
    "Mixup",
    "ModelCheckpoint",
    "Progress",
]
