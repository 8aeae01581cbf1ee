"""Small runs that between them use most of the library, by its public API only.

Each case is a function `(folder) -> Outcome`, under a second long. Nothing but the code may change its numbers: data
come from numpy's generator of uniform numbers, which gives the same numbers on every processor; seeds, the device and
the engine are said where they matter.
"""

import contextlib
import io
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lumbre as lb
from lumbre import callbacks, metrics, schedules, vision

EXAMPLES = Path(__file__).parents[2] / "examples"
QUIET: dict[str, Any] = {"verbose": False, "preflight": False, "device": "cpu", "batch_size": 16, "epochs": 3}


@dataclass
class Outcome:
    """The end of a run: the trained model, what it is asked to predict, and numbers that came up beside."""

    fitted: lb.Fitted
    input: Any = None
    more: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Case:
    """A run, and how near its numbers must come on another processor or with another torch.

    Attributes:
        run: makes it, in an empty folder.
        tolerance: the largest relative difference allowed there; see `golden_runs.differences`.
        masks: it draws dropout, whose masks are MKL's: torch without MKL draws others, so nothing is compared there.
        compiler: it needs a C++ compiler, and seconds.
    """

    run: Callable[[Path], Outcome]
    tolerance: float = 1e-4
    masks: bool = False
    compiler: bool = False


CASES: dict[str, Case] = {}


def case(**options: Any) -> Callable[[Callable[[Path], Outcome]], Callable[[Path], Outcome]]:
    """Put a function among the cases."""

    def add(run: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
        CASES[run.__name__] = Case(run, **options)
        return run

    return add


# Data and nets


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [-1, 1)."""
    return torch.from_numpy(2 * np.random.default_rng(seed).random(shape, dtype=np.float32) - 1)


def blobs(rows: int = 72, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three clouds that overlap a little: (rows, 4), and classes (rows,)."""
    target = torch.arange(rows) % 3
    return uniform(rows, 4, seed=seed) + F.one_hot(target, 4), target


def line(rows: int = 72, seed: int = 1) -> tuple[Tensor, Tensor]:
    x = uniform(rows, 4, seed=seed)
    return x, x[:, :1] * 2 - x[:, 1:2] * x[:, 2:3] + 0.5


def pictures(rows: int = 48) -> tuple[Tensor, Tensor]:
    """Images (rows, 3, 12, 12) in [0, 1], brighter in a quarter that is the class."""
    target = torch.arange(rows) % 4
    x = (uniform(rows, 3, 12, 12, seed=2) + 1) / 3
    for row, place in enumerate(target.tolist()):
        top, left = 6 * (place // 2), 6 * (place % 2)
        x[row, :, top : top + 6, left : left + 6] += 0.3
    return x, target


def words(rows: int = 64) -> tuple[Tensor, Tensor]:
    """Word numbers (rows, 8), and whether the first half has more even ones."""
    x = torch.from_numpy(np.random.default_rng(4).integers(0, 12, (rows, 8)))
    even = (x % 2 == 0).long()
    return x, (even[:, :4].sum(1) > even[:, 4:].sum(1)).long()


# No bias before BatchNorm, which takes it out again: its gradient would be rounding alone, and Adam makes a whole step
# of the smallest gradient, so that the numbers of two processors would part at once.


def mlp(dropout: float = 0.0, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(4, 16, bias=not norm)]
    layers += [nn.BatchNorm1d(16)] if norm else []
    layers += [nn.ReLU()]
    layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(16, 3))


def convnet(dropout: float = 0.0) -> nn.Sequential:
    body = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *body,
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Dropout2d(dropout),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def classifier(
    module: Callable[..., nn.Module] = mlp, optimizer: Any = optim.AdamW, given: Any = None, **options: Any
) -> lb.Recipe:
    recipe = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optimizer, metrics=given or metrics.Accuracy())
    return recipe.set_opt_hparams(**{"lr": 0.01, **options})


def regression(optimizer: Any = optim.SGD, given: Any = (), **options: Any) -> lb.Recipe:
    net = lambda: nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1))  # noqa: E731
    return lb.setup(net, loss=nn.MSELoss(), optimizer=optimizer, metrics=given).set_opt_hparams(**options)


