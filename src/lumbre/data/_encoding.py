"""How a frame becomes tensors: a plain record that a fitted model keeps, and the work that follows from it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, did_you_mean
from lumbre.data._cells import NO_DATE, Cells, Dates, Numbers, Texts, read, short_integers
from lumbre.data._columns import Column
from lumbre.data._date_parts import circles, days_since, years, zone_name
from lumbre.data._learn import Learned, Weigh, learned
from lumbre.data._matrix import Matrix
from lumbre.data._sources import InMemoryDataset
from lumbre.data._tables import Table, is_series
from lumbre.data._units import Units
from lumbre.data._values import as_numbers, floats, int64, present, refuse_infinite, refuse_missing, vector
from lumbre.data._weights import as_weights


@dataclass(frozen=True, slots=True)
class FrameEncoding:
    """How a frame becomes tensors; kept with the fitted model and written into its file.

    Attributes:
        features: the feature columns, in order.
        target: the target column, or None.
        one_hot: categories as columns of 0 and 1, or as codes.
        standardize: whether numbers are centred and scaled: by mean and standard deviation, or "robust".
        unknown: "error", or "ignore" to encode a category that was not seen as none of them.
        center: mean, or median, of each number (year and days of each date) over the training rows; empty until fitted.
        scale: standard deviation, or range between the quartiles, of each, 1 where a column is constant.
        missing: "error", or "indicate": a median in their place and a column that says so, or a category of their own.
        fill: the median of each column that is no category, for "indicate"; empty until fitted.
        origin: the first date of each column of dates, in microseconds since 1970; empty until fitted.
        more_targets: the second and further target columns, where there are several.
        matrix: whether the target is a matrix of numbers, a column for each target.
        scale_target: whether training sees the target centred and scaled.
        target_center: mean of each target over the training rows; empty until fitted.
        target_scale: standard deviation of each.
        weights: the column with the weights of the rows, or None.
    """

    features: tuple[Column, ...]
    target: Column | None
    one_hot: bool
    standardize: bool | str
    unknown: str
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    missing: str = "error"
    fill: tuple[float, ...] = ()
    origin: tuple[int, ...] = ()
    more_targets: tuple[Column, ...] = ()
    matrix: bool = False
    scale_target: bool = False
    target_center: tuple[float, ...] = ()
    target_scale: tuple[float, ...] = ()
    weights: str | None = None

    @property
    def width(self) -> int:
        """Columns of the encoded input: one a number or boolean, one a level of each one-hot category."""
        codes = 0 if self.one_hot else sum(not column.measured for column in self.features)
        return len(self.encoded) + codes

    @property
    def encoded(self) -> tuple[str, ...]:
        """Names of the columns of numbers that the input has, in order; categories as codes are not among them."""
        return tuple(name for column in self.features for name in column.encoded(one_hot=self.one_hot))

    @property
    def targets(self) -> tuple[Column, ...]:
        """The target columns: none, one or several."""
        return () if self.target is None else (self.target, *self.more_targets)

    @property
    def units(self) -> Units | None:
        """Brings predictions and targets back to the target's units; None where they are in them."""
        return Units(self.target_center, self.target_scale, self.matrix) if self.target_center else None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the target's classes, where it has any."""
        return self.target.levels if self.target is not None and self.target.kind == "category" else None

    @property
    def categories(self) -> dict[str, int]:
        """The number of codes of each column of categories, the target included."""
        return {one.name: one.codes for one in (*self.features, *self.targets) if not one.measured}

    @property
    def measured(self) -> list[Column]:
        """The features that hold numbers, booleans or dates."""
        return [column for column in self.features if column.measured]

    @property
    def described(self) -> tuple[tuple[str, str, str], ...]:
        """Name, kind and, of numbers, centre and spread, of categories, levels: of the features, then the targets."""
        spreads = iter(zip(self.center, self.scale, strict=True))
        found: list[tuple[str, str, str]] = []
        for column in self.features:
            texts = ["{:.4g} ± {:.4g}".format(*next(spreads)) for _ in column.parts if self.center]
            texts = texts or [*column.levels, *([f"{column.buckets} hashed"] if column.buckets else [])]
            found.append((column.name, column.kind, ", ".join([*texts, *(["missing"] if column.gaps else [])])))
        found += [(column.name, "target", ", ".join(column.levels)) for column in self.targets]
        return (*found, *([] if self.weights is None else [(self.weights, "weights", "")]))

    def fitted(self, frame: Any, rows: Tensor | None = None, weights: Tensor | None = None) -> "FrameEncoding":
        """This encoding with what is learned from `rows` of `frame` (all of them where None).

        `weights` are those of all rows of `frame`, shape (rows,), above 0; None counts them alike.

        Raises:
            DataError: a column cannot be used.
        """
        table = Table.of(frame)
        chosen = slice(None) if rows is None else rows.numpy()

        def readings(columns: Sequence[Column]) -> Iterator[list["np.ndarray[Any, Any]"]]:
            table.check([column.name for column in columns])
            yield [self.there(table, column, chosen) for column in columns]

        def weigh(column: Column) -> "np.ndarray[Any, Any]":
            assert weights is not None
            return self.there(table, column, chosen, instead=weights.numpy())

        # One column at a time, so that no second copy of the frame is ever held.
        by = None if weights is None else weigh
        facts = learned(self.features, self.standardize, self.missing, readings, held=True, weigh=by)
        return self.taught(facts, readings, by)

    def taught(self, facts: Learned, readings: Any, weigh: Weigh | None = None) -> "FrameEncoding":
        """This encoding with `facts`, and with what is learned of the target."""
        center: tuple[float, ...] = ()
        scale: tuple[float, ...] = ()
        if self.scale_target:
            plain = tuple(replace(column, kind="number") for column in self.targets)
            found = learned(plain, True, "error", readings, held=True, weigh=weigh)
            center, scale = found.center, found.scale
        return replace(
            self,
            center=facts.center,
            scale=facts.scale,
            fill=facts.fill,
            origin=facts.origin,
            target_center=center,
            target_scale=scale,
        )

    def without_target(self) -> "FrameEncoding":
        """The same features, and no target."""
        return replace(
            self, target=None, more_targets=(), matrix=False, scale_target=False, target_center=(), target_scale=()
        )

    def there(
        self, table: Table, column: Column, rows: Any = slice(None), instead: "np.ndarray[Any, Any] | None" = None
    ) -> "np.ndarray[Any, Any]":
        """The values of a column that are there, of shape (n,): numbers, or microseconds of dates.

        With `instead`, of shape (rows,), it is what stands there in these rows.

        Raises:
            DataError: it holds something else, or values are missing and are not to be.
        """
        counts: dict[str, int] = {}
        cells = self._read(table, column, counts)
        refuse_missing(counts)
        assert cells is not None
        if isinstance(cells, Dates):
            values, gaps = cells.values, cells.gaps()
        else:
            numbers = as_numbers(column.name, cells, boolean=column.kind == "boolean")
            values, gaps = numbers.filled(0.0), numbers.gaps()
        values = values if instead is None else instead
        return values[rows] if gaps is None else values[rows][~gaps[rows]]

    def encode(self, frame: Any, *, need_target: bool) -> InMemoryDataset:
        """`frame` as tensors.

        Args:
            frame: has the feature columns; others are left aside.
            need_target: whether the target column must be there too; where not, one that cannot be read is left aside.

        Raises:
            DataError: a column is missing, has missing values, or holds a category that was not seen.
        """
        table = Table.of(frame)
        table.check(self.wanted([*table.names, *table.twice], need_target=need_target))
        missing: dict[str, int] = {}
        target = None
        if self.target is not None and all(column.name in table.names for column in self.targets):
            # A frame to predict on may hold a target that is empty, or of classes that were not seen.
            try:
                target = self._targets(table, missing if need_target else {})
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
        table = Table.of(frame)
        if self.weights not in table.names:
            raise DataError(
                f"a frame without the column {self.weights!r}, which holds the weights of the rows",
                "the weight of each row, by which loss and metrics count it",
                f"frame.assign(**{{{self.weights!r}: 1.0}}), for rows that count alike",
            )
        cells = present(self.weights, table.cells(self.weights))
        values = as_numbers(self.weights, cells).values
        return as_weights(values, len(table), f"the column {self.weights!r} as weights")

    @property
    def plain(self) -> bool:
        """Whether it leaves features as they are, so that an array of them in the right order is as good."""
        kinds = {column.kind for column in self.features}
        return not self.standardize and kinds <= {"number", "boolean"} and self.missing == "error"

    @property
    def plain_target(self) -> bool:
        """Whether it leaves numbers of a target as they are: neither scaled, nor labels with numbers of their own."""
        places = tuple(map(str, range(len(self.classes or ()))))
        return not self.scale_target and (not self.labelled_by_numbers or self.classes == places)

    @property
    def labelled_by_numbers(self) -> bool:
        """Whether the target has classes whose labels are numbers: 3, 7 and 9, say."""
        return self.classes is not None and all(map(_is_of_number, self.classes))

    def target_of(self, given: Any) -> Tensor:
        """A target that comes beside the frame, as the encoding's own: a series, or a frame of its columns.

        Raises:
            DataError: it has missing values, or holds what the training data had not.
        """
        assert self.target is not None
        if is_series(given):
            return self._target(self.target, present(self.target.name, read(self.target.name, given)))
        table = Table(given)
        if not self.matrix:
            return self._target(self.target, present(self.target.name, table.cells(self.target.name)))
        counts: dict[str, int] = {}
        found = self._targets(table, counts)
        refuse_missing(counts)
        assert found is not None
        return found

    def wanted(self, columns: Sequence[str], *, need_target: bool) -> list[str]:
        """The names of its features, and that of its target where it is needed.

        Raises:
            DataError: one of them is not among `columns`.
        """
        names = [column.name for column in self.features]
        if need_target:
            names += [column.name for column in self.targets]
        absent = [name for name in names if name not in columns]
        if absent:
            raise DataError(
                f"the columns {', '.join(columns)}",
                f"all of {', '.join(names)}; missing: {', '.join(absent)}",
                f"{did_you_mean(absent[0], columns)}Add or rename the missing columns",
            )
        return names

    def _read(self, table: Table, column: Column, missing: dict[str, int]) -> Cells | Dates | None:
        """A feature; None where values are missing that are not to be, which are counted into `missing`."""
        cells: Cells | Dates = table.all_cells(column.name) if column.is_date else table.cells(column.name)
        if column.is_date and isinstance(cells, Numbers) and not len(cells.values):  # nothing but missing values
            cells = Dates(np.full(len(table), NO_DATE), "", "null")
        if column.is_date != isinstance(cells, Dates):
            raise DataError(
                f"column {column.name!r}, which holds no dates",
                "dates, as in the training data",
                f"df[{column.name!r}] = pandas.to_datetime(df[{column.name!r}])",
            )
        if isinstance(cells, Dates) and cells.zone != zone_name(next(iter(column.levels), "")) and not _empty(cells):
            raise DataError(
                f"column {column.name!r} with dates of the zone {cells.zone or 'none'}",
                f"those of the zone of the training data: {next(iter(column.levels), 'none')}",
                f"df[{column.name!r}].dt.tz_convert(...), or .dt.tz_localize(...), to that zone",
            )
        count = cells.missing
        if not count:
            return cells
        if self.missing == "error" or column not in self.features:
            missing[column.name] = count
            return None
        refuse_infinite(column.name, cells)
        if not column.gaps and self.unknown == "error" and cells.gaps() is not None:
            raise DataError(
                f"{count} missing values in {column.name!r}, which had none in the training data",
                "missing values in columns that had some in training, so that the model knows what they mean",
                'fill them; or from_frame(..., unknown="ignore"), which takes the median in their place',
            )
        return cells

    def _input(self, table: Table, missing: dict[str, int]) -> Nested:
        """The features; nothing where values are missing, which are counted into `missing`."""
        matrix = Matrix(len(table), len(self.encoded))
        codes: list[np.ndarray[Any, Any]] = []
        spreads = iter(zip(self.center, self.scale, strict=True))
        fills, origins = iter(self.fill), iter(self.origin)
        for column in self.features:
            fill = next(fills, 0.0) if column.measured else 0.0
            origin = next(origins, 0) if column.is_date else 0
            pairs = [next(spreads, (0.0, 1.0)) for _ in column.parts]
            cells = self._read(table, column, missing)
            if cells is None:
                continue
            if not column.measured:
                assert not isinstance(cells, Dates)
                code = codes_of(cells, column, self.unknown)
                if self.one_hot:
                    matrix.add_codes(column.name, code, column.codes)
                else:
                    codes.append(code)
                continue
            for values, (center, scale), clip in self._series(column, cells, fill, origin, pairs):
                matrix.add_numbers(column.name, values, center, scale, clip=clip)
            if column.gaps:
                gaps = cells.gaps()
                matrix.add_numbers(column.name, np.zeros(len(table), dtype=bool) if gaps is None else gaps)
        if missing:
            return None
        numbers = matrix.tensor()
        if not codes:
            return numbers
        numbered = torch.from_numpy(np.stack(codes, axis=1, dtype=np.int64))
        return {"numbers": numbers, "codes": numbered} if numbers.shape[1] else numbered

    def _series(
        self, column: Column, cells: Cells | Dates, fill: float, origin: int, pairs: list[tuple[float, float]]
    ) -> Iterator[tuple["np.ndarray[Any, Any]", tuple[float, float], bool]]:
        """What a column of numbers or dates becomes: values, their centre and scale, and whether they are clipped."""
        clip = self.standardize == "robust" and bool(self.center)
        if not isinstance(cells, Dates):
            numbers = as_numbers(column.name, cells, boolean=column.kind == "boolean")
            pair = pairs[0] if pairs else (0.0, 1.0)
            yield numbers.filled(fill), pair, clip and bool(pairs)
            return
        gaps = cells.gaps()
        micros = cells.values if gaps is None else np.where(gaps, np.int64(fill), cells.values)
        yield years(micros), pairs[0], clip
        yield days_since(micros, origin), pairs[1], clip
        for values in circles(micros, clock=column.kind == "datetime"):
            yield values, (0.0, 1.0), False

    def _targets(self, table: Table, missing: dict[str, int]) -> Tensor | None:
        parts: list[Tensor] = []
        for column in self.targets:
            cells = self._read(table, column, missing)
            if cells is not None and not isinstance(cells, Dates):
                parts.append(self._target(column, cells))
        if len(parts) < len(self.targets):
            return None
        if not self.matrix:
            return parts[0]
        return torch.stack(parts, dim=1)

    def _target(self, column: Column, cells: Cells) -> Tensor:
        if column.kind == "category":
            return torch.from_numpy(codes_of(cells, column, "error").astype(np.int64))
        numbers = as_numbers(column.name, cells)
        if column.kind == "integer":
            return int64(column.name, numbers)
        if column.kind != "float":
            return vector(column.name, numbers)
        if not self.target_center:
            return floats(column.name, numbers)
        place = [one.name for one in self.targets].index(column.name)
        return floats(column.name, numbers, self.target_center[place], self.target_scale[place])


