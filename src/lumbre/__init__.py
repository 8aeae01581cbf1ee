"""lumbre: from data to a trained model you can trust, on PyTorch."""

from lumbre import callbacks as callbacks
from lumbre import data as data
from lumbre import datasets as datasets
from lumbre import metrics as metrics
from lumbre import plots as plots
from lumbre import vision as vision
from lumbre._recipe import PreflightWarning as PreflightWarning
from lumbre._recipe import Recipe as Recipe
from lumbre._recipe import setup as setup
from lumbre._replay import Replay as Replay
from lumbre._replay import replay as replay
from lumbre.base import ArchiveError as ArchiveError
from lumbre.base import CallbackError as CallbackError
from lumbre.base import DataError as DataError
from lumbre.base import DownloadError as DownloadError
from lumbre.base import LaunchError as LaunchError
from lumbre.base import LumbreError as LumbreError
from lumbre.base import MissingExtraError as MissingExtraError
from lumbre.base import NonFiniteLossError as NonFiniteLossError
from lumbre.base import OptionError as OptionError
from lumbre.base import OutOfMemoryError as OutOfMemoryError
from lumbre.base import PeerError as PeerError
from lumbre.base import PreflightError as PreflightError
from lumbre.base import RecipeError as RecipeError
from lumbre.base import ResumeError as ResumeError
from lumbre.base import __version__ as __version__
from lumbre.callbacks import _schedules as schedules
from lumbre.core import Callback as Callback
from lumbre.core import Context as Context
from lumbre.data import split as split
from lumbre.fitted import Evaluation as Evaluation
from lumbre.fitted import Fitted as Fitted
from lumbre.fitted import _inspect as inspect
from lumbre.fitted import load as load
from lumbre.inspection import Summary as Summary
from lumbre.inspection import summary as summary
from lumbre.processes import launch as launch
from lumbre.run import Checkpoints as Checkpoints
from lumbre.steps import freeze as freeze
from lumbre.steps import param_groups as param_groups
from lumbre.steps import unfreeze as unfreeze
from lumbre.storage import CheckpointWarning as CheckpointWarning
from lumbre.storage import FileContents as FileContents
from lumbre.storage import _r as r
from lumbre.storage import inspect_file as inspect_file
from lumbre.storage import load_weights as load_weights
from lumbre.tune import LogRange as LogRange
from lumbre.tune import Tuned as Tuned
from lumbre.tune import tune as tune

__all__ = [
    "ArchiveError",
    "Callback",
    "CallbackError",
    "CheckpointWarning",
    "Checkpoints",
    "Context",
    "DataError",
    "DownloadError",
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
    "load_weights",
    "metrics",
    "param_groups",
    "plots",
    "r",
    "replay",
    "schedules",
    "setup",
    "split",
    "summary",
    "tune",
    "unfreeze",
    "vision",
]
__dir__ = __all__.copy  # names for dir() and tab completion
