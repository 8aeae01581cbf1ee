"""Computes the learning rates of a run in advance: its schedules are moved over all steps, without a model."""

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn, optim

from lumbre.base import OptionError, brief, rate_in
from lumbre.callbacks import SWA, LearningRate, LRScheduler
from lumbre.core import Callback, Context
from lumbre.preflight import Schedule

_PATIENCE, _SAMPLED = 20_000, 200
_STEPS = (0, *(10**power for power in range(7)))


class Rehearsal:
    """The callbacks of a run that move its learning rate, called in their order over epochs and batches.

    Args:
        optimizer: the run's, which is only read.
        callbacks: of the run; those that set no rate are left out, and those that need a metric.
        epochs: of the run.
        batches: in an epoch.
        name: the optimizer's.

    Attributes:
        rates: the rate of each batch, that of the first group of parameters.
        failure: what a scheduler raised on the way; "" for nothing.
    """

    def __init__(
        self, optimizer: optim.Optimizer, callbacks: Iterable[Callback], epochs: int, batches: int, name: str
    ) -> None:
        self.rates: list[float] = []
        self.failure = ""
        groups = [
            {"params": [nn.Parameter(torch.zeros(()))], "lr": rate_in(group) or 0.0} for group in optimizer.param_groups
        ]
        stand_in = optim.SGD(groups, lr=1.0, momentum=0.9)
        self._context = _context({name: stand_in}, epochs, batches)
        self.live: list[LearningRate | LRScheduler] = []
        self._averaging = [one for one in callbacks if isinstance(one, SWA)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in callbacks:
                if isinstance(one, (LearningRate, LRScheduler)):
                    self._begin(copy.copy(one))
            try:
                self._run(stand_in, epochs, batches)
            except Exception as error:  # each scheduler fails in its own way
                self.failure = brief(error).split("\n")[0]

    def _begin(self, callback: LearningRate | LRScheduler) -> None:
        try:
            callback.on_fit_begin(self._context)
        except OptionError:  # the run itself will say so; or it waits for a metric
            return
        if not (isinstance(callback, LRScheduler) and callback.watches):
            self.live.append(callback)

    def _run(self, optimizer: optim.Optimizer, epochs: int, batches: int) -> None:
        ctx = self._context
        for ctx.epoch in range(1, epochs + 1):
            self._fire("on_epoch_begin")
            for one in self._averaging:
                one.on_train_begin(ctx)
            for ctx.batch_index in range(batches):
                self._fire("on_train_batch_begin")
                self.rates.append(float(optimizer.param_groups[0]["lr"]))
                optimizer.step()
                self._fire("on_train_batch_end")
            self._fire("on_epoch_end")

    def _fire(self, handler: str) -> None:
        for callback in self.live:
            if hasattr(callback, handler):
                getattr(callback, handler)(self._context)


def rates_ahead(ctx: Context, callbacks: Iterable[Callback]) -> list[float]:
    """The learning rate of each batch of the run that `ctx` belongs to.

    Raises:
        OptionError: a scheduler fails on the way, or batches cannot be counted ahead.
        RecipeError: there are several optimizers.
    """
    if ctx.batches_per_epoch is None:
        raise OptionError(
            "the rates of data that does not say how many batches it has",
            "data whose rows can be counted",
            "pass tensors, a frame or a map-style Dataset",
        )
    rehearsed = Rehearsal(ctx.optimizer, callbacks, ctx.epochs[1], ctx.batches_per_epoch, next(iter(ctx.optimizers)))
    if rehearsed.failure:
        raise OptionError(
            f"a scheduler that fails at batch {len(rehearsed.rates)} of {ctx.epochs[1] * ctx.batches_per_epoch}: "
            f"{rehearsed.failure}",
            "a schedule that reaches the end of the run",
            "the run's own number of steps, or lumbre.callbacks.LearningRate(lumbre.schedules.cosine())",
        )
    return rehearsed.rates


def _context(optimizers: dict[str, optim.Optimizer], epochs: int, batches: int) -> Context:
    return Context(
        model=nn.Module(),
        optimizers=optimizers,
        device=torch.device("cpu"),
        epochs=(0, epochs),
        batches_per_epoch=batches,
        monitored={"train_loss": False},
        save=lambda _: None,
        minimize=lambda loss, one: None,
        see_training_data=lambda: None,
    )


def schedules(
    optimizers: dict[str, optim.Optimizer], callbacks: Iterable[Callback], epochs: int, batches: int | None
) -> list[Schedule]:
    """What schedules among the callbacks would do, for the checks; of torch's in long runs nothing is said."""
    found: list[Schedule] = []
    if len(optimizers) != 1:
        return found
    for one in callbacks:
        if isinstance(one, LearningRate) and (one.step_on == "epoch" or batches is not None):
            found += _by_function(one, next(iter(optimizers.values())), epochs if batches is None else epochs * batches)
    if batches is None or epochs * batches > _PATIENCE:
        return found
    for one in callbacks:
        if not isinstance(one, LRScheduler):
            continue
        name, optimizer = next(iter(optimizers.items()))
        rehearsed = Rehearsal(optimizer, [one], epochs, batches, name)
        if not rehearsed.live:
            continue
        live: Any = vars(rehearsed.live[0])["_live"]
        if _is_constant(live):
            continue
        rates = rehearsed.rates if one.step_on == "batch" else rehearsed.rates[::batches]
        length = getattr(live, "total_steps", getattr(live, "T_max", None))
        found.append(Schedule(name=type(live).__name__, length=length, rates=tuple(rates), failure=rehearsed.failure))
    return found


def _is_constant(scheduler: Any) -> bool:
    """Whether a scheduler is made to leave the rate as it is, as one does that is the first choice of several."""
    factors = getattr(scheduler, "lr_lambdas", None)
    if not factors:
        return any(getattr(scheduler, name, None) == 1 for name in ("gamma", "factor"))
    try:
        return all(len({float(one(step)) for step in _STEPS}) == 1 for one in factors)
    except Exception:  # the run itself will say so
        return False


def _by_function(callback: LearningRate, optimizer: optim.Optimizer, steps: int) -> list[Schedule]:
    """The rates of some steps of a schedule that is a function of the step."""
    rate, some = rate_in(optimizer.param_groups[0]), min(steps, _SAMPLED)
    try:
        factors = [float(callback.schedule(at * steps // some, steps)) for at in range(some)]
    except Exception:  # the run itself will say so
        return []
    return [] if rate is None else [Schedule(name="", length=None, rates=tuple(rate * one for one in factors))]
