"""Callbacks: things that happen at chosen moments of a run. Write your own from `lumbre.Callback`.

Used by fitted, resume, run, trials, tune and the root modules. A callback hears events and keeps its own state; it
never imports steps, data or devices. What belongs into the step (clipping, accumulation) only stands here as a setting.
"""

from lumbre.callbacks._averages import EMA as EMA
from lumbre.callbacks._averages import SWA as SWA
from lumbre.callbacks._checkpoint import ModelCheckpoint as ModelCheckpoint
from lumbre.callbacks._csv_log import CSVLog as CSVLog
from lumbre.callbacks._early_stopping import EarlyStopping as EarlyStopping
from lumbre.callbacks._keep_best import KeepBestModel as KeepBestModel
from lumbre.callbacks._learning_rate import LearningRate as LearningRate
from lumbre.callbacks._learning_rate import LRScheduler as LRScheduler
from lumbre.callbacks._mix import CutMix as CutMix
from lumbre.callbacks._mix import Mixup as Mixup
from lumbre.callbacks._mlflow import MLflow as MLflow
from lumbre.callbacks._monitor import Monitor as Monitor
from lumbre.callbacks._nan_guard import NaNGuard as NaNGuard
from lumbre.callbacks._on import On as On
from lumbre.callbacks._progress import Progress as Progress
from lumbre.callbacks._remarks import Remarks as Remarks
from lumbre.callbacks._samples import SampleGenerations as SampleGenerations
from lumbre.callbacks._step_options import Accumulate as Accumulate
from lumbre.callbacks._step_options import GradientClip as GradientClip
from lumbre.callbacks._tensorboard import TensorBoard as TensorBoard
from lumbre.callbacks._unfreezing import GradualUnfreezing as GradualUnfreezing
from lumbre.callbacks._wandb import WandB as WandB

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
