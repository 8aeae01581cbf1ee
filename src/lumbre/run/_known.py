"""What the checks before a run may know of the rows: all of them where they lie in memory, some that are read else."""

from collections import deque
from collections.abc import Generator, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from lumbre.base import (
    GENERATORS,
    Batch,
    Budget,
    Nested,
    Source,
    leaves,
    map_leaves,
    pair_count,
    preserved_randomness,
    unchanged,
)
from lumbre.data import ArraySource, InMemoryDataset, Loaded, LoaderFeed, MapSource, ParquetData, Taken, accept, mover
from lumbre.run._batches import feed

Pair = tuple[Nested, Nested]

_AT_HAND = 50_000_000
_NOTED_BYTES = 1 << 24  # of what data sets hold: more is rows, which take longer to copy than the checks
_CHUNK, _FIRST_BATCHES, _READ_TWICE = 32, 4, 16
_MOST_HELD = 1_000  # objects among which generators are looked for
_HOLD_NONE = (type, ModuleType, int, float, str, bytes, Tensor)


@dataclass(frozen=True, slots=True)
class Reading:
    """How much may be read of rows that are not in memory.

    Attributes:
        rows: of a set.
        seconds: of a set.
        seed: the run's.
        epoch: as whose rows they are read. Rows that are drawn by chance are others in each, so that sets that are
            simulated alike share none.
    """

    rows: int
    seconds: float
    seed: int
    epoch: int = 1


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the rows of a set.

    Attributes:
        columns: (input, target) of all rows, where they lie in memory.
        some: the same of some of them where they do not, spread over the set; of a stream the first ones.
        source: where a row can be read again; None of a stream.
        first: the first batch, of a stream.
        missing: what could not be looked at, in words; "" where nothing.
    """

    columns: Pair | None = None
    some: Pair | None = None
    source: Source | None = None
    first: Pair | None = None
    missing: str = ""

    @property
    def seen(self) -> Pair | None:
        """All rows, or some."""
        return self.some if self.columns is None else self.columns


def known_rows(data: Source | Loaded | None, reading: Reading) -> Known:
    """What can be known of `data` at little cost; its order, its generators and its attributes are left as they are."""
    if data is None:
        return Known()
    source = rows_behind(data.loader, reading.seed) if isinstance(data, Loaded) else data
    if source is not None:
        columns = columns_of(source)
        if columns is not None:
            return Known(columns, source=source)
        return _read(source, reading)
    assert isinstance(data, Loaded)
    return _first_batches(data, reading)


def rows_behind(loader: Any, seed: int) -> Source | None:
    """The rows that a DataLoader of torch draws from; None of a stream, and where only its own code knows the rows."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    rows = _rows_drawn(loader)
    if rows is None or loader.collate_fn is not default_collate or isinstance(loader.dataset, (tuple, dict)):
        return None
    try:
        source = accept(loader.dataset, seed)
    except Exception:  # a data set of more parts than two, which says so itself when it is trained on
        return None
    if isinstance(source, Loaded) or not isinstance(source, (InMemoryDataset, MapSource, Taken)):
        return None
    return source if isinstance(rows, range) else Taken(source, rows)


def in_order(loader: Any) -> bool:
    """Whether a DataLoader gives its rows in the order of its data set."""
    sampler = getattr(loader, "batch_sampler", None)
    return type(sampler) is BatchSampler and type(sampler.sampler) is SequentialSampler


def _rows_drawn(loader: DataLoader[Any]) -> range | Tensor | None:
    """The numbers of the rows that a loader may give; None where its sampler is the user's own."""
    batches: Any = loader.batch_sampler
    dataset: Any = loader.dataset
    if type(batches) is not BatchSampler or not isinstance(dataset, Sized):
        return None
    sampler: Any = batches.sampler
    if type(sampler) in (SequentialSampler, RandomSampler):
        return range(len(dataset)) if len(sampler.data_source) == len(dataset) else None
    if type(sampler) is SubsetRandomSampler:
        return torch.as_tensor(list(sampler.indices), dtype=torch.int64)
    if type(sampler) is WeightedRandomSampler:
        return torch.as_tensor(sampler.weights).nonzero()[:, 0]
    return None


def columns_of(source: Source | Loaded | None) -> Pair | None:
    """Input and target of every row, where they lie in memory; of chosen rows only where there are not too many."""
    if isinstance(source, InMemoryDataset) and source.transform is None:
        return source.input, source.target
    if isinstance(source, Taken):
        inner = columns_of(source.source)
        numbers = sum(leaf.numel() for leaf in leaves(inner) if isinstance(leaf, Tensor))
        if inner is not None and numbers <= _AT_HAND:
            rows = source.rows

            def take(leaf: Any) -> Any:
                return leaf[rows.to(leaf.device)] if isinstance(leaf, Tensor) else leaf

            return map_leaves(take, inner[0]), map_leaves(take, inner[1])
    return None


