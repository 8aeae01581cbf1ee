"""Parquet files larger than memory, as rows that are shuffled within a window of row groups.

A window of row groups is decoded at a time; its rows are mixed, and the groups come in a new order each epoch. Which
row comes when is a pure function of (seed, epoch, position), so a run can go on at any batch, with any number of
processes. Memory is that of the window, however long the files are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import (
    DataError,
    Nested,
    OptionError,
    Rows,
    as_path,
    at_least,
    has_column,
    import_extra,
    listed,
    stream,
)
from lumbre.data._cells import NO_DATE, Dates
from lumbre.data._columns import Column
from lumbre.data._date_parts import has_clock
from lumbre.data._encoding import FrameEncoding
from lumbre.data._frames import buckets_of, check_hashed, check_options, target_options
from lumbre.data._learn import learned
from lumbre.data._order import LikePlain, Order
from lumbre.data._parquet_files import RowGroup, look, opened_file, unreadable
from lumbre.data._shown import as_text, frame_html
from lumbre.data._tables import Table


@dataclass(frozen=True, slots=True)
class WindowOrder(LikePlain):
    """Batches of rows that are mixed within windows of groups, the groups in a new order each epoch.

    Args:
        group_sizes: rows of each group, at least 1; rows are numbered through the groups.
        window: groups that are mixed.
        plain: batch size, shuffle, drop_last and seed.
    """

    group_sizes: tuple[int, ...]
    window: int
    plain: Order

    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The batches of `epoch` from batch `start` on: int64 tensors of shape (size,), or ranges if not shuffled."""
        if not self.plain.shuffle:
            yield from self.plain.batches(epoch, start)
            return
        size = self.batch_size
        skip, left = start * size, max(0, min(len(self) * size, self.rows) - start * size)
        held = torch.empty(0, dtype=torch.int64)
        for rows in self._windows(epoch, skip):
            held = torch.cat([held, rows])[:left]
            whole = len(held) if len(held) == left else len(held) // size * size
            if whole:
                yield from held[:whole].split(size)
            held, left = held[whole:], left - whole
            if not left:
                return

    def _windows(self, epoch: int, skip: int) -> Iterator[Tensor]:
        """The rows of each window, mixed, but for the first `skip`; windows that are skipped whole cost nothing."""
        sizes = torch.tensor(self.group_sizes)
        begins = sizes.cumsum(0) - sizes
        chance = torch.Generator().manual_seed(stream(self.plain.seed, "groups", epoch))
        order = torch.randperm(len(sizes), generator=chance)
        for index, groups in enumerate(order.split(self.window)):
            count = int(sizes[groups].sum())
            if skip >= count:
                skip -= count
                continue
            rows = torch.cat([torch.arange(int(begins[g]), int(begins[g] + sizes[g])) for g in groups])
            chance = torch.Generator().manual_seed(stream(self.plain.seed, "window", epoch, index))
            yield rows[torch.randperm(count, generator=chance)][skip:]
            skip = 0


_OPEN_FILES = 8
_PATHS = "the path of a file, or of a folder that holds several"
_WINDOW = 8  # row groups that are mixed where nothing else is said
_READ_ROWS = 1 << 16  # read at a time where row groups are shorter


