"""The loop. `train` is the whole of it: epochs and batches, and every event as a plain call in its place."""

import warnings
from collections.abc import Callable, Iterator
from time import perf_counter

from lumbre.base import (
    Batch,
    Batches,
    DataError,
    Losses,
    LumbreError,
    Meter,
    Nested,
    OutOfMemoryError,
    is_out_of_memory,
    total_loss,
)
from lumbre.core._context import Context
from lumbre.core._events import Listeners
from lumbre.core._plan import Plan


def train(plan: Plan) -> None:
    """Run the epochs of `plan`. Ctrl-C ends the run like an early stop: model and history stay.

    A run that goes on is restored twice where it had stopped within an epoch: before the epoch begins, so that handlers
    see where it is, and after they have begun it, so that nothing they began afresh is left.
    """
    ctx, fire, engine, keeper = plan.context, plan.listeners.fire, plan.engine, plan.keeper
    lap, fit_began = ctx.history.lap, perf_counter()
    batch_begins, batch_ends = (plan.listeners.heard(f"train_batch_{when}") for when in ("begin", "end"))
    fire("fit_begin", ctx)
    try:
        keeper.restore()
        for epoch, done in _epochs(plan):
            ctx.epoch, ctx.phase, ctx.batch_index = epoch, "train", 0
            plan.seed_step("epoch", epoch, 0)
            fire("epoch_begin", ctx)
            began = perf_counter()
            plan.switch(True)
            plan.train_meter.reset()
            fire("train_begin", ctx)
            if done:
                keeper.restore()
            now = lap("callbacks", began)
            for batch in _batches(plan, epoch, done):
                now = lap("data", now)
                ctx.batch = batch
                plan.seed_step("step", epoch, ctx.batch_index)
                if batch_begins:
                    fire("train_batch_begin", ctx)
                    batch = ctx.batch  # a handler may have put another in its place
                    now = lap("callbacks", now)
                ctx.pred, losses = engine.train_step(batch, epoch, ctx.batch_index + 1)
                now = lap("step", now)
                plan.train_meter.update(batch, ctx.pred, losses, added=engine.measured)
                now = lap("metrics", now)
                ctx.loss = total_loss(losses)
                ctx.step = engine.updates
                ctx.batch_index += 1
                if batch_ends:
                    fire("train_batch_end", ctx)
                    now = lap("callbacks", now)
                now = keeper.batch_done(now)
            engine.end_epoch()
            now = _book(plan, began, lap("step", now))
            plan.seed_step("epoch_end", epoch, 0)
            fire("train_end", ctx)
            now = lap("callbacks", now)
            plan.switch(False)
            if plan.valid is not None and _is_validated(plan):
                _validate(plan, plan.valid)
                now = lap("validation", now)
            fire("epoch_end", ctx)
            keeper.epoch_done(lap("callbacks", now))
    except KeyboardInterrupt:
        _book_interrupt(plan)
        fire("interrupt", ctx)
    except SystemExit:  # the end of the process was asked for
        fire("interrupt", ctx)
        raise
    except Exception as error:
        fire("failure", ctx)
        _tell_of_memory(ctx, error)
        raise
    _leave(plan, fit_began)
    fire("fit_end", ctx)
    _say_if_untrained(ctx)


def _epochs(plan: Plan) -> Iterator[tuple[int, int]]:
    """The epochs to run, each with how many of its batches are done already; ends where the run is to stop."""
    fewest, most = plan.epochs
    first, done = plan.keeper.start
    for epoch in range(first, most + 1):
        stopped = plan.context.stop_reason and epoch > max(fewest, 1)
        if (stopped or plan.context.step >= plan.max_steps) and not done:
            return
        yield epoch, done
        done = 0


def _batches(plan: Plan, epoch: int, done: int) -> Iterator[Batch]:
    """The batches of an epoch that are left to train; no more of them once the run has taken its most updates."""
    batches = plan.train.epoch(epoch, done)
    while plan.context.step < plan.max_steps and (batch := next(batches, None)) is not None:
        yield batch


def _is_validated(plan: Plan) -> bool:
    """Whether this epoch is validated: one of every so many, or the last as far as is known."""
    ctx, (fewest, most) = plan.context, plan.epochs
    ends = ctx.epoch >= most or ctx.step >= plan.max_steps or (ctx.stop_reason is not None and ctx.epoch >= fewest)
    return ctx.epoch % plan.valid_every == 0 or ends


def _book(plan: Plan, began: float, now: float) -> float:
    """Write what the training pass came to into the history; gives the time after it."""
    ctx = plan.context
    ctx.step = plan.engine.updates
    if ctx.batch_index == 0:
        raise _no_batch(ctx.epoch)
    if ctx.step >= plan.max_steps:
        ctx.stop(f"Stopped in epoch {ctx.epoch} of {plan.epochs[1]}: {ctx.step} updates are done.")
    ctx.history.add(ctx.epoch, "train", plan.train_meter.compute())
    now = ctx.history.lap("metrics", now)
    ctx.history.train_seconds.append(now - began)
    return now


def _book_interrupt(plan: Plan) -> None:
    """Say that Ctrl-C ended the run."""
    ctx = plan.context
    ctx.history.interrupted = True
    ctx.stop(f"Interrupted in epoch {ctx.epoch} of {plan.epochs[1]}; the model and the history so far are kept.")


