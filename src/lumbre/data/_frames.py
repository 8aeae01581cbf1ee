"""Data frames as numbers: pandas, polars, pyarrow and others, through narwhals.

`from_frame` says which columns are features and which is the target. What has to be learned from rows (means and
spreads) is learned from the training rows alone, and stays with the fitted model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, did_you_mean, has_column, one_of
from lumbre.data._moments import Moments
from lumbre.data._sources import InMemoryDataset


def default_floats() -> "type[np.floating[Any]]":
    """NumPy's type of floats for torch's default dtype; float32 for those that NumPy lacks or that are shorter."""
    return np.float64 if torch.get_default_dtype() == torch.float64 else np.float32


def is_frame(value: Any) -> bool:
    """Whether `value` is a data frame or a series of a library that narwhals knows."""
    if isinstance(value, (Tensor, np.ndarray)):
        return False
    import narwhals.stable.v2 as nw

    return nw.dependencies.is_into_dataframe(value) or nw.dependencies.is_into_series(value)


def numeric_matrix(frame: Any) -> Tensor:
    """A frame of numbers as a tensor of shape (rows, columns), a series as one of shape (rows,).

    Floats come in torch's default dtype, a series of integers as int64.

    Raises:
        DataError: a column is no number, or has missing values.
    """
    import narwhals.stable.v2 as nw

    native = nw.from_native(frame, eager_only=True, allow_series=True)
    columns = [native] if isinstance(native, nw.Series) else [native[name] for name in native.columns]
    strange = {str(column.name): str(column.dtype) for column in columns if not _is_number(column.dtype)}
    if strange:
        raise DataError(
            f"columns that are no numbers: {', '.join(f'{name!r} ({kind})' for name, kind in strange.items())}",
            "columns of numbers or booleans in a frame that is passed as it is",
            "lumbre.data.from_frame(df, target=...), which encodes text and categories, or drop these columns",
        )
    _refuse_missing(columns)
    if isinstance(native, nw.Series) and native.dtype.is_integer():
        return torch.from_numpy(np.array(native.to_numpy(), dtype=np.int64))
    values = np.empty((len(native), len(columns)), dtype=default_floats())
    for index, column in enumerate(columns):
        values[:, index] = column.to_numpy()
    matrix = torch.from_numpy(values).to(torch.get_default_dtype())
    return matrix[:, 0] if isinstance(native, nw.Series) else matrix


@dataclass(frozen=True, slots=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        name: its name in the frame.
        kind: "number", "boolean" or "category".
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
        native = _frame(frame)
        chosen = slice(None) if rows is None else rows.numpy()
        center: list[float] = []
        scale: list[float] = []
        for name in numbers:  # one column at a time, so that no second copy of the frame is ever held
            moments = Moments(1)
            moments.add([np.asarray(native[name].to_numpy()[chosen], dtype=np.float64)])
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
        native = _frame(frame)
        wanted = self.wanted(native.columns, need_target=need_target)
        _refuse_missing([native[name] for name in wanted])
        target = None
        if self.target is not None and self.target.name in native.columns:
            try:
                _refuse_missing([native[self.target.name]])
                target = self._target(native[self.target.name])
            except DataError:
                if need_target:
                    raise
        return InMemoryDataset(self._input(native), target, classes=self.classes)

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

    def _input(self, native: Any) -> Nested:
        numbers = np.empty(
            (len(native), self.width if self.one_hot else self._count_of("number", "boolean")),
            default_floats(),
        )
        codes: list[np.ndarray[Any, Any]] = []
        at = standardized = 0
        for column in self.features:
            if column.kind == "category":
                code = self._codes(native[column.name], column)
                if self.one_hot:
                    numbers[:, at : at + len(column.levels)] = code[:, None] == np.arange(len(column.levels))
                    at += len(column.levels)
                else:
                    codes.append(code)
                continue
            values = _numbers(native[column.name])
            if column.kind == "number" and self.center:
                values = (values - self.center[standardized]) / self.scale[standardized]
                standardized += 1
            numbers[:, at] = values
            at += 1
        matrix = torch.from_numpy(numbers).to(torch.get_default_dtype())
        if not codes:
            return matrix
        table = torch.from_numpy(np.stack(codes, axis=1))
        return {"numbers": matrix, "codes": table} if matrix.shape[1] else table

    def _count_of(self, *kinds: str) -> int:
        return sum(column.kind in kinds for column in self.features)

    def _target(self, series: Any) -> Tensor:
        assert self.target is not None
        if self.target.kind == "category":
            return torch.from_numpy(self._codes(series, self.target, unknown="error"))
        return numeric_matrix(series.to_native())

    def _codes(self, series: Any, column: Column, unknown: str | None = None) -> "np.ndarray[Any, np.dtype[np.int64]]":
        codes, texts = _factorized(series)
        level_of = {level: number for number, level in enumerate(column.levels)}
        numbers = np.array([level_of.get(text, -1) for text in texts], dtype=np.int64)
        if (numbers < 0).any() and (unknown or self.unknown) == "error":
            strangers = sorted(text for text in texts if text not in level_of)[:5]
            raise DataError(
                f"column {column.name!r} with {', '.join(map(repr, strangers))}",
                f"only the categories of the training data: {', '.join(column.levels)}",
                'leave these rows out, or make the data with from_frame(..., unknown="ignore")',
            )
        return numbers[codes]


class FrameData:
    """A frame with its columns' parts told apart, made by `from_frame` and encoded by `fit()`.

    Attributes:
        frame: the frame as given.
        encoding: how it becomes numbers.
    """

    def __init__(self, frame: Any, encoding: FrameEncoding) -> None:
        self.frame = frame
        self.encoding = encoding
        self._rows = len(_frame(frame))

    def __len__(self) -> int:
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
        frame = _frame(self.frame)
        has_column(name, frame.columns, "the frame")
        return frame[name].to_numpy()

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the target's classes by class number; None for a target of numbers."""
        return self.encoding.classes

    def take(self, rows: Tensor) -> "FrameData":
        """Some rows of it: int64 tensor of shape (n,), row numbers."""
        return FrameData(_frame(self.frame)[rows.numpy()].to_native(), self.encoding)

    def __repr__(self) -> str:
        features, target = len(self.encoding.features), self.encoding.target
        return f"FrameData({len(self)} rows, {features} features, target {target.name if target else None!r})"


