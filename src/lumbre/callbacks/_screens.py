"""Where progress is shown: plain lines, a terminal or a notebook, each with a form of its own."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from time import monotonic
from typing import Any, Protocol, TextIO

from lumbre.base import lines_svg
from lumbre.core import format_value

_BAR = 24
_OPEN_ROWS = 20
_NOTEBOOK_SECONDS = 0.5
_ABBREVIATIONS = ("ap", "auroc", "lr", "mae", "mcc", "mse", "rmse")


@dataclass(frozen=True, slots=True)
class Busy:
    """The epoch at work: what a bar shows.

    Attributes:
        epoch: its number.
        epochs: how many there will be at most.
        done: its batches so far.
        total: its batches in all; None where nobody knows.
        loss: of the last batch.
        left: seconds until the epoch is over; None where nobody knows.
        run_left: seconds until the run is over, if all epochs come.
    """

    epoch: int
    epochs: int
    done: int
    total: int | None
    loss: float
    left: float | None
    run_left: float | None

    def __str__(self) -> str:
        parts = [f"epoch {self.epoch}/{self.epochs}"]
        if self.total:
            filled = min(_BAR, _BAR * self.done // self.total)
            parts.append("\u2501" * filled + "\u2500" * (_BAR - filled))
        parts += [
            f"{self.done}/{self.total}" if self.total else f"batch {self.done}",
            f"loss {format_value(self.loss)}",
        ]
        if self.left is not None:
            parts.append(f"{_clock(self.left)} left")
        if self.run_left is not None and self.epoch < self.epochs:
            parts.append(f"run {_clock(self.run_left)}")
        return "  ".join(parts)


@dataclass(frozen=True, slots=True)
class Row:
    """What an epoch came to.

    Attributes:
        epoch: its number.
        values: by set ("train", "valid") the loss and the metrics.
        seconds: that it took.
        best: whether no epoch before had so low a loss (of validation, where there is one).
    """

    epoch: int
    values: dict[str, dict[str, Any]]
    seconds: float
    best: bool

    def cells(self) -> dict[str, str]:
        """The row of a table, by the name of the column."""
        named = {
            f"{part} {name}": format_value(value) for part, of in self.values.items() for name, value in of.items()
        }
        return {"epoch": str(self.epoch), **named, "time": _clock(self.seconds)}


class Screen(Protocol):
    """Something that shows a run."""

    def note(self, line: str) -> None:
        """Show a line that stays."""
        ...

    def begin(self, epoch: int, epochs: int) -> None:
        """An epoch begins whose row will be shown."""
        ...

    def busy(self, now: Busy) -> None:
        """Show how far the epoch at work is, in place of what was shown before."""
        ...

    def row(self, row: Row) -> None:
        """Show what an epoch came to."""
        ...

    def close(self) -> None:
        """The run is over, or was interrupted: leave nothing half shown."""
        ...


class Lines:
    """Plain lines in the form of the tutorials, for files and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def note(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def begin(self, epoch: int, epochs: int) -> None:
        self.note(f"Epoch {epoch}/{epochs}")

    def busy(self, now: Busy) -> None:
        """A file keeps what is written to it: no bar."""

    def row(self, row: Row) -> None:
        for name, values in row.values.items():
            shown = " - ".join(f"{_title(metric)}: {format_value(value)}" for metric, value in values.items())
            self.note(f"{name.capitalize().replace('_', ' ')} metrics: {shown}")

    def close(self) -> None:
        """Every line is whole."""


class Terminal:
    """A table that grows by a row an epoch; below it a bar, where an epoch takes long."""

    def __init__(self, out: TextIO, columns: int | None = None) -> None:
        self._out = out
        self._columns = columns or shutil.get_terminal_size().columns
        self._lines = Lines(out)
        self._head: list[str] = []
        self._drawn = False

    def note(self, line: str) -> None:
        self._clear()
        self._lines.note(line)

    def begin(self, epoch: int, epochs: int) -> None:
        """The table has no line for it yet."""

    def busy(self, now: Busy) -> None:
        self._out.write(f"\r{str(now)[: self._columns - 1]}\x1b[K")
        self._out.flush()
        self._drawn = True

    def row(self, row: Row) -> None:
        cells = row.cells()
        if any(len(cell) > 16 for cell in cells.values()) or _width(list(cells)) > self._columns:
            self.note(f"Epoch {row.epoch}")
            self._lines.row(row)
            return
        if not set(cells) <= set(self._head):  # an epoch that is not validated leaves its columns empty
            self._head = list(cells)
            self.note("  ".join(name.rjust(_cell(name)) for name in self._head))
        line = "  ".join(cells.get(name, "").rjust(_cell(name)) for name in self._head)
        self.note(f"{line} {'*' if row.best else ''}".rstrip())

    def close(self) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._drawn:
            self._out.write("\r\x1b[K")
            self._drawn = False


@dataclass
class Notebook:
    """One output of a cell, drawn anew at most twice a second: notes, a table of the epochs and a bar.

    Attributes:
        curve: draw the loss by epoch as well.
    """

    curve: bool = False
    _notes: list[str] = field(default_factory=list[str])
    _rows: list[Row] = field(default_factory=list[Row])
    _losses: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _now: Busy | None = None
    _handle: Any = None
    _drawn: float = 0.0
    _over: bool = False

    def note(self, line: str) -> None:
        self._notes.append(line)
        self._draw(self._over or not self._rows)

    def begin(self, epoch: int, epochs: int) -> None:
        """The table has no row for it yet."""

    def busy(self, now: Busy) -> None:
        self._now = now
        self._draw()

    def row(self, row: Row) -> None:
        self._rows.append(row)
        self._now = None
        for name in dict.fromkeys([*row.values, *self._losses]):
            before = self._losses.setdefault(name, [float("nan")] * (len(self._rows) - 1))
            before.append(float(row.values.get(name, {}).get("loss", float("nan"))))
        self._draw()

    def close(self) -> None:
        self._now, self._over = None, True
        self._draw(at_once=True)

    def _draw(self, at_once: bool = False) -> None:
        now = monotonic()
        if not at_once and now - self._drawn < _NOTEBOOK_SECONDS:
            return
        self._drawn = now
        self._handle = show(self._html(), self._text(), self._handle)

    def _html(self) -> str:
        early, late = self._rows[:-_OPEN_ROWS], self._rows[-_OPEN_ROWS:]
        parts = [f"<div>{escape(line)}</div>" for line in self._notes]
        if early:
            earlier = f"{early[0].epoch} to {early[-1].epoch}"
            inside = _table(early) if self._over else "shown when the run is over"
            parts.append(f"<details><summary>Epochs {earlier}</summary>{inside}</details>")
        parts.append(_table(late) if late else "")
        if self.curve and self._losses:
            parts.append(lines_svg(self._losses, title="loss by epoch"))
        if self._now is not None:
            bar = f'<progress value="{self._now.done}" max="{self._now.total}"></progress> ' if self._now.total else ""
            words = str(self._now).replace("\u2501", "").replace("\u2500", "")
            parts.append(f"<div>{bar}{escape(' '.join(words.split()))}</div>")
        return "".join(parts)

    def _text(self) -> str:
        last = [", ".join(f"{name} {value}" for name, value in row.cells().items()) for row in self._rows[-1:]]
        return "\n".join([*self._notes, *last])


def screen_for(given: Any, *, curve: bool = False) -> Screen:
    """The screen to show a run on.

    Args:
        given: a rich Console or a text stream; where None, the notebook or standard output.
        curve: draw the loss by epoch, where pictures can be shown.
    """
    if given is None and _in_notebook():
        return Notebook(curve)
    out: TextIO = getattr(given, "file", given) or sys.stdout
    if getattr(given, "is_terminal", False) or (out.isatty() and os.environ.get("TERM") != "dumb"):
        return Terminal(out, getattr(given, "width", None))
    return Lines(out)


def show(html: str, text: str, handle: Any = None) -> Any:
    """Show HTML in the notebook at work, in place of what `handle` shows; gives the handle of what is shown."""
    if (marimo := _marimo()) is not None:
        marimo.output.replace(marimo.Html(html))
        return marimo
    from IPython.display import display  # pyright: ignore

    data = {"text/html": html, "text/plain": text}
    if handle is None:
        return display(data, raw=True, display_id=True)
    handle.update(data, raw=True)
    return handle


def _in_notebook() -> bool:
    """Jupyter, VS Code, Colab (a shell with a kernel) or marimo."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None or _marimo() is not None


def _marimo() -> Any:
    module: Any = sys.modules.get("marimo")
    return module if module is not None and module.running_in_notebook() else None


def _table(rows: Sequence[Row]) -> str:
    """HTML; the best epoch so far in bold."""
    names = list(dict.fromkeys(name for row in rows for name in row.cells()))
    best = max((row.epoch for row in rows if row.best), default=None)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for row in rows:
        cells, style = row.cells(), ' style="font-weight:bold"' if row.epoch == best else ""
        line = "".join(f"<td>{escape(cells.get(name, ''))}</td>" for name in names)
        body += f"<tr{style}>{line}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(name: str) -> int:
    return max(len(name), 5 if name == "epoch" else 8)


def _width(names: list[str]) -> int:
    return sum(_cell(name) + 2 for name in names)


def _clock(seconds: float) -> str:
    """Seconds as "3.1 s", "2:05" or "1:02:05"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _title(name: str) -> str:
    """A metric's name as its line shows it: "loss" as "Loss", "mae" as "MAE"."""
    return name.upper() if name in _ABBREVIATIONS else name[:1].upper() + name[1:]
