"""Data frames as numbers: pandas, polars, pyarrow and others, through narwhals.

`from_frame` says which columns are features and which is the target. What has to be learned from rows (means and
spreads) is learned from the training rows alone, and stays with the fitted model.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, did_you_mean, one_of
from lumbre.data._cells import Cells, Numbers, Texts, read
from lumbre.data._matrix import Matrix
from lumbre.data._moments import Moments, weighted_moments
from lumbre.data._numeric import floats, int64, refuse_missing, vector
from lumbre.data._sources import InMemoryDataset
from lumbre.data._tables import Table, column_name, is_series
from lumbre.data._weights import as_weights


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
        weights: the column with the weights of the rows, or None.
    """

    features: tuple[Column, ...]
    target: Column | None
    one_hot: bool
    standardize: bool
    unknown: str
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    weights: str | None = None

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
        return (*found, *([] if self.weights is None else [(self.weights, "weights", "")]))

    def fitted(self, frame: Any, rows: Tensor | None = None, weights: Tensor | None = None) -> "FrameEncoding":
        """This encoding with means and spreads taken from `rows` of `frame` (all of them where None).

        `weights` are those of all rows of `frame`, shape (rows,); None counts them alike.
        """
        numbers = [column.name for column in self.features if column.kind == "number"]
        if not self.standardize or not numbers:
            return self
        table = Table(frame)
        table.check(numbers)
        chosen = slice(None) if rows is None else rows.numpy()
        center: list[float] = []
        scale: list[float] = []
        for name in numbers:  # one column at a time, so that no second copy of the frame is ever held
            if weights is not None:
                [values] = read_numbers(table, [name])
                mean, spread = weighted_moments(name, values[chosen], weights.numpy()[chosen])
                center.append(mean)
                scale.append(spread)
                continue
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

    def weights_in(self, frame: Any) -> Tensor | None:
        """The weights of the rows of `frame`, float64 of shape (rows,); None where no column holds any.

        Raises:
            DataError: the column is missing, or holds no weights.
        """
        if self.weights is None:
            return None
        table = Table(frame)
        if self.weights not in table.names:
            raise DataError(
                f"a frame without the column {self.weights!r}, which holds the weights of the rows",
                "the weight of each row, by which loss and metrics count it",
                f"frame.assign(**{{{self.weights!r}: 1.0}}), for rows that count alike",
            )
        [values] = read_numbers(table, [self.weights])
        return as_weights(values, len(table), f"the column {self.weights!r} as weights")

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
            return int64(target.name, numbers)
        return floats(target.name, numbers) if target.kind == "float" else vector(target.name, numbers)


class FrameData:
    """A frame with its columns' parts told apart, made by `from_frame` and encoded by `fit()`.

    Attributes:
        frame: the frame as given.
        encoding: how it becomes numbers.
    """

    def __init__(self, frame: Any, encoding: FrameEncoding) -> None:
        table = Table(frame)
        self.frame = table.native
        self.encoding = encoding
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

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

    @property
    def weights(self) -> Tensor | None:
        """The weights of the rows, float64 of shape (rows,); None where no column holds any."""
        return self.encoding.weights_in(self.frame)

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
    weights: Hashable | None = None,
) -> FrameData:
    """Data for `fit()` from a data frame (pandas, polars, pyarrow, ...).

    Numbers become float32 and are standardised with mean and standard deviation of the training rows alone;
    booleans become 0 and 1; text and categories become columns of 0 and 1, or codes for an embedding.
    The fitted model keeps the encoding, so `predict()` takes raw frames.

    Args:
        frame: the data frame.
        target: its target column. Text, categories and booleans are classes, numbered in their sorted (or declared)
            order, an int64 tensor of shape (rows,); integers stay int64, other numbers become float32.
        features: the feature columns; None takes all but target and weights, and but what only numbers the rows: an
            index that was written among the columns ("Unnamed: 0" of a CSV, "__index_level_0__").
        categories: "one-hot": the input is one float32 tensor of shape (rows, width). "codes": it is a dict of
            `numbers` (rows, n) float32 and `codes` (rows, m) int64, spread over `forward(self, numbers, codes)`.
        standardize: centre and scale the numbers.
        unknown: what a category does that was not in `frame`: "error", or "ignore" (no column set; code -1).
        weights: the column with the weights of the rows, numbers of 0 or more, which is no feature: loss, metrics,
            means and spreads count a row of weight 2 like the row twice, and leave out one of weight 0. Frames to
            validate and evaluate on must have it, too.

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
    weighing = None if weights is None else column_name(weights)
    others = {"target": aim, "weights": weighing}
    chosen = (
        [name for name in table.columns if name not in others.values()]
        if features is None
        else list(map(column_name, features))
    )
    table.check([*chosen, *(name for name in others.values() if name is not None)])
    twice = [name for name in chosen if chosen.count(name) > 1 or name in others.values()]
    if twice or not chosen or (aim is not None and aim == weighing):
        parts = [part for part, name in others.items() if twice and name == twice[0]]
        raise DataError(
            f"{twice[0]!r} {f'as feature and {parts[0]}' if parts else 'twice'}"
            if twice
            else f"{aim!r} as target and weights"
            if chosen
            else "no features",
            "at least one feature column, each once, and none that is the target or holds the weights",
            f"features={[name for name in table.names if name not in others.values()][:5]}",
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
        weights=weighing,
    )
    encoding.weights_in(table.native)
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