def _read(source: Source, reading: Reading) -> Known:
    """Rows of a data set, evenly spread, until the time is over."""
    if isinstance(source, ParquetData):
        return Known(missing="rows of Parquet files beyond the first batch")
    count = min(len(source), reading.rows)
    rows = torch.arange(count) * len(source) // max(1, count)
    # So that rows of all parts were read whenever the time is over.
    rows = rows[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    parts: list[Pair] = []
    budget = Budget(reading.seconds)
    try:
        with _left_as_it_was(source):
            for chunk in rows.split(_CHUNK):
                parts.append(source.fetch(chunk, reading.epoch))
                if budget.is_over:
                    break
    except Exception:  # rows that cannot be read, or are put together by somebody else, end the run by themselves
        return Known(source=source, missing=f"rows of {_name(source)} beyond the first batch")
    return _joined(parts, source, _name(source))


def _first_batches(data: Loaded, reading: Reading) -> Known:
    """The first batches of a stream that can begin again."""
    loader, name = data.loader, type(data.loader).__name__
    missing = f"rows of a {name} beyond the first batch"
    dataset = getattr(loader, "dataset", loader)
    if getattr(loader, "num_workers", 0) or iter(dataset) is iter(dataset):
        return Known(missing=missing)  # processes cost seconds to start; and what is read of a generator is gone
    parts: list[Pair] = []
    budget, rows = Budget(reading.seconds), 0
    try:
        with unchanged(dataset), _left_as_it_was(loader):
            batches = feed(data, torch.device("cpu"), reading.seed)
            for batch in islice(batches.epoch(reading.epoch), _FIRST_BATCHES):
                parts.append((batch.input, batch.target))
                rows += batch.size
                if rows >= reading.rows or budget.is_over:
                    break
    except Exception:
        return Known(missing=missing)
    return replace(_joined(parts, None, f"a {name}"), first=parts[0] if parts else None)


def first_batch(data: Source | Loaded, known: Known, feed_of_run: Any, size: int, device: torch.device) -> Batch | None:
    """The first batch that the run would take of rows that are not trained on; None where that cannot be read early.

    Raises:
        Exception: whatever reading these rows raises.
    """
    pair = known.first
    if known.source is not None:
        size = (getattr(data.loader, "batch_size", None) if isinstance(data, Loaded) else None) or size
        with _left_as_it_was(known.source):
            pair = known.source.fetch(range(min(size, len(known.source))), 1)
    elif pair is None and isinstance(feed_of_run, LoaderFeed) and not getattr(feed_of_run.loader, "num_workers", 0):
        return feed_of_run.first()  # which keeps a batch of a generator for the epoch
    move = mover(device)
    if pair is None:
        return None
    input, target = pair if move is None else (move(pair[0]), move(pair[1]))
    return Batch(input, target, pair_count(input, target))


def drawn_anew(known: Known, rows: int = 8) -> bool:
    """Whether rows are others when they are read again, for the same targets; False for rows in memory, and streams.

    Noise that is to be taken away again, several views of a row, and points at which an equation is to hold are meant
    to be drawn anew: their target has the shape of an input, stands beside views of one shape, or is the same always.
    """
    source = known.source
    if source is None or known.columns is not None:
        return False
    try:
        with _left_as_it_was(source):
            once, again = (source.fetch(range(min(rows, len(source))), epoch) for epoch in (1, 2))
    except Exception:  # reading fails for a reason of its own, which is found elsewhere
        return False
    (x, y), (other, target) = (
        tuple([one for one in leaves(part) if isinstance(one, Tensor)] for part in pair) for pair in (once, again)
    )
    if not y or not _alike(y, target) or _alike(x, other) or all(bool((one == one[:1]).all()) for one in y):
        return False
    moved = [a.shape for a, b in zip(x, other, strict=False) if not _alike([a], [b])]
    return len(set(moved)) == len(moved) and not any(one.shape in moved for one in y)


def changes(known: Known, rows: int = 2) -> bool:
    """Whether training rows are others each time they are read, with the same random numbers: they are overwritten."""
    source = known.source
    if source is None or known.columns is not None:
        return False
    read: list[list[Tensor]] = []
    try:
        for _ in range(3):
            with _left_as_it_was(source):
                pair = source.fetch(range(min(rows, len(source))), 1)
            read.append([one.clone() for one in leaves(pair[0]) if isinstance(one, Tensor)])
            if len(read) == 2 and _alike(*read):  # as nearly always
                return False
    except Exception:  # reading fails for a reason of its own, which is found elsewhere
        return False
    return not _alike(read[1], read[2])


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


def _joined(parts: list[Pair], source: Source | None, name: str) -> Known:
    """Batches as one; those whose rows differ in shape cannot be compared."""
    try:
        whole = tuple(_cat([part[at] for part in parts]) for at in (0, 1))
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError):
        return Known(source=source, missing=f"rows of {name} beyond the first batch, whose shapes differ")
    return Known(some=(whole[0], whole[1]), source=source)