def from_frame(
    frame: Any,
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
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
        features: the feature columns; None takes all but the target.
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
    native = _frame(frame)
    chosen = [name for name in native.columns if name != target] if features is None else list(features)
    for name in [*chosen, *([target] if target is not None else [])]:
        has_column(name, native.columns, "the frame")
    if not len(native):
        raise DataError("a frame without rows", "at least one row", "pass some data")
    twice = [name for name in chosen if chosen.count(name) > 1 or name == target]
    if twice or not chosen:
        raise DataError(
            f"{twice[0]!r} {'as feature and target' if twice[0] == target else 'twice'}" if twice else "no features",
            "at least one feature column, each once, and none that is the target",
            f"features={list(dict.fromkeys(name for name in native.columns if name != target))[:5]}",
        )
    _refuse_missing([native[name] for name in [*chosen, *([target] if target else [])]])
    encoding = FrameEncoding(
        features=tuple(_column(native[name]) for name in chosen),
        target=None if target is None else _column(native[target], is_target=True),
        one_hot=categories == "one-hot",
        standardize=standardize,
        unknown=unknown,
    )
    return FrameData(frame, encoding)


def _frame(frame: Any) -> Any:
    import narwhals.stable.v2 as nw

    return nw.from_native(frame, eager_only=True)


def _is_number(dtype: Any) -> bool:
    return bool(dtype.is_numeric()) or str(dtype) == "Boolean"


def _numbers(series: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
    if not _is_number(series.dtype):
        raise DataError(
            f"column {series.name!r} of type {series.dtype}",
            "numbers, as in the training data",
            "convert the column, or make it as it was made for training",
        )
    return np.asarray(series.to_numpy(), dtype=np.float64)


def _column(series: Any, *, is_target: bool = False) -> Column:
    dtype = series.dtype
    if dtype.is_numeric():
        return Column(series.name, "number")
    if str(dtype) == "Boolean" and not is_target:
        return Column(series.name, "boolean")
    if dtype.is_temporal() or dtype.is_nested() or str(dtype) == "Binary":
        raise DataError(
            f"column {series.name!r} of type {dtype}",
            "numbers, booleans, text or categories",
            "make numbers of it that mean something for the question, for example the month, or the days since a date",
        )
    if str(dtype).startswith(("Categorical", "Enum")):
        return Column(
            series.name,
            "category",
            tuple(str(level) for level in series.cat.get_categories().to_list()),
        )
    return Column(series.name, "category", tuple(sorted(set(_factorized(series)[1]))))


def _factorized(series: Any) -> tuple["np.ndarray[Any, Any]", list[str]]:
    """The number of each value among the different ones, and these as text: levels are text, whatever they were."""
    import pandas as pd

    native = series.to_native()
    codes, distinct = pd.factorize(native if isinstance(native, pd.Series) else series.to_numpy())
    return codes, [str(value) for value in distinct]


def refuse_missing(frame: Any) -> None:
    """Look for missing values in every column of a frame.

    Raises:
        DataError: there are some; it names the columns and counts them.
    """
    native = _frame(frame)
    _refuse_missing([native[name] for name in native.columns])


def _refuse_missing(columns: Sequence[Any]) -> None:
    counts = {str(column.name): _missing(column) for column in columns}
    missing = {name: count for name, count in counts.items() if count}
    if missing:
        counted = ", ".join(f"{count} in {name!r}" for name, count in missing.items())
        raise DataError(
            f"missing values (NaN, infinite or null): {counted}",
            "columns without missing values",
            "df.dropna(subset=[...]) leaves such rows out, df.fillna({...}) fills them",
        )


def _missing(column: Any) -> int:
    nulls = int(column.null_count())
    return nulls or (int((~column.is_finite()).sum()) if column.dtype.is_float() else 0)
