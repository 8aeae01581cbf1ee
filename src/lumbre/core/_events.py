"""Events: their names and order, the base of callbacks, and who listens to what in a run.

*Around* events work with every engine. *Inside* events lie in the middle of a step and exist only in the eager engine.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch

from lumbre.base import CallbackError, LumbreError, OptionError, did_you_mean
from lumbre.core._context import Context

AROUND = (
    "fit_begin",
    "epoch_begin",
    "train_begin",
    "train_batch_begin",
    "train_batch_end",
    "train_end",
    "valid_begin",
    "valid_batch_begin",
    "valid_batch_end",
    "valid_end",
    "epoch_end",
    "interrupt",
    "failure",
    "fit_end",
)
"""Events between steps, in the order in which they happen."""

EVALUATE = ("evaluate_begin", "evaluate_batch_begin", "evaluate_batch_end", "evaluate_end")
"""Events of `Fitted.evaluate`."""

PREDICT = ("predict_begin", "predict_batch_begin", "predict_batch_end", "predict_end")
"""Events of `Fitted.predict`."""

INSIDE = ("after_pred", "after_loss", "before_backward", "before_step", "after_step")
"""Events in the middle of a step, in the order in which they happen."""

_EVENTS = AROUND + EVALUATE + PREDICT + INSIDE
_HANDLERS = tuple(f"on_{event}" for event in _EVENTS)

Handler: TypeAlias = Callable[[Context], None]


class Callback:
    """Something that happens at chosen moments of a run.

    Define a method for each event you want to hear, named `on_` + the event, taking the `Context`::

        fit_begin
          epoch_begin
            train_begin
              train_batch_begin
                (after_pred, after_loss, before_backward, before_step, after_step:
                 eager engine only)
              train_batch_end
            train_end
            valid_begin, valid_batch_begin, valid_batch_end, valid_end
          epoch_end
        interrupt    Ctrl-C
        failure      an error, which is then raised
        fit_end
        evaluate_begin, evaluate_batch_begin, evaluate_batch_end, evaluate_end
        predict_begin, predict_batch_begin, predict_batch_end, predict_end

    Gradients are off in every handler. A handler of `train_batch_begin` may put another batch into `ctx.batch`. What a
    callback has to remember it keeps in itself, and hands over in `state_dict`.

    Attributes:
        runs_after: classes of callbacks that hear an event before this one does, where both are in a run; others keep
            the order in which they were given.
        everywhere: whether it runs in every process of a run that several share, or in the first alone, as what prints
            or writes files should.

    Raises:
        TypeError: when the class is made, for a method `on_...` that is no event.

    Example:
        >>> import lumbre as lb
        >>> class Shout(lb.Callback):
        ...     def on_epoch_end(self, ctx: lb.Context) -> None:
        ...         print(f"epoch {ctx.epoch} is over!")
    """

    runs_after: "tuple[type[Callback], ...]" = ()
    everywhere: bool = True

    def state_dict(self) -> dict[str, Any]:
        """What this callback must remember to go on after a stop: numbers, texts, tensors, lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name.startswith("on_") and name not in _HANDLERS:
                raise TypeError(
                    f"{cls.__name__}.{name} would never be called: {name[3:]!r} is no event. "
                    f"{did_you_mean(name, _HANDLERS)}The events are: {', '.join(_EVENTS)}."
                )


class Listeners:
    """Who hears what, found once per run: for each event the handlers, each with the name of its callback's class."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        callbacks = in_order(callbacks)
        self._handlers: dict[str, tuple[tuple[str, Handler], ...]] = {
            event: tuple(
                (type(callback).__name__, getattr(callback, f"on_{event}"))
                for callback in callbacks
                if hasattr(callback, f"on_{event}")
            )
            for event in _EVENTS
        }

    def heard(self, event: str) -> bool:
        """Whether somebody listens to `event`."""
        return bool(self._handlers[event])

    @property
    def inside(self) -> tuple[str, ...]:
        """The inside events that somebody listens to."""
        return tuple(event for event in INSIDE if self._handlers[event])

    def fire(self, event: str, ctx: Context) -> None:
        """Call the handlers of `event`; a failure is raised again with the callback's and the event's names."""
        handlers = self._handlers[event]
        if not handlers:
            return
        with torch.set_grad_enabled(False):  # half the cost of no_grad(), which shows where it stands in every step
            for owner, handler in handlers:
                try:
                    handler(ctx)
                except LumbreError:
                    raise
                except Exception as error:
                    raise CallbackError(
                        f"{type(error).__name__} in {owner}.on_{event} at epoch {ctx.epoch}, step {ctx.step}: {error}",
                        "a callback that returns",
                        f"mend {owner}.on_{event}, or leave the callback out; the original error stands above",
                    ) from error


def in_order(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """The callbacks as they were given, except that none stands before one that it `runs_after`."""
    waiting, placed = list(callbacks), list[Callback]()
    while waiting:
        free = next(
            (
                one
                for one in waiting
                if not any(other is not one and isinstance(other, one.runs_after) for other in waiting)
            ),
            None,
        )
        if free is None:
            names = ", ".join(type(one).__name__ for one in waiting)
            raise OptionError(
                f"the callbacks {names}, each of which is to run after another of them",
                "an order that is possible",
                "mend their runs_after",
            )
        waiting.remove(free)
        placed.append(free)
    return tuple(placed)
