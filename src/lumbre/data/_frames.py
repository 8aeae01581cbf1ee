"""Data frames as numbers: pandas, polars, pyarrow and others, through narwhals.

`from_frame` says which columns are features and which is the target. What has to be learned from rows (means and
spreads, medians) is learned from the training rows alone, and stays with the fitted model.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from lumbre.base import DataError, OptionError, listed, one_of
from lumbre.data._cells import Cells, Dates, Numbers, Texts, read, refused
from lumbre.data._columns import Column
from lumbre.data._date_parts import has_clock
from lumbre.data._encoding import FrameEncoding
from lumbre.data._matrix import Matrix
from lumbre.data._shown import as_text, counted, frame_html
from lumbre.data._sources import InMemoryDataset
from lumbre.data._tables import Table, column_name, is_series
from lumbre.data._values import refuse_infinite, refuse_missing, vector
from lumbre.data._weights import that_count
from lumbre.data._written import refuse_written


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
        return vector(name, _numbers_alone({name: read(name, frame)}, lambda _: kind)[0])
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


class FrameData(Dataset[Any]):
    """A frame of which it is known what each column is for, made by `from_frame` and encoded by `fit()`.

    It is also a map-style `torch.utils.data.Dataset` of pairs (input, target): categories and classes are encoded,
    numbers stand as they were measured, since centre and scale are those of the rows that a run trains on.

    Attributes:
        frame: the frame as given.
        table: its columns by name.
        encoding: how it becomes numbers.
        learned: whether the encoding is that of a trained model, which stays as it is.
    """

    def __init__(self, frame: Any, encoding: FrameEncoding, *, learned: bool = False) -> None:
        self.table = Table.of(frame)
        self.frame = self.table.native
        self.encoding = encoding
        self.learned = learned
        self._rows: InMemoryDataset | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: Any) -> Any:
        """A row, or those of a slice, a list or a mask, as (input, target), numbers as measured."""
        return self._measured()[row]

    def __getitems__(self, rows: list[int]) -> list[Any]:
        """The items of several rows, for torch's DataLoader."""
        return self._measured().__getitems__(rows)

    def _measured(self) -> InMemoryDataset:
        if self._rows is None:
            weights = self.weights
            kept = None if weights is None else that_count(weights)
            measured = replace(self.encoding, standardize=False, scale_target=False)
            measured = measured.fitted(self.table, kept, weights)
            self._rows = measured.encode(self.table, need_target=True)
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
        return self.table.values(name)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the target's classes by class number; None for a target of numbers."""
        return self.encoding.classes

    @property
    def weights(self) -> Tensor | None:
        """The weights of the rows, float64 of shape (rows,); None where no column holds any."""
        return self.encoding.weights_in(self.table)

    def take(self, rows: Tensor) -> "FrameData":
        """Some rows of it: int64 tensor of shape (n,), row numbers."""
        return FrameData(self.table.take(rows), self.encoding, learned=self.learned)

    def __repr__(self) -> str:
        return as_text(self._title, self._facts())

    def _repr_html_(self) -> str:
        return frame_html(self._title, self._facts(), self.encoding.described, self.frame)

    @property
    def _title(self) -> str:
        return f"FrameData of {len(self):,} rows"

    def _facts(self) -> list[tuple[str, str]]:
        features = self.encoding.features
        found = [("features", f"{len(features)}: {listed(one.name for one in features)}")]
        for target in self.encoding.targets:
            classes = f": {counted(self.column(target.name))}" if target.levels else ""
            found.append(("target", target.name + classes))
        return found if self.encoding.weights is None else [*found, ("weights", self.encoding.weights)]


