"""Columns of text that are numbers or dates as people write them: 1,234, 12 %, $5, 31/12/2024, or "-" for a gap.

As categories they would be one for each value, without a word. Plain numbers as text ("1", "02") are left alone: they
are what `astype(str)` makes of codes.
"""

import re
from collections.abc import Sequence

from lumbre.base import DataError
from lumbre.data._cells import Texts

_PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
# Groups never begin with 0, and are parted by one sign, which is not that of the fraction: 030 123 456 and 555.123.4567
# are numbers of telephones.
_SIGN = r"(?P<sign>[,.' \u00a0\u202f\u2019])"
_GROUPED = rf"[1-9][0-9]{{0,2}}{_SIGN}[0-9]{{3}}(?:(?P=sign)[0-9]{{3}})*(?:(?!(?P=sign))[.,][0-9]+)?"
_LAKHS = r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?"  # 12,50,000, as in India
_POWERS = r"[0-9]+\.?[0-9]*[dD][+-][0-9]{2,3}"  # 1.5D+03, as Fortran writes them
_PLAINLY = rf"{_GROUPED}|{_LAKHS}|{_POWERS}|[0-9]+,[0-9]+|[0-9]+\.?[0-9]*|\.[0-9]+"
_BODY = rf"[+\-\u2212]?\s?[$€£¥₹]?\s?(?:{_PLAINLY})\s?[%‰$€£¥₹]?"
_NUMBER = re.compile(_PLAIN)
_WRITTEN = re.compile(_BODY)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = re.compile(
    r"(?:[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}"  # 2024-12-31
    r"|[0-9]{1,2}([-/.])[0-9]{1,2}\2[0-9]{4}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}"  # 31.12.2024, 12/31/24
    rf"|[0-9]{{1,2}}[- ]{_MONTH}[- ][0-9]{{2,4}}|{_MONTH} [0-9]{{1,2}},? [0-9]{{4}})"  # 31-Dec-2024, Dec 31, 2024
    r"(?:[T ].*)?",
    re.IGNORECASE,
)
_MARKS = {"na", "n/a", "n.a.", "nan", "none", "null", "nil"}


def refuse_written(name: str, cells: Texts) -> None:
    """See that the texts of a column are not numbers or dates; a column of categories may hold what it likes.

    Raises:
        DataError: all of them are.
    """
    if cells.categorical or not cells.levels:
        return
    if all(_DATE.fullmatch(text.strip()) for text in cells.levels):
        raise DataError(
            f"column {name!r} of text that reads as dates, such as {cells.levels[0]!r}",
            "dates as dates, and text or categories for what is none",
            f'from_csv(..., dates="parts") for dates like 2024-12-31, pandas.to_datetime(df[{name!r}], format=...) and'
            f' from_frame(..., dates="parts") for others; df[{name!r}].astype("category") for categories',
        )
    found = _numbers(name, cells.levels)
    if found:
        raise DataError(
            f"column {name!r} of text that reads as numbers, such as {', '.join(map(repr, found))}",
            "numbers as numbers, and text or categories for what is none",
            'pandas.read_csv(path, thousands=",", na_values=["-"]), or decimal=",", as the file is written; else'
            f' pandas.to_numeric(df[{name!r}].str.replace(...), errors=...); df[{name!r}].astype("category") for'
            " categories",
        )


def _numbers(name: str, levels: Sequence[str]) -> list[str]:
    """Examples, where all texts are numbers or stand for one that is missing, and not all are plain numbers."""
    numbers = 0
    strange: list[str] = []
    for level in levels:
        text = level.strip()
        if _NUMBER.fullmatch(text):
            numbers += 1
            continue
        within = text[1:-1] if text.startswith("(") and text.endswith(")") else text  # -100, as accountants write it
        written = _WRITTEN.fullmatch(within) is not None
        if not written and not _stands_for_nothing(name, text):
            return []
        numbers += written
        strange.append(level)
    return strange[:3] if numbers > 1 else []


def _stands_for_nothing(name: str, text: str) -> bool:
    """Whether it is a mark for a missing value, an error of a spreadsheet, or the header once more."""
    error = text.startswith("#") and not text[1:2].isdigit()  # "#DIV/0!"; "#3" is a place
    return error or text.casefold() in _MARKS or text == name.strip() or not any(map(str.isalnum, text))
