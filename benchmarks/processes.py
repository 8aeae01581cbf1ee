"""What a step of `fit()` costs beside a loop over DistributedDataParallel written by hand, in two processes.

The loop is an expert's: rows permuted once an epoch, fused Adam, the loss gathered without waiting for it. Epochs of
both take turns within one run, so that set-up is left out and what else the machine does falls on both. Each round
tells the CPU time of both processes (threads of gloo included), and the time on the clock.

    python benchmarks/processes.py [--rounds 40] [--strategy fsdp]

With `--strategy fsdp` the other side is a loop over `fully_shard`, with Adam in its fused form, too.
"""

import argparse
import platform
import statistics
import time
from typing import Any

import torch
from torch import Tensor, distributed, nn, optim
from torch.nn.parallel import DistributedDataParallel

import lumbre as lb

STEPS = 200
NETS = {"small": (20, 64, 128), "medium": (256, 512, 256)}  # inputs, width, rows of a whole batch


def net(name: str) -> nn.Module:
    torch.manual_seed(0)
    inputs, width, _ = NETS[name]
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


class Hand:
    """The loop written by hand."""

    def __init__(self, name: str, strategy: str) -> None:
        self.model: Any = net(name)
        if strategy == "fsdp":
            from torch.distributed.fsdp import fully_shard

            for part in self.model:
                if isinstance(part, nn.Linear):
                    fully_shard(part, reshard_after_forward=True)
            fully_shard(self.model, reshard_after_forward=True)
        else:
            self.model = DistributedDataParallel(self.model)
        self.optimizer = optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.loss_function = nn.CrossEntropyLoss()
        self.batch = NETS[name][2]

    def epoch(self, x: Tensor, y: Tensor, epoch: int) -> float:
        rank, size = distributed.get_rank(), distributed.get_world_size()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        own = order.view(-1, self.batch)[:, rank::size]
        total = torch.zeros(())
        for rows in own:
            self.optimizer.zero_grad()
            loss = self.loss_function(self.model(x[rows]), y[rows])
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        distributed.all_reduce(total)
        return total.item()


class Turns(lb.Callback):
    """Times an epoch of `fit`, then one by hand."""

    def __init__(self, name: str, strategy: str, x: Tensor, y: Tensor) -> None:
        self.hand = Hand(name, strategy)
        self.x, self.y = x, y
        self.rounds: list[tuple[float, float, float, float]] = []

    @staticmethod
    def now() -> tuple[float, float]:
        distributed.barrier()
        return time.process_time(), time.perf_counter()

    def on_epoch_begin(self, ctx: lb.Context) -> None:
        self.began = self.now()

    def on_epoch_end(self, ctx: lb.Context) -> None:
        fitted = self.now()
        with torch.enable_grad():
            self.hand.epoch(self.x, self.y, ctx.epoch)
        ended = self.now()
        self.rounds.append(
            (fitted[0] - self.began[0], fitted[1] - self.began[1], ended[0] - fitted[0], ended[1] - fitted[1])
        )


def rounds(name: str, strategy: str, count: int) -> list[list[float]]:
    """CPU seconds of both processes and seconds on the clock, of `fit` and of the loop, by round."""
    inputs, _, batch = NETS[name]
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * batch, inputs, generator=chance)
    y = torch.randint(0, 10, (len(x),), generator=chance)
    distributed.init_process_group("gloo")
    turns = Turns(name, strategy, x, y)
    recipe = lb.setup(lambda: net(name), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=1e-3)
    recipe.fit(
        (x, y), epochs=count + 1, batch_size=batch, callbacks=turns, device="cpu", engine="eager", verbose=False,
        preflight=False, strategy=strategy,
    )  # fmt: skip
    told = torch.tensor(turns.rounds[1:], dtype=torch.float64)  # the first warms up
    distributed.all_reduce(told)
    told[:, 1::2] /= distributed.get_world_size()
    return told.tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--strategy", default="ddp", choices=["ddp", "fsdp"])
    options = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, 2 processes over gloo,"
    )
    print(f"1 thread each, {options.strategy}; {options.rounds} rounds of {STEPS} steps; median (quartiles)")
    for name in NETS:
        found = lb.launch(rounds, name, options.strategy, options.rounds, devices=2)
        for what, place in (("CPU", 0), ("clock", 1)):
            ours, theirs = [one[place] for one in found], [one[place + 2] for one in found]
            low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
            per_step = [1e6 * statistics.median(side) / STEPS for side in (ours, theirs)]
            print(
                f"{name:7} {what:6} fit {per_step[0]:6.0f} us/step, by hand {per_step[1]:6.0f} us/step, "
                f"ratio {middle:.3f} ({low:.3f} to {high:.3f})"
            )


if __name__ == "__main__":
    main()
