"""The fifth tutorial, complete: from a tensor with one number in it to a trained convolutional net.

You learn: how tensors are created, moved, added, multiplied, summed and sliced; how a function is minimised with
autograd alone; how a net is trained with a hand-written loop, and then without one.

Intended differences from the original, each with a comment in the code:

- Rows and dimensions count from 0, arrays are filled row by row, and classes are numbered from 0.
- Its text called what `torch_randn` draws uniform on [0, 1]. It is normal, with mean 0 and standard deviation 1.
- It called a plain tensor a data set. A data set knows its number of rows, and returns one of them.
- It trained a model for 200 epochs, looked at no result, and never used its test rows.
- It set no seed, so its losses can be reproduced only approximately.

    python deep_learning_and_scientific_computing.py --quick    # in seconds
    python deep_learning_and_scientific_computing.py            # more pictures and epochs for the convolutional net
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import plotnine as p9
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import lumbre as lb
from lumbre import vision

BLUE, ORANGE = "#0072B2", "#D55E00"

# Earnings per share of Johnson & Johnson in dollars, by quarter from 1960 to 1980: Shumway and Stoffer, "Time Series
# Analysis and its Applications", 2000.
EARNINGS = """
 0.71  0.63  0.85  0.44   0.61  0.69  0.92  0.55   0.72  0.77  0.92  0.60   0.83  0.80  1.00  0.77
 0.92  1.00  1.24  1.00   1.16  1.30  1.45  1.25   1.26  1.38  1.86  1.56   1.53  1.59  1.83  1.86
 1.53  2.07  2.34  2.25   2.16  2.43  2.70  2.25   2.79  3.42  3.69  3.60   3.60  4.32  4.32  4.05
 4.86  5.04  5.04  4.41   5.58  5.85  6.57  5.31   6.03  6.39  6.93  5.85   6.93  7.74  7.83  6.12
 7.74  8.91  8.28  6.84   9.54 10.26  9.54  8.73  11.88 12.06 12.15  8.91  14.04 12.96 14.85  9.99
16.20 14.67 16.02 11.61
"""


def numbers(tensor: Tensor) -> str:
    """The numbers of a tensor in one line, as short as possible."""
    return " ".join(f"{number:g}" for number in tensor.flatten().tolist())


def what_a_tensor_is() -> None:
    """Numbers with a dtype, a device and a shape."""
    # S4-01  A tensor and its attributes
    one = torch.tensor([1.0])
    print("S4-01", one, one.dtype, one.device, tuple(one.shape))
    # S4-02  Another dtype, another device
    whole = one.to(torch.int32)
    place = "cuda" if torch.cuda.is_available() else "cpu"
    print("S4-02", whole.dtype, whole.to(place).device)
    # S4-03  Another shape for the same numbers
    print("S4-03", tuple(one.view(1, 1).shape), "the same memory:", one.view(1, 1).data_ptr() == one.data_ptr())


def how_tensors_are_made() -> None:
    """From lists, from rules, random, and from data."""
    # S4-04  From a vector, a matrix, an array
    print("S4-04", torch.arange(1, 6), torch.arange(1, 6).dtype, torch.tensor([1.0, 2.0]).dtype)
    print("S4-04 by rows", torch.arange(1, 7).reshape(2, 3).tolist())
    # R fills an array column by column, Python row by row: R's array(1:24, dim = c(4, 3, 2)) is this.
    array = torch.arange(1, 25).reshape(2, 3, 4).permute(2, 1, 0)
    print("S4-04 as R fills it", tuple(array.shape), array[:, :, 0].tolist())
    # S4-05  Random, zeros and ones, identities, diagonals, and from data
    # Mended: randn draws from the normal distribution; rand is uniform on [0, 1).
    generator = torch.Generator().manual_seed(0)
    normal, uniform = torch.randn(10_000, generator=generator), torch.rand(10_000, generator=generator)
    print(
        f"S4-05 randn: mean {normal.mean():.1f}, spread {normal.std():.1f}, {(normal < 0).float().mean():.0%} below 0"
    )
    print(f"S4-05 rand: mean {uniform.mean():.1f}, none below 0: {bool((uniform >= 0).all())}")
    print("S4-05", numbers(torch.zeros(2, 2)), "|", numbers(torch.ones(2, 2)), "|", numbers(torch.diag(torch.ones(5))))
    print(
        "S4-05 eye", torch.equal(torch.eye(5), torch.diag(torch.ones(5))), torch.diag(torch.tensor([1, 2, 3])).tolist()
    )
    earnings = torch.tensor([float(number) for number in EARNINGS.split()])
    print("S4-05 earnings", len(earnings), f"from {earnings[0]:.2f} to {earnings[-1]:.2f}")


def arithmetic() -> None:
    """Sums and products, element by element or of whole matrices."""
    # S4-06  Addition: a function, a method, and one that changes the tensor itself
    t1, t2 = torch.tensor([1, 2]), torch.tensor([3, 4])
    print("S4-06", numbers(t1 + t2), "|", numbers(torch.add(t1, t2)), "|", numbers(t1.add_(t2)), "| now", numbers(t1))
    # S4-07  The dot product of two vectors
    v1, v2 = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    print("S4-07", v1.dot(v2).item())
    # S4-08  A vector has one dimension only: its transpose is itself
    print("S4-08", v1.t().dot(v2).item())
    # S4-09  A matrix times a vector
    matrix = torch.arange(1, 13).reshape(4, 3)
    print("S4-09", numbers(matrix @ v1))
    # S4-10  Element by element
    print("S4-10", numbers(v1 * v2))
    # S4-11  Sums of everything, and along a dimension: R's dim = 1 is 0 here
    outer = torch.outer(torch.arange(1, 4), torch.arange(1, 7))
    print("S4-11", outer.sum().item(), "|", numbers(outer.sum(0)), "|", numbers(outer.sum(1)))
    # S4-12  Means over several dimensions at once, and over one
    array = torch.arange(1.0, 25).reshape(2, 3, 4).permute(2, 1, 0)
    print("S4-12", numbers(array.mean((0, 1))), "|", numbers(array.mean(1)))
    # S4-13  Slicing: one row, one row that stays a matrix, and some of each dimension
    cube = torch.arange(1, 28).reshape(3, 3, 3)
    print("S4-13", numbers(outer[0]), "|", tuple(outer[0].shape), tuple(outer[0:1].shape))
    print("S4-13 part of a cube", cube[0:2, 1:3, [0, 2]].tolist())


# S4-17  A minimum, found with autograd alone
def rosenbrock(x: Tensor, a: float = 1.0, b: float = 5.0) -> Tensor:
    """Rosenbrock's valley (The Computer Journal 3, 1960); it is 0 at (1, 1) and nowhere else."""
    return (a - x[0]) ** 2 + b * (x[1] - x[0] ** 2) ** 2


