"""The matrix of small trainings that are killed. Each has a feature that has broken resuming elsewhere."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faults_harness import Final, Fit
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lumbre as lb
from lumbre.callbacks import EMA, SWA, Accumulate, EarlyStopping, KeepBestModel, LearningRate, LRScheduler, Mixup


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout2d(0.2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def blobs(rows: int = 103) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    target = torch.arange(rows) % 3
    return torch.randn(rows, 4, generator=generator) + nn.functional.one_hot(target, 4), target


def pictures(rows: int = 71) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    target = torch.arange(rows) % 3
    return torch.rand(rows, 1, 8, 8, generator=generator) + 0.3 * target[:, None, None, None], target


class Noisy(Dataset):
    """Random augmentation inside `__getitem__`, from three generators."""

    def __init__(self) -> None:
        self.x, self.y = blobs(71)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(4) + random.gauss(0, 1) + float(np.random.randn())
        return self.x[row] + 0.3 * noise, self.y[row]


def scenario(
    net: type[nn.Module] = Perceptron,
    data: Callable[[], Any] = blobs,
    callbacks: Callable[[], list[lb.Callback]] = list,
    optimizer: Any = optim.AdamW,
    opt_hparams: dict[str, Any] | None = None,
    workers: tuple[int, ...] = (),
    **options: Any,
) -> Fit:
    """A function that trains, in the form that the harness calls."""

    def fit(*, final: Path, resume: Any, attempt: int) -> lb.Fitted:
        torch.set_num_threads(1)
        recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, metrics=lb.metrics.Accuracy())
        recipe = recipe.set_opt_hparams(**(opt_hparams or {"lr": 0.01}))
        own = callbacks()
        given: dict[str, Any] = {"epochs": 3, "batch_size": 16, "valid_data": 0.2, **options}
        if workers:
            given["num_workers"] = workers[attempt % len(workers)]
        given = {name: value for name, value in given.items() if value is not None}
        return recipe.fit(
            data(), callbacks=[*own, Final(final, own)], resume=resume, preflight=False, verbose=False, **given
        )

    return fit


SCENARIOS: dict[str, Fit] = {
    "perceptron, dropout, batch norm, ragged batch": scenario(),
    "convolutions, dropout, augmentation": scenario(
        Convolutions,
        pictures,
        augment=lb.vision.Augment([lb.vision.RandomHorizontalFlip(), lb.vision.RandomErasing()]),
    ),
    "random rows in __getitem__": scenario(data=Noisy, valid_data=None),
    "random rows in __getitem__, workers 2, 0 and 4 in turn": scenario(data=Noisy, valid_data=None, workers=(2, 0, 4)),
    "accumulation of 3": scenario(callbacks=lambda: [Accumulate(3)]),
    "schedule": scenario(callbacks=lambda: [LearningRate(lb.schedules.one_cycle())]),
    "scheduler of torch, momentum": scenario(
        optimizer=optim.SGD,
        opt_hparams={"lr": 0.1, "momentum": 0.9},
        callbacks=lambda: [LRScheduler(optim.lr_scheduler.MultiStepLR, milestones=[1, 2])],
    ),
    "early stopping, best weights": scenario(
        epochs=8, callbacks=lambda: [EarlyStopping(patience=1, min_delta=0.15, restore_best=True)]
    ),
    "keep best, EMA": scenario(callbacks=lambda: [KeepBestModel(), EMA(0.9)]),
    "SWA": scenario(callbacks=lambda: [SWA(0.4)]),
    "mixup": scenario(callbacks=lambda: [Mixup()]),
    "float16 with a scaler": scenario(precision="float16"),
    "everything at once": scenario(
        data=Noisy,
        valid_data=None,
        precision="float16",
        workers=(0, 2),
        callbacks=lambda: [Accumulate(3), Mixup(), EMA(0.9), LearningRate(lb.schedules.cosine(warmup=0.2))],
    ),
    "ready loader": scenario(
        data=lambda: DataLoader(TensorDataset(*blobs()), 16, shuffle=True), batch_size=None, valid_data=blobs(40)
    ),
}

COMPILED = scenario(Plain, engine="compiled")
