"""One column of any library as plain numbers or texts, or refused: numbers stay numbers, whatever holds them.

Nothing is learned here, and nothing is guessed: numbers among texts, dates, lists and bytes are refused in words.
"""

import datetime
import decimal
import numbers
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lumbre.base import DataError

_Array: TypeAlias = np.ndarray[Any, Any]
_NO_DATES = "make numbers of it that mean something for the question, for example the month, or the days since a date"
_EXPECTED = "numbers, booleans, text or categories"
_EXACT = 2**53  # whole numbers up to here are exact in float64, and a quotient of two of them is rounded once


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers or booleans.

    Attributes:
        values: of a boolean, integer or float type, in the machine's own byte order; of shape (rows,) without nulls,
            else what is there.
        nulls: missing values that are no NaN in `values`.
        long: whether they are floats here because they are whole numbers that no type of 64 bits holds.
    """

    values: _Array
    nulls: int = 0
    long: bool = False

    @property
    def whole(self) -> bool:
        """Whether the column holds whole numbers."""
        return self.long or self.values.dtype.kind in "iu"

    @property
    def missing(self) -> int:
        """Values that are missing, NaN or infinite."""
        if self.values.dtype.kind != "f":
            return self.nulls
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(self.values.sum()):  # a third of the time of looking at each
                return self.nulls
        return self.nulls + int((~np.isfinite(self.values)).sum())

    def factorized(self, known: Collection[str]) -> "Texts":
        """Its different values as texts: of those that read alike (1, 1.0, True) the one that is `known`."""
        distinct, codes = np.unique(self.values, return_inverse=True)
        return Texts(codes.reshape(-1), tuple(_worded(value, known) for value in distinct.tolist()))


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts or categories.

    Attributes:
        codes: of shape (rows,), the number of each value's level; -1 where it is missing.
        levels: different texts, in the order that was declared, else sorted.
        missing: how many values are missing.
    """

    codes: _Array
    levels: tuple[str, ...]
    missing: int = 0


Cells: TypeAlias = Numbers | Texts


def read(name: str, native: Any) -> Cells:
    """The values of a column, a series or array of its own library.

    Raises:
        DataError: they are neither numbers, booleans, texts nor categories, or several of these.
    """
    library = type(native).__module__.partition(".")[0]
    if library == "pandas":
        return _pandas(name, native)
    if library == "polars":
        return _polars(name, native)
    if library == "pyarrow":
        return _arrow(name, native)
    import narwhals.stable.v2 as nw

    series = nw.from_native(native, series_only=True)
    if series.dtype.is_numeric() or str(series.dtype) == "Boolean":
        return _array(name, np.asarray(series.to_numpy()))
    return _objects(name, series.to_list())


def _worded(value: Any, known: Collection[str]) -> str:
    readings = [str(value)]
    if value in (0, 1):
        readings.append(str(bool(value)))
    if value == value // 1:
        readings += [str(int(value)), str(float(value))]
    return next((reading for reading in readings if reading in known), readings[0])


def _pandas(name: str, native: Any) -> Cells:
    import pandas as pd

    dtype = native.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _pandas(name, native.sparse.to_dense())
    if isinstance(dtype, pd.CategoricalDtype):
        return _categories(name, native.cat.codes.to_numpy(), list(native.cat.categories))
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa

        values: Any = pa.array(native.array)
        return _arrow(name, values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]))
    if isinstance(dtype, pd.StringDtype):
        return _factorized(name, native)
    if isinstance(dtype, np.dtype):
        return _array(name, native.to_numpy())
    plain: Any = getattr(dtype, "numpy_dtype", None)  # of pandas' own types with a mask
    if plain is not None and plain.kind in "biuf":
        nulls = int(native.isna().sum())
        if nulls:  # a NaN beside nulls counts as one of its own
            values = native.dropna().to_numpy(dtype=plain)
            return Numbers(values, nulls)
        return _array(name, native.to_numpy(dtype=plain))
    raise refused(name, str(dtype), dates=isinstance(dtype, (pd.PeriodDtype, pd.DatetimeTZDtype)))


def _polars(name: str, native: Any) -> Cells:
    import polars as pl

    dtype, nulls = native.dtype, native.null_count()
    if dtype == pl.Null:
        return Numbers(np.zeros(len(native)), nulls)
    if dtype == pl.Enum:
        return _categories(name, native.to_physical().cast(pl.Int64).fill_null(-1).to_numpy(), list(dtype.categories))
    if dtype in (pl.String, pl.Categorical):
        texts = native.cast(pl.String)
        levels = sorted(texts.drop_nulls().unique().to_list())
        numbered = texts.replace_strict(levels, range(len(levels)), default=None, return_dtype=pl.Int64)
        return Texts(numbered.fill_null(-1).to_numpy(), tuple(levels), nulls)
    if dtype == pl.Decimal:
        return _polars_decimals(name, native)
    if dtype in (pl.Int128, getattr(pl, "UInt128", pl.Int128), pl.Object):
        return _objects(name, native.to_list())
    if dtype == pl.Boolean or dtype.is_numeric():
        return Numbers(native.drop_nulls().to_numpy(), nulls)
    raise refused(name, str(dtype), dates=dtype.is_temporal())


