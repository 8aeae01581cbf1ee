"""The history of a run as a CSV file that grows with every epoch."""

import csv
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lumbre.base import OptionError, written_beside
from lumbre.callbacks._paths import folder_of_start
from lumbre.callbacks._values import epoch_values
from lumbre.core import Callback, Context


class CSVLog(Callback):
    """Write losses and metrics to a CSV file after each epoch: columns epoch, set, and one for each metric.

    A metric that a set does not have is an empty cell there; one that comes up later gets a new column, and the rows
    before have it empty. Numbers are written so that reading them gives the same bits. A full disk is a warning:
    training goes on, and the rows are written when there is room.

    Args:
        path: the file, from the working directory in which the run starts; one that is there is replaced when the
            first epoch is over.
        append: go on below the rows that are there.

    Raises:
        OptionError: when the run starts, for a file to append to that is no such log.

    Example:
        >>> import lumbre as lb
        >>> log = lb.callbacks.CSVLog("runs/history.csv")
    """

    everywhere = False

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.path = Path(path)
        self.append = append
        self._file = self.path
        self._columns: list[str] | None = None
        self._rows = 0
        self._kept: int | None = 0
        self._waiting: list[dict[str, Any]] = []
        self._warned = False

    def on_fit_begin(self, ctx: Context) -> None:
        """Make sure of the folder and of what is there."""
        self._file = folder_of_start(self.path) / self.path
        self._columns = None
        self._rows = 0
        self._waiting = []
        self._warned = False
        self._kept = None if self.append else 0  # rows to leave standing; None: all
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self.append and self._file.exists():
            columns = _read(self._file)[0]
            if columns and columns[:2] != ["epoch", "set"]:
                raise OptionError(
                    f"append=True to {self.path}, whose columns are {', '.join(columns)}",
                    "a file written by CSVLog, with the columns epoch, set, ...",
                    "another path, or append=False to replace it",
                )

    def on_epoch_end(self, ctx: Context) -> None:
        """Write a row for each set."""
        rows: list[dict[str, Any]] = [
            {"epoch": ctx.epoch, "set": set_name, **values} for set_name, values in epoch_values(ctx).items()
        ]
        self._waiting += rows
        try:
            self._write(self._waiting)
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{self.path} cannot be written: {error}. Training goes on, and the rows are written when the file "
                    "can be.",
                    UserWarning,
                    stacklevel=2,
                )
            return
        self._rows += len(self._waiting)
        self._waiting = []

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write rows below those that are there, all of them or none."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        if self._columns is None or not set(names) <= set(self._columns):
            self._rewrite(names)
        assert self._columns is not None
        size = self._file.stat().st_size
        try:
            with self._file.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns, restval="").writerows(rows)
        except OSError:
            with suppress(OSError):
                os.truncate(self._file, size)  # half a row must not stay
            raise

    def state_dict(self) -> dict[str, Any]:
        """How many rows belong to the epochs done, and those that could not be written yet."""
        return {"rows": self._rows, "waiting": list(self._waiting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on below those rows; what was written after them is written again."""
        self._kept, self._waiting = state["rows"], list(state.get("waiting", []))

    def _rewrite(self, names: list[str]) -> None:
        """The rows so far under a header with all columns, whole or not at all."""
        columns, rows = _read(self._file) if self._file.exists() and self._kept != 0 else ([], [])
        if self._columns is None:
            rows = rows[: self._kept]
        columns = [*columns, *(name for name in names if name not in columns)]
        with written_beside(self._file) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([*row, *[""] * (len(columns) - len(row))] for row in rows)
        self._kept, self._columns, self._rows = None, columns, len(rows)


def _read(path: Path) -> tuple[list[str], Sequence[list[str]]]:
    """Header and rows."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    return (lines[0], lines[1:]) if lines else ([], [])
