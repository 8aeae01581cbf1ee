"""What a worker does: take a trial, fit, report each epoch, tell the study what came of it; and again."""

import copy
import math
import multiprocessing
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.trial import FrozenTrial, TrialState

from lumbre._recipe import PreflightWarning, Recipe
from lumbre.base import LumbreError, NonFiniteLossError, RecipeError
from lumbre.callbacks import EarlyStopping, KeepBestModel, Monitor
from lumbre.core import Callback, Context
from lumbre.run import callback_list
from lumbre.tune._space import Parameter, settings
from lumbre.tune._study import Draws, Search, distributions

Listener: TypeAlias = Callable[[FrozenTrial, bool], None]

_HOPELESS = 3
_WARM_UP_SHARE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker needs to know.

    Attributes:
        recipe: what is tuned.
        parameters: what varies.
        data: what `fit` trains on.
        options: of `fit`, the same for every trial.
        monitor: the value that is compared.
        mode: "min" or "max".
        trials: how many there are to be in all.
        prune: whether trials are given up early.
        seed: of the draws, and of every fit.
        path: the study's file; None for one in memory.
        worker: the worker's name in the study.
    """

    recipe: Recipe
    parameters: list[Parameter]
    data: Any
    options: dict[str, Any]
    monitor: str
    mode: str
    trials: int
    prune: bool
    seed: int
    path: Path | None
    worker: str = field(default_factory=lambda: uuid.uuid4().hex)

    def open(self) -> Search:
        """The study of this job, made where there is none."""
        space = distributions(self.parameters)
        epochs = self.options.get("epochs", 10)
        most = max(epochs) if isinstance(epochs, tuple) else epochs
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1 + most // _WARM_UP_SHARE)
        return Search(
            self.path,
            {"monitor": self.monitor, "mode": self.mode, "space": {name: str(one) for name, one in space.items()}},
            self.mode,
            Draws(space, self.seed),
            pruner if self.prune else optuna.pruners.NopPruner(),
            self.trials,
        )


class Reporter(Callback):
    """Tells the study each epoch's value, and ends the run where the pruner gives it up.

    Args:
        trial: the trial that runs.
        monitor: the value's name.
        mode: "min" or "max".
        wanted: whether somebody still waits for the result.

    Attributes:
        values: what was reported.
        outcome: "pruned"; "interrupted" by Ctrl-C, or because nobody waits; "taken" by another worker, which thought
            this one dead; or None where the run came to its end.
    """

    def __init__(self, trial: optuna.Trial, monitor: str, mode: str, wanted: Callable[[], bool]) -> None:
        self.values: list[float] = []
        self.outcome: str | None = None
        self._trial = trial
        self._monitor = Monitor(monitor, mode)
        self._wanted = wanted

    def on_fit_begin(self, ctx: Context) -> None:
        """Check that this run records the value."""
        self._monitor.begin(ctx)

    def on_epoch_end(self, ctx: Context) -> None:
        """Report, and ask whether to go on."""
        if not self._monitor.looks(ctx):
            return
        value = self._monitor.value(ctx)
        self.values.append(value)
        try:
            self._trial.report(value, ctx.epoch)
        except optuna.exceptions.UpdateFinishedTrialError:
            self._stop(ctx, "taken")
            return
        if not self._wanted():
            self._stop(ctx, "interrupted")
        elif ctx.stop_reason is None and ctx.epoch < ctx.epochs[1] and self._trial.should_prune():
            self._stop(ctx, "pruned")

    def on_interrupt(self, ctx: Context) -> None:
        """Ctrl-C: the run returns, and the search with it."""
        self.outcome = "interrupted"

    def _stop(self, ctx: Context, outcome: str) -> None:
        self.outcome = outcome
        ctx.stop(f"The trial ended at epoch {ctx.epoch}: {outcome}.")


def work(job: Job, search: Search, listener: Listener | None = None) -> bool:
    """Run trials until no more are to be begun; whether it came to that, and was not interrupted.

    Args:
        job: what to do.
        search: its study.
        listener: hears of every trial that ended, and whether it is the best so far.

    Raises:
        LumbreError: trials fail, and it seems that all would.
    """
    space = distributions(job.parameters)
    parent = multiprocessing.parent_process()
    wanted = parent.is_alive if parent is not None else lambda: True
    with warnings.catch_warnings():
        while wanted():
            trial = search.take(space, job.worker)
            if trial is None:
                return True
            with search.beating(trial):
                if not _run(job, search, trial, wanted):
                    search.lose_all_of(job.worker, "interrupted", again=True)
                    return False
            warnings.simplefilter("ignore", PreflightWarning)  # the first trial has shown them
            if listener is not None:
                ended = search.study.get_trials(deepcopy=False)[trial.number]
                listener(ended, search.is_best(ended))
    return False


def _run(job: Job, search: Search, trial: optuna.Trial, wanted: Callable[[], bool]) -> bool:
    """Run a trial, and tell the study what came of it; False where it was interrupted."""
    recipe, drawn = settings(job.recipe, job.parameters, trial.params)
    options = {**job.options, **drawn}
    callbacks = copy.deepcopy(callback_list(options.pop("callbacks", ())))  # each trial begins with fresh ones
    reporter = Reporter(trial, job.monitor, job.mode, wanted)
    try:
        recipe.fit(job.data, **options, callbacks=[*callbacks, reporter], seed=job.seed, verbose=False)
    except KeyboardInterrupt:
        return False
    except Exception as error:
        _fail(search, trial, error)
        return True
    if reporter.outcome == "interrupted":
        return False
    if reporter.outcome == "pruned":
        search.tell(trial, state=TrialState.PRUNED)
    elif reporter.outcome is None:
        value = _value(reporter.values, callbacks, job)
        if math.isnan(value):
            search.fail(trial, f"{job.monitor} is NaN")
        else:
            search.tell(trial, value)
    return True


def _value(values: list[float], callbacks: list[Callback], job: Job) -> float:
    """The value of the weights that the model ends with: the last epoch's, or the best where those are given back."""
    restored = [
        callback.monitor
        for callback in callbacks
        if isinstance(callback, KeepBestModel) or (isinstance(callback, EarlyStopping) and callback.restore_best)
    ]
    if job.monitor not in restored:
        return values[-1]
    numbers = [value for value in values if not math.isnan(value)]
    return (min if job.mode == "min" else max)(numbers, default=math.nan)


def _fail(search: Search, trial: optuna.Trial, error: Exception) -> None:
    """Record that a trial failed.

    Raises:
        LumbreError: nothing has succeeded so far, and the error does not come from the parameters that were drawn, or
            has come again and again.
    """
    said = error.received if isinstance(error, LumbreError) else str(error).partition("\n")[0]
    text = f"{type(error).__name__}: {said}"
    search.fail(trial, text)
    if isinstance(error, NonFiniteLossError) or search.succeeded:
        return
    if isinstance(error, LumbreError):
        raise error
    if len(search.failures()) >= _HOPELESS:
        raise RecipeError(
            f"{_HOPELESS} trials that failed, and none that succeeded; the last with {text}",
            "a recipe that can be fitted with the parameters drawn",
            "mend it until recipe.fit(...) works with values from the space; the original error stands above",
        ) from error
