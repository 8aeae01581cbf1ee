"""The history of a run for MLflow."""

from collections.abc import Mapping
from time import time
from typing import Any

from lumbre.base import import_extra
from lumbre.callbacks._paths import uri_of_start
from lumbre.callbacks._values import epoch_values
from lumbre.core import Callback, Context

_PARAMS_PER_CALL = 100  # MLflow's limit


class MLflow(Callback):
    """Log losses and metrics to an MLflow run after each epoch, in one request each.

    The names are "train/loss", "valid/loss", ..., the step is the epoch. Inside `with mlflow.start_run():` that run is
    used and left open; otherwise a run is made, and ended with the fit: as FINISHED, as KILLED after Ctrl-C, or as
    FAILED. Needs the package mlflow.

    Args:
        experiment: name of the experiment for a run that is made; an experiment of this name is made where there is
            none.
        run_name: a name for the run; MLflow makes one up where None.
        tracking_uri: where to, such as "sqlite:///mlflow.db" or a server's address, also where a run is open; MLflow's
            own setting, and a run that is open, where None.
        params: logged once as the run's parameters, for example `dict(recipe.hparams)`.

    Raises:
        MissingExtraError: when the run starts, where mlflow is not installed.

    Example:
        >>> import lumbre as lb
        >>> log = lb.callbacks.MLflow("penguins", params={"lr": 0.01})
    """

    everywhere = False

    def __init__(
        self,
        experiment: str = "Default",
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        params: Mapping[str, object] | None = None,
    ) -> None:
        self.experiment = experiment
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self.params = dict(params or {})
        self.run_id: str | None = None
        self._client: Any = None
        self._own = self._started = self._interrupted = False

    def on_fit_begin(self, ctx: Context) -> None:
        """Make sure of the package and of where it logs to."""
        mlflow = import_extra("mlflow", "mlflow", "log to MLflow")
        uri = self.tracking_uri
        self._client = mlflow.MlflowClient(None if uri is None else uri_of_start(uri))
        self.run_id = None
        self._own = self._started = self._interrupted = False

    def on_epoch_begin(self, ctx: Context) -> None:
        """Find or make the run: not before, for a fit that goes on later goes on with its own."""
        if self._started:
            return
        self._started = True
        if self.run_id is not None:
            self._client.update_run(self.run_id, "RUNNING")
            return
        mlflow = import_extra("mlflow", "mlflow", "log to MLflow")
        active = mlflow.active_run() if self.tracking_uri is None else None
        if active is not None:
            self.run_id = active.info.run_id
        else:
            self.run_id = self._client.create_run(self._experiment_id(), run_name=self.run_name).info.run_id
            self._own = True
        names = list(self.params)
        for first in range(0, len(names), _PARAMS_PER_CALL):
            some = names[first : first + _PARAMS_PER_CALL]
            params = [mlflow.entities.Param(name, str(self.params[name])) for name in some]
            self._client.log_batch(self.run_id, params=params)

    def on_epoch_end(self, ctx: Context) -> None:
        """Log the values of the epoch."""
        mlflow = import_extra("mlflow", "mlflow", "log to MLflow")
        now = int(time() * 1000)
        metrics = [
            mlflow.entities.Metric(f"{set_name}/{metric}", value, now, ctx.epoch)
            for set_name, values in epoch_values(ctx).items()
            for metric, value in values.items()
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def on_interrupt(self, ctx: Context) -> None:
        """Remember it for the run's status."""
        self._interrupted = True

    def on_fit_end(self, ctx: Context) -> None:
        """End the run, if it is ours."""
        if self._own and self.run_id is not None:
            self._client.set_terminated(self.run_id, "KILLED" if self._interrupted else "FINISHED")

    def on_failure(self, ctx: Context) -> None:
        """End the run as failed, if it is ours."""
        if self._own and self.run_id is not None:
            self._client.set_terminated(self.run_id, "FAILED")

    def state_dict(self) -> dict[str, Any]:
        """Which run it is."""
        return {"run_id": self.run_id, "own": self._own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that run."""
        self.run_id, self._own = state["run_id"], state["own"]

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        return found.experiment_id if found is not None else self._client.create_experiment(self.experiment)
