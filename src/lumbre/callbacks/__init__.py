"""Callbacks: things that happen at chosen moments of a run. Write your own from `lumbre.Callback`.

Used by fitted, resume, run, trials, tune and the root modules. A callback hears events and keeps its own state; it
never imports steps, data or devices. What belongs into the step (clipping, accumulation) only stands here as a setting.
"""

from lumbre.callbacks._averages import EMA, SWA
from lumbre.callbacks._checkpoint import ModelCheckpoint
from lumbre.callbacks._contenders import refuse_contenders
from lumbre.callbacks._csv_log import CSVLog
from lumbre.callbacks._early_stopping import EarlyStopping
from lumbre.callbacks._keep_best import KeepBestModel
from lumbre.callbacks._learning_rate import LearningRate, LRScheduler, steps_of
from lumbre.callbacks._mix import CutMix, Mixup
from lumbre.callbacks._mlflow import MLflow
from lumbre.callbacks._monitor import Monitor
from lumbre.callbacks._nan_guard import NaNGuard
from lumbre.callbacks._on import On
from lumbre.callbacks._progress import Progress, progress_of
from lumbre.callbacks._remarks import Remarks
from lumbre.callbacks._samples import SampleGenerations
from lumbre.callbacks._step_options import Accumulate, GradientClip
from lumbre.callbacks._tensorboard import TensorBoard
from lumbre.callbacks._time_limit import TimeLimit
from lumbre.callbacks._unfreezing import GradualUnfreezing
from lumbre.callbacks._wandb import WandB

__all__ = [
    "EMA",
    "SWA",
    "Accumulate",
    "CSVLog",
    "CutMix",
    "EarlyStopping",
    "GradientClip",
    "GradualUnfreezing",
    "KeepBestModel",
    "LRScheduler",
    "LearningRate",
    "MLflow",
    "Mixup",
    "ModelCheckpoint",
    "NaNGuard",
    "On",
    "Progress",
    "Remarks",
    "SampleGenerations",
    "TensorBoard",
    "WandB",
]
__dir__ = __all__.copy  # names for dir() and tab completion
