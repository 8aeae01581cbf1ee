"""Frames of every library as one: columns by name, where names are texts that occur once."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lumbre.base import DataError, did_you_mean, has_column, import_extra
from lumbre.data._cells import Cells, Dates, Texts, read_all, without_dates


def is_frame(value: Any) -> bool:
    """Whether `value` is a data frame or a series of a library that narwhals knows, or hands out Arrow's."""
    if isinstance(value, (Tensor, np.ndarray)):
        return False
    import narwhals.stable.v2 as nw

    known = nw.dependencies.is_into_dataframe(value) or nw.dependencies.is_into_series(value)
    return known or _is_lazy(value) or _streams(value)


def is_series(value: Any) -> bool:
    """Whether `value` is a single column."""
    import narwhals.stable.v2 as nw

    return nw.dependencies.is_into_series(value)


class Table:
    """A frame, its columns by name.

    Names that are no texts (the 0, 1, 2 of `pandas.DataFrame(array)`, the tuples of several levels) are their text.

    Args:
        frame: of pandas, polars, pyarrow or another library that narwhals knows; lazy ones are computed; or what has
            Arrow's stream interface (`__arrow_c_stream__`), such as a relation of DuckDB.

    Raises:
        DataError: it is none.
    """

    def __init__(self, frame: Any) -> None:
        self.native, self.twice = _known(frame)
        """The frame in its own library, with names that are texts; names that several columns had are left out there,
        and can't be asked for."""
        arrow = type(self.native).__module__.startswith("pyarrow")
        self.names: tuple[str, ...] = tuple(self.native.column_names if arrow else self.native.columns)
        self._there = frozenset(self.names)
        self._rows = len(self.native)
        self._texts: dict[str, tuple[Any, Texts]] = {}  # what was read of columns that cannot change in place

    @classmethod
    def of(cls, frame: Any) -> "Table":
        """A frame as a table. Of one that is a table already the columns are looked up again, texts read once."""
        if not isinstance(frame, Table):
            return cls(frame)
        table = cls(frame.native)
        table._texts = frame._texts
        return table

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_texts": {}}

    def __len__(self) -> int:
        return self._rows

    def cells(self, name: str) -> Cells:
        """What a column holds.

        Raises:
            DataError: there is none of that name, or it holds neither numbers nor texts.
        """
        return without_dates(name, self.all_cells(name))

    def all_cells(self, name: str) -> Cells | Dates:
        """What a column holds, where that may be dates too."""
        if name not in self._there:
            self.check([name])
        native = self.native[name]
        held = _held_by_arrow(native, self.native)
        known, texts = self._texts.get(name, (None, None))
        if texts is not None and held is known:
            return texts
        cells = read_all(name, native)
        if held is not None and isinstance(cells, Texts):
            self._texts[name] = held, cells
        return cells

    def dtype(self, name: str) -> str:
        """The type of a column, in narwhals' words."""
        return str(self._narwhal()[name].dtype)

    def values(self, name: str) -> "np.ndarray[Any, Any]":
        """A column as an array of shape (rows,), as its library gives it.

        Raises:
            DataError: there is none of that name.
        """
        self.check([name])
        return self._narwhal()[name].to_numpy()

    def _narwhal(self) -> Any:
        import narwhals.stable.v2 as nw

        return nw.from_native(self.native, eager_only=True)

    def check(self, names: Iterable[str], where: str = "the frame") -> None:
        """See that each of the columns is there, once.

        Raises:
            DataError: one is not.
        """
        for name in names:
            if name in self._there:
                continue
            if name in self.twice:
                raise DataError(
                    f"two columns of the name {name!r}",
                    "names that occur once among the columns that are used",
                    "rename one of them: df.columns = [...]",
                )
            has_column(name, self.names, where)

    @property
    def columns(self) -> tuple[str, ...]:
        """All names but those of an index; names that occur twice are among them."""
        index = index_columns((*self.names, *self.twice), getattr(self.native, "schema", None))
        return tuple(name for name in (*self.names, *self.twice) if name not in index)

    @staticmethod
    def joined(frames: list[Any]) -> Any:
        """Frames of one library, one below the other."""
        import narwhals.stable.v2 as nw

        return nw.concat([nw.from_native(one, eager_only=True) for one in frames], how="vertical").to_native()

    def selected(self, names: Sequence[str]) -> Any:
        """Some columns, in that order, in the frame's own library.

        Raises:
            DataError: one of them is not there.
        """
        absent = [name for name in names if name not in self.names]
        if absent:
            raise DataError(
                f"the columns {', '.join([*self.names, *self.twice])}",
                f"all of {', '.join(names)}; missing: {', '.join(absent)}",
                f"{did_you_mean(absent[0], self.names)}Add or rename the missing columns",
            )
        return self._narwhal().select(list(names)).to_native()

    def take(self, rows: Tensor) -> Any:
        """Some rows, in the frame's own library: int64 tensor of shape (n,), row numbers."""
        return self._narwhal()[rows.numpy()].to_native()


