"""Callbacks: things that happen at chosen moments of a run. Write your own from `lumbre.Callback`."""

from lumbre.callbacks._checkpoint import ModelCheckpoint as ModelCheckpoint
from lumbre.callbacks._csv_log import CSVLog as CSVLog
from lumbre.callbacks._early_stopping import EarlyStopping as EarlyStopping
from lumbre.callbacks._keep_best import KeepBestModel as KeepBestModel
from lumbre.callbacks._mlflow import MLflow as MLflow
from lumbre.callbacks._nan_guard import NaNGuard as NaNGuard
from lumbre.callbacks._on import On as On
from lumbre.callbacks._progress import Progress as Progress
from lumbre.callbacks._samples import SampleGenerations as SampleGenerations
from lumbre.callbacks._tensorboard import TensorBoard as TensorBoard
from lumbre.callbacks._timings import Timings as Timings
from lumbre.callbacks._unfreezing import GradualUnfreezing as GradualUnfreezing
from lumbre.callbacks._wandb import WandB as WandB

__all__ = [
    "CSVLog",
    "EarlyStopping",
    "GradualUnfreezing",
    "KeepBestModel",
    "MLflow",
    "ModelCheckpoint",
    "NaNGuard",
    "On",
    "Progress",
    "SampleGenerations",
    "TensorBoard",
    "Timings",
    "WandB",
]