class ParquetData:
    """Rows of Parquet files, read when they are asked for; made by `from_parquet`.

    Attributes:
        groups: the row groups that belong to it.
        encoding: how columns become numbers.
        window: row groups that are held in memory and mixed.
    """

    def __init__(self, groups: Sequence[RowGroup], encoding: FrameEncoding, window: int) -> None:
        self.groups = tuple(groups)
        self.encoding = encoding
        self.window = min(window, len(self.groups))
        self._ends = torch.tensor([group.rows for group in self.groups]).cumsum(0)
        self._longest = max(group.rows for group in self.groups)
        self._slot_of: dict[int, int] = {}  # group -> its place in the buffers, least recently used first
        self._begin_of = torch.full((len(self.groups),), -1)  # group -> first row of that place less its own first row
        self._buffers: tuple[Tensor, Tensor | None] | None = None
        self._open: dict[Path, Any] = {}  # files whose footers are at hand

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def width(self) -> int:
        """Columns of the encoded input: what a first layer takes."""
        return self.encoding.width

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the target's classes by class number; None for a target of numbers."""
        return self.encoding.classes

    def order(self, batch_size: int, *, shuffle: bool, drop_last: bool, seed: int) -> WindowOrder:
        """Its batches, mixed within the window."""
        plain = Order(len(self), batch_size, shuffle, drop_last, seed)
        return WindowOrder(tuple(group.rows for group in self.groups), self.window, plain)

    def fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        """Input (n, width) and target (n,), or (n, targets), of `rows`. Row groups that are not in memory are read."""
        wanted = torch.arange(rows.start, rows.stop) if isinstance(rows, range) else rows
        group_of = torch.searchsorted(self._ends, wanted, right=True)
        needed: list[int] = group_of.unique().tolist()
        if len(needed) > self.window:
            return self._fetch_in_turns(wanted, group_of, needed)
        for group in needed:
            if group in self._slot_of:
                self._slot_of[group] = self._slot_of.pop(group)
        for groups in self._runs([group for group in needed if group not in self._slot_of]):
            self._load(groups)
        assert self._buffers is not None
        places = wanted + self._begin_of[group_of]
        input, target = self._buffers
        return input.index_select(0, places), None if target is None else target.index_select(0, places)

    def _fetch_in_turns(self, wanted: Tensor, group_of: Tensor, needed: list[int]) -> tuple[Nested, Nested]:
        """A batch over more groups than the window holds: those in memory first, then as many as fit at a time."""
        needed.sort(key=lambda group: group not in self._slot_of)
        input, target = None, None
        for at in range(0, len(needed), self.window):
            here = torch.isin(group_of, torch.tensor(needed[at : at + self.window]))
            some_input, some_target = self.fetch(wanted[here], 0)
            if input is None:
                input = some_input.new_empty(len(wanted), *some_input.shape[1:])
                target = None if some_target is None else some_target.new_empty(len(wanted), *some_target.shape[1:])
            input[here] = some_input
            if target is not None:
                target[here] = some_target
        return input, target

    def _runs(self, groups: Sequence[int]) -> Iterator[list[int]]:
        """Groups that are read together: neighbours of one file, as many as make a block of rows."""
        run: list[int] = []
        rows = 0
        for group in groups:
            chosen = self.groups[group]
            if run and (chosen.file != self.groups[run[0]].file or rows + chosen.rows > _READ_ROWS):
                yield run
                run, rows = [], 0
            run.append(group)
            rows += chosen.rows
        if run:
            yield run

    def _load(self, groups: Sequence[int]) -> None:
        input, target = self._decode(groups)
        if self._buffers is None:
            room = self.window * self._longest
            empty = None if target is None else target.new_empty(room, *target.shape[1:])
            self._buffers = input.new_empty(room, input.shape[1]), empty
        sizes = [self.groups[group].rows for group in groups]
        targets = [None] * len(groups) if target is None else target.split(sizes)
        for group, rows, some in zip(groups, input.split(sizes), targets, strict=True):
            if len(self._slot_of) < self.window:
                slot = len(self._slot_of)
            else:
                slot = self._slot_of.pop(next(iter(self._slot_of)))
            begin = slot * self._longest
            self._buffers[0][begin : begin + len(rows)] = rows
            if some is not None and self._buffers[1] is not None:
                self._buffers[1][begin : begin + len(some)] = some
            self._slot_of[group] = slot
            self._begin_of[group] = begin - (int(self._ends[group]) - self.groups[group].rows)

    def _decode(self, groups: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        names = [column.name for column in (*self.encoding.features, *self.encoding.targets)]
        rows = self.encoding.encode(self._table(groups, names), need_target=True)
        return rows.input, rows.target

    def _table(self, groups: int | Sequence[int], names: list[str]) -> Any:
        """Columns of a row group, or of several of one file."""
        groups = [groups] if isinstance(groups, int) else groups
        chosen = [self.groups[group] for group in groups]
        folders = dict(chosen[0].folders)
        file = self._open.get(chosen[0].file)
        if file is None:
            while len(self._open) >= _OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            # Its footer, which lists every row group, is read once and not for each of them.
            file = self._open[chosen[0].file] = opened_file(chosen[0].file)
        many = sum(group.rows for group in chosen) * len(names) > _READ_ROWS
        inside = [name for name in names if name not in folders]
        try:
            table = file.read_row_groups([group.index for group in chosen], columns=inside, use_threads=many)
        except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
            raise unreadable(chosen[0].file, error) from error
        rows = sum(group.rows for group in chosen)
        for name in names:
            if name in folders:
                table = table.append_column(name, self._from_folder(name, folders[name], rows))
        return table

    def _from_folder(self, name: str, value: str | None, rows: int) -> Any:
        """A column whose one value stands in the name of a folder: a text, or a number where one is expected."""
        pyarrow = import_extra("pyarrow", "data", "read Parquet files")
        columns = (*self.encoding.features, *self.encoding.targets)
        kind = next(column.kind for column in columns if column.name == name)
        if value is None or kind == "category":
            return pyarrow.array([value], pyarrow.string()).take(pyarrow.array(np.zeros(rows, dtype=np.int64)))
        try:
            return pyarrow.array(np.full(rows, float(value)))
        except ValueError as error:
            raise DataError(
                f"the folder {name}={value}", f"a number, as {name!r} has in the training data", "rename the folder"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def encoded_by(self, encoding: FrameEncoding, *, need_target: bool = True) -> "ParquetData":
        """The same rows through the encoding of the training data; without its target where that is not needed.

        Raises:
            DataError: the files lack a column.
        """
        if not need_target:
            encoding = encoding.without_target()
        parquet = import_extra("pyarrow.parquet", "data", "read Parquet files")
        folders = [name for name, _ in self.groups[0].folders]
        encoding.wanted([*parquet.read_schema(self.groups[0].file).names, *folders], need_target=True)
        return ParquetData(self.groups, encoding, self.window)

    def fitted(self) -> "ParquetData":
        """The same rows with what is learned of all of them: means and spreads in one reading, medians in several."""
        encoding = self.encoding
        facts = learned(encoding.features, encoding.standardize, encoding.missing, self._readings, held=False)
        return ParquetData(self.groups, encoding.taught(facts, self._readings), self.window)

    def _readings(self, columns: Sequence[Column]) -> Iterator[list["np.ndarray[Any, Any]"]]:
        for table in self._tables([column.name for column in columns]):
            yield [self.encoding.there(table, column) for column in columns]

    def _tables(self, names: list[str]) -> Iterator[Table]:
        for groups in self._runs(range(len(self.groups))):
            yield Table(self._table(groups, names))

    def seen(self) -> "ParquetData":
        """The same rows, where it is known of each feature whether values are missing, and whether dates have times.

        What the footers do not say is read; nothing where missing values are refused and there are no dates.
        """
        indicated = self.encoding.missing == "indicate"
        unknown = [one for one in self.encoding.features if indicated or one.kind == "datetime"]
        if not unknown:
            return self
        gaps, clocks = set[str](), set[str]()
        for table in self._tables([column.name for column in unknown]):
            for column in unknown:
                cells = table.all_cells(column.name) if column.is_date else table.cells(column.name)
                if cells.gaps() is not None:
                    gaps.add(column.name)
                if isinstance(cells, Dates) and has_clock(cells.values[cells.values != NO_DATE]):
                    clocks.add(column.name)
        features = tuple(
            replace(
                column,
                gaps=indicated and column.name in gaps,
                kind="date" if column.kind == "datetime" and column.name not in clocks else column.kind,
            )
            for column in self.encoding.features
        )
        return ParquetData(self.groups, replace(self.encoding, features=features), self.window)

    def parts(self, fractions: Sequence[float], seed: int) -> tuple["ParquetData", ...]:
        """Part it by chance into sets of whole row groups, so that no row group is read for two of them.

        Raises:
            OptionError: there are not enough row groups.
        """
        chance = torch.Generator().manual_seed(stream(seed, "parts"))
        ends = [round(float(end) * len(self.groups)) for end in np.cumsum(fractions)]
        sizes = np.diff([0, *ends]).tolist()
        if min(sizes) < 1:
            raise OptionError(
                f"{len(self.groups)} row groups to part into {sizes}; Parquet is parted by whole row groups",
                "at least one row group in each part",
                "data of its own for each part, or write the file with more row groups: row_group_size=65536",
            )
        pieces = torch.randperm(len(self.groups), generator=chance).split(sizes)
        return tuple(
            ParquetData([self.groups[index] for index in sorted(piece.tolist())], self.encoding, self.window)
            for piece in pieces
        )

    def __repr__(self) -> str:
        return as_text(self._title, self._facts())

    def _repr_html_(self) -> str:
        return frame_html(self._title, self._facts(), self.encoding.described)

    @property
    def _title(self) -> str:
        return f"ParquetData of {len(self):,} rows in {len(self.groups):,} row groups"

    def _facts(self) -> list[tuple[str, str]]:
        features, targets = self.encoding.features, self.encoding.targets
        found = [("features", f"{len(features)}: {listed(one.name for one in features)}")]
        return found + [("target", listed(one.name for one in targets))] * bool(targets)


def from_parquet(
    path: str | Path,
    *,
    target: str | list[str] | None = None,
    features: Sequence[str] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    standardize: bool | str = True,
    unknown: str = "error",
    missing: str = "error",
    dates: str = "error",
    hash: int | Mapping[str, int] | None = None,
    scale_target: bool = False,
    window: int = _WINDOW,
) -> ParquetData:
    """Data for `fit()` from a Parquet file or a folder of them, which may be larger than memory.

    Only the columns asked for are read. Shuffling mixes the rows of `window` row groups at a time, and the groups come
    in a new order each epoch; so rows should not be sorted in the file by what is to be learned. Memory is about
    `window` times the longest row group, 4 bytes for each encoded column. Files with row groups of about 65,536 rows
    suit; `pyarrow.parquet.write_table(table, path, row_group_size=65536)` writes them.

    Args:
        path: a file, or a folder whose `.parquet` files (in folders below it too) are taken in sorted order. Files and
            folders whose names begin with a dot or an underscore are left aside, as pandas and pyarrow do. Folders
            such as "year=2024" are a column of that name, of texts ("01" is not 1), whose categories are known.
            Numbers may be of several types in several files, and texts plain or dictionaries.
        target: the target column. Integers stay int64, booleans and columns with levels are classes (int64), other
            numbers, decimals too, become float32; a tensor of shape (rows,).
        features: the feature columns; None takes all but the target, and but what pandas kept as an index. The input
            is float32 of shape (rows, width).
        levels: the categories of each text or category column, in order; they become columns of 0 and 1.
        standardize: centre and scale the numbers, also "robust"; `fit()` reads the training rows once to learn how, or
            four times for medians and quartiles.
        unknown: what a category does that is not in `levels`: "error", or "ignore" (no column set).
        missing: "error" or "indicate", as for `from_frame`; the files are read once to see where values are missing.
        dates: "error" or "parts", as for `from_frame`.
        hash: texts without levels become so many columns, as for `from_frame`.
        scale_target: as for `from_frame`.
        window: row groups that are held in memory and mixed.

    Raises:
        DataError: no file is there, files differ, or a column is missing or cannot be used.
        OptionError: an option cannot be.

    Example:
        >>> import lumbre as lb
        >>> lb.datasets.penguins(drop_missing=True).to_parquet("penguins.parquet")
        >>> lb.data.from_parquet(
        ...     "penguins.parquet",
        ...     target="body_mass_g",
        ...     features=["bill_length_mm", "sex"],
        ...     levels={"sex": ["female", "male"]},
        ... )
        ParquetData of 333 rows in 1 row groups
          features: 2: bill_length_mm, sex
          target: body_mass_g
    """
    at_least(1, window=window)
    check_options(standardize, unknown, missing, dates, hash, scale_target)
    levels = levels or {}
    aims = target if isinstance(target, list) else [] if target is None else [target]
    found = look(as_path(path, _PATHS), None if features is None else [*features, *aims], levels)
    for name in (*levels, *(hash if isinstance(hash, Mapping) else ())):
        has_column(name, found.types, "the files")
    chosen = [name for name in found.types if name not in aims and name not in found.index]
    targets = [found.column(name, levels, is_target=True) for name in aims]
    columns = [
        found.column(name, levels, dates=dates == "parts", buckets=buckets_of(name, hash)[0])
        for name in (chosen if features is None else features)
    ]
    check_hashed(hash, columns)
    encoding = FrameEncoding(
        features=tuple(columns),
        one_hot=True,
        standardize=standardize,
        unknown=unknown,
        missing=missing,
        **target_options(targets, several=isinstance(target, list), scale_target=scale_target),
    )
    return ParquetData(found.groups, encoding, window).seen()


def parquet_by(path: str | Path, encoding: FrameEncoding, *, need_target: bool) -> ParquetData:
    """Parquet files through an encoding that is there already, that of the training data.

    Raises:
        DataError: no file is there, or a column is missing or cannot be used.
    """
    encoding = encoding if need_target else encoding.without_target()
    columns = (*encoding.features, *encoding.targets)
    levels = {column.name: column.levels for column in columns if not column.measured}
    found = look(as_path(path, _PATHS), [column.name for column in columns], levels)
    for column in columns:
        has_column(column.name, found.types, "the files")
    return ParquetData(found.groups, encoding, _WINDOW)
