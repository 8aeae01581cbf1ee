"""Frames and series side by side: their rows are paired by place, which their indices may contradict."""

from collections.abc import Iterator
from typing import Any

from lumbre.base import DataError
from lumbre.data._frames import FrameData


def in_one_order(*parts: Any) -> None:
    """See that frames and series of pandas, wherever they are in `parts`, do not name the same rows in another order.

    Raises:
        DataError: two of them have an index of the same labels, in another order.
    """
    found = list(_of_pandas(parts))
    for other in found[1:]:
        first = found[0].index
        if len(first) != len(other.index) or first.equals(other.index):
            continue
        if first.is_unique and other.index.is_unique and not len(first.symmetric_difference(other.index, sort=False)):
            place = int((first != other.index).argmax())
            raise DataError(
                f"a {type(found[0]).__name__} and a {type(other).__name__} with the same rows in another order: row "
                f"{place} is {first[place]} in the one and {other.index[place]} in the other",
                "rows in the same order, since they are paired by their place",
                "other.loc[df.index] to pair them by their index; other.reset_index(drop=True) and "
                "df.reset_index(drop=True) if the places are right",
            )


def _of_pandas(part: Any) -> Iterator[Any]:
    if isinstance(part, FrameData):
        part = part.frame
    if type(part).__module__.partition(".")[0] == "pandas" and hasattr(part, "iloc"):
        yield part
    elif isinstance(part, (tuple, dict)) or (isinstance(part, list) and len(part) < 100):  # no rows one by one
        for one in part.values() if isinstance(part, dict) else part:
            yield from _of_pandas(one)