def _polars_decimals(name: str, native: Any) -> Cells:
    try:
        return _arrow_decimals(name, native.to_arrow())
    except ImportError:  # polars needs no pyarrow
        return _objects(name, native.to_list())


def _arrow(name: str, native: Any) -> Cells:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds: Any = pa.types
    kind = native.type
    if isinstance(kind, pa.BaseExtensionType) and getattr(kind, "extension_name", "") == "pandas.period":
        raise refused(name, str(kind), dates=True)
    if isinstance(kind, pa.BaseExtensionType):
        return _arrow(name, pa.chunked_array([chunk.storage for chunk in native.chunks], kind.storage_type))
    if kinds.is_run_end_encoded(kind):
        chunks = [pc.run_end_decode(chunk) for chunk in native.chunks]  # pyright: ignore
        return _arrow(name, pa.chunked_array(chunks, kind.value_type))
    if kinds.is_null(kind):
        return Numbers(np.zeros(len(native)), len(native))
    if kinds.is_dictionary(kind):
        return _arrow_dictionary(name, native)
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        plain = native.cast(pa.large_string()) if kinds.is_string_view(kind) else native
        return _arrow_dictionary(name, plain.dictionary_encode())
    if kinds.is_decimal(kind):
        return _arrow_decimals(name, native)
    if kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind):
        nulls = native.null_count
        return Numbers((native.drop_null() if nulls else native).to_numpy(), nulls)
    raise refused(name, str(kind), dates=kinds.is_temporal(kind))


def _arrow_dictionary(name: str, native: Any) -> Cells:
    import pyarrow as pa

    whole = native.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no chunk, or of several where one would be too long
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], native.type)
    codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    # A dictionary lists what is stored, in the order in which it came, and null may be in it; only an ordered one
    # was declared.
    return _categories(name, codes, whole.dictionary.to_pylist(), declared=bool(native.type.ordered))


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
    return Numbers(np.concatenate(parts) if parts else np.zeros(0), native.null_count)


def _array(name: str, values: _Array) -> Cells:
    """What a NumPy array holds."""
    kind = values.dtype.kind
    if kind == "O":
        return _objects(name, values)
    if kind in "US":
        if kind == "S":
            raise refused(name, "bytes")
        return _objects(name, values.astype(object))
    if kind not in "biuf":
        word = {"M": "Datetime, ", "m": "Duration, "}.get(kind, "")
        raise refused(name, f"{word}{values.dtype}", dates=bool(word))
    if kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    return Numbers(values.astype(values.dtype.newbyteorder("="), copy=False))


def _objects(name: str, given: Sequence[Any] | _Array) -> Cells:
    """What a column of Python's objects holds."""
    import pandas as pd

    values = np.empty(len(given), dtype=object)
    values[:] = given
    empty = pd.isna(values)
    there = values[~empty] if empty.any() else values
    nulls = len(values) - len(there)
    types = set(map(type, there.tolist()))
    if not types:
        return Numbers(np.zeros(0), nulls)
    if all(issubclass(one, str) for one in types):
        return _factorized(name, pd.Series(values, dtype=object))
    if all(issubclass(one, (bool, np.bool_)) for one in types):
        return Numbers(there.astype(bool), nulls)
    if all(issubclass(one, (numbers.Real, decimal.Decimal, np.bool_)) for one in types):
        if all(issubclass(one, (numbers.Integral, np.bool_)) for one in types):
            return _whole(there, nulls)
        return Numbers(np.array([_as_float(value) for value in there.tolist()], dtype=np.float64), nulls)
    dates = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64, pd.Period)
    kinds = ", ".join(sorted({one.__name__ for one in types}))
    raise refused(name, f"objects ({kinds})", dates=any(issubclass(one, dates) for one in types), mixed=len(types) > 1)


def _whole(values: _Array, nulls: int) -> Numbers:
    plain = [int(value) for value in values.tolist()]
    for dtype in (np.int64, np.uint64):
        try:
            return Numbers(np.array(plain, dtype=dtype), nulls)
        except OverflowError:
            continue
    return Numbers(np.array([_as_float(value) for value in plain], dtype=np.float64), nulls, long=True)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # as the literal would be
        return float("inf")


def _factorized(name: str, series: Any) -> Texts:
    """A pandas series of texts."""
    import pandas as pd

    codes, distinct = pd.factorize(series)
    return _categories(name, codes, [str.__str__(value) for value in distinct], declared=False)


def _categories(name: str, codes: _Array, values: list[Any], *, declared: bool = True) -> Texts:
    """Codes of values as codes of levels: texts, sorted unless their order was declared, none of them twice or missing.

    Of values whose order was not declared only those that occur are levels.
    """
    import pandas as pd

    empty = [bool(pd.isna(value)) for value in values]
    if not declared:
        occurring = set(np.flatnonzero(np.bincount(codes + 1, minlength=len(values) + 1)[1:]).tolist())
    else:
        occurring = set(range(len(values)))
    kept = [number for number in range(len(values)) if number in occurring and not empty[number]]
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
    new = np.full(len(values) + 1, -1, dtype=np.int64)  # the last is that of code -1
    for number, text in zip(kept, texts, strict=True):
        new[number] = level_of[text]
    found = new[codes]
    return Texts(found, tuple(level_of), int((found < 0).sum()))


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
