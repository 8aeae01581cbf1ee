"""The options of `fit()`, checked before anything is built."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Sampler

from lumbre import callbacks as callbacks_of_lumbre
from lumbre.base import OptionError, did_you_mean, one_of
from lumbre.callbacks import Remarks, refuse_contenders
from lumbre.core import Callback
from lumbre.preflight import CHECKS
from lumbre.run._checkpoints import Checkpoints, as_checkpoints

BATCH_SIZE = 32
STRATEGIES = ("ddp", "fsdp")
_NUMBERS = ("epochs", "batch_size", "num_workers", "seed", "verbose", "max_seconds", "max_steps", "valid_every")
_ENGINES = ("auto", "eager", "compiled", "cuda_graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `fit()`; `Recipe.fit` documents them. None stands for "not given"."""

    epochs: int | tuple[int, int] = 10
    valid_data: Any = None
    valid_every: int = 1
    callbacks: Sequence[Callback] = ()
    batch_size: int | None = None
    shuffle: bool | None = None
    sampler: Any = None
    weights: Any = None
    drop_last: bool | None = None
    num_workers: int | None = None
    augment: Callable[..., Any] | None = None
    seed: int | None = 0
    device: str | torch.device = "auto"
    precision: str = "float32"
    engine: str = "auto"
    flush_denormal: bool | None = None
    strategy: str | None = None
    max_seconds: float | None = None
    max_steps: int | None = None
    resume: "str | Path | Checkpoints | None" = None
    preflight: bool = True
    ignore: Sequence[str] = ()
    verbose: bool | int | Literal["plot"] | None = None

    def __post_init__(self) -> None:
        fewest, most = self.epoch_range
        if not (_whole(fewest, 0) and _whole(most, 1) and fewest <= most):
            raise OptionError(
                f"epochs={self.epochs!r}",
                "a whole number from 1, or (fewest, most)",
                "epochs=10, or epochs=(5, 50)",
            )
        if self.batch_size is not None and not _whole(self.batch_size, 1):
            raise OptionError(
                f"batch_size={self.batch_size!r}",
                "a whole number from 1",
                f"batch_size={BATCH_SIZE}",
            )
        if self.sampler is not None:
            _check_sampler(self.sampler, self.shuffle)
        if self.num_workers is not None and not _whole(self.num_workers, 0):
            raise OptionError(
                f"num_workers={self.num_workers!r}",
                "a whole number from 0",
                "num_workers=0 fetches in this process",
            )
        if self.seed is not None and not isinstance(self.seed, int):
            raise OptionError(f"seed={self.seed!r}", "a whole number, or None for a seed of chance", "seed=0")
        if not (self.verbose in (None, "plot") or _whole(self.verbose, 0) or isinstance(self.verbose, bool)):
            raise OptionError(
                f"verbose={self.verbose!r}",
                'True, False, "plot", or a whole number: every so many epochs',
                "verbose=10 shows every tenth epoch",
            )
        for name in ("shuffle", "drop_last", "preflight", "flush_denormal"):
            value = getattr(self, name)
            if not (isinstance(value, bool) or (value is None and name != "preflight")):
                raise OptionError(f"{name}={value!r}", "True or False", f"{name}=True")
        one_of("engine", self.engine, _ENGINES, fix='engine="auto"')
        if self.strategy is not None:
            one_of("strategy", self.strategy, STRATEGIES, fix='strategy="ddp", a copy for each process')
        if self.max_seconds is not None and not _above_zero(self.max_seconds):
            raise OptionError(f"max_seconds={self.max_seconds!r}", "more than 0 seconds", "max_seconds=3600")
        if self.max_steps is not None and not _whole(self.max_steps, 1):
            raise OptionError(f"max_steps={self.max_steps!r}", "a whole number of updates, from 1", "max_steps=1000")
        self._check_valid_every()
        as_checkpoints(self.resume)
        refuse_contenders(self.callbacks)
        for code in self.ignore:
            if code not in (*CHECKS, *Remarks.codes):  # not `one_of`, which would list sixty codes
                raise OptionError(
                    f"ignore={list(self.ignore)!r}",
                    "codes of checks, as findings have them",
                    f'{did_you_mean(str(code), [*CHECKS, *Remarks.codes])}ignore=("LB038",)',
                )
        if self.augment is not None:
            check_augment(self.augment)

    def _check_valid_every(self) -> None:
        if not _whole(self.valid_every, 1):
            raise OptionError(
                f"valid_every={self.valid_every!r}",
                "a whole number of epochs, from 1",
                "valid_every=5 validates after every fifth epoch",
            )
        if self.valid_every > 1 and self.valid_data is None:
            raise OptionError(
                f"valid_every={self.valid_every} without valid_data",
                "data to validate on",
                f"valid_data=0.2, valid_every={self.valid_every}",
            )

    @property
    def epoch_range(self) -> tuple[int, int]:
        """(fewest, most) epochs."""
        return self.epochs if isinstance(self.epochs, tuple) else (0, self.epochs)


