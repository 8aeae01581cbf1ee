"""What callbacks cost a step of `fit()`, beside a run without any, in one interleaved run.

Work: that of overhead.py, one epoch of 200 steps a round.

    none     no callback
    quiet    ten that hear only the end of an epoch and do nothing
    idle     ten that hear every around event, at each step and between, and do nothing
"""

import argparse
import os
import platform
import statistics
import time

import torch
from overhead import BATCH, net
from torch import nn, optim

import lumbre as lb
from lumbre.core import AROUND

STEPS = 200
GOAL = 1.03


def quiet() -> list[lb.Callback]:
    return [lb.callbacks.On(epoch_end=lambda ctx: None) for _ in range(10)]


def idle() -> list[lb.Callback]:
    return [lb.callbacks.On(**dict.fromkeys(AROUND, lambda ctx: None)) for _ in range(10)]


def fit(x: torch.Tensor, y: torch.Tensor, callbacks: list[lb.Callback]) -> float:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    began = time.perf_counter()
    recipe.fit((x, y), epochs=1, batch_size=BATCH, callbacks=callbacks, verbose=False)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * BATCH, 20, generator=generator)
    y = (x[:, :5].sum(1) > 0).long()
    works = {"none": list, "quiet": quiet, "idle": idle}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for make in works.values():
        fit(x, y, make())
    for round_ in range(given.rounds):
        names = list(works)
        for name in names[round_ % 3 :] + names[: round_ % 3]:
            seconds[name].append(fit(x, y, works[name]()))
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores,"
    )
    print(
        f"{given.threads} thread(s), {given.rounds} interleaved rounds of {STEPS} steps; load {os.getloadavg()[0]:.1f}"
    )
    for name, times in seconds.items():
        print(f"  {name:5} {statistics.median(times) / STEPS * 1e6:7.1f} us/step (median)")
    low = given.rounds // 10
    for name in ("quiet", "idle"):
        ratios = sorted(a / b for a, b in zip(seconds[name], seconds["none"], strict=True))
        print(
            f"  {name} / none: {statistics.median(ratios):.3f}"
            f" (10-90 %: {ratios[low]:.3f} to {ratios[-1 - low]:.3f}); goal <= {GOAL}"
        )


if __name__ == "__main__":
    main()
