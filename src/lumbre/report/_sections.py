"""What the sections of a report say, as tables and pictures; nothing of how they look."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lumbre import plots
from lumbre.base import DataError, DataRecord, Nested, leaves, map_leaves
from lumbre.core import History, format_seconds, format_value
from lumbre.inspection import summary
from lumbre.report._embed import Picture, embedded_chart
from lumbre.report._record import Reported, RunRecord
from lumbre.report._table import Table

_MOST_CHARTS = 12
_MOST_LAYERS = 300
_MOST_CLASSES = 50
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int32, torch.int64)
} | {"bool": torch.bool}


def result_tables(history: History, metrics: Mapping[str, Any]) -> Iterator[Table]:
    """Loss and metrics of the model's epoch and of the evaluation; then those by class, and matrices."""
    sets = {
        "training": history.of_model("train"),
        "validation": history.of_model("valid"),
        "evaluation": dict(metrics),
    }
    sets = {name: values for name, values in sets.items() if values}
    names = dict.fromkeys(name for values in sets.values() for name in values)
    single = [name for name in names if not any(isinstance(values.get(name), dict) for values in sets.values())]
    rows = [
        (name, *(format_value(values[name]) if name in values else "" for values in sets.values())) for name in single
    ]
    if rows:
        when = "the last epoch" if history.kept is None else f"epoch {history.kept}, whose weights the model has"
        yield Table(f"Loss and metrics; training and validation in {when}", ("", *sets), rows)
    last = metrics or history.of_model("valid") or history.of_model("train")
    by_class = {name: value for name, value in last.items() if isinstance(value, dict) and not _is_matrix(value)}
    classes = dict.fromkeys(str(key) for value in by_class.values() for key in value)
    if classes:
        texts = {
            name: {str(key): format_value(part) for key, part in value.items()} for name, value in by_class.items()
        }
        lines = [(key, *(parts.get(key, "") for parts in texts.values())) for key in list(classes)[:_MOST_CLASSES]]
        yield Table("By class", ("class", *texts), lines, _more(len(classes) - len(lines), "classes"))


def _is_matrix(value: dict[Any, Any]) -> bool:
    return any(isinstance(part, dict) for part in value.values())


def seen_before(reported: Reported) -> str:
    """A warning where the rows evaluated are those that the model was trained or chosen on; else ""."""
    same = [
        name
        for name, one in reported.record.data.items()
        if reported.test is not None and one.fingerprint and one.fingerprint == reported.test.fingerprint
    ]
    words = {"train": "the training rows: this says nothing of new data", "valid": "the validation rows"}
    return f"The rows evaluated are {words.get(same[0], same[0])}." if same else ""


def history_charts(history: History, constant: Mapping[str, float]) -> tuple[list[Picture], str]:
    """A chart for each metric, with the loss of a constant prediction, and what is to be said of them."""
    by_metric: dict[str, list[tuple[str, str, int, Any]]] = {}
    for record in history.scalars():
        by_metric.setdefault(record[1], []).append(record)
    charts: list[Picture] = []
    for metric, records in list(by_metric.items())[:_MOST_CHARTS]:
        courses = [
            f"{name} from {format_value(values[0])} to {format_value(values[-1])}"
            for name in dict.fromkeys(record[0] for record in records)
            for values in [[record[3] for record in records if record[0] == name]]
        ]
        alt = f"{metric} over {history.epochs} epochs: {'; '.join(courses)}."
        one = History(records=records)
        charts.append(embedded_chart(partial(plots.plot_history, one, constant), alt))
    note = _more(len(by_metric) - len(charts), "metrics")
    valid = [(value, epoch) for name, metric, epoch, value in history.scalars() if (name, metric) == ("valid", "loss")]
    if valid:
        lowest, epoch = min(valid)
        note = f"The validation loss is lowest, {format_value(lowest)}, in epoch {epoch} of {history.epochs}. {note}"
    return charts, note.strip()


def computed_charts(reported: Reported) -> list[Picture]:
    """What was computed after training, drawn: importance, effects, baselines; the newest of many."""
    return [
        embedded_chart(one.plot, f"{name[:1].upper()}{name[1:]}. {repr(one).splitlines()[0]}", name)
        for name, one in reported.charts[-_MOST_CHARTS:]
    ]


def recipe_tables(record: RunRecord) -> Iterator[Table]:
    """What was declared, and the options of the run."""
    parts = (
        ("Recipe", record.recipe),
        ("Hyper-parameters", record.hparams),
        ("Optimizer", record.opt_hparams),
        ("fit()", record.options),
    )
    for caption, values in parts:
        rows = [(name, value) for name, value in values.items() if value]
        if rows:
            yield Table(caption, ("", "value"), rows)


