"""The composition root: a recipe, data and options become a `Plan` that the loop can run."""

import secrets
from collections.abc import Callable, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim
from torch.nn.parameter import is_lazy
from torch.utils.data import BatchSampler

from lumbre._engine import make_engine, precision_advice, step_options
from lumbre._feeds import TrainingData, augmenter, columns_of, feed, given_data, share, training_data
from lumbre._options import Options
from lumbre._parts import LossFunction, NamedLosses, loss_function, make_module, make_optimizers, no_loss
from lumbre._rates import schedules
from lumbre._record import run_record
from lumbre._session import Session
from lumbre.base import Batch, Batches, DataError, Loss, Nested, OptionError, leaves, map_leaves, total_loss
from lumbre.callbacks import Accumulate, GradualUnfreezing, On, SampleGenerations, TensorBoard
from lumbre.core import Callback, Context, Listeners, Plan
from lumbre.data import Augmented, LoaderFeed, Order, RowFeed, Stripe, data_record
from lumbre.devices import Precision, World, join_world, onednn_gains, onednn_products, resolve_device, seeder
from lumbre.inspection import Inspect
from lumbre.metrics import LossMeter, Metric
from lumbre.preflight import FEW_ROWS, Findings, Subject, run_checks
from lumbre.steps import (
    Sharded,
    Together,
    caller,
    channels_last,
    check_optimizers,
    leaves_parameters_out,
    mean_product,
    runs_channels_last,
)

if TYPE_CHECKING:
    from lumbre._recipe import Recipe


_QUICK_SECONDS = 1.0
_QUICK_NUMBERS = 5_000_000
_PRODUCT_WORTH_IT = 3_000_000  # multiplications, on average over the products of a forward pass


def build(
    recipe: "Recipe", data: Any, options: Options, *, every_check: bool = False, test_data: Any = None
) -> tuple[Plan, Session, Findings]:
    """Make a run ready, and look for mistakes in it: for a second, or with `every_check` as long as it takes."""
    world = join_world()
    seed = world.gather(secrets.randbits(32))[0] if options.seed is None else options.seed
    device = resolve_device(options.device)
    precision = Precision(options.precision, device)
    given = training_data(data, options.valid_data, seed, options.sampler)
    train, valid = _feeds(given, options, device, seed, world)
    first = train.first()
    records = {"train": data_record(train, first)} | ({} if valid is None else {"valid": data_record(valid)})
    seed_step = seeder(seed, device, world.rank)
    batches: Batches = train
    if options.augment is not None:
        change = augmenter(options.augment, seed, seed_step, repeated=given.weights is not None)
        first, batches = change(first, 1, 0), Augmented(train, change)
    batches = share(batches, train)
    seed_step("init", 0, 0)
    model = make_module(recipe.module, recipe.hparams).to(device)
    call = caller(model, first.input)
    if any(is_lazy(parameter) for parameter in model.parameters()):
        with torch.no_grad():
            call(first.input)
    loss = loss_function(recipe, model, device)
    _check_loss(model, loss, first)
    optimizers = make_optimizers(recipe, model, device)
    trial = _trial(model, call, loss, first, precision)
    last, by_onednn = _choices(options.engine, model, call, first, trial, precision)
    findings = None
    if options.preflight:
        subject = _subject(recipe, options, (model, call, loss, optimizers), (given, train, first), device)
        if test_data is not None:
            subject.test = columns_of(given_data(test_data, given.encoding, seed, need_target=True))
        with channels_last(model, last), onednn_products(by_onednn):  # as in the run, whose kernels torch makes here
            findings = _checked(subject, options, every_check)
    batch_size = _whole_batch(train) or first.size
    session = Session(
        recipe=recipe,
        model=model,
        loss=loss,
        device=device,
        precision=precision,
        seed=seed,
        batch_size=batch_size,
        encoding=given.encoding,
        classes=given.classes,
        record=run_record(
            recipe, model, options, data=records, findings=findings, device=device, seed=seed, batch_size=batch_size
        ),
        world=world,
        channels_last=last,
        onednn_products=by_onednn,
    )
    if trial is not None and options.verbose is not False and train.length is not None and world.leads:
        with channels_last(model, last), onednn_products(by_onednn):
            session.advice.extend(precision_advice(session, trial, train.length * options.epoch_range[1]))
    if world.size > 1 and trial is not None:
        call, session, optimizers = _in_parallel(session, call, trial, first, optimizers, options)
    valid = None if valid is None else share(valid, valid)
    plan = _plan(session, call, optimizers, first, batches, valid, options, seed_step)
    return plan, session, findings or Findings([])


