"""End a run with the weights of its best epoch."""

from typing import Any

from lumbre.callbacks._monitor import Monitor
from lumbre.callbacks._weights import give_back, say_of_lost, weights_of
from lumbre.core import Callback, Context


class KeepBestModel(Callback):
    """Keep the weights of the best epoch in memory, and give them to the model at the end of the run.

    A loss that is a module gets back what it had learned by then, too.

    The copy lies on the CPU. It comes back also when the run was interrupted. Where no epoch had a number that could be
    compared (all were NaN), the model keeps its last weights. A run that goes on with another `monitor`, `mode` or
    `min_delta` judges its earlier epochs anew; of another best epoch it has no weights, which a warning says.

    Args:
        monitor: set and metric that tell the best epoch.
        mode: "min" where less is better, "max" where more is; where not given, as the metric says.
        min_delta: an improvement must be greater than this.
        start: the first epoch that is looked at.
        ties: which of epochs with equal values is kept, the "first" or the "last".

    Attributes:
        best_epoch: the epoch whose weights are kept; None before the first.

    Raises:
        OptionError: at once for impossible values; when the run starts, for a `monitor` that it does not record.

    Example:
        >>> import lumbre as lb
        >>> keep = lb.callbacks.KeepBestModel("valid_acc")
    """

    start = 1
    ties = "first"

    def __init__(
        self,
        monitor: str = "valid_loss",
        *,
        mode: str | None = None,
        min_delta: float = 0.0,
        start: int = 1,
        ties: str = "first",
    ) -> None:
        self.monitor = monitor
        if start != self.start:
            self.start = start
        if ties != self.ties:
            self.ties = ties
        self._monitor = Monitor(monitor, mode, min_delta, start=start, ties=ties)
        self._weights: dict[str, Any] | None = None
        self.best_epoch: int | None = None

    @property
    def watch(self) -> tuple[object, ...]:
        """What is watched, and how: callbacks for which this is equal take the same epoch for the best."""
        return self._monitor.watch

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh."""
        self._monitor.begin(ctx)
        self._weights = self.best_epoch = None

    def on_epoch_end(self, ctx: Context) -> None:
        """Copy the weights, where the epoch is the best so far."""
        if self._monitor.improved(ctx):
            self._weights, self.best_epoch = weights_of(ctx), ctx.epoch

    def on_fit_end(self, ctx: Context) -> None:
        """Give the best weights back."""
        if self._weights is not None:
            give_back(ctx, self._weights, self.best_epoch)
            self._weights = None

    def judge_again(self, ctx: Context) -> None:
        """Judge what came before anew, where this callback watches something else than when the run was stopped."""
        found = self._monitor.judge_again(ctx)
        if found is None:
            return
        best = max((epoch for epoch, better in found if better), default=None)
        if best != self.best_epoch:
            self._weights = self.best_epoch = None
            if best is not None:
                say_of_lost("KeepBestModel", best)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and its weights."""
        return {**self._monitor.state(), "best_epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a kept state."""
        self._monitor.load(state)
        self.best_epoch, self._weights = state["best_epoch"], state["weights"]
