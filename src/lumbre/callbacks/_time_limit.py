"""Stop after a while; the option `max_seconds` of `fit()`."""

from collections.abc import Callable
from time import monotonic

from lumbre.core import Callback, Context


class TimeLimit(Callback):
    """End the run at the end of the epoch in which its time is over. A run with `resume=` goes on when started again.

    Args:
        seconds: from the beginning of the run, or from where it goes on.
        agree: gives what each process that shares the run says, so that all stop at the same epoch.
    """

    def __init__(self, seconds: float, agree: Callable[[bool], list[bool]]) -> None:
        self._seconds = seconds
        self._agree = agree
        self._began = 0.0

    def on_fit_begin(self, ctx: Context) -> None:
        """Look at the clock."""
        self._began = monotonic()

    def on_train_end(self, ctx: Context) -> None:
        """Look before the epoch may be validated, too: the last one always is."""
        if any(name.startswith("valid_") for name in ctx.monitored):
            self.on_epoch_end(ctx)

    def on_epoch_end(self, ctx: Context) -> None:
        """Stop where time is over for any process."""
        if any(self._agree(monotonic() - self._began >= self._seconds)):
            ctx.stop(f"Stopped at epoch {ctx.epoch} of {ctx.epochs[1]}: {self._seconds:g} seconds are over.")
