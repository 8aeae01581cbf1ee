"""Every error that lumbre raises on purpose. Each says what was received, what was expected, and what to write instead.

LumbreError
├── RecipeError          what setup() or a set_*() method was given             (ValueError)
├── OptionError          an option of fit(), evaluate() or predict()            (ValueError)
├── DataError            the data cannot be used as it is                       (ValueError)
├── PreflightError       a check before training found a mistake                (ValueError)
├── NonFiniteLossError   the loss became NaN or infinite; the run was stopped   (ArithmeticError)
├── OutOfMemoryError     a training step found no memory                        (torch.OutOfMemoryError)
├── CallbackError        a callback or a metric failed                          (RuntimeError)
├── ArchiveError         a file is damaged, of another kind, or does not fit    (ValueError)
├── ResumeError          a run found in a folder cannot go on from there        (ValueError)
├── LaunchError          a function in several processes failed in one             (RuntimeError)
├── PeerError            another process of a shared run is gone or silent      (RuntimeError)
├── DownloadError        a data set could not be fetched or is not there        (RuntimeError)
└── MissingExtraError    an optional package is not installed                   (ImportError)
"""

import difflib
from collections.abc import Iterable

import torch

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class LumbreError(Exception):
    """Base of every error raised by lumbre.

    Args:
        received: what lumbre was given or met.
        expected: what would have been right.
        fix: what to write instead.
    """

    def __init__(self, received: str, expected: str, fix: str) -> None:
        super().__init__(received, expected, fix)
        self.received = received
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        return f"received: {self.received}\n  expected: {self.expected}\n  instead: {self.fix}"


def brief(error: Exception) -> str:
    """What an error says, to stand inside the message of another: of lumbre's own what was received, and what to do."""
    return f"{error.received} ({error.fix})" if isinstance(error, LumbreError) else str(error)


class RecipeError(LumbreError, ValueError):
    """What `setup()` or a `set_*()` method was given does not make a recipe."""


class OptionError(LumbreError, ValueError):
    """An option of `fit()`, `evaluate()` or `predict()` is unknown, impossible or cannot apply here."""


class DataError(LumbreError, ValueError):
    """The data cannot be used as it is."""


class PreflightError(LumbreError, ValueError):
    """A check before training found a mistake that would have spoiled the run."""


class NonFiniteLossError(LumbreError, ArithmeticError):
    """The loss became NaN or infinite; the run was stopped before the weights were touched."""


class OutOfMemoryError(LumbreError, torch.OutOfMemoryError):
    """A training step found no memory; the original error is the cause (`__cause__`)."""


class CallbackError(LumbreError, RuntimeError):
    """A callback or a metric failed; the original error is the cause (`__cause__`)."""


class ArchiveError(LumbreError, ValueError):
    """A file is damaged, is of another kind, or does not fit the module it was loaded into."""


class ResumeError(LumbreError, ValueError):
    """A run found in a folder cannot go on from there: something has changed, is damaged, or is in use."""


class LaunchError(LumbreError, RuntimeError):
    """A function that was started in several processes failed in one of them; its traceback is in the message."""


class PeerError(LumbreError, RuntimeError):
    """Another process of a run that several share has ended, or is not to be reached; this one cannot go on alone."""


class DownloadError(LumbreError, RuntimeError):
    """A data set could not be fetched, or is not where it should be."""


class MissingExtraError(LumbreError, ImportError):
    """An optional package is needed and not installed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch says so of the host's in a RuntimeError."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"Did you mean 'epochs'? "` for a near miss, in whatever case, else an empty string."""
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"Did you mean {lowered[near[0]]!r}? " if near else ""
