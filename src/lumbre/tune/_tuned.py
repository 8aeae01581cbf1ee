"""What a search found."""

import math
from typing import TYPE_CHECKING, Any

from lumbre._recipe import Recipe
from lumbre.base import OptionError, did_you_mean
from lumbre.core import format_value
from lumbre.preflight import Findings
from lumbre.tune._review import Ended, at_edges
from lumbre.tune._space import Parameter, settings

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial
    from plotnine import ggplot

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


class Tuned:
    """The trials of a search, and the best of them. `lumbre.tune` makes it.

    Attributes:
        study: Optuna's study, for its own plots and figures.
        monitor: the value that was compared.
        mode: "min" where less is better, "max" where more is.
    """

    def __init__(
        self,
        study: "optuna.Study",
        recipe: Recipe,
        parameters: list[Parameter],
        options: dict[str, Any],
        monitor: str,
        mode: str,
    ) -> None:
        self.study = study
        self.monitor = monitor
        self.mode = mode
        self._recipe = recipe
        self._parameters = parameters
        self._options = options

    @property
    def best(self) -> Recipe:
        """The recipe with the values of the best trial set: `tuned.best.fit(data, **tuned.best_options)` is its run.

        Raises:
            OptionError: no trial came to its end.
        """
        return settings(self._recipe, self._parameters, self._best().params)[0]

    @property
    def best_options(self) -> dict[str, Any]:
        """The options of `fit` of the best trial, those drawn and those given to `tune`, with the seed.

        Raises:
            OptionError: no trial came to its end.
        """
        return {**self._options, **settings(self._recipe, self._parameters, self._best().params)[1]}

    @property
    def best_value(self) -> float:
        """The monitored value of the best trial.

        Raises:
            OptionError: no trial came to its end.
        """
        value = self._best().value
        assert value is not None
        return value

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with a row for each trial.

        Columns: number (from 0); state ("complete", "pruned", "failed"; "running" and "waiting" where the search was
        interrupted); value (a pruned trial's last); one for each parameter; seconds; epochs; error (None where
        nothing went wrong).
        """
        import pandas as pd

        rows = [
            {
                "number": trial.number,
                "state": STATES[trial.state.name],
                "value": math.nan if trial.value is None else trial.value,
                **{one.label: trial.params.get(one.label) for one in self._parameters},
                "seconds": math.nan if trial.duration is None else trial.duration.total_seconds(),
                "epochs": max(trial.intermediate_values, default=0),
                "error": trial.user_attrs.get("error"),
            }
            for trial in self.study.get_trials(deepcopy=False)
        ]
        names = ["number", "state", "value", *(one.label for one in self._parameters), "seconds", "epochs", "error"]
        return pd.DataFrame(rows, columns=names)

    def plot(self, parameter: str | None = None) -> "ggplot":
        """The search in pictures, trials that were pruned told apart.

        Args:
            parameter: draw the value against this one alone. Without it, a panel shows the trials one after the
                other with the best value so far, and one panel for each parameter the value against it.

        Returns:
            A plotnine `ggplot` for one parameter, else a composition of them.

        Raises:
            OptionError: there is no such parameter, or no trial with a value.
            MissingExtraError: plotnine is not installed.
        """
        from lumbre.plots import plot_trial_parameter, plot_trials

        names = [one.label for one in self._parameters]
        if parameter is not None and parameter not in names:
            raise OptionError(
                f"plot({parameter!r})", f"one of {', '.join(names)}", f"{did_you_mean(parameter, names)}Or plot()"
            )
        frame, logs = self._drawn(), [one.label for one in self._parameters if one.log]
        if not frame["value"].notna().to_numpy().any():
            raise self._nothing()
        if parameter is not None:
            return plot_trial_parameter(frame, parameter, self.monitor, log=parameter in logs)
        return plot_trials(frame, names, self.monitor, self.mode, logs)

    def review(self) -> Findings:
        """Whether the best value of a parameter lies at an edge of its space, towards which trials get better (LB136).

        It is asked of ranges, and of three or more choices that are numbers. Nothing is computed anew; `print(tuned)`
        names the codes, too.

        Returns:
            Findings, as `recipe.check()` gives them; empty where all is well, or the trials are too few to say.
        """
        from optuna.trial import TrialState

        over = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        ended = [
            Ended(one.params, one.value if one.state == TrialState.COMPLETE else None)
            for one in over
            if one.value is None or math.isfinite(one.value)
        ]
        return Findings(list(at_edges(ended, self._parameters, self.mode)))

    def _drawn(self) -> "pd.DataFrame":
        """The frame with choices in the order of the space, which numbers among them would lose."""
        import pandas as pd

        frame = self.frame()
        drawn = [trial.params for trial in self.study.get_trials(deepcopy=False)]
        for one in self._parameters:
            if one.choices is not None:
                names = [str(label) for label in one.choices]
                values = [str(params[one.label]) if one.label in params else None for params in drawn]
                frame[one.label] = pd.Categorical(values, categories=names)
        return frame

    def _best(self) -> "FrozenTrial":
        from optuna.trial import TrialState

        complete = [
            trial
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if trial.value is not None
        ]
        if not complete:
            raise self._nothing()
        return (min if self.mode == "min" else max)(complete, key=lambda trial: trial.value or 0.0)

    def _interrupted(self) -> bool:
        """Whether no trial was over when the search was stopped: there is none, or all are those to be run again."""
        trials = self.study.get_trials(deepcopy=False)
        return all(not trial.state.is_finished() or trial.user_attrs.get("retried", False) for trial in trials)

    def _nothing(self) -> OptionError:
        trials = self.study.get_trials(deepcopy=False)
        if self._interrupted():
            return OptionError(
                f"a search that was interrupted before the first of {len(trials)} trials was over",
                "at least one trial with a value",
                "tune() again and let it run; with study=... it goes on where it stopped",
            )
        errors = [trial.user_attrs.get("error") for trial in trials if not trial.user_attrs.get("retried", False)]
        last = next((f"; the last error was {error}" for error in reversed(errors) if error), "")
        return OptionError(
            f"a search of {len(trials)} trials, of which none came to its end{last}",
            "at least one trial with a value",
            "tuned.frame() shows what went wrong; a narrower space may help",
        )

    def __repr__(self) -> str:
        states = [STATES[trial.state.name] for trial in self.study.get_trials(deepcopy=False)]
        counts = ", ".join(f"{states.count(state)} {state}" for state in STATES.values() if state in states)
        lines = [f"Tuned: {len(states)} trials ({counts or 'none'}), {self.monitor} ({self.mode})"]
        try:
            best = self._best()
        except OptionError:
            why = "interrupted before a trial was over" if self._interrupted() else "none came to its end"
            return f"{lines[0]}\n  {why}: see .frame()"
        lines.append(f"best: trial {best.number}, {self.monitor} {format_value(best.value)}")
        by_part: dict[str, list[str]] = {}
        for one in self._parameters:
            by_part.setdefault(one.part, []).append(f"{one.name}={shown(best.params[one.label])}")
        lines += [f"{part}: {', '.join(values)}" for part, values in by_part.items()]
        lines += [f"{one.code}: {one.received}; tuned.review() says more" for one in self.review()]
        return "\n  ".join(lines)


def shown(value: Any) -> str:
    """A drawn value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
