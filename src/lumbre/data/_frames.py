"""Data frames as numbers: pandas, polars, pyarrow and others, through narwhals.

`from_frame` says which columns are features and which is the target. What has to be learned from rows (means and
spreads) is learned from the training rows alone, and stays with the fitted model.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lumbre.base import DataError, Nested, did_you_mean, one_of
from lumbre.data._cells import Cells, Numbers, Texts, read
from lumbre.data._matrix import Matrix
from lumbre.data._moments import Moments
from lumbre.data._sources import InMemoryDataset
from lumbre.data._tables import Table, column_name, is_series


def numeric_matrix(frame: Any) -> Tensor:
    """A frame of numbers as a tensor of shape (rows, columns), a series as one of shape (rows,).

    Floats come in torch's default dtype, a series of integers as int64.

    Raises:
        DataError: a column is no number, or has missing values.
    """
    import narwhals.stable.v2 as nw

    if is_series(frame):
        series = nw.from_native(frame, series_only=True)
        name, kind = column_name(series.name), str(series.dtype)
        return _vector(name, _numbers_alone({name: read(name, frame)}, lambda _: kind)[0])
    table = Table(frame)
    columns = _numbers_alone({name: table.cells(name) for name in table.columns}, table.dtype)
    matrix = Matrix(len(table), len(columns))
    for name, numbers in zip(table.columns, columns, strict=True):
        matrix.add_numbers(name, numbers.values)
    return matrix.tensor()


def _numbers_alone(cells: dict[str, Cells], kind: Callable[[str], str]) -> list[Numbers]:
    strange = [f"{name!r} ({kind(name)})" for name, one in cells.items() if isinstance(one, Texts)]
    if strange:
        raise DataError(
            f"columns that are no numbers: {', '.join(strange)}",
            "columns of numbers or booleans in a frame that is passed as it is",
            "lumbre.data.from_frame(df, target=...), which encodes text and categories, or drop these columns",
        )
    refuse_missing({name: one.missing for name, one in cells.items()})
    return [one for one in cells.values() if isinstance(one, Numbers)]


def _vector(name: str, numbers: Numbers) -> Tensor:
    """Whole numbers as int64, others in torch's default dtype."""
    if numbers.whole:
        return _int64(name, numbers)
    return _floats(name, numbers)