def from_frame(
    frame: Any,
    *,
    target: Hashable | list[Any] | None = None,
    features: Iterable[Hashable] | None = None,
    categories: str = "one-hot",
    standardize: bool | str = True,
    unknown: str = "error",
    missing: str = "error",
    dates: str = "error",
    hash: int | Mapping[str, int] | None = None,
    scale_target: bool = False,
    weights: Hashable | None = None,
) -> FrameData:
    """Data for `fit()` from a data frame (pandas, polars, pyarrow, ...).

    Numbers become float32 and are standardised with mean and standard deviation of the training rows alone;
    booleans become 0 and 1; text and categories become columns of 0 and 1, or codes for an embedding. Text that reads
    as numbers or dates ("1,234", "12 %", "-" among numbers, "31/12/2024") is refused; a column of categories is taken.
    The fitted model keeps the encoding, so `predict()` takes raw frames.

    Args:
        frame: the data frame.
        target: its target column. Text, categories and booleans are classes, numbered in their sorted (or declared)
            order, an int64 tensor of shape (rows,); integers stay int64, other numbers become float32. A list of
            columns of numbers, or of booleans, is a float32 matrix of shape (rows, targets).
        features: the feature columns; None takes all but target and weights, and but what only numbers the rows: an
            index that was written among the columns ("Unnamed: 0" of a CSV, a first column without a name,
            "__index_level_0__").
        categories: "one-hot": the input is one float32 tensor of shape (rows, width). "codes": it is a dict of
            `numbers` (rows, n) float32 and `codes` (rows, m) int64, spread over `forward(self, numbers, codes)`.
        standardize: centre and scale the numbers. "robust" takes median and range between the quartiles, and clips
            smoothly to -3 and 3 (as RealMLP does: Holzmueller, Grinsztajn and Steinwart, "Better by Default", 2024).
        unknown: what a category does that was not in `frame`: "error", or "ignore" (no column set; code -1).
        missing: "error", or "indicate": a number that is missing becomes the median of the training rows, and a column
            of 0 and 1 says where; a missing category is a category of its own, the last. Columns without missing values
            in `frame` have neither; a value that is missing there later is refused, or with unknown="ignore" the median
            (no column set). Means and spreads are those of the values that are there. A target is never missing.
        dates: "error", or "parts": a date becomes its year, the days since the first one of the training rows, sine and
            cosine of the month and the day of week, and of the hour where `frame` has times of day.
        hash: text features with more than so many different values become so many columns (or codes), by a hash of the
            text; texts share a column then, and new ones are known. A dict does so for the columns that it names.
        scale_target: training sees a target of numbers centred and scaled, by mean and standard deviation of the
            training rows; predictions, metrics, comparisons, plots and exports are in the target's own units, the loss
            in standard deviations.
        weights: the column with the weights of the rows, numbers of 0 or more, which is no feature: loss, metrics, and
            what is learned of columns count a row of weight 2 like the row twice, and leave out one of weight 0. Frames
            to validate and evaluate on must have it, too.

    Raises:
        DataError: a column is not there, cannot be used (a date, say), or has missing values.
        OptionError: an option is none of the values above.

    Example:
        >>> import lumbre as lb
        >>> data = lb.data.from_frame(
        ...     lb.datasets.penguins(drop_missing=True),
        ...     target="species",
        ...     features=["bill_length_mm", "body_mass_g", "sex"],
        ... )
        >>> len(data), data.width, data.classes
        (333, 4, ('Adelie', 'Chinstrap', 'Gentoo'))
        >>> lb.data.from_frame(
        ...     lb.datasets.penguins(), target="species", missing="indicate"
        ... ).width
        15
    """
    one_of("categories", categories, ("one-hot", "codes"))
    check_options(standardize, unknown, missing, dates, hash, scale_target)
    table = Table(frame)
    _check_names(target, features)
    if not len(table):
        raise DataError("a frame without rows", "at least one row", "pass some data")
    aims = [] if target is None else list(map(column_name, target if isinstance(target, list) else [target]))
    weighing = [] if weights is None else [column_name(weights)]
    others = [name for name in table.columns if name not in (*aims, *weighing)]
    chosen = others if features is None else list(map(column_name, features))
    _check_roles(table, {"feature": chosen, "target": aims, "weights": weighing}, target)
    counts: dict[str, int] = {}
    hash = {column_name(name): count for name, count in hash.items()} if isinstance(hash, Mapping) else hash
    table.check(list(hash) if isinstance(hash, Mapping) else [])
    columns = [_feature(table, name, missing, dates, buckets_of(name, hash), counts) for name in chosen]
    check_hashed(hash, columns)
    targets = [_target(name, _read(table, name, counts)) for name in aims]
    refuse_missing(counts)
    encoding = FrameEncoding(
        features=tuple(columns),
        one_hot=categories == "one-hot",
        standardize=standardize,
        unknown=unknown,
        missing=missing,
        weights=weighing[0] if weighing else None,
        **target_options(targets, several=isinstance(target, list), scale_target=scale_target),
    )
    encoding.weights_in(table)
    return FrameData(table, encoding)


