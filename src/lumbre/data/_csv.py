"""CSV files as frame data, through pandas."""

import mmap
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lumbre.base import DataError, OptionError, as_path
from lumbre.data._frames import FrameData, from_frame


def from_csv(
    path: str | Path,
    *,
    target: str | list[str] | None = None,
    features: Sequence[str] | None = None,
    categories: str = "one-hot",
    standardize: bool | str = True,
    unknown: str = "error",
    missing: str = "error",
    dates: str = "error",
    hash: int | Mapping[str, int] | None = None,
    scale_target: bool = False,
    separator: str = ",",
    weights: str | None = None,
) -> FrameData:
    r"""Data for `fit()` from a CSV file with a line of column names; it may be compressed (.gz, .bz2, .zip, .xz, .zst).

    It is read into memory as pandas does; only the columns asked for are kept. What pandas reads as missing (empty
    fields, NA, NaN, null and the like) is refused, and so are codes with leading zeros ("01234"), which pandas reads as
    numbers. Months, days and hours of two digits ("01" to "31") are numbers. For files larger than memory see
    `from_parquet`.

    Args:
        path: the file.
        target: as for `from_frame`, like all that follow.
        features: the feature columns; None takes all but target and weights, and but first columns without a
            name ("Unnamed: 0", "Unnamed: 1"), which number the rows.
        categories: "one-hot" or "codes".
        standardize: centre and scale the numbers.
        unknown: "error" or "ignore".
        missing: "error" or "indicate".
        dates: "error" or "parts"; texts that all read as dates, such as 2024-03-01 or 2024-03-01 17:30, are dates then.
        hash: how many columns a text with more different values becomes.
        scale_target: training sees the target centred and scaled.
        separator: what stands between the fields: one character, or r"\s+" for white space.
        weights: as for `from_frame`.

    Raises:
        DataError: the file is not there or no CSV; or as `from_frame` does.
        OptionError: an option is none of the values above.

    Example:
        >>> import lumbre as lb
        >>> lb.datasets.penguins(drop_missing=True).to_csv("penguins.csv", index=False)
        >>> lb.data.from_csv(
        ...     "penguins.csv", target="species", features=["bill_length_mm", "sex"]
        ... )
        FrameData of 333 rows
          features: 2: bill_length_mm, sex
          target: species: Adelie 146, Chinstrap 68, Gentoo 119
    """
    file = as_path(path, "pandas.read_csv(...) of what is none, then lumbre.data.from_frame(df, target=...)")
    if not file.is_file():
        raise DataError(f"the path {str(file)!r}", "a CSV file", "correct the path")
    if separator != r"\s+" and (not isinstance(separator, str) or len(separator) != 1):
        raise OptionError(
            f"separator={separator!r}", r'one character, or r"\s+" for white space', r'separator=";", separator="\t"'
        )
    frame = _read(file, separator)
    aims = set(target) if isinstance(target, list) else set[str]() if target is None else {target}
    wanted = set(frame.columns if features is None else features) | aims | (set() if weights is None else {weights})
    if wanted <= set(frame.columns):  # else from_frame tells, beside all the names that are there
        _refuse_leading_zeros(file, separator, frame, wanted)
        frame = frame[[name for name in frame.columns if name in wanted]]
    if dates == "parts":
        frame = frame.assign(**{name: _as_dates(frame[name]) for name in frame.columns if name not in aims})
    return from_frame(
        frame,
        target=target,
        features=features,
        categories=categories,
        standardize=standardize,
        unknown=unknown,
        missing=missing,
        dates=dates,
        hash=hash,
        scale_target=scale_target,
        weights=weights,
    )


def _read(file: Path, separator: str) -> Any:
    """The file as a frame of pandas.

    Raises:
        DataError: it cannot be read.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # Without index_col=False, a field more than there are names would move each value to the next name.
            # pandas warns then of what it leaves out, unless it is empty.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Types are found out in one go: in pieces, a column could come as numbers first and as text later on. All
            # columns are read, as pandas lets lines with too many fields pass where it reads only some.
            # Numbers are those that stand there, to the last bit: pandas before 3.1 has to be asked for that.
            older = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
            exact: Any = {"float_precision": "round_trip"} if older else {}
            frame: Any = pd.read_csv(file, sep=separator, low_memory=False, index_col=False, **exact)
    except MemoryError:
        raise
    except Exception as error:  # pandas has several, and so has each kind of compressed file
        lines = isinstance(error, pd.errors.ParserWarning)
        said = "its lines have more fields than there are names" if lines else error
        raise DataError(
            f"{file}, which cannot be read: {said}",
            "a whole CSV file in UTF-8 with a line of column names",
            "pandas.read_csv(...) with the options that suit the file, then lumbre.data.from_frame(df, target=...)",
        ) from error
    # A separator at the end of each line, the first one too, makes a column without a name or a value.
    empty = [place for place, name in enumerate(frame.columns) if name == f"Unnamed: {place}"]
    return frame.drop(columns=[frame.columns[place] for place in empty if frame.iloc[:, place].isna().all()])


def _refuse_leading_zeros(file: Path, separator: str, frame: Any, wanted: Collection[str]) -> None:
    """See that no column of numbers was one of codes such as 01234, which pandas reads as 1234.

    Raises:
        DataError: one was.
    """
    import pandas as pd

    numbers = [name for name in frame.columns if name in wanted and pd.api.types.is_numeric_dtype(frame[name])]
    whole = [name for name in numbers if not pd.api.types.is_bool_dtype(frame[name]) and (frame[name] % 1 == 0).any()]
    if not whole or not _may_have_leading_zeros(file, separator):
        return
    texts: Any = pd.read_csv(file, sep=separator, index_col=False, usecols=whole, dtype=str)
    for name in whole:
        codes = texts[name][texts[name].str.fullmatch(r"\s*0[0-9]+\s*", na=False)]
        if len(codes) and not texts[name].str.fullmatch(_OF_A_DATE, na=True).all():
            raise DataError(
                f"column {name!r} with leading zeros, such as {codes.iloc[0].strip()!r}, which numbers do not keep",
                "codes as text, and numbers without such zeros",
                f"pandas.read_csv(path, dtype={{{name!r}: str}}) for codes, pandas.read_csv(path) for numbers; then"
                " lumbre.data.from_frame(df, target=...)",
            )


def _may_have_leading_zeros(file: Path, separator: str) -> bool:
    """Whether a field begins with 0 and another digit, as far as a fast look says; True for compressed files."""
    if file.suffix.lower() in _COMPRESSED or not file.stat().st_size:
        return True
    between = separator.encode() if len(separator) == 1 else b" "
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb"[\r\n\"\t " + re.escape(between) + rb"]0[0-9]", content) is not None


_OF_A_DATE = r"\s*(?:[0-2][0-9]|3[01])\s*"  # two digits each, as months, days and hours have: no code loses anything
_COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar")


def _as_dates(series: Any) -> Any:
    """A column of texts that all read as dates, as dates; others as they are."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series) or not series.notna().any():
        return series
    try:
        return pd.to_datetime(series, format="ISO8601")
    except (ValueError, TypeError):
        return series
