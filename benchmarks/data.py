"""Rows a second of lumbre's feed beside torch's DataLoader: an epoch of shuffled batches, nothing else done with them.

    tabular  100,000 rows of 20 float32, tensors in memory
    digits   60,000 images of 28 x 28 uint8, tensors in memory
    jpeg     JPEG files of 96 x 96 in a folder for each class, decoded at 64 x 64 (lumbre without its cache)
    cached   the same files after the first epoch, when lumbre has them in memory
    parquet  200,000 rows of 20 columns in row groups of 20,000

The DataLoader is used as most people do: TensorDataset for tensors, for files a Dataset that decodes with Pillow, for
Parquet the table read whole into a TensorDataset, which lumbre does not do. Batches of 128, default collation; 0 and 2
workers, kept from epoch to epoch (lumbre sends tensors in memory and Parquet through none). Rounds are
interleaved; the ratios are of one round each.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lumbre as lb
from lumbre.run._feeds import feed, training_data

BATCH = 128
CPU = torch.device("cpu")
Epoch = Callable[[int], int]


class Decoded(Dataset[Any]):
    """What a tutorial would write."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[row]) as image:
            pixels = np.array(image.convert("RGB").resize((64, 64)))
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, int(self.paths[row].parent.name)


def lumbre(data: Any, workers: int) -> Epoch:
    made = feed(training_data(data, None, 0).train, CPU, 0, batch_size=BATCH, shuffle=True, num_workers=workers)
    return lambda epoch: sum(batch.size for batch in made.epoch(epoch))


def loader(data: Dataset[Any], workers: int) -> Epoch:
    made = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda epoch: sum(len(target) for _, target in made)


def works(root: Path, images: int) -> Iterator[tuple[str, Any, Any]]:
    """Name, data for lumbre, dataset for the DataLoader."""
    chance = torch.Generator().manual_seed(0)
    x, y = torch.randn(100_000, 20, generator=chance), torch.randint(2, (100_000,), generator=chance)
    yield "tabular", (x, y), TensorDataset(x, y)
    pixels = torch.randint(256, (60_000, 28, 28), dtype=torch.uint8, generator=chance)
    labels = torch.randint(10, (60_000,), generator=chance)
    yield "digits", (pixels, labels), TensorDataset(pixels, labels)
    paths = [root / "images" / str(row % 10) / f"{row:05}.jpg" for row in range(images)]
    generator = np.random.default_rng(0)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(path, quality=90)
    yield "jpeg", lb.datasets.image_folder(root / "images", size=64, cache=False), Decoded(paths)
    kept = lb.datasets.image_folder(root / "images", size=64)
    for row in range(len(kept)):
        kept[row]
    yield "cached", kept, Decoded(paths)
    x, y = torch.randn(200_000, 20, generator=chance), torch.randint(2, (200_000,), generator=chance)
    table = pd.DataFrame(x.numpy(), columns=[f"x{i}" for i in range(20)]).assign(y=y.numpy())
    table.to_parquet(root / "table.parquet", row_group_size=20_000, index=False)
    yield "parquet", lb.data.from_parquet(root / "table.parquet", target="y"), TensorDataset(x, y)


def compare(name: str, epochs: dict[str, Epoch], rounds: int) -> None:
    speeds: dict[str, list[float]] = {key: [] for key in epochs}
    for round_ in range(rounds + 1):
        keys = list(epochs)
        for key in keys[round_ % len(keys) :] + keys[: round_ % len(keys)]:
            began = time.perf_counter()
            rows = epochs[key](round_ + 1)
            if round_:  # the first starts workers and fills caches
                speeds[key].append(rows / (time.perf_counter() - began))
    print(f"{name}:")
    for key, values in speeds.items():
        print(f"  {key:20} {statistics.median(values):12,.0f} rows/s (median)")
    for workers in (0, 2):
        ratios = sorted(
            a / b
            for a, b in zip(speeds[f"lumbre, {workers} workers"], speeds[f"DataLoader, {workers} workers"], strict=True)
        )
        print(
            f"  lumbre is {statistics.median(ratios):.2f}x as fast with {workers} workers"
            f" (lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--only", nargs="*", help="some of the works by name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores;"
        f" {given.rounds} interleaved rounds; load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, mine, theirs in works(Path(folder), given.images):
            if not given.only or name in given.only:
                made = {f"lumbre, {workers} workers": lumbre(mine, workers) for workers in (0, 2)}
                made |= {f"DataLoader, {workers} workers": loader(theirs, workers) for workers in (0, 2)}
                compare(name, made, given.rounds)


if __name__ == "__main__":
    main()