def _is_of_number(label: str) -> bool:
    """Whether a label is what a number reads as; that of text may be "01"."""
    try:
        return label in (str(float(label)), str(int(float(label))))
    except (ValueError, OverflowError):  # words, and infinity
        return False


def _empty(dates: Dates) -> bool:
    return dates.missing == len(dates.values)


def codes_of(cells: Cells, column: Column, unknown: str) -> "np.ndarray[Any, Any]":
    """The code of each value, of shape (rows,), of a short type; -1 for one that is no level, where that is ignored."""
    level_of = {level: number for number, level in enumerate(column.levels)}
    texts = cells.factorized(level_of) if isinstance(cells, Numbers) else cells
    if column.buckets:
        numbers = _hashed(column, cells, texts)
    else:
        numbers = np.array([level_of.get(text, -1) for text in texts.levels], dtype=np.int64)
        if unknown == "error" and (numbers < 0).any():
            _refuse_strangers(column, texts, numbers)
    missing = column.codes - 1 if column.gaps else -1
    short = np.append(numbers, missing).astype(short_integers(column.codes))
    return short[texts.codes]  # code -1, a missing value, is the last


def _refuse_strangers(column: Column, texts: Texts, numbers: "np.ndarray[Any, Any]") -> None:
    met = np.unique(texts.codes)  # declared levels that no row has do no harm
    strangers = sorted(texts.levels[code] for code in met.tolist() if code >= 0 and numbers[code] < 0)[:5]
    if strangers:
        raise DataError(
            f"column {column.name!r} with {', '.join(map(repr, strangers))}",
            f"only the categories of the training data: {', '.join(column.levels)}",
            'leave these rows out, or make the data with from_frame(..., unknown="ignore")',
        )


def _hashed(column: Column, cells: Cells, texts: Texts) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The bucket of each level: the same in every process and on every machine, unlike Python's own hash."""
    if isinstance(cells, Numbers) and cells.values.dtype.kind == "f" and len(cells.values):
        raise DataError(
            f"column {column.name!r} of numbers with a fraction",
            "text, or whole numbers, as in the training data",
            f"df[{column.name!r}].astype(str), written as in the training data",
        )
    digests = (
        hashlib.blake2b(level.encode("utf-8", "surrogatepass"), digest_size=8).digest() for level in texts.levels
    )
    return np.array([int.from_bytes(digest, "big") % column.buckets for digest in digests], dtype=np.int64)
