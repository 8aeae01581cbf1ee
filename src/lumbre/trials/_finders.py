"""Short trial runs before the real one: the learning rate, the batch size, and whether the net can learn one batch."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from lumbre.base import (
    Batch,
    DataError,
    NonFiniteLossError,
    OptionError,
    at_least,
    only_numbers,
    preserved_randomness,
    rate_in,
    total_loss,
)
from lumbre.callbacks import Accumulate, CutMix, GradientClip, Mixup
from lumbre.core import Plan, format_value
from lumbre.devices import kept_memory, resolve_device
from lumbre.plots import drawn_or_printed
from lumbre.run import Options, Spec, build, left_alone

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

_SMOOTHING = 0.85
_DIVERGED = 4.0


@dataclass(frozen=True, slots=True)
class LearningRates:
    """Losses of a run whose learning rate rose at every step.

    Attributes:
        rates: the learning rate of each step.
        losses: the loss of each step, before its update.
        smoothed: the losses, averaged with their neighbours on both sides; one that diverges counts for at most twice
            the first.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]

    def suggest(self) -> float:
        """The rate at which half of the fall of the smoothed loss was done: learning is fast there, and divergence far.

        Raises:
            OptionError: the loss did not fall by more than its own noise.
        """
        start = self.smoothed[0]
        lowest = min(range(len(self.smoothed)), key=self.smoothed.__getitem__)
        fall = start - self.smoothed[lowest]
        fell = list(zip(self.losses, self.smoothed, strict=True))[: lowest + 1]  # what diverges later is no noise
        noise = sum(abs(loss - level) for loss, level in fell) / len(fell)
        if fall <= max(min(noise, 0.2 * abs(start)), 0.02 * abs(start)):
            raise OptionError(
                f"a loss that never fell between learning rates of {self.rates[0]:g} and {self.rates[-1]:g}",
                "a range in which the net learns",
                "lr_finder(data, start=..., end=...) with another range, or look at the data and the module",
            )
        half_way = start - fall / 2
        return self.rates[max(at for at in range(lowest) if self.smoothed[at] >= half_way)]

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns lr, loss and smoothed; one row a step."""
        import pandas as pd

        return pd.DataFrame({"lr": self.rates, "loss": self.losses, "smoothed": self.smoothed})

    def plot(self) -> "ggplot":
        """Loss by learning rate, with the suggestion; a plotnine object."""
        from lumbre.plots import plot_learning_rates

        return plot_learning_rates(self.frame(), self._suggestion())

    def _suggestion(self) -> float | None:
        try:
            return self.suggest()
        except OptionError:
            return None

    def __repr__(self) -> str:
        suggestion = self._suggestion()
        found = "the loss never fell" if suggestion is None else f"suggestion {suggestion:.2g}"
        return f"LearningRates of {len(self.rates)} steps, {self.rates[0]:.2g} to {self.rates[-1]:.2g}: {found}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return drawn_or_printed(self)


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Speed of training by batch size.

    Attributes:
        sizes: the batch sizes tried.
        rows_per_second: rows trained in a second with each, after warming up.
        peak_megabytes: the device's memory at its peak; None where the device does not tell.
        stopped: why no larger one was tried.
    """

    sizes: list[int]
    rows_per_second: list[float]
    peak_megabytes: list[float | None]
    stopped: str

    def suggest(self) -> int:
        """The smallest size within 10 % of the best speed. A larger one updates less often for the same time."""
        best = max(self.rows_per_second)
        return next(size for size, speed in zip(self.sizes, self.rows_per_second, strict=True) if speed >= 0.9 * best)

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns batch_size, rows_per_second and peak_megabytes."""
        import pandas as pd

        return pd.DataFrame(
            {
                "batch_size": self.sizes,
                "rows_per_second": self.rows_per_second,
                "peak_megabytes": self.peak_megabytes,
            }
        )

    def plot(self) -> "ggplot":
        """Rows a second by batch size, with the suggestion; a plotnine object."""
        from lumbre.plots import plot_batch_sizes

        return plot_batch_sizes(self.frame(), self.suggest())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return drawn_or_printed(self)

    def __repr__(self) -> str:
        tried = ", ".join(f"{size}: {speed:,.0f}" for size, speed in zip(self.sizes, self.rows_per_second, strict=True))
        return f"BatchSizes (rows/s by size) {tried}; stopped: {self.stopped}; suggestion {self.suggest()}"


@dataclass(frozen=True, slots=True)
class OneBatch:
    """The losses of a run over one batch, again and again.

    Attributes:
        losses: the loss of each step.
    """

    losses: list[float]

    @property
    def learned(self) -> bool:
        """Whether the loss fell below a tenth of its start, as it does for any net without a mistake."""
        return self.losses[-1] < 0.1 * self.losses[0]

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns step and loss."""
        import pandas as pd

        return pd.DataFrame({"step": range(1, len(self.losses) + 1), "loss": self.losses})

    def __repr__(self) -> str:
        found = "it learns" if self.learned else "it does not learn one batch by heart: look for a mistake"
        first, last = (format_value(loss) for loss in (self.losses[0], self.losses[-1]))
        return f"OneBatch, {len(self.losses)} steps: loss {first} to {last}; {found}"


