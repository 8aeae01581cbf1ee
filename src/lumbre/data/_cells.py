"""One column of any library as plain numbers, texts or dates, or refused: numbers stay numbers, whatever holds them.

Nothing is learned here, and nothing is guessed: numbers among texts, lists and bytes are refused in words.
"""

import datetime
import decimal
import numbers
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lumbre.base import DataError
from lumbre.data._date_parts import NO_DATE, micros_of, microseconds, zone_name

_Array: TypeAlias = np.ndarray[Any, Any]
_NO_DATES = "make numbers of it that mean something for the question, for example the month, or the days since a date"
_PARTS_OF_DATES = 'from_frame(..., dates="parts"), for year, month, day of week, hour and days; or ' + _NO_DATES
_EXPECTED = "numbers, booleans, text or categories"
_EXACT = 2**53  # whole numbers up to here are exact in float64, and a quotient of two of them is rounded once


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers or booleans.

    Attributes:
        values: of a boolean, integer or float type, in the machine's own byte order; those that are there.
        present: where they are, booleans of shape (rows,); None where no row lacks one, but for NaN among `values`.
        long: whether they are floats here because they are whole numbers that no type of 64 bits holds.
    """

    values: _Array
    present: _Array | None = None
    long: bool = False

    @property
    def whole(self) -> bool:
        """Whether the column holds whole numbers."""
        return self.long or self.values.dtype.kind in "iu"

    @property
    def nulls(self) -> int:
        """Values that are missing and no NaN."""
        return 0 if self.present is None else len(self.present) - len(self.values)

    @property
    def missing(self) -> int:
        """Values that are missing, NaN or infinite."""
        if self.values.dtype.kind != "f":
            return self.nulls
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(self.values.sum()):  # a third of the time of looking at each
                return self.nulls
        return self.nulls + int((~np.isfinite(self.values)).sum())

    def gaps(self) -> "_Array | None":
        """Where values are missing or NaN, booleans of shape (rows,); None where nowhere."""
        nan = np.isnan(self.values) if self.values.dtype.kind == "f" and self.missing else None
        if self.present is None or nan is None or not nan.any():
            there = self.present
            return (nan if nan is not None and nan.any() else None) if there is None else ~there
        found = ~self.present
        found[self.present] = nan
        return found

    def filled(self, value: float) -> _Array:
        """All rows, of shape (rows,), with `value` where they are missing or NaN; of their own type where none are."""
        gaps = self.gaps()
        if gaps is None:
            return self.values
        found = np.full(len(gaps), value, dtype=np.float64)
        found[~gaps] = self.values[~np.isnan(self.values)] if self.values.dtype.kind == "f" else self.values
        return found

    def factorized(self, known: Collection[str]) -> "Texts":
        """Its different values as texts: of those that read alike (1, 1.0, True) the one that is `known`."""
        gaps = self.gaps()
        values = self.values if gaps is None or self.values.dtype.kind != "f" else self.values[~np.isnan(self.values)]
        distinct, codes = np.unique(values, return_inverse=True)
        levels = tuple(_worded(value, known) for value in distinct.tolist())
        if gaps is None:
            return Texts(codes.reshape(-1), levels)
        found = np.full(len(gaps), -1, dtype=np.int64)
        found[~gaps] = codes.reshape(-1)
        return Texts(found, levels, int(gaps.sum()))


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts or categories.

    Attributes:
        codes: integers of shape (rows,), the number of each value's level; -1 where it is missing.
        levels: different texts, in the order that was declared, else sorted.
        missing: how many values are missing.
        categorical: whether the type of the column says that they are categories; False for one of plain text.
    """

    codes: _Array
    levels: tuple[str, ...]
    missing: int = 0
    categorical: bool = False

    def gaps(self) -> "_Array | None":
        """Where values are missing, booleans of shape (rows,); None where nowhere."""
        return self.codes < 0 if self.missing else None


