"""Checkpoints: the best epoch in one file, every epoch in its own file, and a callback with a memory.

`ModelCheckpoint` writes archives that `lb.load` reads: weights, hyper-parameters and the history so far, and no code.
A callback returns what it has learned from `state_dict()`, as numbers and texts, and another one can load it.
The second run here starts from the first one's best weights, with a fresh optimizer. To resume a killed run to the same
bits, use `fit(..., resume=folder)` instead: these files do not hold the optimizer's or the callbacks' state. The data
is random in both modes; `--quick` trains for fewer epochs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

import lumbre as lb


class Record(lb.Callback):
    """Remembers, over several runs, the lowest loss so far and the number of its epochs."""

    def __init__(self) -> None:
        self.lowest, self.epochs = float("inf"), 0

    def on_epoch_end(self, ctx: lb.Context) -> None:
        """Compare the epoch's loss."""
        self.lowest = min(self.lowest, ctx.history.last("valid")["loss"])
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        """What to remember."""
        return {"lowest": self.lowest, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load it again."""
        self.lowest, self.epochs = state["lowest"], state["epochs"]


def main() -> None:
    """Train, list the folder, continue from the best file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 epochs instead of 20")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"))
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 10, generator=generator)
    data = x, x.sum(1, keepdim=True) + 0.1 * torch.randn(1000, 1, generator=generator)
    best, record = given.folder / "best.lumbre", Record()
    options = {"epochs": 4 if given.quick else 20, "valid_data": 0.2, "verbose": False}

    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
    recipe = recipe.set_hparams(in_features=10, out_features=1).set_opt_hparams(lr=0.01)
    every = lb.callbacks.ModelCheckpoint(given.folder / "epoch-{epoch:02d}.lumbre", best_only=False)
    keep = lb.callbacks.ModelCheckpoint(best, monitor="valid_loss")
    fitted = recipe.fit(data, callbacks=[every, keep, record], **options)
    print(fitted.history_wide.to_string(index=False))
    (given.folder / "record.json").write_text(json.dumps(record.state_dict()))
    print("files:", *sorted(path.name for path in given.folder.iterdir()))

    for name in ("epoch-01.lumbre", "best.lumbre"):
        loaded = lb.load(given.folder / name, recipe)
        epoch, loss = loaded.history["epoch"].max(), loaded.evaluate(data).metrics["loss"]
        print(f"{name} of epoch {epoch}: loss on all rows {loss:.4f}")

    later = Record()
    later.load_state_dict(json.loads((given.folder / "record.json").read_text()))
    again = lb.setup(lb.load(best, nn.Linear).model, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    loss = again.fit(data, callbacks=later, **options).evaluate(data).metrics["loss"]
    print(f"going on: loss on all rows {loss:.4f}")
    print(f"{later.epochs} epochs in two runs, the lowest loss was {later.lowest:.4f}")


if __name__ == "__main__":
    main()
