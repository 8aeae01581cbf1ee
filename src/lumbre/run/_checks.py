"""The checks of a run that is about to begin: what they look at, and for how long."""

from typing import Any

from lumbre.base import own_method, unchanged
from lumbre.callbacks import Accumulate, GradualUnfreezing, On
from lumbre.core import Callback
from lumbre.data import Loaded
from lumbre.preflight import Findings, Subject, run_checks
from lumbre.run._batches import given_data
from lumbre.run._choices import Choices
from lumbre.run._feeds import Feeds, columns_of
from lumbre.run._net import Net
from lumbre.run._options import Options
from lumbre.run._rates import schedules
from lumbre.run._setting import Setting
from lumbre.run._spec import Spec

_QUICK_SECONDS = 1.0
_QUICK_NUMBERS = 5_000_000


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
    if test_data is not None:
        subject.test = columns_of(given_data(test_data, feeds.data.encoding, setting.seed, need_target=True))
    if not every_check:
        subject.most_numbers = _QUICK_NUMBERS
    # A check may look at a weight that is computed anew each time, such as one under a spectral norm.
    with unchanged(net.model, net.loss), choices.active(net.model):
        return run_checks(subject, ignore=options.ignore, seconds=None if every_check else _QUICK_SECONDS)


def _subject(spec: Spec, options: Options, setting: Setting, feeds: Feeds, net: Net) -> Subject:
    """What the checks look at. Where a module takes its own step, its loss and optimizers are not known."""
    callbacks, loss = options.callbacks, net.scalar_loss
    own_step = own_method(net.model, "step")
    encoding, train = feeds.data.encoding, feeds.data.train
    return Subject(
        model=net.model,
        call=net.call,
        loss=loss,
        batch=feeds.first,
        device=setting.device,
        columns=None if options.augment is not None else columns_of(feeds.data.train),
        valid=columns_of(feeds.data.valid),
        test=None,
        fewest_rows=feeds.fewest_rows,
        processes=feeds.processes,
        settled=not any(_may_change_modes(one) for one in callbacks),
        shuffled=feeds.shuffled,
        batch_size=feeds.batch_size,
        optimizers={} if own_step else net.optimizers,
        metrics=spec.metrics.train,
        categories={} if encoding is None else encoding.categories,
        rows=None if isinstance(train, Loaded) else len(train),
        accumulated=max((one.batches for one in callbacks if isinstance(one, Accumulate)), default=1),
        schedules=schedules(net.optimizers, callbacks, options.epoch_range[1], feeds.train.length),
    )


def _may_change_modes(callback: Callback) -> bool:
    """Whether a callback may put parts of the module into another mode, or another batch into the place of one."""
    known = type(callback).__module__.startswith("lumbre.") and not isinstance(callback, (GradualUnfreezing, On))
    return not known and any(hasattr(callback, f"on_train_{when}begin") for when in ("", "batch_"))
