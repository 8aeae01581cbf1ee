"""The history of a run for Weights & Biases."""

from collections.abc import Mapping
from typing import Any

from lumbre.base import import_extra
from lumbre.callbacks._paths import folder_of_start
from lumbre.callbacks._values import epoch_values
from lumbre.core import Callback, Context


class WandB(Callback):
    """Log losses and metrics to a Weights & Biases run after each epoch.

    The names are "train/loss", "valid/loss", ..., the step is the epoch. A run that the program has begun with
    `wandb.init()` is used and left open; otherwise one is made, and finished with the fit. Needs the package wandb.

    Args:
        project: name of the project; W&B's own setting where None.
        name: a name for the run; W&B makes one up where None.
        mode: "online", "offline" (writes to the folder ./wandb, for `wandb sync` later) or "disabled"; W&B's own
            setting where None.
        config: stored with the run, for example `dict(recipe.hparams)`.
        **options: passed on to `wandb.init`, for example `dir=`, `group=`, `tags=`.

    Raises:
        MissingExtraError: when the run starts, where wandb is not installed.

    Example:
        >>> import lumbre as lb
        >>> log = lb.callbacks.WandB("penguins", mode="offline", config={"lr": 0.01})
    """

    everywhere = False

    def __init__(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        mode: str | None = None,
        config: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        self._options = {"project": project, "name": name, "mode": mode, "config": dict(config or {}), **options}
        self._folder: dict[str, str] = {}
        self.run_id: str | None = None
        self._run: Any = None
        self._own = False

    def on_fit_begin(self, ctx: Context) -> None:
        """Make sure of the package."""
        import_extra("wandb", "wandb", "log to Weights & Biases")
        self.run_id = self._run = None
        self._own = False
        folder: Any = self._options.get("dir")
        self._folder = {} if folder is None else {"dir": str(folder_of_start(folder) / folder)}

    def on_epoch_begin(self, ctx: Context) -> None:
        """Find or make the run: not before, for a fit that goes on later goes on with its own."""
        if self._run is not None:
            return
        wandb = import_extra("wandb", "wandb", "log to Weights & Biases")
        self._own = wandb.run is None
        if self._own:
            again: dict[str, Any] = {} if self.run_id is None else {"id": self.run_id, "resume": "allow"}
            self._run = wandb.init(**{**self._options, **self._folder, **again})
        else:
            self._run = wandb.run
        self.run_id = self._run.id

    def on_epoch_end(self, ctx: Context) -> None:
        """Log the values of the epoch."""
        values = {
            f"{set_name}/{metric}": value
            for set_name, of_set in epoch_values(ctx).items()
            for metric, value in of_set.items()
        }
        self._run.log({"epoch": ctx.epoch, **values}, step=ctx.epoch if self._own else None)

    def on_fit_end(self, ctx: Context) -> None:
        """Finish the run, if it is ours."""
        if self._run is not None and self._own:
            self._run.finish()
        self._run = None

    def on_failure(self, ctx: Context) -> None:
        """Finish the run as failed, if it is ours."""
        if self._run is not None and self._own:
            self._run.finish(exit_code=1)
        self._run = None

    def state_dict(self) -> dict[str, Any]:
        """Which run it is."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that run."""
        self.run_id = state["run_id"]
