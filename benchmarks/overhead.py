"""What a step of `fit()` costs beside loops written by hand, in one interleaved run.

Work: 100,000 rows of 20 numbers, an MLP 20-64-64-2, batches of 128, Adam, cross-entropy. One epoch a round.

    loader   as most people write it: DataLoader(TensorDataset, shuffle=True), Adam as it comes, loss.item() each step
    expert   pre-permuted tensors, fused Adam, the loss gathered without waiting for it
    fit      lumbre, without progress, validation or metrics (data, module and epoch as above)
    fit+acc  the same with training accuracy
    compiled fit(engine="compiled"), one long run of which each epoch after the first is a round: capture is left out,
             and told apart
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb

ROWS, BATCH = 100_000, 128


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def loader(x: torch.Tensor, y: torch.Tensor) -> float:
    model, loss_function = net(), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    total = 0.0
    for xb, yb in DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True):
        optimizer.zero_grad()
        loss = loss_function(model(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


def expert(x: torch.Tensor, y: torch.Tensor) -> float:
    model, loss_function = net(), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-3, fused=True)
    order = torch.randperm(len(x))
    xs, ys = x[order].split(BATCH), y[order].split(BATCH)
    total = torch.zeros(())
    for xb, yb in zip(xs, ys, strict=True):
        optimizer.zero_grad()
        loss = loss_function(model(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return total.item()


def fit(x: torch.Tensor, y: torch.Tensor, metrics: object = ()) -> float:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=metrics)
    return recipe.fit((x, y), epochs=1, batch_size=BATCH, verbose=False).history["value"][0]


class Rounds(lb.Callback):
    """Lets the other works run between the epochs of a compiled run, so that all are interleaved."""

    def __init__(self, play: Callable[[int], None]) -> None:
        self.play = play
        self.seconds: list[float] = []

    def on_train_begin(self, ctx: lb.Context) -> None:
        self.began = time.perf_counter()

    def on_train_end(self, ctx: lb.Context) -> None:
        self.seconds.append(time.perf_counter() - self.began)

    def on_epoch_end(self, ctx: lb.Context) -> None:
        self.play(ctx.epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 20, generator=generator)
    y = (x[:, :5].sum(1) > 0).long()
    works: dict[str, Callable[[torch.Tensor, torch.Tensor], float]] = {
        "loader": loader,
        "expert": expert,
        "fit": fit,
        "fit+acc": lambda x, y: fit(x, y, lb.metrics.Accuracy()),
    }
    for work in works.values():
        work(x[: 20 * BATCH], y[: 20 * BATCH])
    seconds: dict[str, list[float]] = {name: [] for name in works}

    def play(epoch: int) -> None:
        if epoch == 1:
            return
        names = list(works)
        with torch.enable_grad():
            for name in names[epoch % len(names) :] + names[: epoch % len(names)]:
                began = time.perf_counter()
                works[name](x, y)
                seconds[name].append(time.perf_counter() - began)

    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    rounds = Rounds(play)
    compiled = recipe.fit(
        (x, y),
        epochs=given.rounds + 1,
        batch_size=BATCH,
        engine="compiled",
        callbacks=rounds,
        verbose=False,
    )
    first, *seconds["compiled"] = rounds.seconds
    steps = -(-ROWS // BATCH)
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores,"
    )
    print(
        f"{given.threads} thread(s), {given.rounds} interleaved rounds of {steps} steps; load {os.getloadavg()[0]:.1f}"
    )
    for name, times in seconds.items():
        print(f"  {name:8} {statistics.median(times) / steps * 1e6:7.0f} us/step (median)")
    print(f"  {compiled.engine}; its first epoch took {first:.1f} s")
    for name in ("fit", "fit+acc", "compiled"):
        for other in ("loader", "expert"):
            ratios = sorted(b / a for a, b in zip(seconds[name], seconds[other], strict=True))
            print(
                f"  {name} is {statistics.median(ratios):.2f}x as fast as {other}"
                f" (lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f})"
            )


if __name__ == "__main__":
    main()
