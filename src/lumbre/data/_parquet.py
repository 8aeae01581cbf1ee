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

from lumbre.base import DataError, Nested, OptionError, Rows, at_least, has_column, import_extra, one_of, stream
from lumbre.data._frames import FrameEncoding, read_numbers
from lumbre.data._moments import Moments
from lumbre.data._order import LikePlain, Order
from lumbre.data._parquet_files import RowGroup, look
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
        """Input (n, width) and target (n,) of `rows`. Row groups that are not in memory are read."""
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
                target = None if some_target is None else some_target.new_empty(len(wanted))
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
            self._buffers = input.new_empty(room, input.shape[1]), None if target is None else target.new_empty(room)
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
        names = [column.name for column in self.encoding.features]
        if self.encoding.target is not None:
            names.append(self.encoding.target.name)
        rows = self.encoding.encode(self._table(groups, names), need_target=True)
        return rows.input, rows.target

    def _table(self, groups: int | Sequence[int], names: list[str]) -> Any:
        """Columns of a row group, or of several of one file."""
        groups = [groups] if isinstance(groups, int) else groups
        parquet = import_extra("pyarrow.parquet", "data", "read Parquet files")
        chosen = [self.groups[group] for group in groups]
        folders = dict(chosen[0].folders)
        file = self._open.get(chosen[0].file)
        if file is None:
            while len(self._open) >= _OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            # Its footer, which lists every row group, is read once and not for each of them.
            file = self._open[chosen[0].file] = parquet.ParquetFile(chosen[0].file)
        many = sum(group.rows for group in chosen) * len(names) > _READ_ROWS
        inside = [name for name in names if name not in folders]
        table = file.read_row_groups([group.index for group in chosen], columns=inside, use_threads=many)
        rows = sum(group.rows for group in chosen)
        for name in names:
            if name in folders:
                table = table.append_column(name, self._from_folder(name, folders[name], rows))
        return table

    def _from_folder(self, name: str, value: str | None, rows: int) -> Any:
        """A column whose one value stands in the name of a folder: a text, or a number where one is expected."""
        pyarrow = import_extra("pyarrow", "data", "read Parquet files")
        columns = (*self.encoding.features, *(() if self.encoding.target is None else (self.encoding.target,)))
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
            encoding = replace(encoding, target=None)
        parquet = import_extra("pyarrow.parquet", "data", "read Parquet files")
        folders = [name for name, _ in self.groups[0].folders]
        encoding.wanted([*parquet.read_schema(self.groups[0].file).names, *folders], need_target=True)
        return ParquetData(self.groups, encoding, self.window)

    def fitted(self) -> "ParquetData":
        """The same rows with means and standard deviations of all of them, in one reading."""
        numbers = [column.name for column in self.encoding.features if column.kind == "number"]
        if not self.encoding.standardize or not numbers:
            return self
        moments = Moments(len(numbers))
        for groups in self._runs(range(len(self.groups))):
            moments.add(read_numbers(Table(self._table(groups, numbers)), numbers))
        moments.check(numbers)
        encoding = replace(self.encoding, center=moments.center, scale=moments.scale)
        return ParquetData(self.groups, encoding, self.window)

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
        return f"ParquetData({len(self)} rows in {len(self.groups)} row groups, {len(self.encoding.features)} features)"


def from_parquet(
    path: str | Path,
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    standardize: bool = True,
    unknown: str = "error",
    window: int = 8,
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
        standardize: centre and scale the numbers; `fit()` reads the training rows once to learn how.
        unknown: what a category does that is not in `levels`: "error", or "ignore" (no column set).
        window: row groups that are held in memory and mixed.

    Raises:
        DataError: no file is there, files differ, or a column is missing or cannot be used.
        OptionError: an option cannot be.

    Example:
        >>> import lumbre as lb
        >>> lb.datasets.penguins(drop_missing=True).to_parquet("penguins.parquet")
        >>> lb.data.from_parquet("penguins.parquet", target="body_mass_g", features=["bill_length_mm", "sex"],
        ...                      levels={"sex": ["female", "male"]})
        ParquetData(333 rows in 1 row groups, 2 features)
    """
    at_least(1, window=window)
    one_of("unknown", unknown, ("error", "ignore"))
    levels = levels or {}
    used = None if features is None else [*features, *([] if target is None else [target])]
    found = look(Path(path), used, levels)
    for name in levels:
        has_column(name, found.types, "the files")
    chosen = [name for name in found.types if name != target and name not in found.index]
    encoding = FrameEncoding(
        features=tuple(found.column(name, levels) for name in (chosen if features is None else features)),
        target=None if target is None else found.column(target, levels, is_target=True),
        one_hot=True,
        standardize=standardize,
        unknown=unknown,
    )
    return ParquetData(found.groups, encoding, window)


def parquet_by(path: str | Path, encoding: FrameEncoding, *, need_target: bool) -> ParquetData:
    """Parquet files through an encoding that is there already, that of the training data.

    Raises:
        DataError: no file is there, or a column is missing or cannot be used.
    """
    target = encoding.target if need_target else None
    columns = [*encoding.features, *(() if target is None else (target,))]
    data = from_parquet(
        path,
        target=None if target is None else target.name,
        features=[column.name for column in encoding.features],
        levels={column.name: column.levels for column in columns if column.kind == "category"},
    )
    return data.encoded_by(encoding, need_target=need_target)
