"""What the order of rows costs: time a batch and memory, from ten thousand to a hundred million rows.

Batches of 128 from the middle of an epoch, so that nothing is warmed by the start of it. The memory is that of Python
and NumPy; the permutation that torch draws for data of at most 2^16 rows comes on top, 8 bytes a row.
"""

import argparse
import os
import platform
import statistics
import time
import tracemalloc
from itertools import islice

import numpy as np
import torch

from lumbre.data import Order

BATCH = 128


def microseconds(order: Order, count: int, epoch: int) -> float:
    """Of a batch, over `count` batches from the middle of the epoch on (all of them in a short epoch)."""
    start = max(0, len(order) // 2 - count // 2) if len(order) > count else 0
    began = time.perf_counter()
    done = sum(1 for _ in islice(order.batches(epoch, start), count))
    return (time.perf_counter() - began) / done * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=2000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, {platform.machine()},"
        f" {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}"
    )
    print(f"{given.rounds} interleaved rounds, {given.batches} batches of {BATCH} each (median, lowest, highest)")
    orders = {rows: Order(rows, BATCH, True, False, 0) for rows in (10**4, 10**5, 10**6, 10**7, 10**8)}
    times: dict[int, list[float]] = {rows: [] for rows in orders}
    for round_ in range(given.rounds):
        for rows, order in orders.items():
            times[rows].append(microseconds(order, given.batches, round_ + 1))
    for rows, values in times.items():
        tracemalloc.start()
        microseconds(orders[rows], given.batches, 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(
            f"  {rows:>11,} rows  {statistics.median(values):5.2f} us/batch ({min(values):.2f} to {max(values):.2f}),"
            f" peak {peak / 2**20:.2f} MiB"
        )


if __name__ == "__main__":
    main()
