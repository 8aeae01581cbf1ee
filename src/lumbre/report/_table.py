"""Tables of text."""

import re
from typing import Any, NamedTuple

from lumbre.core import format_value

_NUMBER = re.compile(r"[-−]?[\d.,]+(e[-+]?\d+)?( ?%| s)?|nan|[-−]?inf|")
_LONGEST = 80


class Table(NamedTuple):
    """A table of the page; the first cell of a row is its name.

    Attributes:
        caption: what it shows.
        head: names of the columns.
        rows: the cells, as text.
        note: what is to be said under it.
    """

    caption: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone; they stand to the right."""
        columns = list(zip(*self.rows, strict=True)) or [() for _ in self.head]
        return tuple(any(column) and all(map(_NUMBER.fullmatch, column)) for column in columns)


def cell(value: Any) -> str:
    """A value of a frame as the text of a cell."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if plain is None:
        return ""
    text = format_value(plain)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
