"""What is told of data once they were used: enough to recognise them, nothing of what they hold."""

from dataclasses import dataclass
from typing import Any

from lumbre.base._nested import Nested


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecord:
    """The shape of some data, and a fingerprint by which to know them again.

    Attributes:
        rows: how many; None where only the end of a stream would tell.
        input: the input's type and shape, such as "float32 (rows, 4)", in its structure; None where not known.
        target: the same of the target.
        fingerprint: sixteen hexadecimal digits; "" where none was taken.
        covers: what the fingerprint was taken of, such as "all rows".
        columns: the names of the columns of each frame in (input, target), in its place; None where there were none.
        parts: the names of "target" and "features", where rows were dicts; None where they were not.
    """

    rows: int | None
    input: Nested = None
    target: Nested = None
    fingerprint: str = ""
    covers: str = ""
    columns: Nested = None
    parts: dict[str, Any] | None = None
