"""Where the seconds of an epoch go."""

from time import perf_counter
from typing import TYPE_CHECKING

from lumbre.core import Callback, Context

if TYPE_CHECKING:
    import pandas as pd


class Timings(Callback):
    """Measure, for each epoch, the seconds spent waiting for data, in steps, in validation and in everything else.

    `fitted.timings` holds the seconds of training and validation; this tells what training spends them on. A large
    share of waiting asks for `num_workers` or data in memory. On a GPU, whose work goes on beside the program, a step
    counts the seconds that the program spends on it, and what the GPU is behind at the end counts as rest.

    Give it last: what other callbacks do at a batch counts as a step where they come before it, else as waiting.

    Attributes:
        epochs: by epoch, `data_seconds` (waiting for batches), `step_seconds` (forward, backward, update, metrics),
            `valid_seconds` (validation), `rest_seconds` (the rest of the epoch: callbacks, values of metrics) and
            `epoch_seconds` (their sum).

    Example:
        >>> import lumbre as lb
        >>> timings = lb.callbacks.Timings()
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._data = self._step = self._valid = 0.0
        self._began = self._mark = 0.0

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh."""
        self.epochs = []

    def on_epoch_begin(self, ctx: Context) -> None:
        """Start the clock."""
        self._data = self._step = self._valid = 0.0
        self._began = perf_counter()

    def on_train_begin(self, ctx: Context) -> None:
        """Waiting begins."""
        self._mark = perf_counter()

    def on_train_batch_begin(self, ctx: Context) -> None:
        """The batch is here."""
        now = perf_counter()
        self._data += now - self._mark
        self._mark = now

    def on_train_batch_end(self, ctx: Context) -> None:
        """The step is done."""
        now = perf_counter()
        self._step += now - self._mark
        self._mark = now

    def on_valid_begin(self, ctx: Context) -> None:
        """Validation begins."""
        self._mark = perf_counter()

    def on_valid_end(self, ctx: Context) -> None:
        """Validation is done."""
        self._valid = perf_counter() - self._mark

    def on_epoch_end(self, ctx: Context) -> None:
        """Write the epoch down."""
        total = perf_counter() - self._began
        self.epochs.append(
            {
                "data_seconds": self._data,
                "step_seconds": self._step,
                "valid_seconds": self._valid,
                "rest_seconds": total - self._data - self._step - self._valid,
                "epoch_seconds": total,
            }
        )

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with a row for each epoch of this run, counted from 1."""
        import pandas as pd

        frame = pd.DataFrame(self.epochs)
        frame.insert(0, "epoch", range(1, len(frame) + 1))
        return frame
