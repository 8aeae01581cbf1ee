"""What happened in a run: losses and metrics by epoch, and where the seconds went."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    """

    records: list[tuple[str, str, int, Any]] = field(default_factory=list[tuple[str, str, int, Any]])
    train_seconds: list[float] = field(default_factory=list[float])
    valid_seconds: list[float] = field(default_factory=list[float])
    fit_seconds: float = 0.0

    def add(self, epoch: int, set_name: str, values: Mapping[str, object]) -> None:
        """Append the values of one pass."""
        self.records.extend((set_name, metric, epoch, value) for metric, value in values.items())

    @property
    def epochs(self) -> int:
        """The last epoch with a record."""
        return max((record[2] for record in self.records), default=0)

    def last(self, set_name: str | None = None) -> dict[str, Any]:
        """The newest epoch's values: `{"loss": ...}` of one set, or `{"train_loss": ...}` of all."""
        epoch = self.epochs
        return {
            metric if set_name else f"{name}_{metric}": value
            for name, metric, at, value in self.records
            if at == epoch and set_name in (None, name)
        }

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with columns set, metric, epoch, value; one row a value."""
        import pandas as pd

        return pd.DataFrame(self.records, columns=["set", "metric", "epoch", "value"])

    def scalars(self) -> Iterator[tuple[str, str, int, float]]:
        """The records whose value is a single number."""
        for set_name, metric, epoch, value in self.records:
            if isinstance(value, (int, float)):
                yield set_name, metric, epoch, float(value)


def format_value(value: object) -> str:
    """A metric for people: four decimals without trailing zeros, or three digits of a small one."""
    if not isinstance(value, (int, float)):
        return str(value)
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.3g}"
    text = f"{value:.4f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
