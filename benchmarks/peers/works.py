"""What is trained: nets, data, batch sizes, epochs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a contender is given. It trains `model` and returns a function from input to class scores.

    Attributes:
        model: in training mode, with its first weights.
        x: all inputs, (rows, ...).
        y: all classes, (rows,) int64.
        batch: rows in a batch; the last may be short. The order is drawn anew in each epoch.
        epochs: passes over the data.
        lr: of Adam, otherwise with torch's defaults.
        precision: "float32", or "bfloat16" for autocast forward passes.
        seed: of the round; torch is seeded with it already.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    batch: int
    epochs: int
    lr: float
    precision: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """A kind of training that all contenders do.

    Attributes:
        title: what it is, in words.
        net: makes the module.
        data: (rows, folder of MNIST or None) -> inputs and classes.
        rows: in the training data.
        full_rows: with `--full`.
        share: lumbre trains `epochs`; the others train `epochs / share`, and their time counts `share` times. Only
            for a work so long that their loops, which take the same time each epoch, would need half an hour.
        contenders: names; all where empty.
        beside: contenders of this work only.
    """

    title: str
    net: Callable[[], nn.Module]
    data: Callable[[int, str | None], Data]
    rows: int
    batch: int
    epochs: int
    full_rows: int | None = None
    lr: float = 1e-3
    precision: str = "float32"
    share: int = 1
    contenders: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def wide_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def small_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and channels == out
        self.short = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


def residual() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


class Transformer(nn.Module):
    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokens = nn.Embedding(100, 64)
        self.places = nn.Parameter(torch.randn(32, 64) * 0.02)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layers(self.tokens(x) + self.places).mean(1))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 64, batch_first=True)
        self.out = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1])


def table(rows: int, _: str | None) -> Data:
    x = torch.randn(rows, 20, generator=torch.Generator().manual_seed(0))
    return x, (x[:, :5].sum(1) > 0).long()


def penguins(rows: int, _: str | None) -> Data:
    import lumbre as lb  # here, so that its import is not counted among those of the other contenders

    frame = lb.datasets.penguins(drop_missing=True)
    numbers = frame[["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]]
    x = torch.tensor(((numbers - numbers.mean()) / numbers.std()).to_numpy(), dtype=torch.float32)
    y = torch.tensor(frame["species"].astype("category").cat.codes.to_numpy(), dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:rows]
    return x[order], y[order]


def digits(rows: int, root: str | None) -> Data:
    """MNIST where `root` has it, else patterns of its shape."""
    if root is None or not Path(root, "mnist").is_dir():
        return patterns(rows, (1, 28, 28))
    import lumbre as lb

    data = lb.datasets.mnist(root=root, download=False)
    return lb.datasets.to_float(data.input[:rows]), data.target[:rows]


def flat_digits(rows: int, root: str | None) -> Data:
    x, y = digits(rows, root)
    return x.flatten(1), y


def pictures(rows: int, _: str | None) -> Data:
    return patterns(rows, (3, 32, 32))


def patterns(rows: int, shape: tuple[int, ...]) -> Data:
    """A coarse pattern for each of ten classes, under noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(10, shape[0], 4, 4, generator=generator)
    classes = nn.functional.interpolate(coarse, size=shape[1:])
    y = torch.randint(10, (rows,), generator=generator)
    return classes[y] + torch.randn(rows, *shape, generator=generator), y


def words(rows: int, _: str | None) -> Data:
    """Whether low tokens outweigh high ones in 32 of a hundred."""
    x = torch.randint(100, (rows, 32), generator=torch.Generator().manual_seed(0))
    return x, (x < 50).sum(1).gt(16).long()


def curves(rows: int, _: str | None) -> Data:
    x = torch.randn(rows, 32, 8, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 16:, 0].sum(1) > 0).long()


_MNIST = "MNIST CNN, batch 128"
WORKS = {
    "tabular_32": Work(title="MLP 20-64-64-2, batch 32", net=mlp, data=table, rows=100_000, batch=32, epochs=1),
    "tabular_128": Work(title="MLP 20-64-64-2, batch 128", net=mlp, data=table, rows=100_000, batch=128, epochs=2),
    "tabular_1024": Work(title="MLP 20-64-64-2, batch 1024", net=mlp, data=table, rows=100_000, batch=1024, epochs=3),
    "penguins": Work(title="penguins, batch 32", net=small_mlp, data=penguins, rows=333, batch=32, epochs=20, lr=5e-3),
    "wide": Work(
        title="MLP 784-512-512-10 on MNIST, batch 128",
        net=wide_mlp,
        data=flat_digits,
        rows=16_384,
        batch=128,
        epochs=7,
    ),
    "mnist": Work(title=_MNIST, net=cnn, data=digits, rows=4096, full_rows=60_000, batch=128, epochs=2),
    "residual": Work(
        title="residual net 3x32x32, batch 32", net=residual, data=pictures, rows=2048, batch=32, epochs=4
    ),
    "transformer": Work(
        title="transformer 2x64, 32 tokens, batch 32", net=Transformer, data=words, rows=4096, batch=32, epochs=3
    ),
    "lstm": Work(title="LSTM 64, 32 steps, batch 32", net=Lstm, data=curves, rows=8192, batch=32, epochs=1),
    "long": Work(
        title="MLP 20-64-64-2, batch 128, 200,192 steps",
        net=mlp,
        data=table,
        rows=100_000,
        batch=128,
        epochs=256,
        share=128,
        contenders=("raw", "expert", "lightning", "lumbre"),
    ),
    "mnist_bfloat16": Work(
        title=f"{_MNIST}, bfloat16",
        net=cnn,
        data=digits,
        rows=4096,
        full_rows=60_000,
        batch=128,
        epochs=2,
        precision="bfloat16",
        beside=("raw_float32",),
    ),
}