def data_tables(reported: Reported, classes: tuple[str, ...] | None) -> Iterator[Table]:
    """Shapes and fingerprints of the sets, the classes, and the columns of frame data."""
    sets = dict(reported.record.data) | ({} if reported.test is None else {"evaluation": reported.test})
    if sets:
        rows = [
            (
                name,
                "not known" if one.rows is None else f"{one.rows:,}",
                _kinds(one.input),
                _kinds(one.target),
                *_print(one),
            )
            for name, one in sets.items()
        ]
        yield Table("Data", ("set", "rows", "input", "target", "fingerprint", "taken of"), rows)
    if classes:
        lines = [(str(number), name) for number, name in enumerate(classes[:_MOST_CLASSES])]
        yield Table("Classes", ("number", "name"), lines, _more(len(classes) - len(lines), "classes"))
    if reported.columns:
        yield Table(
            "Columns; of numbers mean ± standard deviation", ("column", "kind", "values"), list(reported.columns)
        )


def _print(record: DataRecord) -> tuple[str, str]:
    return record.fingerprint or "none taken", record.covers


def _kinds(value: Nested) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_kinds(part)}" for name, part in value.items())
    if isinstance(value, (tuple, list)):
        return "; ".join(map(_kinds, value))
    return "none" if value is None else str(value)


def model_table(model: nn.Module, record: RunRecord, input: Nested) -> tuple[Table | None, str]:
    """The layers and what they cost, for one row; or only what the model is, where it cannot be called."""
    train = record.data.get("train")
    row = _one_row(input) if input is not None else None if train is None else map_leaves(_zeros, train.input)
    try:
        if row is None or any(not isinstance(leaf, Tensor) for leaf in leaves(row)):
            raise DataError("no input", "a row of input", "report(path, data)")
        seen = summary(model, row)
    except DataError:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return None, f"{parameters:,} parameters"
    lines = [
        (
            "\u2003" * layer.depth + (f"{name}: {layer.type}" if name else layer.type),
            layer.output,
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.flops:,}" if layer.flops else "",
            layer.note,
        )
        for layer in seen.layers[:_MOST_LAYERS]
        for name in [layer.name.rpartition(".")[2]]
    ]
    frozen = seen.parameters - seen.trainable
    size = seen.parameter_bytes + seen.buffer_bytes
    text = (
        f"{seen.parameters:,} parameters{f', {frozen:,} of them frozen' if frozen else ''}; "
        f"{seen.flops:,} floating-point operations to predict one row; "
        f"{f'{size:,} bytes' if size < 1e5 else f'{size / 1e6:,.1f} MB'} of weights."
    )
    head = ("layer", "output", "parameters", "FLOPs", "remarks")
    if not any(layer.note for layer in seen.layers):
        head, lines = head[:-1], [line[:-1] for line in lines]
    return Table(
        "Layers, with their output for one row", head, lines, _more(len(seen.layers) - len(lines), "layers")
    ), text


def _one_row(input: Nested) -> Nested:
    return map_leaves(lambda leaf: leaf[:1] if isinstance(leaf, Tensor) else leaf, input)


def _zeros(kind: Any) -> Any:
    """A row of zeros of a type and shape such as "float32 (rows, 4)"; None where that is no tensor."""
    found = re.fullmatch(r"(\w+) \(rows((?:, \d+)*)\)", str(kind))
    if found is None or found.group(1) not in _DTYPES:
        return None
    return torch.zeros(1, *map(int, re.findall(r"\d+", found.group(2))), dtype=_DTYPES[found.group(1)])


def time_table(timings: Mapping[str, float]) -> tuple[list[tuple[str, str, float]], list[tuple[str, str]]]:
    """Where the time went, as (what, time, share), longest first; and the other times."""
    spent = {
        name.removesuffix("_seconds"): value
        for name, value in timings.items()
        if name.endswith("_seconds") and name != "fit_seconds"
    }
    total = sum(spent.values())
    words = {"data": "waiting for data", "step": "training steps"}
    phases = [
        (words.get(name, name), format_seconds(value), value / total if total else 0.0)
        for name, value in sorted(spent.items(), key=lambda item: -item[1])
    ]
    names = {
        "fit_seconds": "the whole of fit()",
        "train_seconds_per_epoch": "training of an epoch, on average",
        "valid_seconds_per_epoch": "validation of an epoch, on average",
    }
    return phases, [(text, format_seconds(timings[name])) for name, text in names.items() if name in timings]


def loading_code(record: RunRecord) -> str:
    """Python that saves the model and loads it again."""
    name = record.recipe.get("module", "Net")
    name = name if name.isidentifier() else "make_net"
    stored = [key for key, value in record.hparams.items() if re.match(r"[<\w]+[ .(<]", value)]
    more = "".join(f", {key}=..." for key in stored if key.isidentifier())
    return "\n".join(
        [
            "import lumbre as lb",
            "",
            'fitted.save("model.lumbre")',
            "",
            "# In another program. The file holds no code: the class comes from you.",
            f'fitted = lb.load("model.lumbre", {name}{more})',
            "fitted.predict(data)",
            "",
            "# With the recipe in the place of the class, loss and metrics are there too.",
            f'fitted = lb.load("model.lumbre", recipe{more})',
            "fitted.evaluate(test)",
        ]
    )


def _more(count: int, what: str) -> str:
    return f"and {count:,} more {what}" if count > 0 else ""
