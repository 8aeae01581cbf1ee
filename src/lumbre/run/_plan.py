"""Puts the finished parts together: the `Session` that a trained model keeps, and the `Plan` of the loop."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import (
    Divisor,
    Nested,
    OptionError,
    Scale,
    has_modes,
    ignored_label,
    is_users_own,
    own_method,
    reduction_of,
    scale_of,
    tried,
    watched_scale,
)
from lumbre.callbacks import LearningRate, LRScheduler, On
from lumbre.core import Callback, Context, Listeners, Plan
from lumbre.metrics import LossMeter, Metric, check_weighing, for_loss, ignored_by
from lumbre.preflight import Findings
from lumbre.processes import Sharded, Together
from lumbre.run._choices import Choices
from lumbre.run._engine import make_engine, precision_advice, step_options
from lumbre.run._feeds import Feeds
from lumbre.run._loss import trained_by_loss
from lumbre.run._net import NamedLosses, Net
from lumbre.run._options import Options
from lumbre.run._parallel import in_parallel
from lumbre.run._record import run_record
from lumbre.run._session import Session
from lumbre.run._setting import Setting
from lumbre.run._spec import Spec


def make_session(
    spec: Spec,
    options: Options,
    setting: Setting,
    feeds: Feeds,
    net: Net,
    choices: Choices,
    findings: Findings | None,
) -> Session:
    """What a trained model keeps of its run."""
    record = run_record(
        spec,
        net.model,
        replace(options, flush_denormal=choices.flush_denormal),  # as it was chosen
        data=feeds.records,
        findings=findings,
        device=setting.device,
        seed=setting.seed,
        batch_size=feeds.batch_size,
    )
    made = Session(
        recipe=spec,
        model=net.model,
        loss=net.loss,
        device=setting.device,
        precision=setting.precision,
        seed=setting.seed,
        batch_size=feeds.batch_size,
        encoding=feeds.data.encoding,
        classes=feeds.data.classes,
        record=record,
        world=setting.world,
        choices=choices,
        advice=_advice(options, setting, feeds, net, choices),
        seen=_seen_scale(spec, setting, feeds, net),
        beside=net.beside,
    )
    if made.units is not None and made.scale.name is not None:
        raise OptionError(
            "scale_target=True beside a loss or a response= that brings predictions to the target's scale",
            "one of the two",
            "leave scale_target out; or nn.MSELoss(), whose predictions are on the scale of the target",
        )
    return made


def _seen_scale(spec: Spec, setting: Setting, feeds: Feeds, net: Net) -> Scale:
    """The scale of predictions, and the label that is left out, as the loss shows them for the first batch; nothing
    where they are known without."""
    loss = net.loss
    known = scale_of(loss, net.model, spec.response) != Scale() and (
        scale_of(loss) != Scale() or ignored_by(loss) is not None
    )
    if known or loss is None or isinstance(loss, NamedLosses) or own_method(net.model, "step"):
        return Scale()
    try:
        with tried(net.model, loss), torch.no_grad(), setting.precision.autocast():
            found = watched_scale(loss, net.call(feeds.first.input), feeds.first.target)
    except Exception:  # the first step will say what is wrong
        found = Scale()
    return setting.world.gather(found)[0]  # processes that share batches count them alike


def _advice(options: Options, setting: Setting, feeds: Feeds, net: Net, choices: Choices) -> list[str]:
    """Sentences for the user, said before the first epoch."""
    trial, batches = net.trial(feeds.first, setting.precision), feeds.train.length
    if trial is None or batches is None or options.verbose == 0 or not setting.world.leads:
        return []
    with choices.active(net.model):
        return precision_advice(net.model, setting, trial, batches * options.epoch_range[1])


def make_plan(options: Options, setting: Setting, feeds: Feeds, net: Net, session: Session) -> tuple[Plan, Session]:
    """The plan, and the session as the processes that share the run train it."""
    net, sharded = in_parallel(net, session.recipe, options, setting, feeds.first)
    if sharded is not None:  # its parts have a layout of their own
        choices = replace(session.choices, channels_last=False)
        session = replace(session, sharded=sharded, loss=net.loss, choices=choices)
    listeners = Listeners(one for one in options.callbacks if one.everywhere or session.world.leads)
    own_step = own_method(net.model, "step")  # whose loss is one of which nothing is known
    context = Context(
        model=session.trained,
        optimizers=net.optimizers,
        device=session.device,
        epochs=options.epoch_range,
        batches_per_epoch=feeds.train.length,
        monitored=_monitored(session, options.callbacks, list(net.optimizers), feeds),
        save=lambda path: session.save(path, context.history, session.described(engine.reason)),
        minimize=lambda loss, optimizer: minimize(loss, optimizer),
        see_training_data=lambda: _see_training_data(session, setting, feeds, net, context.epoch),
        loss_module=net.loss_module,
        loss_parameters=trained_by_loss(net.loss_module, net.model),
        skipped=lambda: engine.skipped,
        logged=own_step or any(isinstance(one, On) or is_users_own(type(one)) for one in options.callbacks),
    )
    seen = session.seen.labels
    may_ignore = feeds.may_hold(ignored_label(net.loss) if seen is None else seen.ignored)
    weighted = feeds.data.weights is not None
    divisor = session.divisor(may_ignore=may_ignore, weighted=weighted)
    train_meter = make_meter(session, session.recipe.metrics.train, None if own_step else divisor, weighted=weighted)
    engine, minimize = make_engine(
        session,
        net,
        step_options(options.callbacks, options.engine, options.epoch_range[1], feeds.train.length, session.world.size),
        setting.seed_step,
        first=feeds.first,
        meter=train_meter,
        divisor=divisor,
        step=lambda: session.model.step(context),  # pyright: ignore
        inside=_inside(listeners, context) if listeners.inside else None,
    )
    plan = Plan(
        model=session.trained,
        engine=engine,
        train=feeds.train,
        valid=feeds.valid,
        train_meter=train_meter,
        valid_meter=_valid_meter(session, may_ignore, feeds.data.valid_weights),
        valid_name=feeds.data.valid_name,
        also={
            name: (one, _valid_meter(session, may_ignore, feeds.data.also[name][1])) for name, one in feeds.also.items()
        },
        epochs=options.epoch_range,
        max_steps=options.max_steps or inf,
        valid_every=options.valid_every,
        context=context,
        listeners=listeners,
        seed_step=setting.seed_step,
        switch=_switch(session.trained, net),
    )
    return plan, session


def _see_training_data(session: Session, setting: Setting, feeds: Feeds, net: Net, epoch: int) -> None:
    """Call the module on every training batch of an epoch, without gradients.

    Processes look at all rows, so that statistics are those of one process, and then take over those of the first.
    """
    with torch.no_grad(), session.precision.autocast():
        for index, batch in enumerate(feeds.whole.epoch(epoch)):
            setting.seed_step("statistics", epoch, index)
            net.call(batch.input)
    if isinstance(net.call, (Together, Sharded)):
        net.call.agree()


def _valid_meter(session: Session, may_ignore: bool, weights: Tensor | None) -> LossMeter:
    """Loss and metrics of a set to validate on, whose rows may have weights."""
    weighted = weights is not None
    divisor = session.divisor(may_ignore=may_ignore, weighted=weighted)
    return make_meter(session, session.recipe.metrics.valid, divisor, weighted=weighted)


def _switch(model: nn.Module, net: Net) -> Callable[[bool], None]:
    """What brings a run to training mode or to evaluation mode.

    Optimizers that average weights as they go (such as those of schedulefree) have these modes, too: they train other
    weights than those that are to be judged and kept.
    """
    loss = net.loss_module
    modal: list[Any] = [one for one in net.optimizers.values() if has_modes(one)]

    def switch(training: bool) -> None:
        model.train(training)
        if loss is not None:
            loss.train(training)
        for one in modal:
            try:
                one.train() if training else one.eval()
            except AttributeError as error:
                if error.name not in ("train", "eval"):  # a wrapper asks the optimizer in it, which has none
                    raise

    return switch


def _monitored(
    session: Session, callbacks: Sequence[Callback], optimizers: Sequence[str], feeds: Feeds
) -> dict[str, bool | None]:
    """Names of the values that callbacks may watch, such as "valid_loss", and whether more of them is better."""
    named = [] if feeds.data.valid_name is None else [feeds.data.valid_name, *feeds.also]
    judged = [] if feeds.valid is None else ["valid", *(f"valid_{name}" for name in named)]
    sets = dict.fromkeys(judged, session.recipe.metrics.valid)
    sets["train"] = session.recipe.metrics.train
    losses: dict[str, bool | None] = {"loss": False}
    if isinstance(session.loss, NamedLosses):
        losses |= {f"loss_{name}": False for name in session.loss.parts}
    recorded = [
        (f"{set_name}_{name}", higher)
        for set_name, metrics in sets.items()
        for name, higher in [*losses.items(), *((one.name.lower(), one.higher_is_better) for one in metrics)]
    ]
    names = [name for name, _ in recorded]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None and feeds.data.valid_name is not None:
        raise OptionError(
            f"sets in valid_data of which two values have the name {twice!r}",
            "names that give each value a name of its own",
            'other names, such as valid_data={"near": a, "far": b}',
        )
    by_class = {f"{set_name}_{one.name.lower()}" for set_name, of in sets.items() for one in of if one.by_class}
    known = {name: higher for name, higher in recorded if name not in by_class}
    if any(isinstance(one, (LearningRate, LRScheduler)) for one in callbacks):
        known |= dict.fromkeys(["train_lr"] if len(optimizers) == 1 else [f"train_lr_{name}" for name in optimizers])
    return known


def _inside(listeners: Listeners, context: Context) -> Callable[[str, Nested, Tensor | None], None]:
    def inside(event: str, pred: Nested, loss: Tensor | None, /) -> None:
        context.pred, context.loss = pred, loss
        listeners.fire(event, context)

    return inside


def make_meter(
    session: Session, metrics: tuple[Metric, ...], divisor: Divisor | None, *, weighted: bool = False
) -> LossMeter:
    """The meter of one pass; `divisor` gives what the loss divides by, where that is not the number of rows."""
    if weighted:
        check_weighing(metrics)
    metrics = for_loss(metrics, session.loss, session.ignored)
    summed = reduction_of(session.loss) == "sum"
    gather = session.world.gather if session.world.size > 1 else None
    return LossMeter(
        metrics,
        session.device,
        summed=summed,
        divisor=divisor,
        weighted=weighted,
        classes=session.classes,
        gather=gather,
        response=session.scale.response,
        units=session.units,
    )
