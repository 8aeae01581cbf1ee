"""Randomness: one seed, and named streams derived from it by hashing.

A stream is a function of (seed, name, position), so no generator's state has to be kept, and neighbouring
seeds or epochs share nothing. The hash is BLAKE2b (RFC 7693).
"""

import ctypes
import hashlib
import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
"""The kinds of random generators that a user's code may hold."""

_MERSENNE_BYTES = 4 * (624 + 1)  # of a Mersenne twister in NumPy: its numbers, and the place among them


def stream(seed: int, name: str, *position: int) -> int:
    """A 63-bit seed for the stream `name` at `position`.

    Args:
        seed: the run's seed.
        name: the stream: "init", "order", "step", "row", ...
        position: integers such as epoch and step.
    """
    text = f"{seed}/{name}/{position}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_host(value: int) -> None:
    """Seed the generators that host code draws from: Python's, NumPy's and torch's CPU generator."""
    random.seed(value)
    np.random.seed(value & 0xFFFF_FFFF)
    torch.default_generator.manual_seed(value)


class _HostChance:
    """Finds out whether anybody draws from the global generators of Python and NumPy, which are slow to seed.

    Each has a twin that nobody else draws from: as long as both give the same next number, nobody has drawn.

    Attributes:
        drawn: whether somebody has, since this was last set to False.
        owner: who looks; what was drawn under another is not its concern.
    """

    def __init__(self) -> None:
        self.drawn = False
        self.owner: object = None
        self._process = 0
        self._twins = random.Random(), np.random.RandomState()

    def look(self) -> None:
        """Set `drawn` where somebody has, and bring generators and twins together again."""
        python, numpy = self._twins
        if self._process != os.getpid():
            self.seed(0)
            self.drawn = False
        elif random.random() != python.random() or np.random.random_sample() != numpy.random_sample():
            self.drawn = True
            self.seed(0)

    def seed(self, value: int) -> None:
        """Seed generators and twins alike."""
        self._process = os.getpid()
        for python, numpy in ((random, np.random), self._twins):
            python.seed(value)
            numpy.seed(value & 0xFFFF_FFFF)


HOST_CHANCE = _HostChance()
"""That of this process."""


class KeptChance:
    """The states of the global generators, to be put back once or many times.

    To read or write the state of NumPy's generator takes 45 microseconds, since NumPy goes through it number by number.
    So it is written only where somebody has drawn, which its memory shows.

    Args:
        device: whose generator is kept beside those of the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._python = random.getstate()
        self._numpy: Any = np.random.get_state()
        self._memory = _numpy_memory()
        # Of normal numbers NumPy draws two and keeps one, elsewhere than in this memory.
        self._one_left = not isinstance(self._numpy, tuple) or bool(self._numpy[3])
        self._torch = torch.default_generator.get_state()
        self._device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def put_back(self) -> None:
        """Bring the generators back to where they were."""
        random.setstate(self._python)
        if self._one_left or self._memory is None or self._memory != _numpy_memory():
            np.random.set_state(self._numpy)
        torch.default_generator.set_state(self._torch)
        if self._device is not None:
            torch.cuda.set_rng_state(self._device, self.device)


def _numpy_memory() -> tuple[object, bytes] | None:
    """NumPy's global generator and what its memory holds; None where it is of another kind than it begins with."""
    singleton: Any = np.random  # its types leave this function out
    bits = singleton.get_bit_generator()
    if type(bits) is not np.random.MT19937:
        return None
    return bits, ctypes.string_at(bits.ctypes.state_address, _MERSENNE_BYTES)


@contextmanager
def preserved_randomness(device: torch.device) -> Generator[None]:
    """Leave the caller's generators (Python, NumPy, torch on the CPU and on `device`) as they were found."""
    kept = KeptChance(device)
    try:
        yield
    finally:
        kept.put_back()
