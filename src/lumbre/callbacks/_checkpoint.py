"""Keep the best model of a run in a file."""

from pathlib import Path

from lumbre.callbacks._monitor import Monitor
from lumbre.core import Callback, Context


class ModelCheckpoint(Callback):
    """Save the model after each epoch that is the best so far (or after every epoch), for `lumbre.load`.

    Args:
        path: the file; `{epoch}` in it becomes the epoch, as in "runs/net-{epoch:02d}.lumbre".
        monitor: set and metric that tell the best epoch.
        mode: "min" where less is better, "max" where more is.
        min_delta: an improvement must be greater than this.
        best_only: save only when the value is the best so far.

    Raises:
        OptionError: at once for impossible values; when the run starts, for a `monitor` that it does not record.

    Example:
        >>> import lumbre as lb
        >>> keep = lb.callbacks.ModelCheckpoint("best.lumbre", monitor="valid_acc", mode="max")
    """

    def __init__(
        self,
        path: str | Path,
        *,
        monitor: str = "valid_loss",
        mode: str = "min",
        min_delta: float = 0.0,
        best_only: bool = True,
    ) -> None:
        self.path = str(path)
        self.best_only = best_only
        self._monitor = Monitor(monitor, mode, min_delta)

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh, and make sure of the folder before an epoch is spent."""
        self._monitor.begin(ctx)
        Path(self.path.format(epoch=1)).parent.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, ctx: Context) -> None:
        """Save, where the epoch deserves it."""
        if self._monitor.improved(ctx) or not self.best_only:
            ctx.save(self.path.format(epoch=ctx.epoch))
