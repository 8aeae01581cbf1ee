"""What happened in a run: losses and metrics by epoch, and where the seconds went."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from torch import Tensor

from lumbre.base import OptionError, describe

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class History:
    """Values by epoch, set ("train", "valid") and metric, in the order in which they came.

    Attributes:
        records: (set, metric, epoch, value) rows; epochs count from 1.
        train_seconds: seconds of training of each epoch.
        valid_seconds: seconds of validation of each epoch; empty without validation data.
        fit_seconds: seconds of the whole run.
        phase_seconds: seconds by what was done: "data" (waiting for batches), "step", "metrics", "callbacks",
            "validation". On a GPU the time of a step shows where the host waits for it.
        kept: the epoch whose weights the model was given back at the end; None where it has those of the last.
    """

    # Not a field: it belongs to the run at hand, and stands in no file.
    interrupted = False

    records: list[tuple[str, str, int, Any]] = field(default_factory=list[tuple[str, str, int, Any]])
    train_seconds: list[float] = field(default_factory=list[float])
    valid_seconds: list[float] = field(default_factory=list[float])
    fit_seconds: float = 0.0
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    kept: int | None = None

    def lap(self, phase: str, since: float) -> float:
        """Book the time from `since` until now under `phase`; gives now."""
        now = perf_counter()
        self.phase_seconds[phase] = self.phase_seconds.get(phase, 0.0) + now - since
        return now

    def add(self, epoch: int, set_name: str, values: Mapping[str, object]) -> None:
        """Append the values of one pass; tensors and arrays become Python's numbers and lists, which files can hold.

        Raises:
            OptionError: a value is no number, list or dict of numbers.
        """
        self.records.extend((set_name, name, epoch, _recorded(name, value)) for name, value in values.items())

    @property
    def epochs(self) -> int:
        """The last epoch with a record."""
        return max((record[2] for record in self.records), default=0)

    def last(self, set_name: str | None = None) -> dict[str, Any]:
        """The newest epoch's values: `{"loss": ...}` of one set, or `{"train_loss": ...}` of all."""
        return self._values(None, set_name)

    def of_model(self, set_name: str | None = None) -> dict[str, Any]:
        """The same of the epoch whose weights the model has: the newest, unless an earlier one was kept."""
        return self._values(self.kept, set_name)

    def _values(self, epoch: int | None, set_name: str | None) -> dict[str, Any]:
        return {
            metric if set_name else f"{name}_{metric}": value
            for name, metric, _, value in self._of_epoch(epoch)
            if set_name in (None, name)
        }

    def of_model_by_set(self) -> dict[str, dict[str, Any]]:
        """The values of the model's epoch by set: of "valid" without those that a set of another name shows, too."""
        found: dict[str, dict[str, Any]] = {}
        for name, metric, _, value in _once(self._of_epoch(self.kept)):
            found.setdefault(name, {})[metric] = value
        return found

    def _of_epoch(self, epoch: int | None) -> list[tuple[str, str, int, Any]]:
        """The records of an epoch; of the newest where none is given."""
        if epoch is None:
            epoch = self.records[-1][2] if self.records else 0
        since = list(takewhile(lambda record: record[2] >= epoch, reversed(self.records)))  # epochs come in their order
        return [record for record in reversed(since) if record[2] == epoch]

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with columns set, metric, epoch, value; one row a number.

        Values with several numbers get a row for each: the F1 of a class "f1_setosa", a cell of a confusion matrix
        "confusion_setosa_virginica" (true class, then chosen class). So the values are always numbers.
        """
        import pandas as pd

        rows = [
            (set_name, name, epoch, number)
            for set_name, metric, epoch, value in self.records
            for name, number in _numbers(metric, value)
        ]
        return pd.DataFrame(rows, columns=["set", "metric", "epoch", "value"])

    def wide(self) -> "pd.DataFrame":
        """A DataFrame with one row an epoch and one column a value, such as valid_loss; each value as it was recorded.

        An epoch in which a value was not recorded has NaN there.
        """
        import pandas as pd

        names = dict.fromkeys(f"{set_name}_{metric}" for set_name, metric, _, _ in self.records)
        by_epoch: dict[int, dict[str, Any]] = {}
        for set_name, metric, epoch, value in self.records:
            by_epoch.setdefault(epoch, {"epoch": epoch})[f"{set_name}_{metric}"] = value
        return pd.DataFrame(list(by_epoch.values()), columns=["epoch", *names])

    def scalars(self) -> Iterator[tuple[str, str, int, float]]:
        """The records whose value is a single number."""
        for set_name, metric, epoch, value in self.records:
            if isinstance(value, (int, float)):
                yield set_name, metric, epoch, float(value)

    def drawn(self) -> list[tuple[str, str, int, float]]:
        """The records for a chart: single numbers, of "valid" without those that a set with a name shows, too."""
        return _once(list(self.scalars()))


_Record = TypeVar("_Record", bound=tuple[str, str, int, Any])


def _once(records: list[_Record]) -> list[_Record]:
    """Without the values of "valid" that stand under the name of the first of several sets, too."""
    by_name = {record[1] for record in records if record[0].startswith("valid_")}
    return [record for record in records if record[0] != "valid" or record[1] not in by_name]


def _numbers(name: str, value: object) -> Iterator[tuple[str, object]]:
    """A value as numbers with names: a dict's or list's parts have their key or position at the end of theirs."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(f"{name}_{key}", part)
    elif isinstance(value, (list, tuple)):
        for position, part in enumerate(value):
            yield from _numbers(f"{name}_{position}", part)
    else:
        yield name, value


def format_value(value: object) -> str:
    """A metric for people, on a line.

    A number has four decimals without trailing zeros, or three digits where it is small; several stand one after
    the other, a dict's with their names; of a table only the size is said.
    """
    if isinstance(value, (dict, list, tuple)):
        parts = list(value.values()) if isinstance(value, dict) else list(value)
        if any(isinstance(part, (dict, list, tuple)) for part in parts):
            sizes = {len(part) if isinstance(part, (dict, list, tuple)) else 0 for part in parts}
            return f"{len(parts)} x {sizes.pop()} table" if len(sizes) == 1 else f"{len(parts)} values of several kinds"
        if isinstance(value, dict):
            return " | ".join(f"{name}: {format_value(part)}" for name, part in value.items())
        return f"[{', '.join(map(format_value, parts))}]"
    if not isinstance(value, (int, float)):
        return str(value)
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.3g}"
    text = f"{value:.4f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_seconds(seconds: float) -> str:
    """A time for people."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _recorded(name: str, value: object) -> Any:
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _recorded(name, part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_recorded(name, part) for part in value]
    if value is None or isinstance(value, (int, float, str)):
        return value
    raise OptionError(f"{name}={describe(value)} for the history", "a number", f"ctx.log({name!r}, float(...))")