def _in_parallel(
    session: Session,
    call: Callable[[Nested], Nested],
    trial: Callable[[], tuple[Nested, Tensor]],
    first: Batch,
    optimizers: dict[str, optim.Optimizer],
    options: Options,
) -> tuple[Together | Sharded, Session, dict[str, optim.Optimizer]]:
    """A call whose gradients are exchanged; where the model is shared out, the session and optimizers of the parts."""
    if options.strategy != "fsdp" or isinstance(session.loss, NamedLosses):
        together = Together(session.model, call, unused=leaves_parameters_out(session.model, trial))
        settling = _trial(session.model, together, session.loss, first, session.precision)
        assert settling is not None
        together.settle(settling)
        return together, session, optimizers
    for one in options.callbacks:
        if isinstance(one, (SampleGenerations, Inspect)) or (isinstance(one, TensorBoard) and one.histograms):
            raise OptionError(
                f'{type(one).__name__} beside strategy="fsdp"',
                "callbacks that need no whole model in a single process",
                'strategy="ddp", or leave it out',
            )
    check_optimizers(optimizers)
    sharded = Sharded(session.model, first.input)
    optimizers = make_optimizers(session.recipe, sharded.model, session.device)
    check_optimizers(optimizers)
    loss = loss_function(session.recipe, sharded.model, session.device)
    return sharded, replace(session, sharded=sharded, loss=loss, channels_last=False), optimizers


def _subject(
    recipe: "Recipe",
    options: Options,
    net: tuple[nn.Module, Callable[[Nested], Nested], LossFunction | None, dict[str, optim.Optimizer]],
    data: tuple[TrainingData, RowFeed | LoaderFeed, Batch],
    device: torch.device,
) -> Subject:
    """What the checks look at. Where a module takes its own step, its loss is not known."""
    model, call, loss, optimizers = net
    given, train, first = data
    rows = isinstance(train, RowFeed)
    callbacks = options.callbacks
    return Subject(
        model=model,
        call=call,
        loss=None if loss is None or hasattr(model, "step") else _scalar(loss),
        batch=first,
        device=device,
        columns=None if options.augment is not None else columns_of(given.train),
        valid=columns_of(given.valid),
        test=None,
        fewest_rows=_fewest_rows(train, first.size),
        processes=train.order.world if rows and isinstance(train.order, Stripe) else 1,
        settled=not any(_may_change_modes(one) for one in callbacks),
        shuffled=options.sampler is not None or options.shuffle is not False if rows else None,
        batch_size=_whole_batch(train) or first.size,
        optimizers={} if hasattr(model, "step") else optimizers,
        metrics=recipe.metrics.train,
        accumulated=max((one.batches for one in callbacks if isinstance(one, Accumulate)), default=1),
        schedules=schedules(optimizers, callbacks, options.epoch_range[1], train.length),
    )


def _fewest_rows(train: RowFeed | LoaderFeed, first: int) -> int | None:
    """Rows of the smallest part of a batch that any process computes; None where only a loader knows."""
    if not isinstance(train, RowFeed):
        sampler = getattr(train.loader, "batch_sampler", None)
        if type(sampler) is not BatchSampler or not isinstance(sampler.sampler, Sized):
            return None
        order = Order(len(sampler.sampler), sampler.batch_size, False, sampler.drop_last, 0)
        return order.fewest_rows if first == min(order.rows, order.batch_size) else None  # it may make more of a row
    order = train.order
    return order.order.fewest_rows // order.world if isinstance(order, Stripe) else order.fewest_rows


def _may_change_modes(callback: Callback) -> bool:
    """Whether a callback may put parts of the module into another mode, or another batch into the place of one."""
    known = type(callback).__module__.startswith("lumbre.") and not isinstance(callback, (GradualUnfreezing, On))
    return not known and any(hasattr(callback, f"on_train_{when}begin") for when in ("", "batch_"))


def _whole_batch(train: RowFeed | LoaderFeed) -> int | None:
    """Rows of a batch, in all processes that share it; None where the loader decides."""
    if not isinstance(train, RowFeed):
        return None
    return train.order.order.batch_size if isinstance(train.order, Stripe) else train.order.batch_size


def _scalar(loss: LossFunction) -> Loss:
    return (lambda pred, target: total_loss(loss(pred, target))) if isinstance(loss, NamedLosses) else loss


def _trial(
    model: nn.Module, call: Callable[[Nested], Nested], loss: LossFunction | None, first: Batch, precision: Precision
) -> Callable[[], tuple[Nested, Tensor]] | None:
    """Prediction and loss of the first batch, to try things out; None for a module with a step of its own."""
    if loss is None or hasattr(model, "step"):
        return None
    scalar = _scalar(loss)

    def forward() -> tuple[Nested, Tensor]:
        with precision.autocast():
            pred = call(first.input)
            return pred, scalar(pred, first.target)

    return forward


def _checked(subject: Subject, options: Options, every_check: bool) -> Findings:
    if every_check:
        return run_checks(subject, ignore=options.ignore, seconds=None)
    subject.most_numbers = _QUICK_NUMBERS
    return run_checks(subject, ignore=options.ignore, seconds=_QUICK_SECONDS)


def _choices(
    engine: str,
    model: nn.Module,
    call: Callable[[Nested], Nested],
    first: Batch,
    trial: Callable[[], tuple[Nested, Tensor]] | None,
    precision: Precision,
) -> tuple[bool, bool]:
    """Whether the module gains from channels last, and from oneDNN's products; the eager engine asks for neither."""
    if trial is None or engine == "eager":
        return False, False
    last = runs_channels_last(model, first.input, trial, half=precision.name != "float32")
    with channels_last(model, last):
        return last, _gains_by_onednn(model, call, first, precision)


