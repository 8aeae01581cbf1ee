"""Stop when nothing gets better any more."""

from collections.abc import Mapping, Sequence
from typing import Any

from lumbre.base import at_least
from lumbre.callbacks._monitor import Monitor
from lumbre.callbacks._weights import give_back, say_of_lost, weights_of
from lumbre.core import Callback, Context


class EarlyStopping(Callback):
    """End the run when a value has not improved for some epochs.

    A run with `resume=` that it has ended goes on where more epochs are asked for, with the patience counted anew, or
    more patience. What has changed since in `monitor`, `mode`, `min_delta`, `baseline` or `start` counts for its
    earlier epochs, too: it waits as if it had been made so from the start (of another best epoch it has no weights).
    With `epochs=(fewest, most)` it waits for the fewest, and an improvement meanwhile starts the count anew. A value of
    NaN is no improvement.

    Args:
        monitor: set and metric to watch, such as "valid_loss" or "valid_acc".
        patience: epochs in a row without improvement after which the run ends, at least 1; with `valid_every` only
            those that are validated count.
        mode: "min" where less is better, "max" where more is; where not given, as the metric says.
        min_delta: an improvement must be greater than this.
        baseline: a value that must be beaten from the first epoch on.
        restore_best: at the end, give the model the weights of its best epoch; where none beat the baseline, it keeps
            its last.
        start: the first epoch that is looked at: what came before counts neither as best nor as waiting.

    Raises:
        OptionError: at once for impossible values; when the run starts, for a `monitor` that it does not record.

    Example:
        >>> import lumbre as lb
        >>> stop = lb.callbacks.EarlyStopping(patience=5, restore_best=True)
    """

    start = 1

    def __init__(
        self,
        monitor: str = "valid_loss",
        *,
        patience: int = 3,
        mode: str | None = None,
        min_delta: float = 0.0,
        baseline: float | None = None,
        restore_best: bool = False,
        start: int = 1,
    ) -> None:
        at_least(1, patience=patience)
        if start != self.start:  # what a callback was made with is compared with that of checkpoints older than this
            self.start = start
        self.monitor = monitor
        self.patience = patience
        self.restore_best = restore_best
        self._monitor = Monitor(monitor, mode, min_delta, baseline, start=start)
        self._waited = 0
        self._weights: dict[str, Any] | None = None
        self._best_epoch: int | None = None  # whose weights these are

    @property
    def watch(self) -> tuple[object, ...]:
        """What is watched, and how: callbacks for which this is equal take the same epoch for the best."""
        return self._monitor.watch

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh."""
        self._monitor.begin(ctx)
        self._waited = 0
        self._weights = self._best_epoch = None

    def on_epoch_end(self, ctx: Context) -> None:
        """Count the epochs without improvement."""
        if not self._monitor.looks(ctx):
            return
        if self._monitor.improved(ctx):
            self._waited = 0
            if self.restore_best:
                self._weights, self._best_epoch = weights_of(ctx), ctx.epoch
            return
        self._waited += 1
        if self.exhausted(self._waited) and ctx.epoch >= ctx.epochs[0]:
            ctx.stop(
                f"Early stopping at epoch {ctx.epoch} of {ctx.epochs[1]}: "
                f"{self._monitor.name} has not improved for {self._waited} epoch{'s' if self._waited > 1 else ''}."
            )

    def exhausted(self, waited: int) -> bool:
        """Whether so many epochs without improvement are the end."""
        return waited >= self.patience

    def wait_again(self) -> None:
        """Count anew, where a run goes on that this callback had ended."""
        if self.exhausted(self._waited):
            self._waited = 0

    def on_fit_end(self, ctx: Context) -> None:
        """Give the best weights back."""
        if self._weights is not None:
            give_back(ctx, self._weights, self._best_epoch)
            self._weights = None

    def waited(self, state: Mapping[str, Any], records: Sequence[Any], monitored: Mapping[str, bool | None]) -> int:
        """The epochs without improvement of a kept state, as this callback counts them.

        Args:
            state: what `state_dict()` gave; empty where there was no such callback.
            records: of the history that belongs to it.
            monitored: the names of values, and whether more of them is better.
        """
        if self._monitor.watched(state):
            return state.get("waited", 0)
        return _without(self._monitor.judged(records, monitored)[1])

    def judge_again(self, ctx: Context) -> None:
        """Count anew what came before, where this callback watches something else than when the run was stopped."""
        found = self._monitor.judge_again(ctx)
        if found is None:
            return
        self._waited = _without(found)
        best = max((epoch for epoch, better in found if better), default=None)
        if self.restore_best and best is not None and best != self._best_epoch:
            say_of_lost("EarlyStopping(restore_best=True)", best)
        self._weights = self._weights if best == self._best_epoch else None

    def state_dict(self) -> dict[str, Any]:
        """The best value, the epochs waited since, and the best weights with their epoch, where they are kept."""
        return {**self._monitor.state(), "waited": self._waited, "weights": self._weights, "epoch": self._best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a kept state."""
        self._monitor.load(state)
        self._waited, self._weights, self._best_epoch = state["waited"], state["weights"], state.get("epoch")


def _without(judged: list[tuple[int, bool]]) -> int:
    """How many epochs at the end were no improvement."""
    return next((at for at, (_, better) in enumerate(reversed(judged)) if better), len(judged))
