"""The whole workflow: a module with hyper-parameters, a custom metric and callback, training, evaluation.

`fit` builds the net with the values of `set_hparams` and the optimizer with those of `set_opt_hparams`. The original
wrote its own accuracy; here we use lumbre's and a metric of our own. `--quick` reads digits that the program draws.
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb


class Net(nn.Module):
    """Two convolutions, then a score for each class."""

    def __init__(self, num_class: int) -> None:
        super().__init__()
        body = nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Flatten()
        self.layers = nn.Sequential(*body, nn.Linear(400, 64), nn.ReLU(), nn.Linear(64, num_class))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, num_class) for images of shape (rows, 1, 28, 28)."""
        return self.layers(x)


class Sure(lb.metrics.Metric):
    """Share of the images whose true class gets a probability above one half."""

    def init(self, device: torch.device) -> Tensor:
        """Numbers of images that are unsure and sure: zero at first, shape (2,)."""
        return torch.zeros(2, device=device)

    def update(self, state: Tensor, pred: Tensor, target: Tensor) -> Tensor:
        """Add one batch; nothing is read back from the device."""
        return state + F.one_hot((pred.softmax(1).amax(1) > 0.5).long(), 2).sum(0)

    def compute(self, state: Tensor) -> float:
        """The share."""
        return (state[1] / state.sum()).item()


class Gap(lb.Callback):
    """Prints after each epoch how much better the net is on training images."""

    runs_after = (lb.callbacks.Progress,)

    def on_epoch_end(self, ctx: lb.Context) -> None:
        """Compare the newest values of both sets."""
        print(f"Gap: {ctx.history.last('train')['acc'] - ctx.history.last('valid')['acc']:+.4f}")


def drawn_digits(rows: int, seed: int) -> lb.data.InMemoryDataset:
    """Digits of 3 x 5 squares, turned and moved about: images (rows, 1, 28, 28), classes (rows,)."""
    font = [0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71244, 0o75757, 0o75717]  # 5 x 3 bits
    target = torch.arange(rows) % 10
    squares = torch.tensor(font)[target, None] >> torch.arange(14, -1, -1) & 1
    images = F.pad(F.interpolate(squares.reshape(rows, 1, 5, 3).float(), scale_factor=4), (8, 8, 4, 4))
    move = lb.vision.RandomAffine(10, translate=(0.15, 0.1), scale=(0.8, 1.2), interpolation="bilinear")
    return lb.data.InMemoryDataset(move(images, lb.vision.row_seeds(range(rows), seed=seed)), target)


def main() -> None:
    """Declare, fit, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few digits that are drawn: seconds")
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    given = parser.parse_args()
    train, test = drawn_digits(800, seed=0), drawn_digits(200, seed=1)
    if not given.quick:
        train, test = (lb.datasets.mnist(train=part, root=given.root) for part in (True, False))
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=[lb.metrics.Accuracy(), Sure()])
    recipe = recipe.set_hparams(num_class=10).set_opt_hparams(lr=0.003)
    print(recipe.fit(train, epochs=5 if given.quick else 3, valid_data=0.2, callbacks=Gap()).evaluate(test))


if __name__ == "__main__":
    main()
