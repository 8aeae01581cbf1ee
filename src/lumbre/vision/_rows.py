"""Chance by the row: every number an augmentation draws is a pure function of the seed of its row.

So a row is augmented alike in any batch, at any place in it, and with any number of workers; no generator is kept
and none is touched. The numbers come from SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", 2014), used as a counter-based hash. They are drawn on the host, a few for each row: there float64 and
64-bit arithmetic are the same for every device, and a choice of rows needs no word from the device.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lumbre.base import stream

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def row_seeds(rows: Tensor | Sequence[int], *, seed: int = 0, epoch: int = 0) -> Tensor:
    """The seeds of the rows of a batch, for one epoch of one run.

    Args:
        rows: row numbers in the data, shape (batch,), or a range.
        seed: the run's seed.
        epoch: another epoch augments the same row otherwise.

    Returns:
        An int64 tensor of shape (batch,), on the host.

    Example:
        >>> import torch
        >>> from lumbre.vision import row_seeds
        >>> torch.equal(
        ...     row_seeds([7, 3], epoch=1), row_seeds(torch.tensor([3, 7]), epoch=1).flip(0)
        ... )
        True
    """
    numbers = rows.cpu() if isinstance(rows, Tensor) else torch.tensor(list(rows))
    return derived(numbers.long(), "augment", seed, epoch)


def derived(seeds: Tensor, name: str, *position: int) -> Tensor:
    """Seeds of a stream of their own, one for each row, from the seeds of the rows.

    Args:
        seeds: int64 tensor of shape (batch,).
        name: what the stream is for.
        *position: further integers that tell streams apart.

    Returns:
        An int64 tensor of shape (batch,), on the host.
    """
    return torch.from_numpy(_mixed_with(seeds, name, *position).view(np.int64))


def uniform(seeds: Tensor, name: str, draws: int = 1) -> Tensor:
    """Numbers in [0, 1), drawn by each row for itself.

    Args:
        seeds: int64 tensor of shape (batch,).
        name: what they are drawn for; another name gives independent numbers.
        draws: how many for each row.

    Returns:
        A float64 tensor of shape (batch, draws), on the host.

    Example:
        >>> import torch
        >>> from lumbre.vision import uniform
        >>> few, many = (
        ...     uniform(torch.tensor([5]), "angle", 2),
        ...     uniform(torch.tensor([1, 5]), "angle", 3),
        ... )
        >>> torch.equal(few[0], many[1, :2])
        True
    """
    counters = np.arange(1, draws + 1, dtype=np.uint64) * _GAMMA
    words = _mixed(_mixed_with(seeds, name)[:, None] + counters)
    return torch.from_numpy((words >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mixed_with(seeds: Tensor, name: str, *position: int) -> npt.NDArray[np.uint64]:
    # Mixed once before the key is added: seeds that are neighbours must not stay neighbours of another stream's.
    key = np.array(stream(0, name, *position), dtype=np.uint64)
    return _mixed(_mixed(seeds.cpu().numpy().astype(np.int64).view(np.uint64) + _GAMMA) + key)


def _mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
