"""Sources and loaders as batches on a device, epoch by epoch."""

import copy
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lumbre.base import (
    Batch,
    DataError,
    Nested,
    Rows,
    Source,
    attributes_of,
    map_leaves,
    pair_count,
    print_of,
    prints_of_globals,
    seed_host,
    stream,
    values_of_class,
)
from lumbre.data._order import RowOrder
from lumbre.data._pairs import as_pair
from lumbre.data._sources import InMemoryDataset, Taken, kept_on, users_object

_GATHERED_BYTES = 1 << 18  # of input or target: this stays in a core's own cache until it is used


class RowFeed:
    """Batches of a source, in an order that is a pure function of seed and epoch.

    Args:
        source: the rows.
        order: which rows make which batch.
        device: where the batches go.
        num_workers: processes that fetch; 0 fetches here. The batches are the same for any number.
        weights: of the rows, shape (rows,), which batches carry; or None.
        any_size: nobody has said how many rows a batch has.
    """

    def __init__(
        self,
        source: Source,
        order: RowOrder,
        device: torch.device,
        num_workers: int = 0,
        weights: Tensor | None = None,
        *,
        any_size: bool = False,
    ) -> None:
        self.any_size = any_size
        kept = None if device.type == "cpu" else kept_on(source, device)
        self.source = kept or source
        self.order = order
        self.weights = None if weights is None else weights.float() if device.type == "mps" else weights
        self._device = device
        self._kept = kept is not None
        self._move = None if self._kept else mover(device)
        self._workers = _Workers(source, order, num_workers) if num_workers else None
        self._together = 0 if num_workers else _batches_together(self.source, order.batch_size)

    @property
    def length(self) -> int:
        """Batches in an epoch."""
        return len(self.order)

    @property
    def in_process(self) -> bool:
        """Whether this process fetches the batches."""
        return self._workers is None

    def ordered(self, order: RowOrder) -> "RowFeed":
        """The same rows in the batches of another order, fetched by this process."""
        other = copy.copy(self)
        other.order, other._workers = order, None
        other._together = _batches_together(self.source, order.batch_size)
        return other

    def first(self) -> Batch:
        """The first batch of the first epoch."""
        rows = next(self.order.batches(1), None)
        if rows is None:
            raise DataError(
                f"{self.order.rows} rows, a batch_size of {self.order.batch_size} and drop_last=True",
                "at least one full batch",
                f"batch_size={self.order.rows} or less, or drop_last=False",
            )
        return self._batch(rows, self._fetch(rows, 1))

    def take(self, rows: Rows) -> Batch:
        """The given rows as one batch: row numbers of the source, in any order."""
        return self._batch(rows, self._fetch(rows, 1))

    def _fetch(self, rows: Rows, epoch: int) -> tuple[Nested, Nested]:
        there = rows.to(self._device, non_blocking=True) if self._kept and isinstance(rows, Tensor) else rows
        return self.source.fetch(there, epoch)

    def _batch(self, rows: Rows, pair: tuple[Nested, Nested]) -> Batch:
        input, target = pair
        if self._move is not None:
            input, target = self._move(input), self._move(target)
        # len() of a tensor costs more than a batch's share of the gather.
        batch = Batch(input, target, rows.shape[0] if isinstance(rows, Tensor) else len(rows), rows)
        if self.weights is not None:
            weights = self.weights[rows if isinstance(rows, Tensor) else slice(rows.start, rows.stop)]
            batch.weights = weights.to(self._device, non_blocking=True)
        return batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from batch `start` on, on the device. Those before cost nothing."""
        for rows, pair in self._fetched(epoch, start):
            yield self._batch(rows, pair)

    def _fetched(self, epoch: int, start: int) -> Iterator[tuple[Rows, tuple[Nested, Nested]]]:
        batches = self.order.batches(epoch, start)
        if self._workers is not None:
            return zip(batches, self._workers.fetched(epoch, start), strict=True)
        if self._together > 1:
            return self._gathered(batches, epoch)
        fetch = self._fetch if self._kept else self.source.fetch
        return ((rows, fetch(rows, epoch)) for rows in batches)

    def _gathered(self, batches: Iterator[Rows], epoch: int) -> Iterator[tuple[Rows, tuple[Nested, Nested]]]:
        """Several batches by one gather: small ones cost less than the call that gathers them."""
        while group := list(islice(batches, self._together)):
            if not isinstance(group[0], Tensor):
                yield from ((rows, self._fetch(rows, epoch)) for rows in group)
                continue
            input, target = self._fetch(torch.cat(group), epoch)  # pyright: ignore[reportArgumentType, reportCallIssue]
            sizes = [len(rows) for rows in group]
            inputs = input.split(sizes)
            targets = [None] * len(group) if target is None else target.split(sizes)
            yield from zip(group, zip(inputs, targets, strict=True), strict=True)


def _batches_together(source: Source, batch_size: int) -> int:
    """How many batches one gather may fetch; 1 where each should have its own.

    Every batch must begin where one with memory of its own would, on a boundary of 64 bytes: the last bits of a matrix
    product can depend on that, and so on where in an epoch a run was taken up again.
    """
    rows = source.source if isinstance(source, Taken) else source
    if not isinstance(rows, InMemoryDataset) or rows.transform is not None:
        return 1
    sizes: list[int] = []
    for leaf in (rows.input, rows.target):
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor):
            return 1
        sizes.append(leaf[:1].nbytes * batch_size)
    if any(size % 64 for size in sizes):
        return 1
    return max(1, _GATHERED_BYTES // max(1, *sizes))


class _Workers:
    """Processes that fetch batches, kept from epoch to epoch."""

    def __init__(self, source: Source, order: RowOrder, count: int) -> None:
        self._source = source
        self._sampler = _Batches(order)
        self._count = count
        self._print: Any = None
        self._said = False
        # A loader that the garbage collector finds within a cycle waits five seconds for each of its workers. So it is
        # held outside, and let go first.
        self._held: list[DataLoader[Any]] = []
        weakref.finalize(self, self._held.clear)

    def _loader(self) -> DataLoader[Any]:
        """The loader. Its processes have copies of the data set, which begin anew where that has been changed here."""
        now = _print(users_object(self._source))
        if not self._held or now != self._print:
            self._held.clear()
            loader: DataLoader[Any] = DataLoader(
                _Fetch(self._source),
                sampler=self._sampler,
                batch_size=None,
                num_workers=self._count,
                collate_fn=_as_it_is,
                persistent_workers=True,
                generator=torch.Generator(),  # or the loader would draw from the global one and shift the run's chance
            )
            self._held.append(loader)
            self._print = now
        return self._held[0]

    def fetched(self, epoch: int, start: int) -> Iterator[tuple[Nested, Nested]]:
        self._sampler.epoch, self._sampler.start = epoch, start
        for pair, changed in self._loader():
            if changed:
                self._say(f"reading rows changes {', '.join(changed)}, which")
            yield pair
        if not self._said and _print(users_object(self._source)) != self._print:
            self._say(f"it was changed within epoch {epoch}, which")

    def _say(self, what: str) -> None:
        """Say once that the batches are not those of `num_workers=0`."""
        if not self._said:
            self._said = True
            name = type(users_object(self._source)).__name__
            warnings.warn(
                f"{self._count} processes fetch rows of {name}, and {what} each sees in its own copy alone: the "
                "batches are not those of num_workers=0. Change a data set between epochs, from a callback; and draw "
                "from the global generators, which are seeded for each row.",
                stacklevel=2,
            )


class _Batches:
    """The sampler of `_Workers`: gives (rows, epoch) of each batch."""

    def __init__(self, order: RowOrder) -> None:
        self.order = order
        self.epoch = 1
        self.start = 0

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __iter__(self) -> Iterator[tuple[Rows, int]]:
        return ((rows, self.epoch) for rows in self.order.batches(self.epoch, self.start))


class _Fetch(Dataset[Any]):
    """The dataset of `_Workers`: its "items" are whole batches."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._looked = False

    def __getitem__(self, index: Any) -> tuple[tuple[Nested, Nested], list[str]]:
        """A batch, and with the first one of a process the attributes of the data set that reading it has changed."""
        rows, epoch = index
        if self._looked:
            return self.source.fetch(rows, epoch), []
        self._looked, before = True, _state_of(self.source)
        pair = self.source.fetch(rows, epoch)
        return pair, [name for name, now in _state_of(self.source).items() if before.get(name, now) != now]