def _int64(name: str, numbers: Numbers) -> Tensor:
    values = numbers.values
    if values.dtype.kind == "f" or (values.dtype == np.uint64 and len(values) and values.max() >= 2**63):
        if numbers.long or values.dtype == np.uint64:
            raise DataError(
                f"whole numbers beyond 64 bits in the target {name!r}",
                "whole numbers that int64 holds, -2**63 to 2**63 - 1",
                f"df[{name!r}].astype(float) for measurements; .astype(str) for classes",
            )
        broken = values[values % 1 != 0]
        if len(broken) or (abs(values) >= 2.0**63).any():
            raise DataError(
                f"the target {name!r} with {float(broken[0]) if len(broken) else float(abs(values).max()):g}",
                "whole numbers, as in the training data",
                "the classes or counts that the model was trained on",
            )
    return torch.from_numpy(np.array(values, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        name: its name in the frame.
        kind: "number", "boolean" or "category"; of targets "integer", "float" or "category" ("number" in files of
            older versions, where the rows decide which of both it is).
        levels: the categories in order, empty for the other kinds.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameEncoding:
    """How a frame becomes tensors; kept with the fitted model and written into its file.

    Attributes:
        features: the feature columns, in order.
        target: the target column, or None.
        one_hot: categories as columns of 0 and 1, or as codes.
        standardize: whether numbers are centred and scaled.
        unknown: "error", or "ignore" to encode a category that was not seen as none of them.
        center: mean of each number column over the training rows; empty until fitted.
        scale: standard deviation of each, 1 where a column is constant; empty until fitted.
    """

    features: tuple[Column, ...]
    target: Column | None
    one_hot: bool
    standardize: bool
    unknown: str
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Columns of the encoded input: one a number or boolean, one a level of each one-hot category."""
        return sum(len(c.levels) if c.kind == "category" and self.one_hot else 1 for c in self.features)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the target's classes, where it has any."""
        return self.target.levels if self.target is not None and self.target.kind == "category" else None

    @property
    def categories(self) -> dict[str, int]:
        """The number of levels of each column of categories, the target included."""
        columns = (*self.features, *(() if self.target is None else (self.target,)))
        return {column.name: len(column.levels) for column in columns if column.kind == "category"}

    @property
    def described(self) -> tuple[tuple[str, str, str], ...]:
        """Name, kind and, of numbers, mean and spread, of categories, levels: of the features, then the target."""
        numbers = [column.name for column in self.features if column.kind == "number"]
        spreads = dict(zip(numbers, zip(self.center, self.scale, strict=True), strict=False))
        found: list[tuple[str, str, str]] = []
        for column in (*self.features, *(() if self.target is None else (self.target,))):
            text = ", ".join(column.levels)
            if column is not self.target and column.name in spreads:
                text = "{:.4g} ± {:.4g}".format(*spreads[column.name])
            found.append((column.name, "target" if column is self.target else column.kind, text))
        return tuple(found)

    def fitted(self, frame: Any, rows: Tensor | None = None) -> "FrameEncoding":
        """This encoding with means and spreads taken from `rows` of `frame` (all of them where None)."""
        numbers = [column.name for column in self.features if column.kind == "number"]
        if not self.standardize or not numbers:
            return self
        table = Table(frame)
        table.check(numbers)
        chosen = slice(None) if rows is None else rows.numpy()
        center: list[float] = []
        scale: list[float] = []
        for name in numbers:  # one column at a time, so that no second copy of the frame is ever held
            moments = Moments(1)
            moments.add([values[chosen] for values in read_numbers(table, [name])])
            moments.check([name])
            center += moments.center
            scale += moments.scale
        return replace(self, center=tuple(center), scale=tuple(scale))

    def encode(self, frame: Any, *, need_target: bool) -> InMemoryDataset:
        """`frame` as tensors.

        Args:
            frame: has the feature columns; others are left aside.
            need_target: whether the target column must be there too; where not, one that cannot be read is left aside.

        Raises:
            DataError: a column is missing, has missing values, or holds a category that was not seen.
        """
        table = Table(frame)
        table.check(self.wanted([*table.names, *table.twice], need_target=need_target))
        missing: dict[str, int] = {}
        target = None
        if self.target is not None and self.target.name in table.names:
            # A frame to predict on may hold a target that is empty, or of classes that were not seen.
            try:
                cells = _read(table, self.target.name, missing if need_target else {})
                target = None if cells is None else self._target(cells)
            except DataError:
                if need_target:
                    raise
        input = self._input(table, missing)
        refuse_missing(missing)
        return InMemoryDataset(input, target, classes=self.classes)

    @property
    def plain(self) -> bool:
        """Whether it leaves numbers as they are, so that an array of them in the right order is as good."""
        return not self.standardize and all(column.kind != "category" for column in self.features)

    def target_of(self, series: Any) -> Tensor:
        """A target that comes beside the frame, as the encoding's own: a series, or a frame of one column.

        Raises:
            DataError: it has missing values, or holds what the training data had not.
        """
        assert self.target is not None
        name = self.target.name
        if not is_series(series):
            return self._target(_present(name, Table(series).cells(name)))
        return self._target(_present(name, read(name, series)))

    def wanted(self, columns: Sequence[str], *, need_target: bool) -> list[str]:
        """The names of its features, and that of its target where it is needed.

        Raises:
            DataError: one of them is not among `columns`.
        """
        names = [column.name for column in self.features]
        if self.target is not None and need_target:
            names.append(self.target.name)
        absent = [name for name in names if name not in columns]
        if absent:
            raise DataError(
                f"the columns {', '.join(columns)}",
                f"all of {', '.join(names)}; missing: {', '.join(absent)}",
                f"{did_you_mean(absent[0], columns)}Add or rename the missing columns",
            )
        return names

    def _input(self, table: Table, missing: dict[str, int]) -> Nested:
        """The features; nothing where values are missing, which are counted into `missing`."""
        matrix = Matrix(len(table), self.width if self.one_hot else self._count_of("number", "boolean"))
        codes: list[np.ndarray[Any, Any]] = []
        standardized = 0
        for column in self.features:
            cells = _read(table, column.name, missing)
            if cells is None:
                continue
            if column.kind == "category":
                code = _codes(cells, column, self.unknown)
                if self.one_hot:
                    matrix.add_codes(column.name, code, len(column.levels))
                else:
                    codes.append(code)
                continue
            values = _as_numbers(column.name, cells, boolean=column.kind == "boolean").values
            if column.kind == "number" and self.center:
                matrix.add_numbers(column.name, values, self.center[standardized], self.scale[standardized])
                standardized += 1
            else:
                matrix.add_numbers(column.name, values)
        if missing:
            return None
        numbers = matrix.tensor()
        if not codes:
            return numbers
        numbered = torch.from_numpy(np.stack(codes, axis=1))
        return {"numbers": numbers, "codes": numbered} if numbers.shape[1] else numbered

    def _count_of(self, *kinds: str) -> int:
        return sum(column.kind in kinds for column in self.features)

    def _target(self, cells: Cells) -> Tensor:
        target = self.target
        assert target is not None
        if target.kind == "category":
            return torch.from_numpy(_codes(cells, target, "error"))
        numbers = _as_numbers(target.name, cells)
        if target.kind == "integer":
            return _int64(target.name, numbers)
        return _floats(target.name, numbers) if target.kind == "float" else _vector(target.name, numbers)


class FrameData(Dataset[Any]):
    """A frame with its columns' parts told apart, made by `from_frame` and encoded by `fit()`.

    It is also a map-style `torch.utils.data.Dataset` of pairs (input, target): categories and classes are encoded,
    numbers stand as they were measured, since centre and scale are those of the rows that a run trains on.

    Attributes:
        frame: the frame as given.
        encoding: how it becomes numbers.
    """

    def __init__(self, frame: Any, encoding: FrameEncoding) -> None:
        table = Table(frame)
        self.frame = table.native
        self.encoding = encoding
        self._table = table
        self._rows: InMemoryDataset | None = None

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, row: Any) -> Any:
        """A row, or those of a slice, a list or a mask, as (input, target), numbers as measured."""
        return self._measured()[row]

    def __getitems__(self, rows: list[int]) -> list[Any]:
        """The items of several rows, for torch's DataLoader."""
        return self._measured().__getitems__(rows)

    def _measured(self) -> InMemoryDataset:
        if self._rows is None:
            self._rows = replace(self.encoding, center=(), scale=()).encode(self.frame, need_target=True)
        return self._rows

    @property
    def width(self) -> int:
        """Columns of the encoded input: what a first layer takes."""
        return self.encoding.width

    def column(self, name: str) -> "np.ndarray[Any, Any]":
        """The values of a column, an array of shape (rows,); it need not be a feature.

        Raises:
            DataError: there is none of that name.
        """
        return self._table.values(name)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the target's classes by class number; None for a target of numbers."""
        return self.encoding.classes

    def take(self, rows: Tensor) -> "FrameData":
        """Some rows of it: int64 tensor of shape (n,), row numbers."""
        return FrameData(self._table.take(rows), self.encoding)

    def __repr__(self) -> str:
        features, target = len(self.encoding.features), self.encoding.target
        return f"FrameData({len(self)} rows, {features} features, target {target.name if target else None!r})"


def from_frame(
    frame: Any,
    *,
    target: Hashable | None = None,
    features: Iterable[Hashable] | None = None,
    categories: str = "one-hot",
    standardize: bool = True,
    unknown: str = "error",
) -> FrameData:
    """Data for `fit()` from a data frame (pandas, polars, pyarrow, ...).

    Numbers become float32 and are standardised with mean and standard deviation of the training rows alone;
    booleans become 0 and 1; text and categories become columns of 0 and 1, or codes for an embedding.
    The fitted model keeps the encoding, so `predict()` takes raw frames.

    Args:
        frame: the data frame.
        target: its target column. Text, categories and booleans are classes, numbered in their sorted (or declared)
            order, an int64 tensor of shape (rows,); integers stay int64, other numbers become float32.
        features: the feature columns; None takes all but the target, and but what only numbers the rows: an index
            that was written among the columns ("Unnamed: 0" of a CSV, "__index_level_0__").
        categories: "one-hot": the input is one float32 tensor of shape (rows, width). "codes": it is a dict of
            `numbers` (rows, n) float32 and `codes` (rows, m) int64, spread over `forward(self, numbers, codes)`.
        standardize: centre and scale the numbers.
        unknown: what a category does that was not in `frame`: "error", or "ignore" (no column set; code -1).

    Raises:
        DataError: a column is not there, cannot be used (a date, say), or has missing values.
        OptionError: an option is none of the values above.

    Example:
        >>> import lumbre as lb
        >>> data = lb.data.from_frame(lb.datasets.penguins(drop_missing=True), target="species",
        ...                           features=["bill_length_mm", "body_mass_g", "sex"])
        >>> len(data), data.width, data.classes
        (333, 4, ('Adelie', 'Chinstrap', 'Gentoo'))
    """
    one_of("categories", categories, ("one-hot", "codes"))
    one_of("unknown", unknown, ("error", "ignore"))
    table = Table(frame)
    if not len(table):
        raise DataError("a frame without rows", "at least one row", "pass some data")
    aim = None if target is None else column_name(target)
    chosen = [name for name in table.columns if name != aim] if features is None else list(map(column_name, features))
    table.check([*chosen, *([] if aim is None else [aim])])
    twice = [name for name in chosen if chosen.count(name) > 1 or name == aim]
    if twice or not chosen:
        raise DataError(
            f"{twice[0]!r} {'as feature and target' if twice[0] == aim else 'twice'}" if twice else "no features",
            "at least one feature column, each once, and none that is the target",
            f"features={[name for name in table.names if name != aim][:5]}",
        )
    missing: dict[str, int] = {}
    columns = [_column(name, _read(table, name, missing)) for name in chosen]
    aimed = None if aim is None else _column(aim, _read(table, aim, missing), is_target=True)
    refuse_missing(missing)
    encoding = FrameEncoding(
        features=tuple(columns),
        target=aimed,
        one_hot=categories == "one-hot",
        standardize=standardize,
        unknown=unknown,
    )
    return FrameData(table.native, encoding)


def read_numbers(table: Table, names: Sequence[str]) -> "list[np.ndarray[Any, Any]]":
    """Columns of numbers, each of shape (rows,), of their own types.

    Raises:
        DataError: a column is none, or has missing values.
    """
    missing: dict[str, int] = {}
    cells = [(name, _read(table, name, missing)) for name in names]
    refuse_missing(missing)
    return [_as_numbers(name, one).values for name, one in cells if one is not None]


def _present(name: str, cells: Cells) -> Cells:
    refuse_missing({name: cells.missing})
    return cells


def _read(table: Table, name: str, missing: dict[str, int]) -> Cells | None:
    """A column; None where values are missing, which are counted into `missing`."""
    cells = table.cells(name)
    count = cells.missing
    if count:
        missing[name] = count
    return None if count else cells


def _column(name: str, cells: Cells | None, *, is_target: bool = False) -> Column:
    if isinstance(cells, Texts):
        return Column(name, "category", cells.levels)
    if cells is None or cells.values.dtype.kind != "b":
        kind = "integer" if cells is not None and cells.whole else "float"
        return Column(name, kind if is_target else "number")
    return Column(name, "category", _BOOLEANS) if is_target else Column(name, "boolean")


_BOOLEANS = ("False", "True")


def _as_numbers(name: str, cells: Cells, *, boolean: bool = False) -> Numbers:
    """Numbers, where numbers are expected; zeros and ones, where booleans are."""
    if isinstance(cells, Texts):
        raise DataError(
            f"column {name!r} of type text or categories",
            "numbers, as in the training data",
            "convert the column, or make it as it was made for training",
        )
    if boolean and cells.values.dtype.kind != "b":
        others = cells.values[(cells.values != 0) & (cells.values != 1)]
        if len(others):
            raise DataError(
                f"column {name!r} with {others[0].item():g}, which was True and False in training",
                "booleans, or 0 and 1",
                "make it as it was made for training",
            )
    return cells


def _floats(name: str, numbers: Numbers) -> Tensor:
    matrix = Matrix(len(numbers.values), 1)
    matrix.add_numbers(name, numbers.values)
    return matrix.tensor()[:, 0]


def _codes(cells: Cells, column: Column, unknown: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The level number of each value; -1 for one that is none, where `unknown` is "ignore"."""
    level_of = {level: number for number, level in enumerate(column.levels)}
    texts = cells.factorized(level_of) if isinstance(cells, Numbers) else cells
    numbers = np.array([level_of.get(text, -1) for text in texts.levels], dtype=np.int64)
    if unknown == "error" and (numbers < 0).any():
        met = np.unique(texts.codes)  # declared levels that no row has do no harm
        strangers = sorted(texts.levels[code] for code in met.tolist() if numbers[code] < 0)[:5]
        if strangers:
            raise DataError(
                f"column {column.name!r} with {', '.join(map(repr, strangers))}",
                f"only the categories of the training data: {', '.join(column.levels)}",
                'leave these rows out, or make the data with from_frame(..., unknown="ignore")',
            )
    return numbers[texts.codes] if len(numbers) else np.full(len(texts.codes), -1, dtype=np.int64)


def refuse_missing(counts: Mapping[str, int]) -> None:
    """See that nothing is missing.

    Args:
        counts: missing values by column.

    Raises:
        DataError: there are some; it names the columns and counts them.
    """
    missing = {name: count for name, count in counts.items() if count}
    if missing:
        counted = ", ".join(f"{count} in {name!r}" for name, count in missing.items())
        raise DataError(
            f"missing values (NaN, infinite or null): {counted}",
            "columns without missing values",
            "df.dropna(subset=[...]) leaves such rows out, df.fillna({...}) fills them",
        )