def _gains_by_onednn(model: nn.Module, call: Callable[[Nested], Nested], first: Batch, precision: Precision) -> bool:
    """Whether the products of a forward pass are large enough for oneDNN, as told by a few rows."""
    numbers = sum(leaf.numel() for leaf in leaves(first.input) if isinstance(leaf, Tensor))
    weights = max((value.numel() for value in model.parameters() if value.ndim > 1), default=0)
    if numbers * weights < _PRODUCT_WORTH_IT:  # a small net is not run to find out
        return False
    if precision.name != "float32" or not onednn_gains(precision.device):
        return False
    rows = min(FEW_ROWS, first.size)  # as in a check, so that torch makes its kernels once
    few = map_leaves(lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) else leaf, first.input)
    return mean_product(model, lambda: call(few)) * first.size / rows >= _PRODUCT_WORTH_IT


def _check_loss(model: nn.Module, loss: LossFunction | None, first: Batch) -> None:
    if loss is None and not hasattr(model, "step"):
        raise no_loss(type(model).__name__)
    if first.target is None and isinstance(loss, nn.modules.loss._Loss):  # pyright: ignore[reportPrivateUsage]
        raise DataError(
            f"data without a target for {type(loss).__name__}",
            "pairs of input and target",
            "(x, y); or define loss(self, pred, target) in the module, if it needs no target",
        )


def _feeds(
    given: TrainingData, options: Options, device: torch.device, seed: int, world: World
) -> tuple[RowFeed | LoaderFeed, RowFeed | LoaderFeed | None]:
    """Training and validation batches. A ready validation loader is left as it is."""
    rows = not hasattr(given.train, "loader")
    shuffle = True if rows and options.shuffle is None else options.shuffle
    common: dict[str, Any] = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    train = feed(
        given.train,
        device,
        seed,
        shuffle=shuffle,
        drop_last=options.drop_last,
        weights=given.weights,
        world=world,
        **common,
    )
    if given.valid is None:
        return train, None
    ready = hasattr(given.valid, "loader")
    return train, feed(given.valid, device, seed, world=world, **({} if ready else common))


def _plan(
    session: Session,
    call: Callable[[Nested], Nested],
    optimizers: dict[str, optim.Optimizer],
    first: Batch,
    train: Batches,
    valid: Batches | None,
    options: Options,
    seed_step: Callable[[str, int, int], None],
) -> Plan:
    listeners = Listeners(one for one in options.callbacks if one.everywhere or session.world.leads)
    gathered = {} if valid is None else {"valid": session.recipe.metrics.valid}
    gathered["train"] = session.recipe.metrics.train
    losses = ["loss"]
    if isinstance(session.loss, NamedLosses):
        losses += [f"loss_{name}" for name in session.loss.parts]

    def see_training_data() -> None:
        with torch.no_grad(), session.precision.autocast():
            for index, batch in enumerate(train.epoch(context.epoch)):
                seed_step("statistics", context.epoch, index)
                call(batch.input)

    context = Context(
        model=session.trained,
        optimizers=optimizers,
        device=session.device,
        epochs=options.epoch_range,
        batches_per_epoch=train.length,
        monitored=tuple(
            f"{set_name}_{name}"
            for set_name, metrics in gathered.items()
            for name in (*losses, *(metric.name.lower() for metric in metrics if not metric.by_class))
        ),
        save=lambda path: session.save(path, context.history, session.told(engine.reason)),
        minimize=lambda loss, optimizer: minimize(loss, optimizer),
        see_training_data=see_training_data,
    )
    train_meter = make_meter(session, session.recipe.metrics.train)
    engine, minimize = make_engine(
        session,
        call,
        optimizers,
        step_options(options.callbacks, options.engine, options.epoch_range[1], train.length, session.world.size),
        seed_step,
        first=first,
        meter=train_meter,
        step=lambda: session.model.step(context),  # pyright: ignore
        inside=_inside(listeners, context) if listeners.inside else None,
    )
    return Plan(
        model=session.trained,
        engine=engine,
        train=train,
        valid=valid,
        train_meter=train_meter,
        valid_meter=make_meter(session, session.recipe.metrics.valid),
        epochs=options.epoch_range,
        context=context,
        listeners=listeners,
        seed_step=seed_step,
    )


def _inside(listeners: Listeners, context: Context) -> Callable[[str, Nested, Tensor | None], None]:
    def inside(event: str, pred: Nested, loss: Tensor | None, /) -> None:
        context.pred, context.loss = pred, loss
        listeners.fire(event, context)

    return inside


def make_meter(session: Session, metrics: tuple[Metric, ...]) -> LossMeter:
    """The meter of one pass."""
    summed = getattr(session.loss, "reduction", "mean") == "sum"
    gather = session.world.gather if session.world.size > 1 else None
    return LossMeter(metrics, session.device, summed=summed, classes=session.classes, gather=gather)
