"""The order of rows: row = f(seed, epoch, position), a pure function, the same for any number of workers.

Up to 2^16 rows the permutation of an epoch is drawn at once by torch, every permutation as likely as any other.
Above that nothing is kept: positions pass through a keyed bijection, in small chunks. It is the generalized Feistel
network on a rectangle of a x b >= rows cells, a and b near the square root, walked in cycles until the image is a row
number again (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002; for shuffling: Mitchell et al.,
"Bandwidth-Optimal Random Shuffling for GPUs", 2022). The round function is the finalizer of SplitMix64 (Steele, Lea
and Flood, "Fast Splittable Pseudorandom Number Generators", 2014), brought below a bound by a multiplication (Lemire,
"Fast Random Integer Generation in an Interval", 2019). Draws with replacement are SplitMix64 itself, by counter.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, Rows, stream

_KEPT_ROWS = 1 << 16
_CHUNK_ROWS = 1 << 14  # a few arrays of this many numbers stay in a core's own cache
_FEISTEL_ROUNDS = 8

_Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint64]]


class RowOrder(Protocol):
    """Which rows make which batch, epoch by epoch."""

    @property
    def rows(self) -> int:
        """Rows in an epoch."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows in a full batch."""
        ...

    @property
    def fewest_rows(self) -> int:
        """Rows of the smallest batch."""
        ...

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The batches of `epoch` from batch `start` on, always the same ones."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """The batches of every epoch, as row numbers.

    Args:
        rows: rows in the data.
        batch_size: rows in a batch.
        shuffle: a new order each epoch, or the order of the data.
        drop_last: leave out a last batch that is short.
        seed: the run's seed.
    """

    rows: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(self.rows, self.batch_size)
        return full if self.drop_last else full + (rest > 0)

    @property
    def fewest_rows(self) -> int:
        """Rows of the smallest batch."""
        rest = self.rows % self.batch_size
        return rest if rest and not self.drop_last else min(self.batch_size, self.rows)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The batches of `epoch` from batch `start` on.

        Yields:
            Row numbers: an int64 tensor of shape (size,), or a range where the order is that of the data.
        """
        size = self.batch_size
        end = min(len(self) * size, self.rows)
        if not self.shuffle:
            for at in range(start * size, end, size):
                yield range(at, min(at + size, end))
        elif self.rows <= _KEPT_ROWS:
            generator = torch.Generator().manual_seed(stream(self.seed, "order", epoch))
            permutation = torch.randperm(self.rows, generator=generator)
            if start * size < end:
                yield from permutation[start * size : end].split(size)
        else:
            key = stream(self.seed, "order", epoch)
            for positions in _chunks(start * size, end, size):
                yield from shuffled(positions, self.rows, key).split(size)

    def stripe(self, rank: int, world: int) -> "Stripe":
        """The part of every batch that process `rank` of `world` takes."""
        return Stripe(self, rank, world)


@dataclass(frozen=True, slots=True)
class Stripe:
    """One process's part of every batch of an order; the parts of all processes, in turn, are the batch.

    So the order of rows does not depend on how many processes share the work. Where a batch does not divide evenly
    the parts differ by one row. A process without rows of a batch is given its first one, which does not count (see
    `counts`), so that it can compute along with the others.

    Args:
        order: the order that all processes share.
        rank: number of this process, from 0.
        world: how many processes there are.

    Raises:
        OptionError: there is no such rank.
    """

    order: RowOrder
    rank: int
    world: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise OptionError(
                f"rank {self.rank} of {self.world} processes",
                "a rank from 0 to one less than the number of processes",
                "order.stripe(rank, world) with what torch.distributed tells",
            )

    @property
    def rows(self) -> int:
        """Rows of this process in an epoch."""
        size, count = self.order.batch_size, len(self.order)
        last = min(self.order.rows - (count - 1) * size, size) if count else 0
        return sum(times * len(self._part(range(length))) for times, length in ((count - 1, size), (1, last)) if count)

    @property
    def batch_size(self) -> int:
        """Rows of this process in a full batch."""
        return len(self._part(range(self.order.batch_size)))

    @property
    def fewest_rows(self) -> int:
        """Rows of its smallest batch."""
        full = min(self.order.batch_size, self.order.rows)
        return min(len(self._part(range(size))) for size in (self.order.fewest_rows, full))

    def __len__(self) -> int:
        """Batches in an epoch: as many as the whole order has."""
        return len(self.order)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """This process's part of the batches of `epoch` from batch `start` on."""
        for rows in self.order.batches(epoch, start):
            own = self._part(rows)
            yield own if len(own) else rows[:1]

    def counts(self, index: int) -> tuple[int, int]:
        """Rows of batch `index`: of this process, and of all together."""
        whole = min(self.order.batch_size, self.order.rows - index * self.order.batch_size)
        return len(self._part(range(whole))), whole

    def _part(self, rows: Rows) -> Rows:
        # A contiguous piece, so that a range of rows stays one.
        return rows[len(rows) * self.rank // self.world : len(rows) * (self.rank + 1) // self.world]


class LikePlain(ABC):
    """An order of its own kind, whose batches are as many and as large as those of a plain one."""

    plain: Order

    @property
    def rows(self) -> int:
        """Rows in an epoch."""
        return self.plain.rows

    @property
    def batch_size(self) -> int:
        """Rows in a full batch."""
        return self.plain.batch_size

    @property
    def fewest_rows(self) -> int:
        """Rows of the smallest batch."""
        return self.plain.fewest_rows

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.plain)

    @abstractmethod
    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The batches of `epoch` from batch `start` on."""

    def stripe(self, rank: int, world: int) -> Stripe:
        """The part of every batch that process `rank` of `world` takes."""
        return Stripe(self, rank, world)


class WeightedOrder(LikePlain):
    """Batches of rows drawn with replacement, each row with a probability in proportion to its weight.

    A draw is the inverse of the cumulative weights at a uniform number that depends on (seed, epoch, position) alone.

    Args:
        weights: of shape (rows,), numbers of 0 or more, not all 0. They cost 8 bytes a row.
        batch_size: rows in a batch.
        drop_last: leave out a last batch that is short.
        seed: the run's seed.
        draws: rows drawn in an epoch; None draws as many as there are weights.

    Raises:
        DataError: the weights are none.
    """

    def __init__(
        self, weights: Any, batch_size: int, *, drop_last: bool = False, seed: int = 0, draws: int | None = None
    ) -> None:
        values = np.asarray(weights, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise DataError(
                f"weights of shape {values.shape}"
                + (f", from {values.min()} to {values.max()}" if values.size else ""),
                "one finite weight of 0 or more for each row, not all of them 0",
                "lumbre.data.balanced_weights(labels) gives every class the same share",
            )
        if draws is not None and draws < 1:
            raise DataError(
                f"draws={draws}", "at least 1 row in an epoch", "draws=None draws as many as there are rows"
            )
        self._cumulative = (values / values.max()).cumsum()
        self._last = int(np.flatnonzero(values)[-1])
        self.plain = Order(len(values) if draws is None else draws, batch_size, False, drop_last, seed)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The batches of `epoch` from batch `start` on: int64 tensors of shape (size,)."""
        size, end = self.batch_size, min(len(self) * self.batch_size, self.rows)
        key = stream(self.plain.seed, "draw", epoch)
        for positions in _chunks(start * size, end, size):
            points = _uniforms(positions, key) * self._cumulative[-1]
            drawn = np.searchsorted(self._cumulative, points, side="right")
            np.minimum(drawn, self._last, out=drawn)  # a product that was rounded up to the very end
            yield from torch.from_numpy(drawn.astype(np.int64, copy=False)).split(size)