@dataclass(frozen=True, slots=True)
class Dates:
    """A column of dates, with or without the time of day.

    Attributes:
        values: microseconds since 1970 as the clock of their zone shows them, int64 of shape (rows,); `NO_DATE` where
            one is missing.
        zone: its name; "" for dates that say none.
        kind: the type, in words.
    """

    values: _Array
    zone: str
    kind: str

    @property
    def missing(self) -> int:
        """How many are missing."""
        return int((self.values == NO_DATE).sum())

    def gaps(self) -> "_Array | None":
        """Where they are missing, booleans of shape (rows,); None where nowhere."""
        return self.values == NO_DATE if self.missing else None


Cells: TypeAlias = Numbers | Texts
_Any: TypeAlias = Numbers | Texts | Dates


def read(name: str, native: Any) -> Cells:
    """The values of a column, a series or array of its own library.

    Raises:
        DataError: they are neither numbers, booleans, texts nor categories, or several of these.
    """
    return without_dates(name, read_all(name, native))


def without_dates(name: str, cells: _Any) -> Cells:
    """What a column holds, where dates are of no use.

    Raises:
        DataError: it holds dates.
    """
    if isinstance(cells, Dates):
        raise DataError(f"column {name!r} of type {cells.kind}", _EXPECTED, _PARTS_OF_DATES)
    return cells


def read_all(name: str, native: Any) -> _Any:
    """As `read`, and dates too."""
    library = type(native).__module__.partition(".")[0]
    if library == "pandas":
        return _pandas(name, native)
    if library == "polars":
        return _polars(name, native)
    if library == "pyarrow":
        return _arrow(name, native)
    import narwhals.stable.v2 as nw

    return _pandas(name, nw.from_native(native, series_only=True).to_pandas())


def _worded(value: Any, known: Collection[str]) -> str:
    readings = [str(value)]
    if value in (0, 1):
        readings.append(str(bool(value)))
    if value == value // 1:
        readings += [str(int(value)), str(float(value))]
    return next((reading for reading in readings if reading in known), readings[0])


def _pandas(name: str, native: Any) -> _Any:
    import pandas as pd

    dtype = native.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _pandas(name, native.sparse.to_dense())
    if isinstance(dtype, pd.CategoricalDtype):
        return _categories(name, native.cat.codes.to_numpy(), list(native.cat.categories))
    if isinstance(dtype, pd.ArrowDtype):
        return _pandas_arrow(name, native)
    if isinstance(dtype, pd.StringDtype):
        return _pandas_arrow(name, native) if dtype.storage.startswith("pyarrow") else _factorized(name, native)
    if isinstance(dtype, np.dtype):
        return _array(name, native.to_numpy())
    plain: Any = getattr(dtype, "numpy_dtype", None)  # of pandas' own types with a mask
    if plain is not None and plain.kind in "biuf":
        gaps = native.isna().to_numpy()
        if gaps.any():  # a NaN beside nulls counts as one of its own
            return Numbers(native.dropna().to_numpy(dtype=plain), ~gaps)
        return _array(name, native.to_numpy(dtype=plain))
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _dates(name, native.dt.tz_localize(None).to_numpy(), zone_name(dtype.tz), str(dtype))
    raise refused(name, str(dtype), dates=isinstance(dtype, pd.PeriodDtype))


def _pandas_arrow(name: str, native: Any) -> _Any:
    """A series of pandas that Arrow holds."""
    import pyarrow as pa

    values: Any = pa.array(native.array)
    return _arrow(name, values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]))


