"""The checks of a run that is about to begin: what they look at, and for how long."""

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import Batch, RowLoss, map_leaves, noted_once, own_method
from lumbre.callbacks import SWA, Accumulate, GradientClip, GradualUnfreezing, LearningRate, LRScheduler, On
from lumbre.core import Callback
from lumbre.data import Loaded, by_places, in_parts, whole_targets
from lumbre.preflight import Findings, Subject, constant_losses, run_checks
from lumbre.run._batches import given_data
from lumbre.run._choices import Choices
from lumbre.run._chosen import chosen
from lumbre.run._feeds import Feeds, TrainingData
from lumbre.run._known import (
    Known,
    Reading,
    changes,
    drawn_anew,
    first_batch,
    in_order,
    known_rows,
    read_alone,
    rows_twice,
)
from lumbre.run._net import Net
from lumbre.run._options import Options
from lumbre.run._rates import schedules
from lumbre.run._setting import Setting
from lumbre.run._spec import Spec
from lumbre.steps import Clip

_QUICK_SECONDS = 1.0
_QUICK_NUMBERS = 5_000_000
# Of rows that are not in memory, in a set.
_QUICK_ROWS, _QUICK_READING = 256, 0.1
_ROWS, _READING = 2_048, 3.0
_OF_A_KIND = ("epochs", "batch_size", "shuffle", "drop_last", "augment", "device", "precision", "strategy", "ignore")


def look_for_mistakes(
    spec: Spec,
    options: Options,
    setting: Setting,
    feeds: Feeds,
    net: Net,
    choices: Choices,
    *,
    every_check: bool,
    test_data: Any,
) -> Findings | None:
    """What looks wrong: looked for during a second, or with `every_check` as long as it takes; None if switched off.

    Args:
        spec: what was declared.
        options: of the run.
        setting: where it takes place.
        feeds: its batches.
        net: its module, loss and optimizers, which are left as they were.
        choices: in force while it is looked at, so that torch makes the kernels of the run.
        every_check: take the time that it takes.
        test_data: rows that are kept for the last test, or None.
    """
    if not options.preflight:
        return None
    subject = _subject(spec, options, setting, feeds, net)
    rows, seconds = (_ROWS, _READING) if every_check else (_QUICK_ROWS, _QUICK_READING)
    test = None
    if test_data is not None:
        train = feeds.records["train"]
        test_data = by_places(in_parts(test_data, train.parts), train.columns, need_target=True)
        test, _ = given_data(test_data, feeds.data.encoding, setting.seed, need_target=True)
        kind = feeds.records["train"].target
        test = whole_targets(test, wanted=isinstance(kind, str) and kind.startswith("int64 "))
    with read_alone(feeds.data.train, feeds.data.valid, test, *(one for one, _ in feeds.data.also.values())):
        _let_see(subject, options, feeds, test, Reading(rows, seconds, setting.seed))
    if not every_check:
        subject.most_numbers = _QUICK_NUMBERS
    kind = _kind(spec, options, feeds.first, net)
    rows_alone = kind in spec.passed and not every_check
    # A check may look at a weight that is computed anew each time, such as one under a spectral norm.
    with noted_once(net.model, net.loss, subject.loss, device=setting.device), choices.active(net.model):
        seconds = None if every_check else _QUICK_SECONDS
        findings = run_checks(subject, ignore=options.ignore, seconds=seconds, rows_alone=rows_alone)
        findings.constant = constant_losses(subject)
    if kind is not None and not findings and not findings.left_out:
        spec.passed.add(kind)
    return findings


def _kind(spec: Spec, options: Options, first: Batch, net: Net) -> Hashable:
    """What two fits of a recipe have in common where their nets need not be looked at twice; None where they must.

    It is all but the numbers: those of the rows, which are looked at each time, and those of the first weights. A
    module that was given ready-made has weights of its own.
    """
    if isinstance(spec.module, nn.Module):
        return None
    try:
        parts = [
            (name, type(one), getattr(inspect.getattr_static(type(one), "forward"), "__code__", None), one.extra_repr())
            for name, one in net.model.named_modules()
        ]
        weights = [(name, one.shape, one.dtype, one.requires_grad) for name, one in net.model.named_parameters()]
        groups = [group for optimizer in net.optimizers.values() for group in optimizer.param_groups]
        rates = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        batch = [map_leaves(_form, part) for part in (first.input, first.target)]
        callbacks = [(type(one), _options_of(one)) for one in options.callbacks]
        chosen = [getattr(options, name) for name in _OF_A_KIND]
        kind = _as_tuples((parts, weights, rates, batch, callbacks, chosen, repr(spec.loss)))
        hash(kind)
    except Exception:  # what cannot be described, or compared, is looked at anew
        return None
    return kind


def _as_tuples(value: Any) -> Any:
    """Lists and dicts as tuples; other objects as they are: an address in a text could be another object's later."""
    if isinstance(value, Mapping):
        return tuple((name, _as_tuples(one)) for name, one in value.items())
    return tuple(map(_as_tuples, value)) if isinstance(value, (list, tuple)) else value


def _options_of(callback: Callback) -> dict[str, Any]:
    """What a callback holds: of those of this package what they were given, and not what they note during a run."""
    ours = type(callback).__module__.startswith("lumbre.")
    return {name: value for name, value in vars(callback).items() if not (ours and name.startswith("_"))}


