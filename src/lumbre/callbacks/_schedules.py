"""Schedules: learning rates as functions of how far a run has come.

A schedule is a function `(step, total_steps) -> factor`, without memory: the learning rate of a step is the
optimizer's own rate, the one of `set_opt_hparams(lr=...)`, times its factor. So that rate is the highest one (for every
schedule here), groups of parameters with rates of their own keep their proportions, and a run that goes on after a
break needs nothing but the number of its step. `lumbre.callbacks.LearningRate` applies a schedule in a run.

`plateau` alone depends on how well a run goes, not how far; it gives a callback.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from torch.optim.lr_scheduler import ReduceLROnPlateau

from lumbre.base import at_least, one_of, only_numbers
from lumbre.callbacks._learning_rate import LRScheduler
from lumbre.callbacks._monitor import MODES

__all__ = ["Schedule", "constant_with_warmup", "cosine", "linear", "one_cycle", "plateau"]
__dir__ = __all__.copy  # names for dir() and tab completion

Schedule: TypeAlias = Callable[[int, int], float]
"""A factor of the learning rate for (step from 0, all steps of the run)."""


def one_cycle(*, warmup: float = 0.3, start: float = 1 / 25, end: float = 1 / 25e4) -> Schedule:
    """Up to the full learning rate and down again, both along half a cosine (Smith and Topin 2017).

    The values are those of `torch.optim.lr_scheduler.OneCycleLR` with `max_lr` the optimizer's rate.

    Args:
        warmup: share of the steps that lead up, in (0, 1).
        start: factor of the first step.
        end: factor of the last step.

    Raises:
        OptionError: a value is out of its range.

    Example:
        >>> import lumbre as lb
        >>> factor = lb.schedules.one_cycle()
        >>> [round(factor(step, 11), 3) for step in (0, 2, 5, 10)]
        [0.04, 0.96, 0.726, 0.0]
    """
    _check_share(warmup=warmup)
    _check_factors(start=start, end=end)

    def factor(step: int, total_steps: int) -> float:
        top, last = max(warmup * total_steps - 1, 0.0), total_steps - 1
        if step < top:
            return _between(start, 1.0, step / top)
        return _between(1.0, end, min((step - top) / (last - top), 1.0) if last > top else 0.0)

    return factor


def cosine(*, warmup: float = 0.0, end: float = 0.0) -> Schedule:
    """Down along half a cosine (Loshchilov and Hutter 2017), after a linear way up.

    Without warm-up the values are those of `torch.optim.lr_scheduler.CosineAnnealingLR` with `T_max` all steps.

    Args:
        warmup: steps that lead up to the full rate: their number, or their share of all steps in (0, 1).
        end: the factor that would follow the last step.

    Raises:
        OptionError: a value is out of its range.

    Example:
        >>> import lumbre as lb
        >>> factor = lb.schedules.cosine(warmup=2)
        >>> [round(factor(step, 10), 3) for step in range(10)]
        [0.5, 1.0, 1.0, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038]
    """
    return _after_warmup(warmup, end, _between)


def linear(*, warmup: float = 0.0, end: float = 0.0) -> Schedule:
    """Down along a straight line, after a linear way up.

    Args:
        warmup: steps that lead up to the full rate: their number, or their share of all steps in (0, 1).
        end: the factor that would follow the last step.

    Raises:
        OptionError: a value is out of its range.

    Example:
        >>> import lumbre as lb
        >>> factor = lb.schedules.linear()
        >>> [factor(step, 4) for step in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """
    return _after_warmup(warmup, end, lambda top, low, progress: top + (low - top) * progress)


def constant_with_warmup(warmup: float) -> Schedule:
    """The full learning rate, after a linear way up.

    Args:
        warmup: steps that lead up to the full rate: their number, or their share of all steps in (0, 1).

    Raises:
        OptionError: it is neither.

    Example:
        >>> import lumbre as lb
        >>> factor = lb.schedules.constant_with_warmup(0.2)
        >>> [factor(step, 10) for step in range(4)]
        [0.5, 1.0, 1.0, 1.0]
    """
    return _after_warmup(warmup, 1.0, lambda top, low, progress: top)


def plateau(
    monitor: str = "valid_loss",
    *,
    mode: str | None = None,
    factor: float = 0.1,
    patience: int = 5,
    min_delta: float = 0.0,
    cooldown: int = 0,
    min_lr: float = 0.0,
    optimizer: str | None = None,
) -> LRScheduler:
    """A callback that lowers the learning rate when a value has not improved for some epochs.

    It stands among the callbacks by itself. torch's `ReduceLROnPlateau` does the work.

    Args:
        monitor: set and metric to watch, such as "valid_loss".
        mode: "min" where less is better, "max" where more is; where not given, as the metric says.
        factor: what the rate is multiplied with, in (0, 1).
        patience: epochs without improvement that are borne; the next one lowers the rate.
        min_delta: an improvement must be greater than this.
        cooldown: epochs after a change in which nothing is counted.
        min_lr: the lowest rate.
        optimizer: which of several, by its name.

    Raises:
        OptionError: a value is out of its range; when the run starts, a `monitor` that it does not record.

    Example:
        >>> import lumbre as lb
        >>> callbacks = [lb.schedules.plateau("valid_acc", patience=3)]
    """
    if mode is not None:
        one_of("mode", mode, MODES, fix='mode="min" for a loss')
    _check_share(factor=factor)
    only_numbers(min_delta=min_delta, min_lr=min_lr)
    at_least(0, patience=patience, cooldown=cooldown)
    return LRScheduler(
        ReduceLROnPlateau,
        optimizer=optimizer,
        monitor=monitor,
        mode=mode,
        factor=factor,
        patience=patience,
        threshold=min_delta,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=min_lr,
        eps=0.0,
    )


def _after_warmup(warmup: float, end: float, way: Callable[[float, float, float], float]) -> Schedule:
    """Linearly up, full at the last step of the warm-up; then `way(1, end, progress)`."""
    only_numbers(
        "a number of steps, or a share in [0, 1)",
        0.1,
        lambda some: 0 <= some < 1 or (isinstance(some, int) and some >= 1),
        warmup=warmup,
    )
    _check_factors(end=end)

    def factor(step: int, total_steps: int) -> float:
        up = warmup if isinstance(warmup, int) else round(warmup * total_steps)
        if step < up:
            return (step + 1) / up
        return way(1.0, end, min((step - up) / (total_steps - up), 1.0) if total_steps > up else 0.0)

    return factor


def _between(first: float, last: float, progress: float) -> float:
    """From `first` to `last` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def _check_share(**given: float) -> None:
    only_numbers("a share between 0 and 1", 0.3, lambda share: 0 < share < 1, **given)


def _check_factors(**given: float) -> None:
    what = "a factor of the optimizer's learning rate, from 0 to 1"
    only_numbers(what, 0.01, lambda factor: 0 <= factor <= 1, **given)