def _polars(name: str, native: Any) -> _Any:
    import polars as pl

    dtype, nulls = native.dtype, native.null_count()
    if dtype == pl.Null:
        return Numbers(np.zeros(0), np.zeros(len(native), dtype=bool))
    if dtype in (pl.Date, pl.Datetime):
        unit, zone = getattr(dtype, "time_unit", "D"), getattr(dtype, "time_zone", None)
        wall = native if zone is None else native.dt.replace_time_zone(None)
        numbers = wall.to_physical().cast(pl.Int64).fill_null(NO_DATE).to_numpy()
        return Dates(microseconds(name, numbers, unit), zone_name(zone), str(dtype))
    if dtype == pl.Enum:
        return _categories(name, native.to_physical().cast(pl.Int64).fill_null(-1).to_numpy(), list(dtype.categories))
    if dtype == pl.String or isinstance(dtype, pl.Categorical):  # of any categories
        texts = native.cast(pl.String)
        levels = sorted(texts.drop_nulls().unique().to_list())
        numbered = texts.cast(pl.Enum(levels)).to_physical().cast(pl.Int64)
        return Texts(numbered.fill_null(-1).to_numpy(), tuple(levels), nulls, dtype != pl.String)
    if dtype == pl.Decimal:
        return _polars_decimals(name, native)
    if dtype in (pl.Int128, getattr(pl, "UInt128", pl.Int128), pl.Object):
        return _objects(name, native.to_list())
    if dtype == pl.Boolean or dtype.is_numeric():
        return Numbers(native.drop_nulls().to_numpy(), native.is_not_null().to_numpy() if nulls else None)
    raise refused(name, str(dtype), dates=dtype.is_temporal())


def _polars_decimals(name: str, native: Any) -> _Any:
    try:
        return _arrow_decimals(name, native.to_arrow())
    except ImportError:  # polars needs no pyarrow
        return _objects(name, native.to_list())


def _arrow(name: str, native: Any) -> _Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds: Any = pa.types
    kind = native.type
    if isinstance(kind, pa.BaseExtensionType) and getattr(kind, "extension_name", "") == "pandas.period":
        raise refused(name, str(kind), dates=True)
    if isinstance(kind, pa.BaseExtensionType):
        stored: Any = pa.chunked_array([chunk.storage for chunk in native.chunks], kind.storage_type)
        is_boolean = getattr(kind, "extension_name", "") == "arrow.bool8"
        return _arrow(name, pc.not_equal(stored, 0) if is_boolean else stored)  # pyright: ignore
    if kinds.is_run_end_encoded(kind):
        return _arrow(name, pa.chunked_array(list(map(_decoded, native.chunks)), kind.value_type))
    if kinds.is_null(kind):
        return Numbers(np.zeros(0), np.zeros(len(native), dtype=bool))
    if kinds.is_dictionary(kind):
        return _arrow_dictionary(name, native)
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        plain = native.cast(pa.large_string()) if kinds.is_string_view(kind) else native
        return _arrow_dictionary(name, plain.dictionary_encode(), occurring=True)
    if kinds.is_decimal(kind):
        return _arrow_decimals(name, native)
    if kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind):
        nulls = native.null_count
        return Numbers((native.drop_null() if nulls else native).to_numpy(), _present(native))
    if kinds.is_date(kind) or kinds.is_timestamp(kind):
        zone = getattr(kind, "tz", None)
        try:
            wall = pc.local_timestamp(native) if zone else native  # pyright: ignore
        except pa.ArrowInvalid as error:  # a zone that is none
            raise refused(name, str(kind), dates=True) from error
        unit = "D" if kinds.is_date32(kind) else "ms" if kinds.is_date64(kind) else kind.unit
        whole = wall.cast(pa.int32() if unit == "D" else pa.int64()).cast(pa.int64()).fill_null(NO_DATE)
        return Dates(microseconds(name, whole.to_numpy(), unit), zone_name(zone), str(kind))
    raise refused(name, str(kind), dates=kinds.is_temporal(kind))


def _decoded(chunk: Any) -> Any:
    """Values that are stored once for each run, of any type: Arrow's own function knows no dictionaries."""
    import pyarrow as pa

    rows = np.arange(chunk.offset, chunk.offset + len(chunk))
    return chunk.values.take(pa.array(np.searchsorted(chunk.run_ends.to_numpy(), rows, side="right")))


def _present(native: Any) -> _Array | None:
    """Where an array of Arrow has values; None where everywhere."""
    if not native.null_count:
        return None
    valid = native.is_valid()
    return valid.to_numpy() if hasattr(valid, "chunks") else valid.to_numpy(zero_copy_only=False)