def _check_names(target: object, features: object) -> None:
    """See that columns are named: no column itself, and no text where there should be a list of them."""
    if is_series(target) or isinstance(target, (np.ndarray, Tensor)):
        raise DataError(f"a {type(target).__name__} as target", "the name of its column", 'target="species"')
    if isinstance(features, str) or not isinstance(features, (Iterable, type(None))):
        raise DataError(f"features={features!r}", "a list of columns", f"features=[{features!r}]")


def _check_roles(table: Table, roles: Mapping[str, list[str]], target: object) -> None:
    """See that there are features, and that no column is two things.

    Raises:
        DataError: a column is not there, or stands twice; or there are no features, or no targets in a list of them.
    """
    every = [name for names in roles.values() for name in names]
    table.check(every)
    twice = [name for name, count in Counter(every).items() if count > 1]
    if twice or not roles["feature"] or (target is not None and not roles["target"]):
        among = [role for role, names in roles.items() if twice and twice[0] in names]
        what = f"as {' and '.join(among)}" if len(among) > 1 else "twice"
        raise DataError(
            f"{twice[0]!r} {what}" if twice else "no features" if roles["target"] or target is None else "target=[]",
            "at least one feature column, each once, and none that is the target or holds the weights",
            f"features={[name for name in table.names if name not in (*roles['target'], *roles['weights'])][:5]}",
        )


def check_options(
    standardize: bool | str,
    unknown: str,
    missing: str,
    dates: str,
    hash: int | Mapping[str, int] | None,
    scale_target: bool,
) -> None:
    """See that options that frames and Parquet files have in common are some.

    Raises:
        OptionError: one is not.
    """
    one_of("unknown", unknown, ("error", "ignore"))
    one_of("missing", missing, ("error", "indicate"))
    one_of("dates", dates, ("error", "parts"))
    if not isinstance(standardize, (bool, np.bool_)) and standardize != "robust":
        raise OptionError(f"standardize={standardize!r}", 'True, False or "robust"', "standardize=True")
    if not isinstance(scale_target, (bool, np.bool_)):
        raise OptionError(f"scale_target={scale_target!r}", "True or False", "scale_target=True")
    counts = hash.values() if isinstance(hash, Mapping) else [] if hash is None else [hash]
    if any(isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 2 for count in counts):
        raise OptionError(
            f"hash={hash!r}", "how many columns a hashed text becomes, 2 or more", 'hash=16, or hash={"name": 16}'
        )


def buckets_of(name: str, hash: int | Mapping[str, int] | None) -> tuple[int, bool]:
    """Into how many buckets a text column is hashed (0: not at all), and whether that was said of the column itself."""
    if isinstance(hash, Mapping):
        return int(hash.get(name, 0)), True
    return int(hash or 0), False