def balanced_weights(labels: Any) -> Tensor:
    """Weights that give every class the same share of the rows drawn.

    Args:
        labels: of shape (rows,), the class of each row: integers, booleans or text.

    Returns:
        A float64 tensor of shape (rows,): one over the number of rows of the row's class.

    Raises:
        DataError: the labels are no list of classes.

    Example:
        >>> import torch, lumbre as lb
        >>> lb.data.balanced_weights(torch.tensor([0, 0, 1])).tolist()
        [0.5, 0.5, 1.0]
    """
    values = np.asarray(labels)
    if values.ndim != 1 or not values.size:
        raise DataError(f"labels of shape {values.shape}", "one class for each row", "y.argmax(1) for one-hot labels")
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return torch.from_numpy((1 / counts)[codes.reshape(-1)])


def shuffled(positions: _Numbers, rows: int, key: int) -> Tensor:
    """The images of `positions` under the bijection of [0, rows) that `key` chooses.

    Args:
        positions: uint64 array of shape (n,), each below `rows`.
        rows: size of the domain, at most 2^62.
        key: any 63-bit number.

    Returns:
        An int64 tensor of shape (n,).
    """
    width = math.isqrt(rows - 1) + 1
    sides = (np.uint64(width), np.uint64(-(-rows // width)))
    keys = [np.uint64(stream(key, "round", index)) for index in range(_FEISTEL_ROUNDS)]
    images = _feistel(positions, sides, keys)
    outside = np.flatnonzero(images >= rows)
    while outside.size:
        again = _feistel(images[outside], sides, keys)
        images[outside] = again
        outside = outside[again >= rows]
    return torch.from_numpy(images.view(np.int64))


def _feistel(cells: _Numbers, sides: tuple[np.uint64, np.uint64], keys: list[np.uint64]) -> _Numbers:
    """A bijection of the cells of a rectangle; each round adds to one coordinate a hash of the other."""
    moved, still = cells % sides[0], cells // sides[0]
    mixed, spare = np.empty_like(moved), np.empty_like(moved)  # working in place is what makes this fast
    for index, key in enumerate(keys):
        side = sides[index % 2]
        _hash(np.add(still, key, out=mixed), spare)
        mixed >>= np.uint64(32)
        mixed *= side
        mixed >>= np.uint64(32)
        moved += mixed
        # Modulo the side: below it the subtraction wraps around to a huge number.
        np.minimum(moved, np.subtract(moved, side, out=mixed), out=moved)
        moved, still = still, moved
    if len(keys) % 2:
        moved, still = still, moved
    still *= sides[0]
    still += moved
    return still


def _hash(values: _Numbers, spare: _Numbers) -> None:
    """SplitMix64's finalizer in place, but for its last shift, which leaves the high 32 bits as they are."""
    values ^= np.right_shift(values, np.uint64(30), out=spare)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= np.right_shift(values, np.uint64(27), out=spare)
    values *= np.uint64(0x94D049BB133111EB)


def _uniforms(positions: _Numbers, key: int) -> "np.ndarray[Any, Any]":
    """Float64 numbers in [0, 1): element `position` of the SplitMix64 sequence that starts at `key`."""
    values = positions * np.uint64(0x9E3779B97F4A7C15)
    values += np.uint64(key)
    spare = np.empty_like(values)
    _hash(values, spare)
    values ^= np.right_shift(values, np.uint64(31), out=spare)
    return (values >> np.uint64(11)) * 2.0**-53


def _chunks(begin: int, end: int, size: int) -> Iterator[_Numbers]:
    """The positions from `begin` to `end` in pieces of whole batches."""
    chunk = max(1, _CHUNK_ROWS // size) * size
    for at in range(begin, end, chunk):
        yield np.arange(at, min(at + chunk, end), dtype=np.uint64)
