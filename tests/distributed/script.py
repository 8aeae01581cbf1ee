"""Trains in as many processes as torchrun starts, once for each set of options, and writes what came out.

python script.py FOLDER '{"name": {"option": value, ...}, ...}'
"""

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn, optim

import lumbre as lb


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype, own_rows: bool = False) -> None:
        super().__init__()
        between = [nn.BatchNorm1d(16), nn.Dropout(0.2)] if own_rows else []  # see the rows of their process alone
        self.layers = nn.Sequential(nn.Linear(6, 16), *between, nn.Tanh(), nn.Linear(16, 3)).to(dtype)
        self.unused = nn.Linear(2, 2).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def train(
    folder: Path,
    *,
    dtype: str = "float32",
    rows: int = 203,
    batch: int = 16,
    epochs: int = 3,
    reduction: str = "mean",
    accumulate: int | None = None,
    clip: float | None = None,
    optimizer: str = "SGD",
    precision: str = "float32",
    averaged: bool = False,
    stopped: bool = False,
    own_rows: bool = False,
    unfrozen: list[str] | None = None,
    strategy: str | None = None,
) -> dict[str, Any]:
    """Fit, evaluate, predict, save, load; everything that can be compared."""
    kind = getattr(torch, dtype)
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0), dtype=kind)
    y = x[:, :3].argmax(1)
    callbacks: list[lb.Callback] = [lb.callbacks.CSVLog(folder / "history.csv")]
    callbacks += [] if accumulate is None else [lb.callbacks.Accumulate(accumulate)]
    callbacks += [] if clip is None else [lb.callbacks.GradientClip(clip)]
    callbacks += [lb.callbacks.EMA(0.9)] if averaged else []
    callbacks += [lb.callbacks.GradualUnfreezing(unfrozen)] if unfrozen else []
    if stopped:
        callbacks += [lb.callbacks.EarlyStopping("valid_loss", patience=2), lb.callbacks.KeepBestModel("train_loss")]
    callbacks += [lb.callbacks.ModelCheckpoint(folder / "last.lumbre", best_only=False)]
    metrics: list[Any] = [lb.metrics.Accuracy(), lb.metrics.AUROC(), lb.metrics.ConfusionMatrix()]
    metrics.append(torchmetrics.F1Score(task="multiclass", num_classes=3, average="macro"))
    recipe = lb.setup(
        Net, loss=nn.CrossEntropyLoss(reduction=reduction), optimizer=getattr(optim, optimizer), metrics=metrics
    )
    recipe = recipe.set_hparams(dtype=kind, own_rows=own_rows)
    recipe = recipe.set_opt_hparams(lr=0.1 if reduction == "mean" and not stopped else 0.01)
    recipe = recipe.set_opt_hparams(momentum=0.9) if optimizer == "SGD" else recipe
    fitted = recipe.fit(
        (x, y),
        epochs=epochs,
        batch_size=batch,
        valid_data=0.3,
        callbacks=callbacks,
        seed=3,
        device="cpu",
        strategy=strategy,
        precision=precision,
        preflight=stopped,
        ignore=("LB023",),
    )
    pred = fitted.predict(x)
    assert type(fitted.model) is Net
    assert all(type(one) is nn.Parameter for one in fitted.model.parameters())
    fitted.save(folder / "net.lumbre")
    if not stopped:  # and so ended with other weights
        last = lb.load(folder / "last.lumbre", recipe).predict(x)
        assert torch.equal(last, pred), (strategy, precision, dtype, averaged, accumulate, own_rows, last - pred)
    assert torch.equal(lb.load(folder / "net.lumbre", recipe).predict(x), pred)
    return {
        "engine": fitted.engine,
        "history": fitted.history["value"].tolist(),
        "evaluation": fitted.evaluate((x, y)).metrics,
        "weights": torch.cat([value.flatten() for value in fitted.model.state_dict().values()]).tolist(),
        "pred": pred.tolist(),
    }


def threads(folder: Path) -> None:
    """Write the names of this process's threads, where the system reports them."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (folder / f"{os.environ['RANK']}.threads").write_text("\n".join(names))


def main() -> None:
    torch.set_num_threads(1)
    atexit.register(threads, Path(sys.argv[1]))  # before lumbre's own, so it is called after it
    folder, runs = Path(sys.argv[1]), json.loads(sys.argv[2])
    results = {name: train(folder, **options) for name, options in runs.items()}
    (folder / f"{torch.distributed.get_rank()}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