def options_from(given: Mapping[str, Any]) -> Options:
    """Options by name.

    Raises:
        OptionError: a name is unknown, or a value impossible.
    """
    known = [field.name for field in fields(Options)]
    for name in given:
        if name not in known:
            raise OptionError(
                f"fit(..., {name}=...)",
                f"an option of fit(): {', '.join(known)}",
                f"{did_you_mean(name, known)}Correct or remove it",
            )
    ignored = given.get("ignore", ())
    if not isinstance(ignored, Iterable):
        raise OptionError(f"ignore={ignored!r}", "codes of checks, as findings have them", 'ignore=("LB038",)')
    checked: dict[str, Any] = {
        **given,
        **{name: _plain(given[name]) for name in _NUMBERS if name in given},
        "callbacks": callback_list(given.get("callbacks", ())),
        "ignore": (ignored,) if isinstance(ignored, str) else tuple(ignored),
    }
    return Options(**checked)


def callback_list(callbacks: Callback | Iterable[Callback]) -> list[Callback]:
    """The callbacks, one or many, as a list.

    Raises:
        OptionError: something among them is no callback.
    """
    given: Any = callbacks
    listed: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for callback in listed:
        if not isinstance(callback, Callback):
            raise OptionError(f"{callback!r} among the callbacks", "lumbre.Callback objects", _instead_of(callback))
    return listed


def _instead_of(callback: object) -> str:
    """What to write for something that is no callback."""
    kind = callback if isinstance(callback, type) else type(callback)
    if issubclass(kind, LRScheduler):
        return f"lumbre.callbacks.LRScheduler({kind.__name__}, ...), which makes it for the optimizer of the run"
    if isinstance(callback, type):
        return f"{callback.__name__}()"
    if isinstance(callback, str):
        return f"{did_you_mean(callback, dir(callbacks_of_lumbre))}An object, such as lumbre.callbacks.EarlyStopping()"
    if callback is None:
        return "leave callbacks= away"
    if callable(callback):
        return "lumbre.callbacks.On(epoch_end=function), or LearningRate(schedule) for a schedule"
    return "an object of a class made from Callback"


def _check_sampler(sampler: object, shuffle: bool | None) -> None:
    if isinstance(sampler, str) and sampler != "balanced":
        raise OptionError(
            f"sampler={sampler!r}",
            '"balanced", or one weight for each row',
            f'{did_you_mean(sampler, ["balanced"])}sampler="balanced"',
        )
    if isinstance(sampler, Sampler):
        raise OptionError(
            f"sampler={type(sampler).__name__}(...)",
            '"balanced", or one weight for each row',
            "sampler=weights; a sampler of torch goes into a DataLoader of your own, passed as data",
        )
    if shuffle is False:
        raise OptionError(
            "shuffle=False beside sampler=...",
            "one of them: a sampler draws rows by chance",
            "leave one of them away",
        )


def check_augment(augment: object) -> None:
    """See that it can change the inputs of a batch.

    Raises:
        OptionError: it cannot.
    """
    fix = "augment=lumbre.vision.Augment([lumbre.vision.RandomHorizontalFlip(), ...])"
    if not callable(augment):
        raise OptionError(f"augment={augment!r}", "transforms of lumbre.vision, or a function (input, row_seeds)", fix)
    try:
        inspect.signature(augment).bind(None, None)
    except TypeError as error:
        raise OptionError(
            f"augment={augment!r}, which cannot take two arguments",
            "a function of the input of a batch and a seed for each row, so that chance can be the row's own",
            f"{fix}; a function without chance goes in as lumbre.vision.Lambda(function)",
        ) from error


def _plain(value: Any) -> Any:
    """A number of NumPy, or a pair of them, as Python's, which files can hold."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))  # pyright: ignore[reportUnknownArgumentType]
    return value.item() if isinstance(value, np.generic) else value


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _above_zero(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
