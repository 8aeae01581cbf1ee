"""The loop. `train` is the whole of it: epochs and batches, and every event as a plain call in its place."""

from collections.abc import Callable
from time import perf_counter

from lumbre.base import Batch, Batches, DataError, Losses, Meter, Nested, concatenate, map_leaves, total_loss
from lumbre.core._context import Context
from lumbre.core._events import Listeners
from lumbre.core._plan import Plan


def train(plan: Plan) -> None:
    """Run the epochs of `plan`. Ctrl-C ends the run like an early stop: model and history stay."""
    ctx, fire, engine = plan.context, plan.listeners.fire, plan.engine
    lap = ctx.history.lap
    batch_begins = plan.listeners.heard("train_batch_begin")
    batch_ends = plan.listeners.heard("train_batch_end")
    fewest, most = plan.epochs
    fit_began = perf_counter()
    fire("fit_begin", ctx)
    try:
        for epoch in range(1, most + 1):
            ctx.epoch, ctx.phase, ctx.batch_index = epoch, "train", 0
            fire("epoch_begin", ctx)
            began = perf_counter()
            plan.model.train()
            plan.train_meter.reset()
            fire("train_begin", ctx)
            now = lap("callbacks", began)
            for batch in plan.train.epoch(epoch):
                now = lap("data", now)
                ctx.batch = batch
                plan.seed_step("step", epoch, ctx.batch_index)
                if batch_begins:
                    fire("train_batch_begin", ctx)
                    batch = ctx.batch  # a handler may have put another in its place
                    now = lap("callbacks", now)
                ctx.pred, losses = engine.train_step(batch, epoch, ctx.batch_index + 1)
                now = lap("step", now)
                plan.train_meter.update(batch, ctx.pred, losses)
                now = lap("metrics", now)
                ctx.loss = total_loss(losses)
                ctx.step = engine.updates
                ctx.batch_index += 1
                if batch_ends:
                    fire("train_batch_end", ctx)
                    now = lap("callbacks", now)
            engine.end_epoch()
            now = lap("step", now)
            ctx.step = engine.updates
            if ctx.batch_index == 0:
                raise _no_batch(epoch)
            ctx.history.add(epoch, "train", plan.train_meter.compute())
            now = lap("metrics", now)
            ctx.history.train_seconds.append(now - began)
            fire("train_end", ctx)
            now = lap("callbacks", now)
            if plan.valid is not None:
                _validate(plan, plan.valid)
                now = lap("validation", now)
            fire("epoch_end", ctx)
            lap("callbacks", now)
            if ctx.stop_reason and epoch >= fewest:
                break
    except KeyboardInterrupt:
        ctx.stop(f"Interrupted in epoch {ctx.epoch} of {most}; the model and the history so far are kept.")
        fire("interrupt", ctx)
    except Exception:
        fire("failure", ctx)
        raise
    ctx.history.fit_seconds = perf_counter() - fit_began
    ctx.batch = ctx.pred = ctx.loss = None
    fire("fit_end", ctx)


def _no_batch(epoch: int) -> DataError:
    return DataError(
        f"no batch in epoch {epoch}",
        "training data that gives batches in every epoch",
        "pass a list or a Dataset: a generator can be read only once"
        if epoch > 1
        else "pass more rows, a smaller batch_size, or drop_last=False",
    )


def _validate(plan: Plan, batches: Batches) -> None:
    """One pass over the validation data, with its events."""
    ctx, fire = plan.context, plan.listeners.fire
    began = perf_counter()
    plan.model.eval()
    plan.valid_meter.reset()
    ctx.phase, ctx.batch_index = "valid", 0
    fire("valid_begin", ctx)
    for batch in batches.epoch(ctx.epoch):
        ctx.batch = batch
        plan.seed_step("valid", ctx.epoch, ctx.batch_index)
        fire("valid_batch_begin", ctx)
        ctx.pred, losses = plan.engine.valid_step(batch)
        plan.valid_meter.update(batch, ctx.pred, losses)
        ctx.loss = total_loss(losses)
        ctx.batch_index += 1
        fire("valid_batch_end", ctx)
    ctx.history.add(ctx.epoch, "valid", plan.valid_meter.compute())
    ctx.history.valid_seconds.append(perf_counter() - began)
    fire("valid_end", ctx)


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
    step: Callable[[Nested], Nested],
    batches: Batches,
    seed_step: Callable[[str, int, int], None],
) -> Nested:
    """The predictions for `batches` joined in order, on the CPU; in evaluation mode, without gradients."""
    ctx, fire = context, listeners.fire
    ctx.model.eval()
    parts: list[Nested] = []
    fire("predict_begin", ctx)
    for batch in batches.epoch(1):
        ctx.batch = batch
        seed_step("predict", 1, ctx.batch_index)
        fire("predict_batch_begin", ctx)
        ctx.pred = step(batch.input)
        parts.append(ctx.pred if batch.size else map_leaves(lambda leaf: leaf[:0], ctx.pred))
        ctx.batch_index += 1
        fire("predict_batch_end", ctx)
    fire("predict_end", ctx)
    return concatenate(parts)
