"""The history of a run for TensorBoard."""

from pathlib import Path
from typing import Any

from lumbre.base import import_extra
from lumbre.callbacks._paths import folder_of_start
from lumbre.callbacks._values import epoch_values
from lumbre.core import Callback, Context


class TensorBoard(Callback):
    """Write losses and metrics after each epoch to event files, which the program `tensorboard --logdir` shows.

    The tags are "train/loss", "valid/loss", "train/acc", ..., the step is the epoch. Needs the package tensorboardX.

    Args:
        path: the folder of the event files. Give each run one of its own, side by side in another: "runs/first".
        histograms: write the distribution of each parameter too, as "weights/" and its name.

    Raises:
        MissingExtraError: when the run starts, where tensorboardX is not installed.

    Example:
        >>> import lumbre as lb
        >>> board = lb.callbacks.TensorBoard("runs/first", histograms=True)
    """

    everywhere = False

    def __init__(self, path: str | Path = "runs", *, histograms: bool = False) -> None:
        self.path = Path(path)
        self._folder = self.path
        self.histograms = histograms
        self._writer: Any = None

    def on_fit_begin(self, ctx: Context) -> None:
        """Make sure of the package, and of where the folder is."""
        import_extra("tensorboardX", "tensorboard", "write event files for TensorBoard")
        self._folder = folder_of_start(self.path) / self.path
        self._writer = None

    def on_epoch_end(self, ctx: Context) -> None:
        """Write the values of the epoch."""
        if self._writer is None:
            package = import_extra("tensorboardX", "tensorboard", "write event files for TensorBoard")
            # A run that goes on at a later epoch hides what was written of it before it was cut.
            self._writer = package.SummaryWriter(str(self._folder), purge_step=ctx.epoch if ctx.epoch > 1 else None)
        for set_name, values in epoch_values(ctx).items():
            for metric, value in values.items():
                self._writer.add_scalar(f"{set_name}/{metric}", value, ctx.epoch)
        if self.histograms:
            for name, parameter in ctx.named_parameters().items():
                values = parameter.detach().float().cpu()
                values = values[values.isfinite()]
                if values.numel():
                    self._writer.add_histogram(f"weights/{name}", values.numpy(), ctx.epoch)
        self._writer.flush()

    def on_fit_end(self, ctx: Context) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