def on_blobs(*given: lb.Callback, recipe: lb.Recipe | None = None, more: Any = None, **options: Any) -> Outcome:
    """A classifier of three clouds, with a quarter of the rows held out."""
    fitted = (recipe or classifier()).fit(blobs(), **{**QUIET, "valid_data": 0.25, "callbacks": list(given), **options})
    return Outcome(fitted, blobs(24, seed=9)[0], more or {})


# Optimizers and rates


@case()
def sgd_momentum(folder: Path) -> Outcome:
    recipe = regression(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
    fitted = recipe.fit(line(), **{**QUIET, "preflight": True, "valid_data": line(20, seed=2)})
    return Outcome(fitted, line()[0], dict(fitted.evaluate(line(30, seed=3)).metrics))


@case()
def adamw_one_cycle_clipped(folder: Path) -> Outcome:
    return on_blobs(callbacks.LearningRate(schedules.one_cycle()), callbacks.GradientClip(0.5))


@case()
def lbfgs(folder: Path) -> Outcome:
    recipe = regression(optim.LBFGS, lr=0.5, max_iter=4, line_search_fn="strong_wolfe")
    return Outcome(recipe.fit(line(), **{**QUIET, "batch_size": 72}), line()[0])


@case()
def rmsprop_plateau(folder: Path) -> Outcome:
    recipe = regression(optim.RMSprop, lr=0.02, centered=True, momentum=0.5)
    plateau = schedules.plateau("train_loss", patience=0, min_delta=0.05)
    return Outcome(recipe.fit(line(), **{**QUIET, "epochs": 6, "callbacks": plateau}), line()[0])


@case()
def torch_scheduler(folder: Path) -> Outcome:
    given = callbacks.LRScheduler(optim.lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1)
    return on_blobs(given, recipe=classifier(optimizer=optim.SGD, lr=0.1, momentum=0.9))


@case()
def adam_of_groups(folder: Path) -> Outcome:
    recipe = classifier(optimizer=optim.Adam, groups={"2": {"lr": 1e-3, "weight_decay": 0.1}})
    return on_blobs(callbacks.LearningRate(schedules.cosine(warmup=0.2)), recipe=recipe, drop_last=True)


@case()
def learning_rate_finder(folder: Path) -> Outcome:
    rates = classifier().lr_finder(blobs(), steps=20, batch_size=16, device="cpu")
    return on_blobs(recipe=classifier(lr=0.02), more={"suggested": float(rates.suggest())})


# What is done to gradients, batches and weights


@case()
def accumulated(folder: Path) -> Outcome:
    return on_blobs(callbacks.Accumulate(3), callbacks.GradientClip(1.0), recipe=classifier(optimizer=optim.Adam))


@case()
def mixup(folder: Path) -> Outcome:
    return on_blobs(callbacks.Mixup(), callbacks.LearningRate(schedules.linear(end=0.1), step_on="epoch"))


@case()
def cutmix_augmented(folder: Path) -> Outcome:
    chain = [vision.RandomHorizontalFlip(), vision.RandomCrop(12, padding=2), vision.ColorJitter(0.2)]
    options = {**QUIET, "augment": vision.Augment(chain), "callbacks": callbacks.CutMix(p=0.5), "valid_data": 0.25}
    return Outcome(classifier(convnet).fit(pictures(), **options), pictures()[0])


@case(masks=True)
def ema_dropout_batchnorm(folder: Path) -> Outcome:
    return on_blobs(callbacks.EMA(0.9), recipe=classifier(lambda: mlp(0.3, norm=True)))


@case()
def swa_batchnorm(folder: Path) -> Outcome:
    recipe = classifier(lambda: mlp(norm=True), optim.SGD, lr=0.1, momentum=0.9)
    return on_blobs(callbacks.SWA(0.4, lr=0.02), recipe=recipe, epochs=5)


@case()
def unfrozen_by_and_by(folder: Path) -> Outcome:
    return on_blobs(callbacks.GradualUnfreezing({"2": 0, "0": 2}))


@case()
def best_kept(folder: Path) -> Outcome:
    # The rate is so large that the last epoch is not the best.
    keep = callbacks.KeepBestModel()
    found = on_blobs(keep, recipe=classifier(optimizer=optim.SGD, lr=1.5, momentum=0.9), epochs=5)
    return Outcome(found.fitted, found.input, {"epoch": float(keep.best_epoch or 0)})


@case()
def stopped_early(folder: Path) -> Outcome:
    stop = callbacks.EarlyStopping(patience=1, min_delta=0.2, restore_best=True)
    return on_blobs(stop, epochs=(2, 9), recipe=classifier(lr=0.05))


# Modules that say themselves how they are trained


class Squeezed(nn.Module):
    """Own loss, own prediction, no target."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(4, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.up(self.down(x).tanh()), x

    def loss(self, pred: tuple[Tensor, Tensor], target: None) -> Tensor:
        return F.mse_loss(*pred)

    def predict(self, x: Tensor) -> Tensor:
        return self.down(x)


class Adversaries(nn.Module):
    """Two optimizers, with a loss each."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, real: Tensor) -> Tensor:
        return self.generator(torch.rand(len(real), 2))

    def loss_critic(self, fake: Tensor, real: Tensor) -> Tensor:
        return F.softplus(self.critic(fake)).mean() + F.softplus(-self.critic(real)).mean()

    def loss_generator(self, fake: Tensor, real: Tensor) -> Tensor:
        return F.softplus(-self.critic(fake)).mean()

    def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer]:
        return {name: optim.Adam(getattr(self, name).parameters(), lr) for name in ("critic", "generator")}


