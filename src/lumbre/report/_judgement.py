"""How well a model does on the data of a report: evaluation, truth beside prediction, the worst rows."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from lumbre import plots
from lumbre.base import DataError, LumbreError, Nested, RecipeError
from lumbre.core import format_value
from lumbre.report._embed import Picture, embedded_chart, embedded_images
from lumbre.report._table import Table, cell

_WORST_ROWS = 12
_MOST_LINES = 40
_MOST_COLUMNS = 24


class Evaluated(Protocol):
    """Loss and metrics by name."""

    @property
    def metrics(self) -> dict[str, Any]: ...


class FittedModel(plots.FittedModel, Protocol):
    """What a report asks of a trained model: a `lumbre.Fitted`, or anything that answers alike."""

    @property
    def engine(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...] | None: ...

    @property
    def timings(self) -> dict[str, float]: ...

    def evaluate(self, data: Any) -> Evaluated: ...


@dataclass
class Judgement:
    """What the data of a report showed.

    Attributes:
        metrics: of the evaluation; empty where there is none.
        notes: why something is left out.
        charts: truth and prediction.
        worst_pictures: the rows with the largest loss, where they are images.
        worst_table: the same where they are not.
        input: one row as the module gets it, or None.
    """

    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: list[str] = field(default_factory=list[str])
    charts: list[Picture] = field(default_factory=list[Picture])
    worst_pictures: list[Picture] = field(default_factory=list[Picture])
    worst_table: Table | None = None
    input: Nested = None


def judged(fitted: FittedModel, data: Any) -> Judgement:
    """Evaluate, compare, and look for the worst rows. What cannot be said of this model is left out, with a note."""
    found = Judgement()
    try:
        found.metrics = fitted.evaluate(data).metrics
    except RecipeError as error:
        found.notes.append(_note("Not evaluated", error))
    try:
        frame = fitted.compare(data)
        found.charts = _class_charts(frame) if "correct" in frame else _number_charts(frame)
        examples = fitted.examples(data, _WORST_ROWS, choose="worst")
    except DataError as error:
        found.notes.append(_note("Truth and prediction are not compared", error))
        return found
    found.input = examples.input
    if plots.is_images(examples.input):
        found.worst_pictures = _pictures(examples.input, examples.frame)
    else:
        found.worst_table = _worst_table(plots.beside(examples, data))
    return found


def _note(what: str, error: LumbreError) -> str:
    return f"{what}. Received: {error.received}. Expected: {error.expected}. Instead: {error.fix}."


def _class_charts(frame: Any) -> list[Picture]:
    frame = frame.dropna(subset=["truth"])  # the loss leaves out the others
    correct = frame["correct"].astype(bool)
    rows, right = len(frame), int(correct.sum())
    wrong = frame[~correct]
    alt = f"Confusion matrix of {rows:,} rows: {right:,} ({right / max(rows, 1):.1%}) are taken for their true class."
    if "weight" in frame:
        share = (frame["weight"] * correct).sum() / frame["weight"].sum()
        alt = f"Confusion matrix of {rows:,} rows by their weights: {share:.1%} are taken for their true class."
    elif len(wrong):
        (truth, predicted), count = next(iter(_pairs(wrong).items()))
        alt += f" Most often {truth} is taken for {predicted}, {count:,} times."
    return [embedded_chart(lambda: plots.confusion(frame), alt)]


def _pairs(wrong: Any) -> dict[tuple[str, str], int]:
    """How often each class is taken for each other one, most often first."""
    counts = wrong.groupby(["truth", "predicted"], observed=True).size().sort_values(ascending=False, kind="stable")
    return {(str(truth), str(predicted)): int(count) for (truth, predicted), count in counts.items()}


def _number_charts(frame: Any) -> list[Picture]:
    fit, rest = plots.predicted_vs_true(frame), plots.residuals(frame)
    return [
        embedded_chart(
            lambda: plots.predicted_vs_true(frame),
            f"Predicted against true values, with the line where they are equal: {_subtitle(fit)}.",
        ),
        embedded_chart(lambda: plots.residuals(frame), f"Residuals against predicted values: {_subtitle(rest)}."),
    ]


def _subtitle(chart: Any) -> str:
    return str(chart.labels.subtitle)


class _Row(NamedTuple):
    """One row of data: its lines of the frame put together."""

    number: int
    truth: str
    predicted: str
    mark: str
    loss: str


def _rows(frame: Any) -> list[_Row]:
    found: list[_Row] = []
    for number, lines in frame.groupby("row", sort=False):
        first = lines.iloc[0]
        predicted = _joined(lines["predicted"])
        if "probability" in frame:
            predicted += f" ({first['probability']:.0%})"
        found.append(
            _Row(
                number=int(number),
                truth=_joined(lines["truth"]),
                predicted=predicted,
                mark=_mark(first.get("correct")),
                loss=format_value(float(first["loss"])) if "loss" in frame else "",
            )
        )
    return found


def _mark(correct: Any) -> str:
    """What says whether a row is right; nothing where that is not known."""
    import pandas as pd

    return "" if correct is None or correct is pd.NA else "✓ " if correct else "✗ "


def _joined(values: Any) -> str:
    return ", ".join(map(cell, values.tolist()[:4])) + (", …" if len(values) > 4 else "")


def _pictures(input: Any, frame: Any) -> list[Picture]:
    found: list[Picture] = []
    for (source, width), row in zip(embedded_images(input), _rows(frame), strict=True):
        lines = [f"true {row.truth}", f"{row.mark}predicted {row.predicted}", f"row {row.number}"]
        if row.loss:
            lines[-1] += f", loss {row.loss}"
        alt = f"Row {row.number}: true {row.truth}, predicted {row.predicted}"
        found.append(Picture(source, alt, width, tuple(lines), row.mark == "✗ "))
    return found


def _worst_table(frame: Any) -> Table:
    names = [name for name in frame.columns if not str(name).startswith("probability_")]
    shown, lines = names[:_MOST_COLUMNS], frame.head(_MOST_LINES)
    rows = [tuple(map(cell, line)) for line in zip(*(lines[name].tolist() for name in shown), strict=True)]
    left_out = len(names) - len(shown)
    note = f"and {left_out:,} more columns" if left_out else ""
    return Table("The rows with the largest loss, largest first", tuple(map(str, shown)), rows, note)
