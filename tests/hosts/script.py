"""Trains slowly under torchrun, and reports every batch.

python script.py FOLDER
"""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn, optim

import lumbre as lb


class Reported(lb.Callback):
    """Writes a line a batch: seconds, process, how many share the run, updates done."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        time.sleep(0.02)
        with self.path.open("a") as file:
            file.write(f"{time.time()} {os.getpid()} {os.environ['WORLD_SIZE']} {ctx.step}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    x = torch.randn(320, 6, generator=torch.Generator().manual_seed(0))
    recipe = lb.setup(lambda: nn.Linear(6, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW)
    recipe.fit(
        (x, x[:, :3].argmax(1)), epochs=10_000, batch_size=16, callbacks=Reported(folder / f"{sys.argv[2]}.reported"),
        resume=lb.Checkpoints(folder / "run", steps=10), device="cpu", verbose=False, preflight=False,
    )  # fmt: skip
