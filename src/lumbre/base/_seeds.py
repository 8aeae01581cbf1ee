"""Randomness: one seed, and named streams derived from it by hashing.

A stream is a function of (seed, name, position), so no generator's state has to be kept, and neighbouring
seeds or epochs share nothing. The hash is BLAKE2b (RFC 7693).
"""

import hashlib
import os
import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


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


@contextmanager
def preserved_randomness(device: torch.device) -> Generator[None]:
    """Leave the caller's generators (Python, NumPy, torch on the CPU and on `device`) as they were found."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