def descend(iterations: int = 1000, learning_rate: float = 0.01) -> None:
    """Gradient descent from (-1, 1)."""
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    for i in range(1, iterations + 1):
        value = rosenbrock(x)
        (slope,) = torch.autograd.grad(value, x)
        if i % 100 == 0:
            print(f"S4-17 {i}: {value.item():.7g} ({slope[0].item():.7g}, {slope[1].item():.7g})")
        with torch.no_grad():
            x -= learning_rate * slope
    print(f"S4-17 x: {x[0].item():.4f} {x[1].item():.4f}")


# S4-18  A net with a hidden layer, and the loop that trains it
def linear_data(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three random columns and a linear function of them: x (rows, 3), y (rows, 1), with a noise of 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    y = x @ torch.tensor([[0.2], [-1.3], [-0.5]]) + torch.randn(rows, 1, generator=generator)
    return x, y


def train_by_hand(seed: int) -> list[float]:
    """Two hundred updates with Adam; the loss at every tenth."""
    x, y = linear_data(100, seed)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = optim.Adam(net.parameters())
    losses = list[float]()
    for i in range(1, 201):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        if i % 10 == 0:
            losses.append(loss.item())
    print("S4-18", " ".join(f"{loss:.4f}" for loss in losses))
    return losses


# S4-19  A data set
class Penguins(Dataset[tuple[Tensor, Tensor]]):
    """Bill length and depth, flipper length and body mass of a penguin, and its species, from 0.

    It is a data set, unlike a tensor: it knows its number of rows, and returns one of them.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        complete = frame.dropna()
        columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
        self.x = torch.tensor(complete[columns].to_numpy(), dtype=torch.float32)
        self.y = torch.tensor(complete["species"].astype("category").cat.codes.to_numpy(), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.x[row], self.y[row]


def look_at_penguins() -> None:
    """The table, and its complete rows."""
    frame = lb.datasets.penguins()
    data = Penguins(frame)
    print("S4-19", frame.shape, len(data), numbers(data[0][0]), "species", data[0][1].item())


# S4-20  Parts for training, validation and testing
def parts(seed: int) -> tuple[Any, Any, Any]:
    """A thousand rows, split randomly into 600, 200 and 200; and loaders of them."""
    train, valid, test = lb.split(linear_data(1000, seed), 0.6, 0.2, 0.2, seed=seed)
    print("S4-20", len(train), len(valid), len(test))
    print(
        "S4-20 batches of 100:", *(len(DataLoader(range(len(part)), batch_size=100)) for part in (train, valid, test))
    )
    return train, valid, test


class MLP(nn.Module):
    """A net with a hidden layer."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_out))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (rows, d_out) for (rows, d_in)."""
        return self.layers(x)


# S4-21  The same without a loop
def train_without_a_loop(seed: int, folder: Path) -> None:
    """Two hundred epochs, with validation."""
    train, valid, test = parts(seed)
    fitted = (
        lb.setup(MLP, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=lb.metrics.R2())
        .set_hparams(d_in=3, d_hidden=32, d_out=1)
        .fit(train, epochs=200, valid_data=valid, batch_size=100, seed=seed, verbose=False)
    )
    # Mended: the original ended with fit(). Here the test rows are used, once. The variance of the noise is 1,
    # so no model can expect a loss below 1; on 200 rows it varies a little.
    print("S4-21", repr(fitted.evaluate(test)).replace("\n", ""))
    fitted.plot().save(folder / "S4-21_curves.png", dpi=110, verbose=False)
    rows = len(test)
    x, y = test.fetch(range(rows), 0)
    guesses = pd.DataFrame({"truth": y[:, 0].numpy(), "guess": fitted.predict((x, y))[:, 0].numpy()})
    chart = (
        p9.ggplot(guesses, p9.aes("truth", "guess"))
        + p9.geom_abline(intercept=0, slope=1, colour=ORANGE, linetype="dashed", size=0.8)
        + p9.geom_point(colour=BLUE, alpha=0.6, size=1.8, stroke=0)
        + p9.coord_equal()
        + p9.labs(x="true y", y="predicted y", subtitle=f"{rows} rows never seen; the scatter is the noise")
        + p9.theme_minimal()
        + p9.theme(figure_size=(5, 4.5))
    )
    chart.save(folder / "S4-21_truth_and_guess.png", dpi=150, verbose=False)


# S4-22  A small convolutional net
class SmallConvNet(nn.Module):
    """Three convolutions and a linear layer: three scores for a grey picture of 64 x 64."""

    def __init__(self, n_class: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.conv3 = nn.Conv2d(32, 64, 3)
        self.output = nn.Linear(2304, n_class)

    def features(self, x: Tensor) -> Tensor:
        """Shape (rows, 2304): 64 channels of 6 x 6."""
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, n_class) for pictures of shape (rows, 1, 64, 64)."""
        return self.output(self.features(x))


SHAPES = ("disc", "ring", "cross")


def shapes(rows: int, seed: int) -> lb.data.InMemoryDataset:
    """Noisy discs, rings and crosses of many sizes at many places: (rows, 1, 64, 64), paper 0 and ink 1."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(rows) % 3
    size = 8 + 8 * torch.rand(rows, 1, 1, generator=generator)
    middle = 20 + 24 * torch.rand(2, rows, 1, 1, generator=generator)
    line, column = torch.arange(64.0)[None, :, None] - middle[0], torch.arange(64.0)[None, None, :] - middle[1]
    away = (line**2 + column**2).sqrt()
    disc = away <= size
    ring = disc & (away >= 0.6 * size)
    cross = disc & (torch.minimum(line.abs(), column.abs()) <= 0.3 * size)
    ink = torch.stack([disc, ring, cross])[kind, torch.arange(rows)].float()
    return lb.data.InMemoryDataset(
        (ink + 0.3 * torch.randn(rows, 64, 64, generator=generator))[:, None], kind, classes=SHAPES
    )


def train_small_convnet(given: argparse.Namespace, folder: Path) -> None:
    """The original built the net and applied it to one picture; here it is trained, to show that it works."""
    print("S4-22", tuple(SmallConvNet().features(torch.zeros(1, 1, 64, 64)).shape), end=" -> ")
    print(tuple(SmallConvNet()(torch.zeros(1, 1, 64, 64)).shape))
    train, test = shapes(210 if given.quick else 3000, seed=1), shapes(90 if given.quick else 900, seed=2)
    recipe = lb.setup(SmallConvNet, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.set_opt_hparams(lr=3e-3).fit(
        train, epochs=6 if given.quick else 10, valid_data=0.2, batch_size=16, seed=given.seed
    )
    print("S4-22", repr(fitted.evaluate(test)).replace("\n", ""))
    said = fitted.predict_classes(test)
    # Black ink on white paper, twice as large.
    grid = vision.image_grid((1 - test.input[:18]).clamp(0, 1), columns=6, padding=3, fill=0.5)
    vision.to_pillow(vision.resize(grid, 2 * grid.shape[1], "nearest")).save(folder / "S4-22_shapes.png")
    for row in range(0, 18, 6):
        print("S4-22 said:", *said[row : row + 6])


def main() -> None:
    """The sections, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures and epochs, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", default="deep_learning_and_scientific_computing", help="folder for the pictures")
    given = parser.parse_args()
    folder = Path(given.pictures)
    folder.mkdir(parents=True, exist_ok=True)

    what_a_tensor_is()
    how_tensors_are_made()
    arithmetic()
    descend()
    losses = train_by_hand(given.seed)
    curve = (
        p9.ggplot(pd.DataFrame({"update": range(10, 201, 10), "loss": losses}), p9.aes("update", "loss"))
        + p9.geom_line(colour=BLUE)
        + p9.geom_point(colour=BLUE, size=1.8)
        + p9.labs(x="update", y="mean squared error")
        + p9.theme_minimal()
        + p9.theme(figure_size=(6, 3.5))
    )
    curve.save(folder / "S4-18_loss.png", dpi=130, verbose=False)
    look_at_penguins()
    train_without_a_loop(given.seed, folder)
    train_small_convnet(given, folder)


if __name__ == "__main__":
    main()