def _cat(values: list[Nested]) -> Nested:
    columns = zip(*(leaves(value) for value in values), strict=True)
    joined = iter([torch.cat(one) if isinstance(one[0], Tensor) else one[0] for one in columns])
    return map_leaves(lambda _: next(joined), values[0])


def rows_twice(train: Known, other: Known) -> tuple[int, int] | None:
    """How many rows of `other` are rows of `train` by their numbers in one data set, and how many `other` has.

    Rows that are drawn anew each time they are read, as simulated ones are, are never the same.
    """
    if train.source is None or other.source is None or train.columns is not None:
        return None
    (one, own), (two, held) = _numbers(train.source), _numbers(other.source)
    if one is not two or isinstance(one, ParquetData):
        return None
    shared = held[torch.isin(held, own)]
    if not len(shared):
        return None
    source = MapSource(one, 0) if not isinstance(one, (ArraySource, InMemoryDataset)) else one
    few = shared[torch.linspace(0, len(shared) - 1, min(len(shared), _READ_TWICE)).long()]
    try:
        with _left_as_it_was(source):
            first, again = source.fetch(few, 1), source.fetch(few, 2)
    except Exception:
        return None
    # A row that is augmented when it is read keeps its target.
    labels = [leaf for leaf in leaves(first[1]) if isinstance(leaf, Tensor)]
    telling = any(bool((leaf != leaf[:1]).any()) for leaf in labels)
    if _same(first[0], again[0]) or (telling and _same(first[1], again[1])):
        return len(shared), len(held)
    return None


def _same(one: Nested, two: Nested) -> bool:
    pairs = zip(leaves(one), leaves(two), strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b for a, b in pairs)


def _numbers(source: Any) -> tuple[Any, Tensor]:
    """The data set behind chosen rows, and the numbers of these in it."""
    if isinstance(source, Taken):
        inner, rows = _numbers(source.source)
        return inner, rows[source.rows]
    if isinstance(source, Subset):
        inner, rows = _numbers(source.dataset)
        return inner, rows[torch.as_tensor(list(source.indices), dtype=torch.int64)]
    if isinstance(source, MapSource):
        return _numbers(source.dataset)
    return source, torch.arange(len(source))


def read_alone(*given: Source | Loaded | None) -> AbstractContextManager[None]:
    """Reading rows in this context leaves no trace in data sets, in what they hold neither.

    Of a stream it may: its first batch is kept for the run, which reads on from there.
    """
    held: list[Any] = []
    for one in given:
        source: Any = rows_behind(one.loader, 0) if isinstance(one, Loaded) else one
        while isinstance(source, Taken):
            source = source.source
        held += [source.dataset] if isinstance(source, MapSource) else []
    return unchanged(*held, most_bytes=_NOTED_BYTES)


@contextmanager
def _left_as_it_was(source: Any) -> Generator[None]:
    """Reading leaves no trace in the attributes of data sets: an opened file, a counter, a generator.

    Of what lists, dicts and arrays hold `read_alone()` has taken care: rows that are overwritten in place must show.
    """
    held: list[Any] = []
    waiting = [source]
    while waiting:
        one = waiting.pop()
        if not hasattr(one, "__dict__") or any(one is each for each in held):
            continue
        held.append(one)
        inner = vars(one)
        waiting += [inner[name] for name in ("dataset", "source", "sampler", "batch_sampler") if name in inner]
        waiting += list(inner.get("datasets", ()))
    before = [dict(vars(one)) for one in held]
    try:
        with preserved_randomness(torch.device("cpu")), unchanged(*_generators(held)):
            yield
    finally:
        for one, values in zip(held, before, strict=True):
            vars(one).clear()
            vars(one).update(values)


def _generators(roots: list[Any]) -> list[Any]:
    """The random generators that data sets hold, themselves or within what they hold, such as a list of transforms."""
    found: list[Any] = []
    seen: dict[int, Any] = {}
    waiting = deque(roots)
    while waiting and len(seen) < _MOST_HELD:
        one = waiting.popleft()
        if id(one) in seen or isinstance(one, _HOLD_NONE):
            continue
        seen[id(one)] = one
        if isinstance(one, GENERATORS):
            found.append(one)
        elif isinstance(one, (list, tuple)):
            waiting += one[:_MOST_HELD]
        else:
            inner: Any = one if isinstance(one, dict) else getattr(one, "__dict__", {})
            waiting += islice(inner.values(), _MOST_HELD)
    return found


def _name(source: Any) -> str:
    inner = _numbers(source)[0]
    return f"a {type(inner).__name__}"
