"""The page: what the sections say, put into the template, and written to a file that is never half a page."""

import os
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from lumbre.base import OptionError, as_path, import_extra, written_beside
from lumbre.core import format_seconds, format_value
from lumbre.report._judgement import FittedModel, Judgement, judged
from lumbre.report._record import Reported
from lumbre.report._sections import (
    computed_charts,
    data_tables,
    history_charts,
    loading_code,
    model_table,
    recipe_tables,
    result_tables,
    seen_before,
    time_table,
)
from lumbre.report._table import Table

_MOST_TILES = 4


def write_report(path: str | Path, fitted: FittedModel, reported: Reported, data: Any, title: str | None) -> None:
    """Write the report of a model to `path`.

    Args:
        path: where to; replaced once the new file is complete.
        fitted: the model.
        reported: the record of its run.
        data: to judge it on, with targets; or None.
        title: the heading; None for one with the name of the module.

    Raises:
        MissingExtraError: plotnine is not installed.
        OptionError: nothing can be written there.
        DataError: the data cannot be used as it is.
    """
    import_extra("plotnine", "plots", "draw the charts of a report")
    path = as_path(path, 'report("report.html", data)')
    if path.suffix.lower() not in (".html", ".htm", ""):
        raise OptionError(
            f"a report as {path.suffix}",
            "a path that ends in .html, since a report is a page of HTML",
            f'report("{path.stem}.html", data); a browser prints it as PDF',
        )
    _check_folder(path)
    judgement = Judgement() if data is None else judged(fitted, data)
    _write(path, _rendered(fitted, reported, judgement, data is not None, title))


def _rendered(fitted: FittedModel, reported: Reported, judgement: Judgement, has_data: bool, title: str | None) -> str:
    from jinja2 import Environment, StrictUndefined

    record, history = reported.record, reported.history
    charts, history_note = history_charts(history, record.constant)
    layers, model_text = model_table(fitted.model, record, judgement.input)
    phases, times = time_table(fitted.timings)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("lumbre.report") / "template.html").read_text(encoding="utf-8"))
    name = type(fitted.model).__name__
    return template.render(
        title=title or f"Report of {name}",
        verdict=reported.verdict,
        after=Table("Computed after training", ("", "found"), list(reported.after)) if reported.after else None,
        tiles=_tiles(reported, judgement),
        review=reported.review,
        unreviewed=reported.unreviewed,
        computed=computed_charts(reported),
        judgement=judgement,
        has_data=has_data,
        results=list(result_tables(history, judgement.metrics)),
        seen_before=seen_before(reported),
        history_charts=charts,
        history_note=history_note,
        recipe=list(recipe_tables(record)),
        data=list(data_tables(reported, fitted.classes)),
        layers=layers,
        model_text=model_text,
        model=str(fitted.model),
        findings=record.findings,
        recorded=bool(record.options),
        phases=phases,
        times=Table("Times", ("", "time"), times),
        engine=fitted.engine,
        environment=Table("Where it was trained", ("", "version"), list(record.environment.items())),
        code=loading_code(record),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _tiles(reported: Reported, judgement: Judgement) -> list[tuple[str, str]]:
    """The few figures that stand on top: loss and metrics, then sizes."""
    last = reported.history.of_model
    values, where = next(
        (
            (values, where)
            for values, where in ((judgement.metrics, ""), (last("valid"), "validation "), (last("train"), "training "))
            if values
        ),
        ({}, ""),
    )
    numbers = [
        (f"{where}{name}", format_value(value)) for name, value in values.items() if isinstance(value, (int, float))
    ]
    guess = reported.record.constant.get("valid", reported.record.constant.get("train"))
    numbers = numbers[:_MOST_TILES] + (
        [] if guess is None else [("loss of a constant prediction", format_value(guess))]
    )
    sizes = [("epochs", str(reported.history.epochs)), ("to train", format_seconds(reported.history.fit_seconds))]
    sets = {"training rows": reported.record.data.get("train"), "rows evaluated": reported.test}
    sizes += [(name, f"{one.rows:,}") for name, one in sets.items() if one is not None and one.rows is not None]
    return numbers + sizes


def _check_folder(path: Path) -> None:
    """Find out before the work that the file cannot be written."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise _unwritable(path, "it is a folder" if path.is_dir() else f"{path.parent} is no folder to write in")


def _write(path: Path, page: str) -> None:
    try:
        with written_beside(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise _unwritable(path, str(error)) from error


def _unwritable(path: Path, why: str) -> OptionError:
    return OptionError(
        f"{path}, which cannot be written: {why}",
        "the path of a file in a folder that is there and writable",
        'report("report.html", data), or another path',
    )
