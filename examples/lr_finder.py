"""Find a learning rate: raise it at every step of a trial run, and see where the loss falls.

`recipe.lr_finder` trains for a hundred steps while the rate rises from a millionth to one, and stops if the loss
diverges; the recipe is not changed. The original picked a tenth of the rate with the lowest loss, by eye; here
`.suggest()` returns the rate at half of the fall. Then the net trains with it, and with a hundredth of it.
`--quick` reads digits that the program draws.
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb


class LeNet(nn.Module):
    """Similar to the net of LeCun et al., "Gradient-based learning applied to document recognition", 1998."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 4 * 4, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, 10) for images of shape (rows, 1, 28, 28)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


def drawn_digits(rows: int, seed: int) -> lb.data.InMemoryDataset:
    """Digits of 3 x 5 squares, turned and moved about: images (rows, 1, 28, 28), classes (rows,)."""
    font = [0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71244, 0o75757, 0o75717]  # 5 x 3 bits
    target = torch.arange(rows) % 10
    squares = torch.tensor(font)[target, None] >> torch.arange(14, -1, -1) & 1
    images = F.pad(F.interpolate(squares.reshape(rows, 1, 5, 3).float(), scale_factor=4), (8, 8, 4, 4))
    move = lb.vision.RandomAffine(10, translate=(0.1, 0.1), scale=(0.8, 1.2), interpolation="bilinear")
    return lb.data.InMemoryDataset(move(images, lb.vision.row_seeds(range(rows), seed=seed)), target)


def main() -> None:
    """Find, plot, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few digits that are drawn: seconds")
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--plot", default="lr-finder.png", help="where the picture goes")
    given = parser.parse_args()
    train = drawn_digits(640, seed=0) if given.quick else lb.datasets.mnist(root=given.root)

    recipe = lb.setup(LeNet, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    rates = recipe.lr_finder(train, start=1e-6, end=1.0, batch_size=32)
    print(rates)
    rates.plot().save(given.plot, dpi=100, verbose=False)
    options = {"epochs": 4 if given.quick else 2, "valid_data": 0.2, "batch_size": 32, "verbose": False}
    for name, rate in {"suggested": rates.suggest(), "a hundredth": rates.suggest() / 100}.items():
        last = recipe.set_opt_hparams(lr=rate).fit(train, **options).history_wide.iloc[-1]
        print(f"{name}, {rate:.2g}: validation loss {last['valid_loss']:.4f}, accuracy {last['valid_acc']:.4f}")


if __name__ == "__main__":
    main()
