"""The learning rate over a run: by a schedule, or by a scheduler of torch."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import optim
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lumbre.base import OptionError, brief, one_of, rate_in
from lumbre.callbacks._monitor import Monitor
from lumbre.core import Callback, Context

_STEP_ON = ("epoch", "batch")
_PLATEAU_OF_TIMM = "PlateauLRScheduler"
_HELD = "held_lr"
_PASSED, _DONE = "passed_batches", "steps_done"
_MADE, _MONITOR = "lumbre: made with", "lumbre: monitor"
_RATE = "lumbre: rate"
_OF_OURS = (_PASSED, _DONE, _MADE, _RATE)
_PLAIN = (bool, int, float, str)


class LearningRate(Callback):
    """Set the learning rate by a schedule, and write it into the history of each epoch as "lr".

    The rate of a step is the optimizer's own (of each of its groups) times the schedule's factor; nothing is
    carried from step to step. A batch whose update float16 skips is no step. In the history stands the rate of the
    epoch's last step, that of the first group. Of several optimizers each has its own: "lr_generator" for the one
    called "generator".

    Args:
        schedule: one of `lumbre.schedules`, or any function `(step from 0, all steps) -> factor`.
        step_on: "batch" for a rate for each batch, "epoch" for one for each epoch; the schedule counts in these.
        optimizer: which of several, by its name; None moves the rates of all of them.

    Raises:
        OptionError: at once for what is no schedule; when the run starts, where batches cannot be counted ahead, or
            there is no optimizer of that name.

    Example:
        >>> import lumbre as lb
        >>> warm = lb.callbacks.LearningRate(lb.schedules.cosine(warmup=0.1))
        >>> halved_every_ten = lb.callbacks.LearningRate(
        ...     lambda epoch, epochs: 0.5 ** (epoch // 10), step_on="epoch"
        ... )
    """

    optimizer: str | None = None

    def __init__(
        self, schedule: Callable[[int, int], float], *, step_on: str = "batch", optimizer: str | None = None
    ) -> None:
        if isinstance(schedule, Callback):
            raise OptionError(
                "a callback as a schedule",
                "a function (step, total_steps) -> factor",
                "the callback itself among the callbacks of fit()",
            )
        if not callable(schedule):
            raise OptionError(
                f"schedule={schedule!r}", "a function (step, total_steps) -> factor", "lumbre.schedules.cosine()"
            )
        self.schedule = schedule
        one_of("step_on", step_on, _STEP_ON)
        self.step_on = step_on
        if optimizer is not None:  # where it is not, runs of before this option can go on
            self.optimizer = optimizer
        self._total = 0

    def on_fit_begin(self, ctx: Context) -> None:
        """Count the steps ahead, and keep the optimizer's own rates."""
        epochs = ctx.epochs[1]
        if self.step_on == "epoch":
            self._total = epochs
        elif ctx.batches_per_epoch is None:
            raise OptionError(
                "a learning rate for each batch of data that does not say how many batches it has",
                "a rate for each epoch",
                'LearningRate(schedule, step_on="epoch")',
            )
        else:
            self._total = epochs * ctx.batches_per_epoch
        for one in ctx.chosen(self.optimizer).values():
            rate_of(one)  # raises where there is none
            for group in one.param_groups:
                # torch's own name for it: it is part of the optimizer's state, so a resumed run has it.
                group.setdefault("initial_lr", float(group["lr"]))

    def on_epoch_begin(self, ctx: Context) -> None:
        """Set the epoch's rate."""
        if self.step_on == "epoch":
            self._set(ctx, ctx.epoch - 1)

    def on_train_batch_begin(self, ctx: Context) -> None:
        """Set the batch's rate."""
        if self.step_on == "batch":
            assert ctx.batches_per_epoch is not None
            done = (ctx.epoch - 1) * ctx.batches_per_epoch + ctx.batch_index
            self._set(ctx, done - ctx.skipped_batches())

    def on_train_end(self, ctx: Context) -> None:
        """Write the rate down."""
        for name, one in ctx.chosen(self.optimizer).items():
            log_rate(ctx, name, rate_of(one))

    def _set(self, ctx: Context, step: int) -> None:
        factor = self.schedule(step, self._total)
        if not 0 <= factor < float("inf"):
            raise OptionError(
                f"a schedule whose factor at step {step} of {self._total} is {factor!r}",
                "a number from 0",
                "mend the function, or take one of lumbre.schedules",
            )
        for one in ctx.chosen(self.optimizer).values():
            for group in one.param_groups:
                set_rate(group, group["initial_lr"] * factor)


class LRScheduler(Callback):
    """Step a scheduler of torch or of its form, and write the learning rate into the history of each epoch as "lr".

    It is made for the optimizer of the run when the run starts. One that wants a metric (`ReduceLROnPlateau`) gets the
    value of the whole epoch that `monitor` names, after validation. Those of timm get the number of epochs that
    are done, or with `step_on="batch"`, for `t_in_epochs=False`, that of batches.

    Args:
        scheduler: a class of `torch.optim.lr_scheduler`, or a function `(optimizer, **kwargs)` that gives an object.
        step_on: "epoch" to step it after each epoch, "batch" after each batch.
        monitor: set and metric for a scheduler that wants one; "valid_loss" where not given.
        optimizer: for which of several optimizers, by its name.
        **kwargs: what the scheduler is made with; `total_steps`, or transformers' `num_training_steps`, may be left
            out, if it is to be all batches.

    Raises:
        OptionError: at once for impossible values; when the run starts, where the scheduler cannot be made with its
            arguments, the run does not record what `monitor` names, or it has several optimizers and none is named.

    Example:
        >>> import lumbre as lb
        >>> from torch.optim import lr_scheduler
        >>> steps = lb.callbacks.LRScheduler(lr_scheduler.StepLR, step_size=10, gamma=0.5)
        >>> cycle = lb.callbacks.LRScheduler(
        ...     lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1
        ... )
        >>> lower = lb.callbacks.LRScheduler(
        ...     lr_scheduler.ReduceLROnPlateau, monitor="valid_loss", patience=3
        ... )
    """

    optimizer: str | None = None

    def __init__(
        self,
        scheduler: Callable[..., Any],
        *,
        step_on: str = "epoch",
        monitor: str | None = None,
        optimizer: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not callable(scheduler):
            raise OptionError(
                f"scheduler={type(scheduler).__name__}(...), made for an optimizer of its own",
                "a scheduler class: the optimizer is made when the run starts",
                f"LRScheduler({type(scheduler).__name__}, ...), with its other arguments by name",
            )
        self.scheduler = scheduler
        one_of("step_on", step_on, _STEP_ON)
        self.step_on = step_on
        if optimizer is not None:  # where it is not, runs of before this option can go on
            self.optimizer = optimizer
        self.kwargs = kwargs
        self._metric = monitor
        self._watched: Monitor | None = None
        self._live: Any = None
        self._rate = float("nan")
        self._state: Mapping[str, Any] | None = None
        self._passed = 0
        self._done = 0
        self._counting: Callable[..., Any] | None = None
        self._made: dict[str, Any] = {}

    @property
    def watches(self) -> bool:
        """Whether the scheduler, once it is made, waits for a metric."""
        return self._watched is not None

    def on_fit_begin(self, ctx: Context) -> None:
        """Make the scheduler."""
        self._passed = self._done = 0
        parameters = inspect.signature(self.scheduler).parameters
        kwargs = dict(self.kwargs)
        kind: Any = self.scheduler
        plateau = inspect.isclass(kind) and (issubclass(kind, ReduceLROnPlateau) or kind.__name__ == _PLATEAU_OF_TIMM)
        if plateau and kwargs.get("mode") is None and self.step_on == "epoch":  # torch would take "min", timm "max"
            watched = Monitor(self._metric or "valid_loss", None)
            watched.begin(ctx)
            kwargs["mode"] = watched.direction
        length = steps_of(self.scheduler)
        if length is not None and not {length, "epochs"} & kwargs.keys() and ctx.batches_per_epoch:
            kwargs[length] = ctx.epochs[1] * (ctx.batches_per_epoch if self.step_on == "batch" else 1)
        own = self._own(ctx)
        try:
            self._live = self.scheduler(own, **kwargs)
        except (TypeError, ValueError) as error:
            name = getattr(self.scheduler, "__name__", type(self.scheduler).__name__)
            raise OptionError(
                f"{name}(optimizer, {', '.join(f'{key}={value!r}' for key, value in kwargs.items())}), "
                f"which failed: {brief(error)}",
                f"arguments with which {name} can be made: {', '.join(list(parameters)[1:])}",
                f"LRScheduler({name}, ...=...)",
            ) from error
        # It warns where it is stepped before its optimizer: the loop keeps the order, but batches that are accumulated
        # come before the first update, and so does the end of an epoch at which a run goes on.
        own._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]
        self._watch(ctx)
        held: dict[str, Any] = getattr(self._live, "__dict__", {})
        self._made = {key: one for key, one in kwargs.items() if type(one) in _PLAIN and held.get(key, ...) == one}
        self._made |= {} if self._watched is None else {_MONITOR: self._watched.name}
        if self._state is not None:
            self._restore(self._state)

    def on_train_batch_end(self, ctx: Context) -> None:
        """Step, if it is for each batch."""
        if self.step_on == "batch":
            self._rate = rate_of(self._own(ctx))
            skipped = ctx.skipped_batches()
            if skipped > self._passed:  # no update, no step; several at once where gradients were accumulated
                self._passed += 1
                return
            self._move(ctx)
            _hold_on(self._own(ctx))

    def on_train_end(self, ctx: Context) -> None:
        """Write down the rate of the epoch's last step."""
        name, own = next(iter(ctx.chosen(self.optimizer).items()))
        log_rate(ctx, name, self._rate if self.step_on == "batch" else rate_of(own))

    def on_epoch_end(self, ctx: Context) -> None:
        """Step, if it is for each epoch."""
        if self._watched is not None:
            if self._watched.looks(ctx):
                self._move(ctx, self._watched.value(ctx))
        elif self.step_on == "epoch":
            self._move(ctx)
        _hold_on(self._own(ctx))

    def _move(self, ctx: Context, *metric: float) -> None:
        self._done = ctx.epoch if self.step_on == "epoch" else self._done + 1
        if self._counting is None:
            self._live.step(*metric)
        else:
            self._counting(self._done, *metric)

    def _own(self, ctx: Context) -> optim.Optimizer:
        found = ctx.chosen(self.optimizer)
        if len(found) != 1:
            name = getattr(self.scheduler, "__name__", type(self.scheduler).__name__)
            raise OptionError(
                f"{name} for a run with {len(found)} optimizers: {', '.join(found)}",
                "the name of one of them: a scheduler of torch moves one optimizer",
                f"LRScheduler({name}, optimizer={next(iter(found), '...')!r}, ...), once for each; schedules.plateau"
                " takes optimizer= as well",
            )
        return next(iter(found.values()))

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler remembers."""
        state = {} if self._live is None else {**_state_of(self._live), _MADE: self._made}
        state |= {} if self._counting is None else {_DONE: self._done}
        # That of the last batch, in case it was the epoch's last, of which the history is still to hear.
        state |= {_RATE: self._rate} if self.step_on == "batch" else {}
        return {**state, _PASSED: self._passed} if self._passed else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: at once, or when the run starts."""
        self._state = state
        if self._live is not None:
            self._restore(state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._state = None
        if state:
            self._passed, self._done = int(state.get(_PASSED, 0)), int(state.get(_DONE, 0))
            self._rate = float(state.get(_RATE, self._rate))
            fresh = dict(getattr(self._live, "__dict__", {}))
            load = getattr(self._live, "load_state_dict", None) or vars(self._live).update
            load({name: one for name, one in state.items() if name not in _OF_OURS})
            self._take_changes(fresh, state.get(_MADE, {}))
            # Making a scheduler sets the rates of its first step; these are the ones it had come to. Where it does not
            # know them, the state of the optimizer does.
            rates = self._live.get_last_lr() if hasattr(self._live, "get_last_lr") else []
            for group, rate in zip(self._live.optimizer.param_groups if rates else [], rates, strict=True):
                set_rate(group, rate)

    def _take_changes(self, fresh: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """What the scheduler was made with otherwise before a run that goes on stands as it is now, where torch's
        schedulers take it from their state: a `ReduceLROnPlateau` that compares otherwise begins to compare anew."""
        own = vars(self._live) if hasattr(self._live, "__dict__") else {}
        changed = {key for key, one in self._made.items() if key in before and before[key] != one}
        own.update({key: fresh[key] for key in changed if key in fresh and key != "total_steps"})
        if isinstance(self._live, ReduceLROnPlateau) and changed & {"mode", "threshold", "threshold_mode", _MONITOR}:
            own.update({key: fresh[key] for key in ("best", "num_bad_epochs", "mode_worse") if key in fresh})

    def _watch(self, ctx: Context) -> None:
        """Find out how the scheduler is stepped, whether it wants a metric, and whether the run has it."""
        self._watched, takes = None, inspect.signature(self._live.step).parameters
        self._counting = None
        if "epoch" in takes and takes["epoch"].default is inspect.Parameter.empty:  # timm's ask for what is done
            by_batch = getattr(self._live, "step_update", self._live.step)
            self._counting = self._live.step if self.step_on == "epoch" else by_batch
        if "metrics" not in takes and type(self._live).__name__ != _PLATEAU_OF_TIMM:
            if self._metric is not None:
                raise OptionError(
                    f"monitor={self._metric!r} for a {type(self._live).__name__}, which looks at no metric",
                    "a scheduler that wants one, such as ReduceLROnPlateau",
                    "leave monitor out",
                )
            return
        if self.step_on == "batch":
            raise OptionError(
                f'step_on="batch" for a {type(self._live).__name__}',
                "a step after each epoch, when the metric is known",
                'step_on="epoch"',
            )
        self._watched = Monitor(self._metric or "valid_loss", "min")  # the scheduler itself compares
        self._watched.begin(ctx)


def steps_of(scheduler: Callable[..., Any]) -> str | None:
    """The argument of a scheduler that is the number of all steps, where that may be left to the run; or None."""
    takes = inspect.signature(scheduler).parameters
    if "total_steps" in takes:
        return "total_steps"
    needed = "num_training_steps" in takes and takes["num_training_steps"].default is inspect.Parameter.empty
    return "num_training_steps" if needed else None


def _state_of(scheduler: Any) -> dict[str, Any]:
    """What a scheduler remembers; of one without `state_dict()` its numbers, texts, and lists of them."""
    if hasattr(scheduler, "state_dict"):
        return scheduler.state_dict()

    def plain(value: Any) -> bool:
        return value is None or type(value) in _PLAIN or (isinstance(value, (list, tuple)) and all(map(plain, value)))

    return {name: value for name, value in vars(scheduler).items() if plain(value)}


def rate_of(optimizer: optim.Optimizer) -> float:
    """The learning rate of the first group.

    Raises:
        OptionError: the optimizer has none.
    """
    rate = rate_in(optimizer.param_groups[0])
    if rate is None:
        raise OptionError(
            f'a schedule of the learning rate for {type(optimizer).__name__}, whose groups have no "lr"',
            "an optimizer with a learning rate",
            "leave the schedule out, or take another optimizer",
        )
    return rate


def hold_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Give all groups a rate that schedules leave alone, whichever of them comes first in a run."""
    for group in optimizer.param_groups:
        group[_HELD] = float(rate)
        set_rate(group, rate)


def release_rate(optimizer: optim.Optimizer) -> None:
    """Let schedules set the rates again."""
    for group in optimizer.param_groups:
        group.pop(_HELD, None)


def _hold_on(optimizer: optim.Optimizer) -> None:
    """Set rates that are held again, after torch's schedulers have set others."""
    for group in optimizer.param_groups:
        if _HELD in group:
            set_rate(group, group[_HELD])


def log_rate(ctx: Context, optimizer: str, rate: float) -> None:
    """Write the rate into the epoch's history, with the optimizer's name where there are several, unless another
    callback did."""
    name = "lr" if len(ctx.optimizers) == 1 else f"lr_{optimizer}"
    if name not in ctx.history.last("train"):
        ctx.log(name, rate)


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Give a group its rate; a rate that is a tensor keeps its place, as compiled and captured steps read it there.

    A rate that is held stays.
    """
    rate = group.get(_HELD, rate)
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = float(rate)