def _dates(name: str, values: _Array, zone: str, kind: str) -> Dates:
    unit = np.datetime_data(values.dtype)[0]
    if unit not in ("D", "h", "m", "s", "ms", "us", "ns"):
        values, unit = values.astype("datetime64[us]"), "us"
    plain = values.astype(values.dtype.newbyteorder("=")).astype(np.int64)
    return Dates(microseconds(name, plain, unit), zone, kind)


def _of_objects(name: str, values: list[Any], kinds: str) -> Dates:
    """Dates that are Python's objects."""
    import pandas as pd

    found = np.full(len(values), NO_DATE, dtype=np.int64)
    zones: set[str] = set()
    for row, value in enumerate(values):
        if pd.isna(value):
            continue
        zones.add(zone_name(getattr(value, "tzinfo", None)))
        numpys = isinstance(value, np.datetime64)
        found[row] = _dates(name, np.array([value]), "", kinds).values[0] if numpys else micros_of(value)
    if len(zones) > 1:
        raise refused(name, f"dates of several zones ({', '.join(sorted(zones))})", dates=True)
    return Dates(found, next(iter(zones), ""), kinds)


def _arrow_dictionary(name: str, native: Any, *, occurring: bool = False) -> Cells:
    import pyarrow as pa

    kinds: Any = pa.types
    whole = native.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no chunk, or of several where one would be too long
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], native.type)
    indices: Any = whole.indices
    if kinds.is_unsigned_integer(indices.type):
        indices = indices.cast(pa.int64())
    codes = indices.fill_null(-1).to_numpy(zero_copy_only=False)
    # A dictionary lists what is stored, in the order in which it came, and null may be in it; only an ordered one
    # was declared.
    declared = bool(native.type.ordered)
    return _categories(name, codes, whole.dictionary.to_pylist(), declared=declared, occurring=occurring)


def _arrow_decimals(name: str, native: Any) -> Cells:
    """Decimals as the nearest float64: the same number from every library, which their own casts do not give."""
    import pyarrow as pa

    chunks = native.chunks if isinstance(native, pa.ChunkedArray) else [native]
    scale = native.type.scale
    parts: list[_Array] = []
    for chunk in chunks:
        chunk = chunk.drop_null()
        if native.type.bit_width == 128 and 0 <= scale <= 22:
            halves = np.frombuffer(chunk.buffers()[1] or b"", "<i8")[2 * chunk.offset :][: 2 * len(chunk)].reshape(
                -1, 2
            )
            low, high = halves[:, 0], halves[:, 1]
            if ((high == low >> 63) & (abs(low) <= _EXACT)).all():
                parts.append(low / 10.0**scale)
                continue
        parts.append(np.array([float(value) for value in chunk.to_pylist()], dtype=np.float64))
    return Numbers(np.concatenate(parts) if parts else np.zeros(0), _present(native))


def _array(name: str, values: _Array) -> _Any:
    """What a NumPy array holds."""
    kind = values.dtype.kind
    if kind == "O":
        return _objects(name, values)
    if kind in "US":
        if kind == "S":
            raise refused(name, "bytes")
        return _objects(name, values.astype(object))
    if kind == "M":
        return _dates(name, values, "", f"Datetime, {values.dtype}")
    if kind not in "biuf":
        raise refused(name, f"{'Duration, ' if kind == 'm' else ''}{values.dtype}", dates=kind == "m")
    if kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    return Numbers(values.astype(values.dtype.newbyteorder("="), copy=False))


