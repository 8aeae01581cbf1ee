"""A callback from a function, for what is not worth a class."""

from collections.abc import Callable

from lumbre.base import OptionError
from lumbre.core import Callback, Context


class On(Callback):
    """Call functions at chosen events of a run.

    Args:
        **handlers: a function of the `Context` for each event, by the names in `lumbre.Callback` without `on_`.

    Raises:
        TypeError: a name is no event.
        OptionError: no handler, or one that cannot be called.

    Example:
        >>> import lumbre as lb
        >>> shout = lb.callbacks.On(epoch_end=lambda ctx: print(f"epoch {ctx.epoch} is over!"))
    """

    def __init__(self, **handlers: Callable[[Context], object]) -> None:
        if not handlers:
            raise OptionError("On() without a handler", "at least one", "On(epoch_end=lambda ctx: ...)")
        for event, function in handlers.items():
            if not callable(function):
                raise OptionError(
                    f"On({event}={function!r})", "a function of the context", f"On({event}=lambda ctx: ...)"
                )
        # A class with these names is made and dropped: whatever Callback refuses, it refuses here in the same words.
        type("On", (Callback,), {f"on_{event}": None for event in handlers})
        for event, function in handlers.items():
            setattr(self, f"on_{event}", function)