def find_learning_rate(
    recipe: Spec, data: Any, options: Options, start: float, end: float, steps: int
) -> LearningRates:
    """Raise the learning rate from `start` to `end` in equal ratios, a step each."""
    only_numbers(start=start, end=end)
    at_least(2, steps=steps)
    if not 0 < start < end:
        raise OptionError(f"start={start}, end={end}", "0 < start < end", "lr_finder(data, start=1e-7, end=1.0)")
    rates, losses = list[float](), list[float]()
    with _trial(recipe, data, options) as plan:
        set_rate = _rate_setter(plan.context.optimizers.values())
        for index, batch in zip(range(steps), _endless(plan), strict=False):
            rate = start * (end / start) ** (index / (steps - 1))
            set_rate(rate)
            try:
                losses.append(_step(plan, batch, index))
            except NonFiniteLossError:
                break
            rates.append(rate)
            levels = _running_mean(losses)
            if levels[-1] > _DIVERGED * min(levels) > 0:
                break
    # One loss of a hundred times the first would hide the fall before it.
    capped = [min(loss, 2 * losses[0]) for loss in losses] if losses and losses[0] > 0 else losses
    backwards = _running_mean(capped[::-1])[::-1]
    smoothed = [(before + after) / 2 for before, after in zip(_running_mean(capped), backwards, strict=True)]
    return LearningRates(rates, losses, smoothed)


def _running_mean(values: list[float]) -> list[float]:
    """Each value averaged with those before it, with weights that fall off."""
    means, total, weight = list[float](), 0.0, 0.0
    for value in values:
        total = _SMOOTHING * total + value
        weight = _SMOOTHING * weight + 1
        means.append(total / weight)
    return means


def find_batch_size(recipe: Spec, data: Any, options: Options, sizes: list[int] | None, seconds: float) -> BatchSizes:
    """Train for a moment with each size, until memory or rows run out."""
    tried, speeds, peaks = list[int](), list[float](), list[float | None]()
    device = resolve_device(options.device)
    stopped = "all sizes were tried"
    for size in sizes or [2**power for power in range(4, 17)]:
        try:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            with _trial(recipe, data, replace(options, batch_size=size, drop_last=True)) as plan:
                speeds.append(_speed(plan, seconds))
        except torch.OutOfMemoryError:
            stopped = f"no memory for {size}"
            break
        except DataError:
            if not tried:
                raise
            stopped = f"the data has fewer rows than {size}"
            break
        tried.append(size)
        peaks.append(torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None)
    return BatchSizes(tried, speeds, peaks, stopped)


def overfit_one_batch(recipe: Spec, data: Any, options: Options, steps: int) -> OneBatch:
    """Train on the first batch alone."""
    losses = list[float]()
    kept = [callback for callback in options.callbacks if isinstance(callback, GradientClip)]
    with _trial(recipe, data, replace(options, callbacks=kept, augment=None)) as plan:
        batch = next(iter(plan.train.epoch(1)))
        for index in range(steps):
            losses.append(_step(plan, batch, index))
    return OneBatch(losses)


@contextmanager
def _trial(recipe: Spec, data: Any, options: Options) -> Generator[Plan]:
    """A run that leaves no trace: module, loss and data set are put back as they were."""
    about_the_step = (GradientClip, Accumulate, Mixup, CutMix)
    kept = [callback for callback in options.callbacks if isinstance(callback, about_the_step)]
    with kept_memory(), preserved_randomness(resolve_device(options.device)), left_alone(recipe, options, data):
        plan, session, findings = build(
            recipe, data, replace(options, callbacks=kept, valid_data=None, valid_every=1, verbose=False, strategy=None)
        )
        findings.raise_errors()
        plan.switch(True)
        with session.choices.active(session.model):
            yield plan


def _endless(plan: Plan) -> Iterator[Batch]:
    epoch = 0
    while True:
        epoch += 1
        yield from plan.train.epoch(epoch)


def _step(plan: Plan, batch: Batch, index: int) -> float:
    context = plan.context
    context.batch = batch
    plan.seed_step("step", 1, index)
    plan.listeners.fire("train_batch_begin", context)
    _, losses = plan.engine.train_step(context.batch, 1, index + 1)
    return total_loss(losses).item()


def _rate_setter(optimizers: Any) -> Any:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if any(rate_in(group) is None for group in groups):
        raise OptionError(
            'lr_finder() for an optimizer whose groups have no "lr"',
            "an optimizer with a learning rate",
            "another optimizer, or trials by hand",
        )
    shares = [group["lr"] / groups[0]["lr"] for group in groups]

    def set_rate(rate: float) -> None:
        for group, share in zip(groups, shares, strict=True):
            group["lr"] = rate * share

    return set_rate


def _speed(plan: Plan, seconds: float) -> float:
    batches = _endless(plan)
    for index in range(2):
        _step(plan, next(batches), index)
    rows, index, began = 0, 2, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or index < 4:
        batch = next(batches)
        _step(plan, batch, index)
        rows += batch.size
        index += 1
    return rows / passed