def _objects(name: str, given: Sequence[Any] | _Array) -> _Any:
    """What a column of Python's objects holds."""
    import pandas as pd

    if isinstance(given, np.ndarray) and pd.api.types.infer_dtype(given, skipna=True) == "string":
        return _factorized(name, pd.Series(given, dtype=object))
    values = np.empty(len(given), dtype=object)
    values[:] = given
    with decimal.localcontext(traps=dict.fromkeys(decimal.getcontext().traps, False)):  # it may be a signaling NaN
        empty = pd.isna(values)
    there = values[~empty] if empty.any() else values
    present = ~empty if empty.any() else None
    types = set(map(type, there.tolist()))
    if not types:
        return Numbers(np.zeros(0), np.zeros(len(values), dtype=bool))
    if all(issubclass(one, str) for one in types):
        return _factorized(name, pd.Series(values, dtype=object))
    if all(issubclass(one, (bool, np.bool_)) for one in types):
        return Numbers(there.astype(bool), present)
    if all(issubclass(one, (numbers.Real, decimal.Decimal, np.bool_)) for one in types):
        if all(issubclass(one, (numbers.Integral, np.bool_)) for one in types):
            return _whole(there, present)
        return Numbers(np.array([_as_float(value) for value in there.tolist()], dtype=np.float64), present)
    kinds = f"objects ({', '.join(sorted({one.__name__ for one in types}))})"
    if all(issubclass(one, (datetime.date, np.datetime64)) for one in types):
        return _of_objects(name, values.tolist(), kinds)
    dates = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64, pd.Period)
    raise refused(name, kinds, dates=any(issubclass(one, dates) for one in types), mixed=len(types) > 1)


def _whole(values: _Array, present: _Array | None) -> Numbers:
    plain = [int(value) for value in values.tolist()]
    for dtype in (np.int64, np.uint64):
        try:
            return Numbers(np.array(plain, dtype=dtype), present)
        except OverflowError:
            continue
    return Numbers(np.array([_as_float(value) for value in plain], dtype=np.float64), present, long=True)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # as the literal would be
        return float("inf")


def _factorized(name: str, series: Any) -> Texts:
    """A pandas series of texts."""
    import pandas as pd

    codes, distinct = pd.factorize(series)
    return _categories(name, codes, [str.__str__(value) for value in distinct], declared=False, occurring=True)


def short_integers(count: int) -> "np.dtype[Any]":
    """The shortest type of integers that holds -1 and the numbers below `count`."""
    return np.min_scalar_type(-count - 1)


def _categories(
    name: str, codes: _Array, values: list[Any], *, declared: bool = True, occurring: bool = False
) -> Texts:
    """Codes of values as codes of levels: texts, sorted unless their order was declared, none of them twice or missing.

    Of values whose order was not declared only those that occur are levels; `occurring`: it is known that all do, as
    they are those of a column of text.
    """
    import pandas as pd

    strange = sorted({type(value).__name__ for value in values if isinstance(value, (bytes, list, dict, np.ndarray))})
    if strange:
        raise refused(name, f"categories ({', '.join(strange)})")
    empty = [bool(pd.isna(value)) for value in values]
    met = [True] * len(values)
    if not declared and not occurring:
        met = (np.bincount(codes.astype(np.int64) + 1, minlength=len(values) + 1)[1:] > 0).tolist()
    kept = [number for number in range(len(values)) if met[number] and not empty[number]]
    if not declared:
        kept.sort(key=lambda number: _place(values[number]))
    texts = [str(values[number]) for number in kept]
    if declared and len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise DataError(
            f"column {name!r} with two categories that read {twice!r}",
            "categories whose texts differ",
            "rename one of them, or make them all texts or all numbers",
        )
    level_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    new = np.full(len(values) + 1, -1, dtype=short_integers(len(values)))  # the last is that of code -1
    for number, text in zip(kept, texts, strict=True):
        new[number] = level_of[text]
    found = new[codes]
    return Texts(found, tuple(level_of), int((found < 0).sum()), categorical=not occurring)


def _place(value: Any) -> tuple[bool, Any, str]:
    """Sorts numbers by their size, and before texts."""
    number = isinstance(value, (int, float))
    return not number, value if number else 0, str(value)


def refused(name: str, kind: str, *, dates: bool = False, mixed: bool = False) -> DataError:
    """The error for a column of a type that cannot be read."""
    if dates:
        fix = _NO_DATES
    elif mixed:
        fix = f"df[{name!r}].astype(str) for categories, or pandas.to_numeric(df[{name!r}], errors=...) for numbers"
    else:
        fix = f"a column of numbers or text in its place, or leave {name!r} out of features"
    return DataError(f"column {name!r} of type {kind}", _EXPECTED, fix)
