"""The watch over one value of the history: which way is better, and whether it got better."""

import math
from collections.abc import Mapping, Sequence

from lumbre.base import OptionError, at_least, did_you_mean, one_of, only_numbers
from lumbre.core import Context

MODES = ("min", "max")
TIES = ("first", "last")


class Monitor:
    """Follows one value from epoch to epoch.

    Args:
        name: set and metric, such as "valid_loss".
        mode: "min" where less is better, "max" where more is; None asks the metric.
        min_delta: a change counts only when it is greater than this.
        baseline: what must be beaten from the start on.
        start: the first epoch that is looked at.
        ties: which of equal values is the best, the "first" or the "last".
    """

    def __init__(
        self,
        name: str,
        mode: str | None,
        min_delta: float = 0.0,
        baseline: float | None = None,
        *,
        start: int = 1,
        ties: str = "first",
    ) -> None:
        at_least(1, start=start)
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f"a {type(name).__name__} as monitor", "the name of a value", 'monitor="valid_loss", or "valid_acc"'
            )
        one_of("ties", ties, TIES, fix='ties="last"')
        if mode is not None:
            one_of("mode", mode, MODES, fix='mode="min" for a loss')
        only_numbers("zero or more", 0.001, lambda value: value >= 0, min_delta=min_delta)
        only_numbers(baseline=baseline)
        self.name = name
        # Not `mode`, `start` and `ties`: what a callback was made with, by these names, is compared with that of older
        # checkpoints.
        self._given = mode
        self.direction = mode or "min"
        self._min_delta = min_delta
        self._baseline = baseline
        self._first_epoch = start
        self._which = ties
        self.best: float | None = baseline
        self.other = False

    @property
    def watch(self) -> tuple[object, ...]:
        """What it was made with."""
        return self.name, self._given, self._min_delta, self._baseline, self._first_epoch, self._which

    def begin(self, ctx: Context) -> None:
        """Forget the last run, and check the name against what this run will record."""
        self.best = self._baseline
        if self.name not in ctx.monitored and not (self._given and ctx.may_record(self.name)):
            hint = did_you_mean(self.name, ctx.monitored)
            if self.name.startswith("valid_") and not any(name.startswith("valid_") for name in ctx.monitored):
                hint = "Pass valid_data=0.2 to fit(); "
            logged = '; or mode="min" or "max" for a value that a callback logs' if ctx.may_record(self.name) else ""
            raise OptionError(
                f"monitor={self.name!r}",
                f"a value that this run records: {', '.join(ctx.monitored)}",
                f'{hint}monitor="{next(iter(ctx.monitored), "valid_loss")}"{logged}',
            )
        self.direction = self._given or self._known_mode(ctx)

    def _known_mode(self, ctx: Context) -> str:
        """Which way is better, as the metric says."""
        higher = ctx.monitored[self.name]
        if higher is None:
            raise OptionError(
                f"monitor={self.name!r}, which does not say whether more or less of it is better",
                '"min" where less is better, "max" where more is',
                f'monitor={self.name!r}, mode="max"',
            )
        return "max" if higher else "min"

    def looks(self, ctx: Context) -> bool:
        """Whether the epoch is looked at: the first of these or a later one, and validated where that is watched."""
        left_out = self.name.startswith("valid_") and self.name in ctx.monitored
        return ctx.epoch >= self._first_epoch and not (left_out and self.name not in ctx.history.last())

    def value(self, ctx: Context) -> float:
        """The epoch's value."""
        values = ctx.history.last()
        value = values.get(self.name)
        if self.name not in values and self.name not in ctx.monitored:
            raise OptionError(
                f"monitor={self.name!r}, which nothing has logged in epoch {ctx.epoch}",
                f"a value in every epoch, logged before the end of it is heard here: {', '.join(values)}",
                f'{did_you_mean(self.name, values)}ctx.log("{self.name.partition("_")[2]}", ...) in on_train_end or '
                "on_valid_end; or in on_epoch_end of a callback that stands before this one",
            )
        if not isinstance(value, (int, float)):
            raise OptionError(
                f"monitor={self.name!r}, whose value is {value!r}",
                "a single number",
                'another value, such as "valid_loss"',
            )
        return float(value)

    def improved(self, ctx: Context) -> bool:
        """Take in the epoch's value; whether it is the best so far by more than `min_delta`, or a tie that wins."""
        if not self.looks(ctx):
            return False
        value = self.value(ctx)
        if self._better(value, self.best, self.direction):
            self.best = value
            return True
        return False

    def _better(self, value: float, best: float | None, direction: str) -> bool:
        if math.isnan(value):
            return False
        sign = -1.0 if direction == "max" else 1.0
        better = best is None or sign * (best - value) > self._min_delta
        return better or (self._which == "last" and value == best)

    def judged(
        self, records: Sequence[Sequence[object]], monitored: Mapping[str, bool | None]
    ) -> tuple[float | None, list[tuple[int, bool]]]:
        """What it would have made of the epochs of a history: the best value, and which epochs were better.

        Args:
            records: of a history.
            monitored: the names of values, and whether more of them is better.
        """
        direction = self._given or ("max" if monitored.get(self.name) else "min")
        best, found = self._baseline, list[tuple[int, bool]]()
        for set_name, metric, epoch, value in records:
            if f"{set_name}_{metric}" != self.name or not isinstance(value, (int, float)):
                continue
            if not isinstance(epoch, int) or epoch < self._first_epoch:
                continue
            better = self._better(float(value), best, direction)
            best = float(value) if better else best
            found.append((epoch, better))
        return best, found

    def state(self) -> dict[str, object]:
        """The best value, and what was watched."""
        return {"best": self.best, "watch": list(self.watch)}

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from a kept state; where something else was watched then, `judge_again` comes next."""
        self.best = state["best"]  # pyright: ignore[reportAttributeAccessIssue]
        self.other = not self.watched(state)

    def watched(self, state: Mapping[str, object]) -> bool:
        """Whether a kept state is of this watch; states of older checkpoints do not say it."""
        return state.get("watch", list(self.watch)) == list(self.watch)

    def judge_again(self, ctx: Context) -> list[tuple[int, bool]] | None:
        """Judge the epochs of a run that goes on anew, where something else was watched before: each with whether it
        was better; None where nothing has changed."""
        if not self.other:
            return None
        self.other = False
        self.best, found = self.judged(ctx.history.records, ctx.monitored)
        return found