class Stepping(Adversaries):
    """The same with a step of its own, in the other order."""

    def step(self, ctx: lb.Context) -> dict[str, Tensor]:
        assert ctx.batch is not None
        losses = {}
        for name in ("generator", "critic"):
            losses[name] = getattr(self, f"loss_{name}")(self(ctx.batch.input), ctx.batch.target)
            ctx.minimize(losses[name], name)
        return losses


@case()
def own_loss(folder: Path) -> Outcome:
    recipe = lb.setup(Squeezed, optimizer=optim.Adam).set_hparams(width=2).set_opt_hparams(lr=0.02)
    x = blobs()[0]
    return Outcome(recipe.fit(x, **{**QUIET, "valid_data": 0.2}), x)


@case()
def two_optimizers(folder: Path) -> Outcome:
    x = blobs()[0]
    return Outcome(lb.setup(Adversaries).set_opt_hparams(lr=0.01).fit((x, x), **QUIET))


@case()
def own_step(folder: Path) -> Outcome:
    x = blobs()[0]
    return Outcome(lb.setup(Stepping).set_opt_hparams(lr=0.01).fit((x, x), **QUIET))


# Data of many kinds


class Noisy(Dataset):
    """Rows with noise of their own."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return blobs(60)[0][row] + 0.3 * torch.rand(4), row % 3


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(*blobs(), strict=True)


class TwoInputs(nn.Module):
    """Takes a dict's parts by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 8), nn.Linear(4, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head((self.left(left) * self.right(right)).tanh())


