"""The order of rows: row = f(seed, epoch, position), a pure function, the same for any number of workers.

Up to 2^20 rows the permutation of an epoch is drawn at once by torch. Above that nothing is kept: positions pass
through a keyed bijection. It is a Feistel network on the smallest even number of bits that holds the row count,
walked in cycles until the image is a row number again (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
2002; for shuffling: Mitchell et al., "Bandwidth-Optimal Random Shuffling for GPUs", 2022). The round function is the
multiply-and-shift finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lumbre.base import Rows, stream

_KEPT_ROWS = 1 << 20
_CHUNK_ROWS = 1 << 16
_FEISTEL_ROUNDS = 12


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
        size, count = self.batch_size, len(self)
        end = min(count * size, self.rows)
        if start >= count:
            return
        if not self.shuffle:
            for at in range(start * size, end, size):
                yield range(at, min(at + size, end))
        elif self.rows <= _KEPT_ROWS:
            generator = torch.Generator().manual_seed(stream(self.seed, "order", epoch))
            permutation = torch.randperm(self.rows, generator=generator)
            yield from permutation[start * size : end].split(size)
        else:
            key = stream(self.seed, "order", epoch)
            chunk = max(1, _CHUNK_ROWS // size) * size
            for at in range(start * size, end, chunk):
                positions = np.arange(at, min(at + chunk, end), dtype=np.uint64)
                yield from shuffled(positions, self.rows, key).split(size)


def shuffled(positions: "np.ndarray[tuple[int], np.dtype[np.uint64]]", rows: int, key: int) -> Tensor:
    """The images of `positions` under the bijection of [0, rows) that `key` chooses.

    Args:
        positions: uint64 array of shape (n,), each below `rows`.
        rows: size of the domain.
        key: any 63-bit number.

    Returns:
        An int64 tensor of shape (n,).
    """
    half_bits = np.uint64(max(1, ((rows - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half_bits)) - 1)
    keys = np.array([stream(key, "round", index) for index in range(_FEISTEL_ROUNDS)], dtype=np.uint64)
    images = _feistel(positions, half_bits, mask, keys)
    outside = np.flatnonzero(images >= rows)
    while outside.size:
        again = _feistel(images[outside], half_bits, mask, keys)
        images[outside] = again
        outside = outside[again >= rows]
    return torch.from_numpy(images.astype(np.int64))


def _feistel(
    values: "np.ndarray[tuple[int], np.dtype[np.uint64]]",
    half_bits: np.uint64,
    mask: np.uint64,
    keys: "np.ndarray[tuple[int], np.dtype[np.uint64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    left, right = values >> half_bits, values & mask
    for key in keys:
        mixed = right + key
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        left, right = right, left ^ (mixed & mask)
    return (left << half_bits) | right