def _held_by_arrow(column: Any, frame: Any) -> Any | None:
    """What holds a column of `frame`, if it is Arrow's and so cannot be changed in place; another where it changed."""
    if type(column).__module__.startswith("pyarrow"):
        return frame
    array: Any = getattr(column, "array", None)
    if not type(array).__module__.startswith("pandas.core.arrays."):
        return None
    held: Any = array.__arrow_array__() if type(array).__name__.startswith("Arrow") else None
    return held if hasattr(held, "chunks") else None


def index_columns(names: Sequence[str], schema: Any = None) -> set[str]:
    """Columns that only number or name the rows: an index that pandas, or R, has written among the columns.

    Args:
        names: of all columns, in order.
        schema: of Arrow, whose notes of pandas say which columns are an index.
    """
    notes = getattr(schema, "pandas_metadata", None) or {}  # which are parsed anew each time they are asked for
    kept = {name for name in notes.get("index_columns", ()) if isinstance(name, str)}  # else a range, not stored
    return kept | set(names[: _unnamed(names)]) | {name for name in names if _INDEX.fullmatch(name)}


def _unnamed(names: Sequence[str]) -> int:
    """How many columns without a name stand first: the levels of an index that a CSV holds.

    Readers give them names of their own: "Unnamed: 1" is pandas', "_duplicated_0" polars', "...1" readr's.
    """
    for place, name in enumerate(names):
        if name not in ("", f"Unnamed: {place}", f"...{place + 1}", *([f"_duplicated_{place - 1}"] if place else [])):
            return place
    return len(names)


_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)*")  # as pyarrow writes it; as pandas reads it from a CSV


def column_name(name: Any) -> str:
    """A column's name as a text."""
    return name if isinstance(name, str) else str(name)


def _known(frame: Any) -> tuple[Any, tuple[str, ...]]:
    """A frame of a library that narwhals knows, and the names that several of its columns had, which are left out."""
    import narwhals.stable.v2 as nw

    if not nw.dependencies.is_into_dataframe(frame):
        if _is_lazy(frame):
            frame = nw.from_native(frame).collect().to_native()
        elif nw.dependencies.is_into_series(frame) or not _streams(frame):
            raise _no_frame(frame)
        else:
            frame = import_extra("pyarrow", "data", "read what has Arrow's stream interface").table(frame)
    known = nw.dependencies
    if known.is_polars_dataframe(frame):  # names are texts there, and differ
        return frame, ()
    if not known.is_pyarrow_table(frame) and not known.is_pandas_dataframe(frame):  # of Modin, say
        frame = nw.from_native(frame, eager_only=True).to_pandas()
    return _named(frame)


def _named(frame: Any) -> tuple[Any, tuple[str, ...]]:
    arrow = type(frame).__module__.startswith("pyarrow")
    given = frame.column_names if arrow else list(frame.columns)
    names = [column_name(name) for name in given]
    if len(set(names)) == len(names) and names == given:
        return frame, ()
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    twice = tuple(name for name, count in counts.items() if count > 1)
    if not arrow and not all(type(name) is str for name in given):
        frame = frame.set_axis(names, axis=1)
    if twice:
        kept = [place for place, name in enumerate(names) if counts[name] == 1]
        frame = frame.select(kept) if arrow else frame.iloc[:, kept]
    return frame, twice


def _is_lazy(value: Any) -> bool:
    import narwhals.stable.v2 as nw

    try:
        return isinstance(nw.from_native(value, pass_through=True), nw.LazyFrame)
    except Exception:  # whatever a foreign class says of itself
        return False


def _streams(value: Any) -> bool:
    """Whether it hands out Arrow's record batches, and is no data set that is asked row by row."""
    if isinstance(value, type) or hasattr(value, "__getitems__") or hasattr(value, "ndim"):
        return False  # an array that streams, such as xarray's, would lose its shape
    return hasattr(value, "__arrow_c_stream__")


_VERBS = ("to_dataframe", "to_table", "to_pandas")


def _no_frame(value: Any) -> DataError:
    kind = type(value).__name__
    if isinstance(value, dict):
        fix = "pandas.DataFrame(data)"
    elif is_series(value):
        fix = "df[['name']] for a column, df.iloc[[0]] for a row; or fit((df, series)), for inputs that are numbers"
    elif isinstance(value, (np.ndarray, Tensor, list, tuple)):
        fix = "fit((x, y)) takes arrays and tensors as they are; pandas.DataFrame(array, columns=[...]) names columns"
    elif hasattr(value, "fetchall"):
        fix = "con.sql(query) of DuckDB, which is a table; pandas.read_sql(query, con) for other databases"
    elif any(callable(getattr(value, verb, None)) for verb in _VERBS):  # of xarray, of data sets of Arrow and Lance
        fix = f"value.{next(verb for verb in _VERBS if callable(getattr(value, verb, None)))}()"
    elif isinstance(value, str):
        fix = "lumbre.data.from_csv(path, target=...) or from_parquet(path, target=...) for a file"
    else:
        fix = "a frame of one of these: pandas.DataFrame(...)"
    return DataError(f"a {kind}", "a data frame: of pandas, polars, pyarrow, or one that has Arrow's streams", fix)
