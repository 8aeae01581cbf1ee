"""What a run shows while it goes on: a row for each epoch, and a bar for one that takes long."""

from collections.abc import Sequence
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TextIO

from torch import nn

from lumbre.base import at_least
from lumbre.callbacks._screens import Busy, Lines, Row, Screen, screen_for
from lumbre.core import Callback, Context, format_value

if TYPE_CHECKING:
    from rich.console import Console

_DRAW_SECONDS, _WAIT_SECONDS = 0.25, 0.5


class Progress(Callback):
    """Shows each epoch's losses and metrics, and a bar for an epoch that takes longer than half a second.

    `fit()` adds one by itself unless `verbose=False`. A terminal gets a table that grows by a row an epoch, with a mark
    at each that is the best so far; a notebook one output with that table; a file or a pipe plain lines. Everything is
    drawn by the training loop itself, at most four times a second, and its time is `progress_seconds` in `timings`.

    Args:
        console: a rich Console or a text stream to print to; the notebook or standard output where None.
        notes: lines to show first.
        every: show every so many epochs, and the last.
        curve: draw the loss by epoch as well, in a notebook.

    Raises:
        OptionError: `every` is no whole number from 1.
    """

    everywhere = False

    def __init__(
        self,
        console: "Console | TextIO | None" = None,
        *,
        notes: Sequence[str] = (),
        every: int = 1,
        curve: bool = False,
    ) -> None:
        at_least(1, every=every)
        self._given, self._every, self._curve = console, every, curve
        self.notes = list(notes)
        self._screen: Screen | None = None
        self._fit_began = self._epoch_began = self._drawn = 0.0
        self._spent = 0.0
        self._epochs_done = 0
        self._best: tuple[float, int, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the screen: what a run leaves behind can be sent to another process, which a stream cannot."""
        return {**vars(self), "_screen": None}

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self._screen is None:
            self._screen = screen_for(self._given, curve=self._curve)
        self._screen.note(line)

    def on_fit_begin(self, ctx: Context) -> None:
        """Find out where to show the run."""
        began = perf_counter()
        self._screen = screen_for(self._given, curve=self._curve)
        self._fit_began, self._epochs_done, self._best = monotonic(), 0, None
        self._spent = 0.0
        for note in self.notes:
            self._screen.note(note)
        self._spent += perf_counter() - began

    def on_epoch_begin(self, ctx: Context) -> None:
        """Announce the epoch."""
        assert self._screen is not None
        self._epoch_began = self._drawn = monotonic()
        if self._is_shown(ctx):
            self._screen.begin(ctx.epoch, ctx.epochs[1])

    def on_train_batch_end(self, ctx: Context) -> None:
        """Move the bar, if it is time."""
        now = monotonic()
        if now - self._drawn < _DRAW_SECONDS or now - self._epoch_began < _WAIT_SECONDS:
            return
        began = perf_counter()
        assert self._screen is not None
        assert ctx.loss is not None
        self._drawn = now
        self._screen.busy(self._busy(ctx, now, ctx.loss.item()))  # waits for the device, four times a second
        self._spent += perf_counter() - began

    def on_epoch_end(self, ctx: Context) -> None:
        """Show what the epoch came to."""
        began = perf_counter()
        assert self._screen is not None
        self._epochs_done += 1
        best = self._is_best(ctx.epoch, {name: ctx.history.last(name) for name in ("train", "valid")})
        values = ctx.history.of_model_by_set()
        if self._is_shown(ctx) and values:
            self._screen.row(Row(ctx.epoch, values, monotonic() - self._epoch_began, best))
        self._spent += perf_counter() - began

    def on_fit_end(self, ctx: Context) -> None:
        """Say why the run ended early, if it did, and which epoch was the best."""
        began = perf_counter()
        assert self._screen is not None
        if ctx.stop_reason is not None:
            self._screen.note(ctx.stop_reason)
        if self._best is not None and self._best[1] < ctx.epoch and not isinstance(self._screen, Lines):
            loss, epoch, name = self._best
            self._screen.note(f"Lowest {name}: {format_value(loss)} in epoch {epoch} of {ctx.epoch}.")
        self._screen.close()
        self._book(ctx, perf_counter() - began)

    def on_interrupt(self, ctx: Context) -> None:
        """Leave the screen tidy."""
        if self._screen is not None:
            self._screen.close()

    on_failure = on_interrupt

    def _is_shown(self, ctx: Context) -> bool:
        return ctx.epoch % self._every == 0 or ctx.epoch in (1, ctx.epochs[1])

    def _is_best(self, epoch: int, values: dict[str, dict[str, Any]]) -> bool:
        """Whether the loss of this epoch is the lowest so far; validation's counts, where there is one."""
        name = "valid" if "loss" in values.get("valid", {}) else "train"
        loss = values.get(name, {}).get("loss")
        if not isinstance(loss, float) or (self._best is not None and not loss < self._best[0]):
            return False
        self._best = (loss, epoch, f"{name}_loss")
        return True

    def _busy(self, ctx: Context, now: float, loss: float) -> Busy:
        spent, done, total = now - self._epoch_began, ctx.batch_index, ctx.batches_per_epoch
        left = spent / done * (total - done) if total and done else None
        ahead = ctx.epochs[1] - ctx.epoch
        if self._epochs_done:
            of_epoch = (self._epoch_began - self._fit_began) / self._epochs_done  # validation and callbacks count, too
            run_left = max(of_epoch - spent, left or 0.0) + of_epoch * ahead
        else:
            run_left = None if left is None else left + (spent + left) * ahead
        return Busy(ctx.epoch, ctx.epochs[1], done, total, loss, left, run_left)

    def _book(self, ctx: Context, last: float) -> None:
        """Give progress a line of its own among the times; it was booked with the callbacks."""
        phases = ctx.history.phase_seconds
        spent = min(self._spent, phases.get("callbacks", 0.0))
        phases["callbacks"] = phases.get("callbacks", 0.0) - spent
        phases["progress"] = phases.get("progress", 0.0) + spent + last


def progress_of(module: object, verbose: object) -> Progress:
    """What the option `verbose` of `fit()` asks for."""
    given = isinstance(module, nn.Module)
    return Progress(
        notes=[f"Training the {type(module).__name__} that was passed: its own weights change."] if given else [],
        every=int(verbose) if isinstance(verbose, int) else 1,
        curve=verbose == "plot",
    )
