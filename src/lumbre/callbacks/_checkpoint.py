"""Keep models of a run in files."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from lumbre.base import ArchiveError, OptionError, at_least, did_you_mean
from lumbre.callbacks._monitor import Monitor
from lumbre.callbacks._paths import folder_of_start
from lumbre.core import Callback, Context
from lumbre.storage import CheckpointWarning


class ModelCheckpoint(Callback):
    """Save the model after each epoch that is the best so far (or after every epoch), for `lumbre.load`.

    A file that cannot be written is a warning, and training goes on; files are whole or not there.

    Args:
        path: the file. `{epoch}` and the names of recorded values stand for what the epoch came to, with a format where
            wanted: "runs/{epoch:02d}-{valid_loss:.3f}.lumbre". A path that ends in "/" is a folder for files named by
            epoch and monitored value, such as "epoch-03-valid_loss-0.125.lumbre".
        monitor: set and metric that tell the best epoch.
        mode: "min" where less is better, "max" where more is; where not given, as the metric says.
        min_delta: an improvement must be greater than this.
        best_only: save only when the value is the best so far. With `valid_every`, an epoch whose file would be named
            by a validation that it has not is left out in any case.
        keep: how many of the files to keep: the newest, which with `best_only` are the best. Older ones are removed,
            but only those that this run wrote. None keeps all.

    Raises:
        OptionError: at once for impossible values; when the run starts, for a `monitor` or a name in `path` that it
            does not record.

    Example:
        >>> import lumbre as lb
        >>> keep = lb.callbacks.ModelCheckpoint("best.lumbre", monitor="valid_acc")
        >>> last_three = lb.callbacks.ModelCheckpoint(
        ...     "runs/{epoch:03d}.lumbre", best_only=False, keep=3
        ... )
    """

    def __init__(
        self,
        path: str | Path,
        *,
        monitor: str = "valid_loss",
        mode: str | None = None,
        min_delta: float = 0.0,
        best_only: bool = True,
        keep: int | None = None,
    ) -> None:
        self.path = str(path)
        if self.path.endswith("/"):
            self.path += f"epoch-{{epoch:02d}}-{monitor}-{{{monitor}:.3f}}.lumbre"
        at_least(1, keep=keep)
        self.best_only = best_only
        self.keep = keep
        self._fields = _fields(self.path)
        self._folder = Path()
        if keep is not None and keep > 1 and not self._fields:
            raise OptionError(
                f"keep={keep} of a single file, {self.path!r}",
                "a path that differs from epoch to epoch",
                'a path with the epoch in it, such as "runs/{epoch:03d}.lumbre"',
            )
        self._monitor = Monitor(monitor, mode, min_delta)
        self._written: list[dict[str, Any]] = []

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh, and make sure of names and folder before an epoch is spent."""
        self._written = []
        self._folder = folder_of_start(self.path)
        if self.best_only or self._monitor.name in self._fields:
            self._monitor.begin(ctx)
        known = ("epoch", *ctx.monitored)
        for name in self._fields:
            if name not in known and not ctx.may_record(name):
                raise OptionError(
                    f"{{{name}}} in the path {self.path!r}",
                    f"the epoch or a value that this run records: {', '.join(known)}",
                    f"{did_you_mean(name, known)}Correct or remove it",
                )
        self._file({**dict.fromkeys([*ctx.monitored, *self._fields], 1.0), "epoch": 1}).parent.mkdir(
            parents=True, exist_ok=True
        )

    def on_epoch_end(self, ctx: Context) -> None:
        """Save, where the epoch deserves it."""
        if self.best_only and not self._monitor.improved(ctx):
            return
        values = {**ctx.history.last(), "epoch": ctx.epoch}
        if not all(Monitor(name, "min").looks(ctx) for name in self._fields):
            return  # its name tells of a validation that was left out
        kept = {name: values[name] if name in values else Monitor(name, "min").value(ctx) for name in self._fields}
        file = self._file(kept)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            ctx.save(file)
        except ArchiveError as error:
            warnings.warn(
                f"the model of epoch {ctx.epoch} could not be saved: {error.received}. Training goes on; files that "
                "were saved before are whole.",
                CheckpointWarning,
                stacklevel=2,
            )
            return
        self._written = [one for one in self._written if self._file(one) != file] + [kept]
        while self.keep is not None and len(self._written) > self.keep:
            self._file(self._written.pop(0)).unlink(missing_ok=True)

    def judge_again(self, ctx: Context) -> None:
        """Judge what came before anew, where this callback watches something else than when the run was stopped."""
        self._monitor.judge_again(ctx)

    def state_dict(self) -> dict[str, Any]:
        """The best value, and the values that name the files written. Files are not kept by path, so that no path in a
        stored state can be removed."""
        return {**self._monitor.state(), "written": self._written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a kept state, in which names of files are made of numbers: of no other path."""
        written = [dict(one) for one in state["written"]]
        for one in written:
            if set(one) != set(self._fields) or not all(isinstance(value, (int, float)) for value in one.values()):
                raise ValueError(f"{one} names no file that this callback has written")
        self._monitor.load(state)
        self._written = written

    def _file(self, values: Mapping[str, Any]) -> Path:
        try:
            return self._folder / Path(Formatter().vformat(self.path, (), values))
        except (ValueError, TypeError, LookupError) as error:
            raise _no_template(self.path, error) from error


def _fields(path: str) -> list[str]:
    """The names in braces."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(path) if name is not None]
    except ValueError as error:
        raise _no_template(path, error) from error
    for name in names:
        if not name or any(sign in name for sign in ".["):
            raise _no_template(path, ValueError(f"{{{name}}} is no plain name"))
    return list(dict.fromkeys(names))


def _no_template(path: str, error: Exception) -> OptionError:
    return OptionError(
        f"the path {path!r}, which cannot be filled in: {error}",
        "a path with names and formats in braces",
        '"runs/{epoch:02d}-{valid_loss:.3f}.lumbre"; {{ and }} stand for braces themselves',
    )