def _leave(plan: Plan, began: float) -> None:
    """What stands when the epochs are over: no batch at work, and evaluation mode, even after an interrupt."""
    ctx = plan.context
    ctx.history.fit_seconds += perf_counter() - began
    ctx.batch = ctx.pred = ctx.loss = None
    plan.switch(False)
    plan.seed_step("fit_end", ctx.epoch, 0)


def _say_if_untrained(ctx: Context) -> None:
    """Warn where float16 has skipped every update, so that the model is the one that the run began with."""
    skipped = ctx.skipped_batches()
    if skipped and not ctx.step:
        warnings.warn(
            f"no update was made: in all {skipped} batches gradients overflowed in float16. The model is as it began. "
            'precision="bfloat16" has no such bound; inputs and targets of moderate size help, and so do more steps: '
            "after each overflow the loss is scaled by half as much.",
            UserWarning,
            stacklevel=3,
        )


def _tell_of_memory(ctx: Context, error: Exception) -> None:
    """Raise what there is to say, where memory ran out."""
    if isinstance(error, LumbreError) or not is_out_of_memory(error):
        return
    rows = "" if ctx.batch is None else f" with a batch of {ctx.batch.size} rows"
    raise OutOfMemoryError(
        f"no memory on {ctx.device} in epoch {ctx.epoch} after {ctx.step} updates{rows}: {error}",
        "a step that fits into the memory that is free",
        "a smaller batch_size, with lumbre.callbacks.Accumulate where updates should stay those of the large one; or "
        'precision="bfloat16". A run with resume= goes on from its last checkpoint',
    ) from error


def _no_batch(epoch: int) -> DataError:
    return DataError(
        f"no batch in epoch {epoch}",
        "training data that gives batches in every epoch",
        "pass a list or a Dataset: a generator can be read only once"
        if epoch > 1
        else "pass more rows, a smaller batch_size, or drop_last=False",
    )


def _validate(plan: Plan, batches: Batches) -> None:
    """One pass over the validation data, with its events; over all sets, where there are several."""
    ctx, fire = plan.context, plan.listeners.fire
    began = perf_counter()
    ctx.phase, ctx.batch_index = "valid", 0
    fire("valid_begin", ctx)
    values = _judge(plan, batches, plan.valid_meter)
    ctx.history.add(ctx.epoch, "valid", values)
    if plan.valid_name is not None:
        ctx.history.add(ctx.epoch, f"valid_{plan.valid_name}", values)
    for name, (others, meter) in plan.also.items():
        ctx.history.add(ctx.epoch, f"valid_{name}", _judge(plan, others, meter))
    ctx.history.valid_seconds.append(perf_counter() - began)
    fire("valid_end", ctx)


def _judge(plan: Plan, batches: Batches, meter: Meter) -> dict[str, object]:
    """Loss and metrics of the model as it is, on a set to validate on."""
    ctx, fire = plan.context, plan.listeners.fire
    meter.reset()
    for batch in batches.epoch(ctx.epoch):
        ctx.batch = batch
        plan.seed_step("valid", ctx.epoch, ctx.batch_index)
        fire("valid_batch_begin", ctx)
        ctx.pred, losses = plan.engine.valid_step(batch)
        meter.update(batch, ctx.pred, losses)
        ctx.loss = total_loss(losses)
        ctx.batch_index += 1
        fire("valid_batch_end", ctx)
    return meter.compute()


def evaluate(
    context: Context,
    listeners: Listeners,
    step: Callable[[Batch], tuple[Nested, Losses]],
    batches: Batches,
    meter: Meter,
    seed_step: Callable[[str, int, int], None],
) -> dict[str, object]:
    """Loss and metrics of `batches`, in evaluation mode, without gradients."""
    ctx, fire = context, listeners.fire
    ctx.model.eval()
    meter.reset()
    fire("evaluate_begin", ctx)
    for batch in batches.epoch(1):
        ctx.batch = batch
        seed_step("evaluate", 1, ctx.batch_index)
        fire("evaluate_batch_begin", ctx)
        ctx.pred, losses = step(batch)
        meter.update(batch, ctx.pred, losses)
        ctx.loss = total_loss(losses)
        ctx.batch_index += 1
        fire("evaluate_batch_end", ctx)
    values = meter.compute()
    ctx.history.add(ctx.epoch, "evaluate", values)
    fire("evaluate_end", ctx)
    return values


def predict(
    context: Context,
    listeners: Listeners,
    step: Callable[[Batch, int], Nested],
    batches: Batches,
    seed_step: Callable[[str, int, int], None],
    add: Callable[[Nested, Batch], None],
) -> None:
    """The prediction for each of `batches`, by its number from 0, goes to `add`; in evaluation mode, no gradients."""
    ctx, fire = context, listeners.fire
    ctx.model.eval()
    fire("predict_begin", ctx)
    for batch in batches.epoch(1):
        ctx.batch = batch
        seed_step("predict", 1, ctx.batch_index)
        fire("predict_batch_begin", ctx)
        ctx.pred = step(batch, ctx.batch_index)
        add(ctx.pred, batch)
        ctx.batch_index += 1
        fire("predict_batch_end", ctx)
    fire("predict_end", ctx)
