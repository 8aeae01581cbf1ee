"""Callbacks that would undo one another: the second is refused before the run starts."""

from collections.abc import Sequence

from lumbre.base import OptionError
from lumbre.callbacks._averages import EMA, SWA
from lumbre.callbacks._early_stopping import EarlyStopping
from lumbre.callbacks._keep_best import KeepBestModel
from lumbre.callbacks._learning_rate import LearningRate, LRScheduler
from lumbre.callbacks._unfreezing import GradualUnfreezing
from lumbre.core import Callback


def refuse_contenders(callbacks: Sequence[Callback]) -> None:
    """See that at most one callback decides with which weights a run ends, and one by which schedule it learns.

    `EMA` goes together with those that give back the best epoch: the best of the averages comes back. Two of those that
    watch the same value in the same way give back the same epoch.

    Raises:
        OptionError: one would undo what another does.
    """
    ends = [one for one in callbacks if isinstance(one, (EMA, SWA)) or _restores(one)]
    for at, one in enumerate(ends):
        for other in ends[at + 1 :]:
            if not _end_alike(one, other):
                _refuse(one, other, "callback that decides with which weights the run ends")
    fixed = [one for one in callbacks if isinstance(one, LearningRate)]
    rates = [one for one in callbacks if isinstance(one, (LearningRate, LRScheduler))]
    for one in fixed:
        for other in rates:
            if other is not one and (one.optimizer == other.optimizer or None in (one.optimizer, other.optimizer)):
                _refuse(one, other, "schedule of the learning rate; only several LRScheduler go together")
    plans = [one for one in callbacks if isinstance(one, GradualUnfreezing)]
    if len(plans) > 1:
        _refuse(plans[0], plans[1], "plan of what is trained when")


def _end_alike(one: Callback, other: Callback) -> bool:
    if _restores(one) and _restores(other):
        return _watch(one) == _watch(other)
    if isinstance(one, SWA) or isinstance(other, SWA):
        return False
    return isinstance(one, EMA) != isinstance(other, EMA)


def _restores(callback: Callback) -> bool:
    return isinstance(callback, KeepBestModel) or (isinstance(callback, EarlyStopping) and callback.restore_best)


def _watch(callback: Callback) -> object:
    assert isinstance(callback, (KeepBestModel, EarlyStopping))
    return callback.watch


def _refuse(one: Callback, other: Callback, what: str) -> None:
    names = [_name(each) for each in (one, other)]
    raise OptionError(f"the callbacks {' and '.join(names)}", f"one {what}", f"leave {names[0]} or {names[1]} out")


def _name(callback: Callback) -> str:
    kind = type(callback).__name__
    return f"{kind}(restore_best=True)" if isinstance(callback, EarlyStopping) else kind
