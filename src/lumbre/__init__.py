"""lumbre: from data to a trained model you can trust, on PyTorch."""

from lumbre import callbacks, data, datasets, losses, metrics, nets, plots, sklearn, vision
from lumbre._recipe import PreflightWarning, Recipe
from lumbre._replay import Replay, replay
from lumbre._setup import setup
from lumbre._tabular import tabular
from lumbre.base import (
    ArchiveError,
    CallbackError,
    DataError,
    DownloadError,
    LaunchError,
    LumbreError,
    MissingExtraError,
    NonFiniteLossError,
    OptionError,
    OutOfMemoryError,
    PeerError,
    PreflightError,
    RecipeError,
    ResumeError,
    __version__,
)
from lumbre.callbacks import _schedules as schedules
from lumbre.core import Callback, Context
from lumbre.data import split
from lumbre.fitted import DataWarning, Evaluation, Fitted, load
from lumbre.fitted import _inspect as inspect
from lumbre.inspection import Summary, summary
from lumbre.processes import launch
from lumbre.run import Checkpoints
from lumbre.steps import freeze, matrices_and_rest, param_groups, unfreeze
from lumbre.storage import CheckpointWarning, FileContents, inspect_file, load_weights
from lumbre.storage import _r as r
from lumbre.trials import CrossValidation, Ensemble, load_ensemble
from lumbre.tune import LogRange, Tuned, tune

__all__ = [
    "ArchiveError",
    "Callback",
    "CallbackError",
    "CheckpointWarning",
    "Checkpoints",
    "Context",
    "CrossValidation",
    "DataError",
    "DataWarning",
    "DownloadError",
    "Ensemble",
    "Evaluation",
    "FileContents",
    "Fitted",
    "LaunchError",
    "LogRange",
    "LumbreError",
    "MissingExtraError",
    "NonFiniteLossError",
    "OptionError",
    "OutOfMemoryError",
    "PeerError",
    "PreflightError",
    "PreflightWarning",
    "Recipe",
    "RecipeError",
    "Replay",
    "ResumeError",
    "Summary",
    "Tuned",
    "__version__",
    "callbacks",
    "data",
    "datasets",
    "freeze",
    "inspect",
    "inspect_file",
    "launch",
    "load",
    "load_ensemble",
    "load_weights",
    "losses",
    "matrices_and_rest",
    "metrics",
    "nets",
    "param_groups",
    "plots",
    "r",
    "replay",
    "schedules",
    "setup",
    "sklearn",
    "split",
    "summary",
    "tabular",
    "tune",
    "unfreeze",
    "vision",
]
__dir__ = __all__.copy  # names for dir() and tab completion