def _state_of(source: Source) -> dict[str, Any]:
    """What a data set holds that rows may depend on; not what it keeps in dicts, or opens at the first row."""
    one = users_object(source)
    held = {**values_of_class(type(one)), **attributes_of(one)}
    found = {
        name: (type(value).__name__, print_of(value))
        for name, value in held.items()
        if value is not None and not isinstance(value, dict)
    }
    return found | prints_of_globals(one, leave=(dict, type(None)))


def _print(*holders: Any) -> Any:
    """What rows may depend on, in a data set and in the functions beside it, as a fingerprint."""
    return print_of(holders, whole=True), prints_of_globals(*holders, whole=True)


def _as_it_is(batch: Any) -> Any:
    return batch


class LoaderFeed:
    """Batches of a ready loader, or of any iterable of batches; their order is the loader's own.

    Args:
        loader: gives a batch at a time: (input, target), a dict, or an input.
        device: where the batches go.
        seed: the run's seed. The host's generators are seeded for each epoch and batch, so a loader that shuffles by
            torch's, and rows that draw from any of them in this process, repeat. `set_epoch` of the loader, its data
            set and its samplers is called, where there is one, with the number of the epoch from 0.
    """

    def __init__(self, loader: Iterable[Any], device: torch.device, seed: int) -> None:
        self.loader = loader
        self._move = mover(device)
        self._seed = seed
        self._held: Batch | None = None
        self.begun: list[Tensor] = []
        self.looked_at: Callable[[Nested], None] | None = None  # sees the input of each batch, and may refuse it
        self._print: Any = None
        self._said = False

    @property
    def length(self) -> int | None:
        """Batches in an epoch, where the loader knows."""
        try:
            return len(self.loader)  # pyright: ignore[reportArgumentType]
        except Exception:  # a sampler that packs rows by their sizes may raise what it likes
            return None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from batch `start` on, on the device. Those before are read and let go."""
        self.begun = [one.get_state() for one in self.generators]
        self._turn(epoch)
        self._look()
        seed_host(stream(self._seed, "loader", epoch))
        index = 0
        if self._held is not None:
            held, self._held = self._held, None
            index += 1
            if start == 0:
                yield held
        items = iter(self.loader)
        while True:
            if index:
                seed_host(stream(self._seed, "loader", epoch, index))
            try:
                item = next(items)
            except StopIteration:
                return
            index += 1
            if index > start:
                yield self._batch(item)

    def _turn(self, epoch: int) -> None:
        """Say which epoch begins to all that orders its rows by it, as torch's DistributedSampler: counted from 0."""
        for one in self._behind():
            if callable(getattr(one, "set_epoch", None)):
                one.set_epoch(epoch - 1)

    def _behind(self) -> list[Any]:
        """The loader, and its data sets and samplers, those within others too."""
        waiting: list[Any] = [self.loader]
        found: list[Any] = []
        while waiting:
            one = waiting.pop()
            if not any(one is other for other in found):
                found.append(one)
                inner = (getattr(one, name, None) for name in ("loader", "dataset", "sampler", "batch_sampler"))
                waiting += [other for other in inner if other is not None]
        return found

    def _look(self) -> None:
        """Say once that the loader's processes do not see what was changed in its data set since they began."""
        loader: Any = self.loader
        if self._said or not (getattr(loader, "persistent_workers", False) and getattr(loader, "num_workers", 0)):
            return
        if type(loader.dataset).__module__.startswith("datasets."):  # Hugging Face's share the epoch with processes
            return
        now = _print(loader.dataset, loader.collate_fn)
        self._print = now if self._print is None else self._print
        if now != self._print:
            self._said = True
            warnings.warn(
                f"the {type(loader.dataset).__name__} of a DataLoader was changed, which its processes do not see: "
                "they keep the copies they began with. Make the DataLoader with persistent_workers=False, or pass the "
                "data set itself with num_workers=...",
                stacklevel=2,
            )

    @property
    def generators(self) -> list[torch.Generator]:
        """Generators of the loader's own, which go on from epoch to epoch and are seeded by nobody."""
        sampler = getattr(self.loader, "sampler", None)
        inner = getattr(getattr(self.loader, "batch_sampler", None), "sampler", None)
        found = [getattr(one, "generator", None) for one in (self.loader, sampler, inner)]
        return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())

    def first(self) -> Batch:
        """The first batch; one read from what cannot go back, as a generator, is kept for the first epoch."""
        states = [one.get_state() for one in self.generators]
        # A stream that reads on from where it was is to begin at its beginning.
        streams = [(one, dict(vars(one))) for one in self._behind() if isinstance(one, IterableDataset)]
        try:
            self._look()
            for one in self.generators:  # so that it is the same batch however often the loader was used
                one.manual_seed(stream(self._seed, "loader", 0))
            return self._first()
        finally:
            for one, state in zip(self.generators, states, strict=True):
                one.set_state(state)
            for one, held in streams:
                vars(one).update(held)

    def _first(self) -> Batch:
        self._turn(1)
        seed_host(stream(self._seed, "loader", 1))
        for item in self.loader:
            batch = self._batch(item)
            if self.is_read_once:
                # What is tried with the batch before may write to it.
                input, target = map_leaves(_copied, batch.input), map_leaves(_copied, batch.target)
                self._held = Batch(input, target, batch.size)
            return batch
        raise DataError(
            f"a {type(self.loader).__name__} that gives no batch",
            "at least one batch",
            "pass some data",
        )

    @property
    def is_read_once(self) -> bool:
        """Whether what was read does not come again: of an iterator, or a stream that gives the same one each time."""
        loader: Any = self.loader
        if not isinstance(loader, DataLoader):
            return iter(loader) is loader
        streams = [one for one in self._behind() if isinstance(one, IterableDataset)]
        if not streams or loader.num_workers:
            return False
        once: Any = iter(streams[-1])
        return once is not streams[-1] and once is iter(streams[-1])

    def _batch(self, item: Any) -> Batch:
        input, target = as_pair(item)
        if self.looked_at is not None:
            self.looked_at(input)
        if self._move is not None:
            input, target = self._move(input), self._move(target)
        return Batch(input, target, pair_count(input, target))


def _copied(leaf: Any) -> Any:
    return leaf.clone() if callable(getattr(leaf, "clone", None)) else leaf  # a tensor, or a batch of graphs


def mover(device: torch.device) -> Callable[[Nested], Nested] | None:
    """A function that brings a nested structure to `device`; None for the CPU, where everything is already."""
    if device.type == "cpu":
        return None

    def move(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(device, non_blocking=True)
        return leaf.to(device) if callable(getattr(leaf, "to", None)) else leaf  # such as a batch of graphs

    return lambda value: map_leaves(move, value)
