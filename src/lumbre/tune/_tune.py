"""The face of the search."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumbre._recipe import Recipe
from lumbre.base import OptionError, at_least, did_you_mean, import_extra
from lumbre.core import format_seconds, format_value
from lumbre.run import options_from
from lumbre.tune._space import read_space
from lumbre.tune._tuned import STATES, Tuned, shown

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from lumbre.tune._trials import Job

_MODES = ("min", "max")


def tune(
    recipe: Recipe,
    space: dict[str, dict[str, Any]],
    data: Any,
    *,
    trials: int = 20,
    monitor: str = "valid_loss",
    mode: str | None = None,
    study: str | Path | None = None,
    workers: int = 1,
    prune: bool = True,
    seed: int = 0,
    verbose: bool | None = None,
    **options: Any,
) -> Tuned:
    """Search for good hyper-parameters: fit again and again, and learn from each trial where to look next.

    A trial is `recipe.fit(data, seed=seed, **options)` with values drawn from `space`; what counts is the monitored
    value of its last epoch, or of its best one where `KeepBestModel` or `EarlyStopping(restore_best=True)` gives the
    model those weights. The first ten trials are drawn by chance, the others by TPE. The same seed gives the same
    trials, whether the search is stopped and resumed or not, as long as one worker runs it.

    Args:
        recipe: what to tune; its module is a class or a function, which each trial calls afresh.
        space: what to vary, by where it goes: "hparams" of the module, "opt_hparams" of the optimizer, options of
            "fit". A list holds choices; a pair (low, high) is a range, of whole numbers where both are;
            `lumbre.LogRange(low, high)` is a range on a logarithmic scale.
        data: as for `fit()`.
        trials: how many trials there are to be in the study, those of earlier calls and of other workers counted.
            Where every combination of choices and whole numbers has been tried, the search ends before.
        monitor: set and metric to compare, such as "valid_loss" or "valid_acc".
        mode: "min" where less is better, "max" where more is; None asks the loss or metric.
        study: a file to keep the trials in, where a later call goes on: SQLite (".db", ".sqlite", ".sqlite3") or a
            journal (".journal", ".log"), which also works on a network drive. Scripts that are started several
            times on the same file share the work. None keeps the trials in memory.
        workers: how many processes to work with. On Linux without a GPU they are forked, and compute with one
            thread each; elsewhere they are spawned: then the module must stand in a file, the call under
            `if __name__ == "__main__":`, and several GPUs are shared out.
        prune: give up a trial whose value is worse than the median of the others at the same epoch, after five
            trials and a fifth of the epochs.
        seed: of the draws and of every fit, so that trials differ by their parameters alone.
        verbose: print a line for each trial; on where not given.
        **options: of `fit()`, the same for every trial: epochs, valid_data, callbacks, ...

    Returns:
        The trials, with `.best`, `.best_options`, `.frame()`, `.plot()` and `.study`. Ctrl-C ends the search and gives
        back what was done.

    Raises:
        OptionError: the space, an option, or the study's file is not what it should be.
        RecipeError: module or optimizer do not take a parameter; or the first trials fail and none succeeds.
        LumbreError: the first trial fails for another reason that lies not in its parameters.
        MissingExtraError: optuna is not installed.

    Example:
        >>> import torch, lumbre as lb
        >>> from torch import nn, optim
        >>> x = torch.linspace(-1, 1, 64).reshape(64, 1)
        >>> recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
        >>> recipe = recipe.set_hparams(in_features=1, out_features=1)
        >>> space = {"opt_hparams": {"lr": lb.LogRange(1e-4, 0.5), "momentum": [0.0, 0.9]}}
        >>> tuned = lb.tune(
        ...     recipe, space, (x, 3 * x), trials=6, epochs=3, valid_data=0.25, verbose=False
        ... )
        >>> len(tuned.frame())
        6
        >>> fitted = tuned.best.fit((x, 3 * x), **tuned.best_options, verbose=False)
        >>> bool(fitted.history["value"].iloc[-1] == tuned.best_value)
        True
    """
    import_extra("optuna", "tune", "search for hyper-parameters")
    from lumbre.tune._study import check_path
    from lumbre.tune._trials import Job
    from lumbre.tune._workers import run

    at_least(1, trials=trials, workers=workers)
    if not isinstance(monitor, str):
        raise OptionError(f"monitor={monitor!r}", "a set and a metric, as text", 'monitor="valid_loss"')
    if not isinstance(seed, int):
        raise OptionError(f"seed={seed!r}", "a whole number", "seed=0")
    options_from(options)
    parameters = read_space(space, recipe, options)
    job = Job(
        recipe=recipe,
        parameters=parameters,
        data=data,
        options=options,
        monitor=monitor,
        mode=_mode(recipe, monitor, mode),
        trials=trials,
        prune=prune,
        seed=seed,
        path=check_path(study),
    )
    listener = None if verbose is False else partial(_say, job=job)
    found = run(job, workers, listener)
    return Tuned(found, recipe, parameters, {**options, "seed": seed}, job.monitor, job.mode)


def _mode(recipe: Recipe, monitor: str, mode: str | None) -> str:
    """Which way is better, from the metric where it was not said."""
    if mode is not None:
        if mode not in _MODES:
            raise OptionError(f"mode={mode!r}", '"min", "max" or None', f"{did_you_mean(str(mode), _MODES)}mode=None")
        return mode
    set_name, _, name = monitor.partition("_")
    if name == "loss" or name.startswith("loss_"):
        return "min"
    metrics = recipe.metrics.train if set_name == "train" else recipe.metrics.valid
    ways = {metric.name.lower(): metric.higher_is_better for metric in metrics}
    if name not in ways:
        known = [f"{set_name}_{each}" for each in ("loss", *ways)]
        raise OptionError(
            f"monitor={monitor!r}",
            f"a value of this recipe: {', '.join(known)}",
            f'{did_you_mean(monitor, known)}mode="min" or "max" for a value that a callback logs',
        )
    way = ways[name]
    if way is None:
        raise OptionError(
            f"monitor={monitor!r}, which does not say whether more is better", "a mode", 'mode="min" or mode="max"'
        )
    return "max" if way else "min"


def _say(trial: "FrozenTrial", best: bool, job: "Job") -> None:
    """Print a line for a trial that ended."""
    from rich.console import Console

    what = STATES[trial.state.name]
    if trial.value is not None:
        pruned = f", given up at epoch {max(trial.intermediate_values, default=0)}"
        note = pruned if what == "pruned" else ", the best so far" if best else ""
        what = f"{job.monitor} {format_value(trial.value)}{note}"
    elif "error" in trial.user_attrs:
        what = f"{what}: {trial.user_attrs['error']}"
    drawn = ", ".join(f"{name}={shown(value)}" for name, value in trial.params.items())
    took = "" if trial.duration is None else f" - {format_seconds(trial.duration.total_seconds())}"
    line = f"Trial {trial.number} of {job.trials}: {what} - {drawn}{took}"
    Console(soft_wrap=True).print(line, markup=False, highlight=False)