class Coded(nn.Module):
    """Numbers and embedded categories of a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.island, self.sex = nn.Embedding(3, 2), nn.Embedding(2, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        return self.head(torch.cat([numbers, self.island(codes[:, 0]), self.sex(codes[:, 1])], 1))


def penguins() -> pd.DataFrame:
    frame = lb.datasets.penguins(drop_missing=True)
    return frame.iloc[::3].reset_index(drop=True)


@case()
def data_loader(folder: Path) -> Outcome:
    loader = DataLoader(TensorDataset(*blobs()), 16, shuffle=True)
    options = {name: value for name, value in QUIET.items() if name != "batch_size"}
    return Outcome(classifier().fit(loader, valid_data=blobs(30, seed=5), **options), blobs()[0])


@case()
def dataset_with_noise(folder: Path) -> Outcome:
    return Outcome(classifier().fit(Noisy(), **{**QUIET, "valid_data": Noisy()}), blobs()[0])


@case()
def stream(folder: Path) -> Outcome:
    return Outcome(classifier().fit(Stream(), **{**QUIET, "valid_data": blobs(30, seed=5)}), blobs()[0])


@case()
def two_inputs(folder: Path) -> Outcome:
    x, y = blobs()
    inputs = {"left": x, "right": x.flip(1)}
    return Outcome(classifier(TwoInputs).fit((inputs, y), **{**QUIET, "valid_data": 0.2}), (inputs, None))


@case()
def frame_one_hot(folder: Path) -> Outcome:
    features = ["bill_length_mm", "body_mass_g", "island", "sex"]
    train, test = lb.split(lb.data.from_frame(penguins(), target="species", features=features), 0.7, 0.3, seed=2)
    net = lambda: nn.Sequential(nn.Linear(train.width, 16), nn.ReLU(), nn.Linear(16, 3))  # noqa: E731
    recipe = classifier(net, given=[metrics.Accuracy(), metrics.F1(average=None)])
    fitted = recipe.fit(train, **{**QUIET, "valid_data": 0.2, "shuffle": False})
    fitted.save(folder / "net.lumbre")
    again = lb.load(folder / "net.lumbre", net)
    first = torch.equal(torch.as_tensor(again.predict(penguins())), torch.as_tensor(fitted.predict(penguins())))
    return Outcome(fitted, penguins(), {"loss": fitted.evaluate(test).metrics["loss"], "read again": float(first)})


@case()
def frame_codes(folder: Path) -> Outcome:
    features = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "island", "sex"]
    data = lb.data.from_frame(penguins(), target="species", features=features, categories="codes")
    return Outcome(classifier(Coded, lr=0.05).fit(data, **{**QUIET, "valid_data": 0.2}), penguins())


@case()
def parquet(folder: Path) -> Outcome:
    x, y = line()
    frame = pd.DataFrame(x.numpy(), columns=list("abcd"))
    frame["y"] = y[:, 0].numpy()
    frame.to_parquet(folder / "line.parquet", row_group_size=10)
    data = lb.data.from_parquet(folder / "line.parquet", target="y", window=3)
    net = lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))  # noqa: E731
    recipe = lb.setup(net, loss=nn.L1Loss(), optimizer=optim.Adam, metrics=metrics.MAE()).set_opt_hparams(lr=0.02)
    return Outcome(recipe.fit(data, **{**QUIET, "valid_data": 0.2}), folder / "line.parquet")


@case()
def balanced_sampler(folder: Path) -> Outcome:
    x, y = blobs()
    kept = (y != 2) | (torch.arange(72) % 4 == 0)
    fitted = classifier().fit((x[kept], y[kept]), **QUIET, sampler="balanced")
    return Outcome(fitted, x)


@case()
def weighted_sampler(folder: Path) -> Outcome:
    return on_blobs(valid_data=None, sampler=torch.arange(1.0, 73.0), seed=7)


# Nets


@case()
def convnet_auto(folder: Path) -> Outcome:
    return Outcome(classifier(convnet).fit(pictures(), **{**QUIET, "preflight": True}), pictures()[0])


@case(masks=True)
def convnet_eager(folder: Path) -> Outcome:
    recipe = classifier(lambda: convnet(0.2), optim.SGD, lr=0.1)
    return Outcome(recipe.fit(pictures(), **QUIET, engine="eager"), pictures()[0])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm, self.head = nn.Embedding(12, 6), nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(x))[0][:, -1])


class Attentive(nn.Module):
    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(12, 8), nn.Parameter(torch.zeros(8, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.words(x) + self.place).mean(1))


@case()
def lstm(folder: Path) -> Outcome:
    return Outcome(classifier(Recurrent).fit(words(), **{**QUIET, "valid_data": 0.2}), words()[0])


@case()
def embedding_bag(folder: Path) -> Outcome:
    net = lambda: nn.Sequential(nn.EmbeddingBag(12, 8), nn.Linear(8, 2))  # noqa: E731
    return Outcome(classifier(net, optim.Adagrad, lr=0.1).fit(words(), **QUIET), words()[0])


# The bias of the keys has no gradient but rounding.
@case(tolerance=2e-3, masks=True)
def attention(folder: Path) -> Outcome:
    return Outcome(classifier(Attentive).fit(words(), **{**QUIET, "valid_data": 0.2}), words()[0])


# Numbers and engines


# Eight bits of mantissa: another order of the same sums moves a result by a few thousandths.
@case(tolerance=3e-2)
def bfloat16(folder: Path) -> Outcome:
    return on_blobs(precision="bfloat16")


@case(tolerance=1e-2)
def float16(folder: Path) -> Outcome:
    return on_blobs(precision="float16", recipe=classifier(optimizer=optim.SGD, lr=0.1))


@case(tolerance=1e-9)
def float64(folder: Path) -> Outcome:
    x, y = blobs()
    fitted = classifier(lambda: mlp().double()).fit((x.double(), y), **QUIET)
    return Outcome(fitted, x.double())


@case()
def many_metrics(folder: Path) -> Outcome:
    given = [metrics.TopKAccuracy(2), metrics.F1(), metrics.AUROC(), metrics.ConfusionMatrix(), metrics.CohenKappa()]
    found = on_blobs(recipe=classifier(given=metrics.Sets(metrics.Accuracy(), valid=given)))
    numeric = regression(given=[metrics.MAE(), metrics.MSE(), metrics.RMSE(), metrics.R2()], lr=0.05)
    last = numeric.fit(line(), **QUIET).history
    more = {f"regression {row.metric} {row.epoch}": float(row.value) for row in last.itertuples()}
    return Outcome(found.fitted, found.input, more)


@case(compiler=True)
def compiled(folder: Path) -> Outcome:
    # The rows divide by the batch size: each other size would be compiled as well.
    fitted = classifier().fit(blobs(64), **QUIET, engine="compiled")
    assert fitted.engine.startswith("compiled"), fitted.engine
    return Outcome(fitted, blobs()[0])


# Stopped, and gone on with


class Stop(Exception):
    """Ends a run as a fault in a callback would."""


def _long_run(folder: Path | None, stop_at: int | None) -> lb.Fitted:
    def end(ctx: lb.Context) -> None:
        if ctx.step == stop_at:
            raise Stop

    given = [callbacks.EMA(0.9), callbacks.Mixup(), callbacks.LearningRate(schedules.one_cycle())]
    resume = lb.Checkpoints(folder, steps=1, wait=True, allow_changes="callbacks") if folder else None
    given += [callbacks.On(train_batch_end=end)] if folder else []
    recipe = classifier(lambda: mlp(0.3, norm=True))
    return recipe.fit(blobs(), **{**QUIET, "epochs": 4, "valid_data": 0.25}, callbacks=given, resume=resume)


@case(masks=True)
def unbroken(folder: Path) -> Outcome:
    return Outcome(_long_run(None, None), blobs()[0])


@case(masks=True)
def stopped_and_resumed(folder: Path) -> Outcome:
    """Stopped within the second and the third epoch; the numbers are those of `unbroken`."""
    for stop_at in (6, 10):
        try:
            _long_run(folder / "run", stop_at)
        except lb.CallbackError as error:
            if not isinstance(error.__cause__, Stop):
                raise
        else:
            raise AssertionError("the run was not stopped")
    return Outcome(_long_run(folder / "run", None), blobs()[0])


# The quick runs of examples/


def _example(name: str, folder: Path) -> Outcome:
    """Runs `examples/name.py --quick` in this process; the model is that of its last `fit()`."""
    found: list[lb.Fitted] = []
    fit = lb.Recipe.fit

    def kept(self: lb.Recipe, *args: Any, **options: Any) -> lb.Fitted:
        found.append(fit(self, *args, **{"device": "cpu", **options}))
        return found[-1]

    before, state = Path.cwd(), torch.get_rng_state()
    os.chdir(folder)
    try:
        with (
            patch.object(lb.Recipe, "fit", kept),
            patch.object(sys, "argv", [name, "--quick"]),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    finally:
        os.chdir(before)
        torch.set_rng_state(state)
    every = {f"end of fit {number}": float(one.history["value"].iloc[-1]) for number, one in enumerate(found, start=1)}
    return Outcome(found[-1], None, every)


def _add_example(name: str, **options: Any) -> None:
    CASES[f"examples_{name}"] = Case(lambda folder: _example(name, folder), **options)


# Hundreds of steps of convolutions let rounding grow: measured 0.018 in the second, 0.003 in the fourth, between the
# kernels with vector instructions and those without.
_add_example("accelerator")
_add_example("get_started", tolerance=0.2)
_add_example("custom_loop", tolerance=1e-2)
_add_example("mnist_autoencoder", tolerance=5e-2)
_add_example("text_classification", tolerance=1e-2, masks=True)
