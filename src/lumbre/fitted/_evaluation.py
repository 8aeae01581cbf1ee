"""What `evaluate()` gives back, and what is said of a run: in lines, as a ledger, in its report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from lumbre.base import DataError, OptionError, did_you_mean, html_table, preserved_randomness
from lumbre.callbacks import Remarks
from lumbre.core import History, format_seconds, format_value
from lumbre.data import data_record
from lumbre.fitted._given import given_batches
from lumbre.preflight import Finding
from lumbre.report import Reported
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd

_WAITING = 0.4


class Values(dict[str, Any]):
    """Values by name; a name that is not there is answered with those that are."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"{name!r}: {did_you_mean(str(name), self)}There are {', '.join(self)}")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss and metrics of a model on some data.

    Attributes:
        metrics: values by name: "loss" first, then each metric. A name that is not there raises a KeyError that says
            which are.
    """

    metrics: dict[str, Any]

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns metric and value."""
        import pandas as pd

        return pd.DataFrame(list(self.metrics.items()), columns=["metric", "value"])

    def __repr__(self) -> str:
        return "\n".join(
            [
                "Evaluation",
                *(f"  {name}: {format_value(value)}" for name, value in self.metrics.items()),
                *(f"{name} (true class by row)\n{table.to_string()}" for name, table in self._tables()),
            ]
        )

    def _repr_html_(self) -> str:
        rows = [("metric", "value"), *((name, format_value(value)) for name, value in self.metrics.items())]
        tables = (f"<p>{escape(name)} (true class by row)</p>{table.to_html()}" for name, table in self._tables())
        return html_table(rows) + "".join(tables)

    def _tables(self) -> Iterator[tuple[str, "pd.DataFrame"]]:
        """The confusion matrices among the values."""
        for name, value in self.metrics.items():
            if isinstance(value, dict) and all(isinstance(row, dict) for row in value.values()):
                import pandas as pd

                yield name, pd.DataFrame.from_dict(value, orient="index")


def run_lines(history: History, engine: str) -> list[tuple[str, str]]:
    """What happened in a run, as lines of a name and a text."""
    lines = [("epochs", str(history.epochs)), ("total time", format_seconds(history.fit_seconds))]
    for name, seconds in (
        ("training", history.train_seconds),
        ("validation", history.valid_seconds),
    ):
        if seconds:
            lines.append((f"{name} time per epoch", format_seconds(sum(seconds) / len(seconds))))
    if history.kept is not None:
        lines.append(("weights", f"those of epoch {history.kept}"))
    when = "last" if history.kept is None else f"epoch {history.kept}"
    for set_name, values in history.of_model_by_set().items():
        shown = ", ".join(f"{name} {format_value(value)}" for name, value in values.items())
        lines.append((f"{when} {set_name.replace('_', ' ')}", shown))
    spent = history.phase_seconds
    if total := sum(spent.values()):
        shares = sorted(((seconds / total, phase) for phase, seconds in spent.items()), reverse=True)
        text = ", ".join(f"{phase} {share:.0%}" for share, phase in shares if share >= 0.005)
        if spent.get("data", 0.0) > _WAITING * total:
            text += "; training waits for data: raise num_workers, or keep the data in memory"
        lines.append(("time went to", text))
    lines.append(("engine", engine))
    return lines


def ledger_frame(remarks: Remarks | None) -> "pd.DataFrame":
    """What a run did to each parameter, a row for each.

    Raises:
        DataError: it was not looked at.
    """
    if remarks is None:
        raise DataError(
            "the ledger of a model that was loaded, or trained with preflight=False",
            "a model as fit() gives it",
            "fit(..., preflight=True)",
        )
    import pandas as pd

    names = ["parameter", "numbers", "trainable", "gradient", "changed", "start", "change", "ratio"]
    rows = [
        (one.name, one.numbers, one.trainable, one.gradient, one.changed, one.start, one.change, one.ratio)
        for one in remarks.ledger
    ]
    return pd.DataFrame(rows, columns=names)


def _after(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was found out after training, in words."""
    if "calibration" in found:
        one = found["calibration"]
        yield "expected calibration error before and after", f"{one['before']:.4f}, {one['after']:.4f}"
        yield "temperature", f"{one['temperature']:.4g}, of {one['rows']:,} rows"
    if "intervals" in found:
        one = found["intervals"]
        margins = ", ".join(f"{margin:.4g}" for margin in one["margins"][:5])
        yield f"conformal margin for {one['level']:.0%}", f"{margins} ({one['kind']}), of {one['rows']:,} rows"


def reported(session: Session, history: History, computed: Mapping[str, Any], data: Any) -> Reported:
    """What a report is to say of a run, of what was computed since, and of the data to judge on.

    Raises:
        OptionError: the data can be read only once.
    """
    review = session.after.get("review")
    found = Reported(
        record=session.record,
        history=history,
        columns=() if session.encoding is None else session.encoding.described,
        verdict=str(session.after.get("baselines", "")),
        after=tuple(_after(session.after)),
        charts=tuple(computed.items()),
        review=None if review is None else tuple(Finding(**one) for one in review["findings"]),
        unreviewed=() if review is None else tuple(review["left_out"]),
    )
    if data is None:
        return found
    if isinstance(data, Iterator):
        raise OptionError(
            f"a {type(data).__name__}, which can be read only once",
            "data that can be read several times",
            "list(...) of its batches, or a DataLoader",
        )
    batches = given_batches(session, data, need_target=True)
    with preserved_randomness(session.device):
        return replace(found, test=data_record(batches, batches.first()))


def timings_of(history: History) -> dict[str, float]:
    """Seconds of a run by what they were spent on."""
    timings = {"fit_seconds": history.fit_seconds}
    for name, seconds in (("train", history.train_seconds), ("valid", history.valid_seconds)):
        if seconds:
            timings[f"{name}_seconds_per_epoch"] = sum(seconds) / len(seconds)
    return timings | {f"{phase}_seconds": seconds for phase, seconds in history.phase_seconds.items()}