def _form(leaf: Any) -> Any:
    return (leaf.shape[1:], leaf.dtype) if isinstance(leaf, Tensor) else type(leaf)


def _subject(spec: Spec, options: Options, setting: Setting, feeds: Feeds, net: Net) -> Subject:
    """What the checks look at. Where a module takes its own step, its loss and optimizers are not known."""
    callbacks, loss = options.callbacks, net.scalar_loss
    loss = loss.plain if isinstance(loss, RowLoss) else loss
    own_step = own_method(net.model, "step")
    accumulated = max((one.batches for one in callbacks if isinstance(one, Accumulate)), default=1)
    encoding, train = feeds.data.encoding, feeds.data.train
    return Subject(
        model=net.model,
        call=net.call,
        loss=loss,
        batch=feeds.first,
        device=setting.device,
        fewest_rows=feeds.fewest_rows,
        processes=feeds.processes,
        settled=not any(_may_change_modes(one) for one in callbacks),
        shuffled=feeds.shuffled,
        batch_size=feeds.batch_size,
        optimizers=net.optimizers,
        own_step=own_step,
        metrics=spec.metrics.train,
        categories={} if encoding is None else encoding.categories,
        rows=None if isinstance(train, Loaded) else len(train),
        accumulated=accumulated,
        steps=None if feeds.train.length is None else options.epoch_range[1] * -(-feeds.train.length // accumulated),
        clip=_clip(callbacks),
        scheduled=any(_may_move_rates(one) for one in callbacks),
        schedules=schedules(net.optimizers, callbacks, options.epoch_range[1], feeds.train.length),
        chosen=chosen(spec, options, feeds),
        unloaded=net.unloaded,
    )


def _let_see(subject: Subject, options: Options, feeds: Feeds, test: Any, reading: Reading) -> None:
    """What is known of the rows of all sets."""
    data = feeds.data
    names = _names(data)
    reading = replace(reading, seconds=reading.seconds / max(1, len(names)))
    given = (data.train, data.valid, test, *(rows for rows, _ in data.also.values()))
    train, valid, held, *more = sets = [known_rows(one, replace(reading, epoch=at)) for at, one in enumerate(given, 1)]
    subject.columns = None if options.augment is not None else train.columns
    subject.valid, subject.test = valid.columns, held.columns
    subject.seen, subject.seen_valid, subject.seen_test = train.seen, valid.seen, held.seen
    also = dict(zip(names[1:], more, strict=True))
    subject.valid_name = names[0]
    subject.seen_also = {name: None if _trained_on(name) else one.seen for name, one in also.items()}
    named: dict[str, Known] = {names[0]: valid, **also, "test": held}
    twice = {name: rows_twice(train, one) for name, one in named.items() if not _trained_on(name)}
    subject.twice = {name: found for name, found in twice.items() if found is not None}
    subject.in_order = subject.columns is not None and in_order(getattr(data.train, "loader", None))
    subject.held = _first_batches(feeds, named, test, subject.device)
    subject.changing = changes(train)
    subject.drawn_anew = [name for name, one in named.items() if drawn_anew(one)]
    of_sets = zip(("training", names[0], "test", *names[1:]), sets, strict=True)
    subject.unseen = [f"{name} data: {one.missing}" for name, one in of_sets if one.missing]


def _names(data: TrainingData) -> list[str]:
    """What the sets to validate on are called in findings; "validation" where there is one, or none."""
    if data.valid_name is None:
        return ["validation"]
    return [f"validation ({name})" for name in (data.valid_name, *data.also)]


def _trained_on(name: str) -> bool:
    """Whether a set is called one of training rows, on which somebody wants to see the values, too."""
    return name.startswith("validation (train")


def _first_batches(
    feeds: Feeds, named: Mapping[str, Known], test: Any, device: torch.device
) -> dict[str, Batch | Exception]:
    """A batch of the sets that are not trained on, by the names of what is known of them."""
    found: dict[str, Batch | Exception] = {}
    size = max(1, feeds.batch_size // feeds.processes)
    rows = (feeds.data.valid, *(rows for rows, _ in feeds.data.also.values()), test)
    for (name, known), data, batches in zip(
        named.items(), rows, (feeds.valid, *feeds.also.values(), None), strict=True
    ):
        try:
            batch = None if data is None else first_batch(data, known, batches, size, device)
        except Exception as error:  # the run would end with it after an epoch
            found[name] = error
            continue
        if batch is not None:
            found[name] = batch
    return found


def _may_change_modes(callback: Callback) -> bool:
    """Whether a callback may put parts of the module into another mode, or another batch into the place of one."""
    known = type(callback).__module__.startswith("lumbre.") and not isinstance(callback, (GradualUnfreezing, On))
    return not known and any(hasattr(callback, f"on_train_{when}begin") for when in ("", "batch_"))


def _clip(callbacks: Sequence[Callback]) -> Clip:
    """What bounds the gradients; with several optimizers, of which no steps are tried, the first of their bounds."""
    found = next((one for one in callbacks if isinstance(one, GradientClip)), None)
    return Clip() if found is None else Clip(found.max_norm, found.norm_type, found.max_value)


def _may_move_rates(callback: Callback) -> bool:
    return isinstance(callback, (LearningRate, LRScheduler, SWA)) or _may_change_modes(callback)
