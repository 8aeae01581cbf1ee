"""What a run shows while it goes on: a bar with the time left, and two lines for each epoch."""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from lumbre.core import Callback, Context, format_value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

_REFRESH_SECONDS = 0.25
_ABBREVIATIONS = ("ap", "auroc", "lr", "mae", "mcc", "mse", "rmse")


class Progress(Callback):
    """Prints each epoch's losses and metrics; in a terminal or notebook a bar shows the epoch at work.

    `fit()` adds one by itself unless `verbose=False`. The bar is drawn four times a second by the training loop
    itself, without a thread, so that drawing costs next to nothing.

    Args:
        console: a rich Console to print to; standard output where None.
        notes: lines to print first.
    """

    everywhere = False

    def __init__(self, console: "Console | None" = None, *, notes: Sequence[str] = ()) -> None:
        self._given = console
        self.notes = list(notes)
        self._console: Any = None
        self._bar: Bar | None = None
        self._task: Any = None
        self._drawn = 0.0

    def on_fit_begin(self, ctx: Context) -> None:
        """Find out where to print."""
        from rich.console import Console

        self._console = self._given or Console(soft_wrap=True)
        for note in self.notes:
            self._print(note)

    def on_epoch_begin(self, ctx: Context) -> None:
        """Announce the epoch."""
        self._print(f"Epoch {ctx.epoch}/{ctx.epochs[1]}")

    def on_train_begin(self, ctx: Context) -> None:
        """Start a bar for the epoch, where one can be drawn."""
        if not (self._console.is_terminal or self._console.is_jupyter):
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Bar(*columns, console=self._console, auto_refresh=False, transient=True)
        self._task = self._bar.add_task("", total=ctx.batches_per_epoch)
        self._bar.start()
        self._drawn = monotonic()

    def on_train_batch_end(self, ctx: Context) -> None:
        """Move the bar, if it is time."""
        if self._bar is None or monotonic() - self._drawn < _REFRESH_SECONDS:
            return
        assert ctx.loss is not None
        description = f"loss {format_value(ctx.loss.item())}"  # waits for the device, four times a second
        self._bar.update(self._task, completed=ctx.batch_index, description=description, refresh=True)
        self._drawn = monotonic()

    def on_train_end(self, ctx: Context) -> None:
        """Take the bar away."""
        self._close()

    def on_epoch_end(self, ctx: Context) -> None:
        """Print what the epoch came to."""
        for set_name in ("train", "valid"):
            values = ctx.history.last(set_name)
            if values:
                shown = " - ".join(f"{_title(name)}: {format_value(value)}" for name, value in values.items())
                self._print(f"{set_name.capitalize()} metrics: {shown}")

    def on_interrupt(self, ctx: Context) -> None:
        """Leave the terminal tidy."""
        self._close()

    on_failure = on_interrupt

    def on_fit_end(self, ctx: Context) -> None:
        """Say why the run ended early, if it did."""
        if ctx.stop_reason is not None:
            self._print(ctx.stop_reason)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)


def _title(name: str) -> str:
    """A metric's name as its line shows it: "loss" as "Loss", "mae" as "MAE"."""
    return name.upper() if name in _ABBREVIATIONS else name[:1].upper() + name[1:]