def check_hashed(hash: int | Mapping[str, int] | None, features: Sequence[Column]) -> None:
    """See that the columns that `hash` names are hashed.

    Raises:
        DataError: one is no feature, or is not of text.
    """
    kinds = {one.name: one.kind if one.measured else "text with levels" for one in features}
    done = {column.name for column in features if column.buckets}
    for name in hash if isinstance(hash, Mapping) else ():
        if name not in done:
            raise DataError(
                f"hash={{{name!r}: ...}}, a column of the kind {kinds[name]}"
                if name in kinds
                else f"hash={{{name!r}: ...}}, which is no feature",
                "features of text, which alone are hashed",
                f"leave {name!r} out of hash, or pass it as text: df[{name!r}].astype(str)",
            )


def target_options(targets: list[Column], *, several: bool, scale_target: bool) -> dict[str, Any]:
    """What an encoding is given for its targets, beside the first.

    Raises:
        DataError: they are not all numbers, or not all booleans.
        OptionError: the target is not one of numbers, and is to be scaled.
    """
    kinds = {"boolean" if one.levels == _BOOLEANS else "number" if one.measured else one.kind for one in targets}
    if several and (len(kinds) > 1 or "category" in kinds):
        listed = ", ".join(f"{one.name!r} ({'number' if one.measured else 'classes'})" for one in targets)
        raise DataError(
            f"the targets {listed}",
            "several targets that are all numbers, or all booleans: a matrix with a column for each",
            "one target of classes, or numbers in its place",
        )
    if scale_target and (kinds != {"number"}):
        raise OptionError(
            "scale_target=True with " + ("a target of classes" if targets else "no target"),
            "a target of numbers",
            "leave scale_target out",
        )
    floats = [Column(one.name, "float") for one in targets]
    matrix = {"target": floats[0], "more_targets": tuple(floats[1:]), "matrix": True} if several else {}
    if scale_target and not several:
        matrix = {"target": floats[0]}
    return {"target": targets[0] if targets else None, "scale_target": scale_target, **matrix}


def _read(table: Table, name: str, missing: dict[str, int]) -> Cells | None:
    """A target; None where values are missing, which are counted into `missing`."""
    cells = table.all_cells(name)
    if isinstance(cells, Dates):
        raise refused(name, cells.kind, dates=True)
    count = cells.missing
    if count:
        missing[name] = count
    return None if count else cells


def _feature(
    table: Table, name: str, missing: str, dates: str, hashed: tuple[int, bool], counts: dict[str, int]
) -> Column:
    cells = table.all_cells(name) if dates == "parts" else table.cells(name)
    gaps = bool(cells.missing)
    if gaps and missing == "error":
        counts[name] = cells.missing
        gaps = False
    elif gaps:
        refuse_infinite(name, cells)
    if isinstance(cells, Dates):
        there = cells.gaps()
        kind = "datetime" if has_clock(cells.values if there is None else cells.values[~there]) else "date"
        return Column(name, kind, (cells.zone,) if cells.zone else (), gaps)
    if isinstance(cells, Texts):
        buckets, own = hashed
        if not (buckets and own):
            refuse_written(name, cells)
        if buckets and (own or len(cells.levels) > buckets):
            return Column(name, "category", (), gaps, buckets)
        return Column(name, "category", cells.levels, gaps)
    if gaps and not len(cells.values[~np.isnan(cells.values)] if cells.values.dtype.kind == "f" else cells.values):
        raise DataError(f"column {name!r} without a value", "a column with some values", "leave it out of features")
    return Column(name, "boolean" if cells.values.dtype.kind == "b" else "number", (), gaps)


def _target(name: str, cells: Cells | None) -> Column:
    if isinstance(cells, Texts):
        refuse_written(name, cells)
        return Column(name, "category", cells.levels)
    if cells is not None and cells.values.dtype.kind == "b":
        return Column(name, "category", _BOOLEANS)
    return Column(name, "integer" if cells is not None and cells.whole else "float")


_BOOLEANS = ("False", "True")
