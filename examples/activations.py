"""Look inside a trained net: what each layer does to one digit, and how the layers changed during training.

The second tutorial ended with this wish: "I have not yet figured out a way to access model activations when the model
is trained with luz." Here you name the layers, and the trained net needs no extra code.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn, optim

import lumbre as lb


class Net(nn.Module):
    """Two convolutions and two linear layers, small enough to inspect."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(1, 9, 5), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(9, 16, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.fc1, self.relu3, self.fc2 = nn.Linear(400, 64), nn.ReLU(), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, 10) for images of shape (rows, 1, 28, 28)."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.fc2(self.relu3(self.fc1(x.flatten(1))))


def shapes(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Drawn figures instead of digits: a ring (0), a bar (1), a cross (2), a frame (3); with noise."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(rows) % 4
    middle = 10 + 8 * torch.rand(2, rows, 1, 1, generator=generator)
    size = 6 + 2 * torch.rand(rows, 1, 1, generator=generator)
    line = torch.arange(28.0)
    down, across = (line[None, :, None] - middle[0]).abs(), (line[None, None, :] - middle[1]).abs()
    far = torch.maximum(down, across)
    ring = ((down**2 + across**2).sqrt() - size).abs() < 1.3
    bar = (across < 1.3) & (down < size)
    cross = (torch.minimum(down, across) < 1.3) & (far < size)
    frame = (far - size).abs() < 1.3
    drawn = torch.stack([ring, bar, cross, frame])[kind, torch.arange(rows)].float()
    return (drawn + 0.15 * torch.rand(rows, 28, 28, generator=generator)).clamp(0, 1)[:, None], kind


def main() -> None:
    """Train, and plot one digit in every layer, and every layer during training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="drawn figures instead of MNIST, in seconds")
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--pictures", default="activations", help="folder for the pictures")
    given = parser.parse_args()
    folder = Path(given.pictures)
    folder.mkdir(parents=True, exist_ok=True)
    if given.quick:
        train, test = shapes(1_200, 0), shapes(200, 1)
    else:
        train, test = (lb.datasets.mnist(train=part, root=given.root) for part in (True, False))

    look = lb.inspect.Inspect(["relu*", "fc2", "*.weight"], every=12 if given.quick else 200)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.set_opt_hparams(lr=3e-3).fit(train, epochs=3, batch_size=32, callbacks=look, verbose=False)
    print(fitted.evaluate(test))

    digit = lb.inspect.activations(fitted, test, layers=["input", "relu*", "pool*", "fc2"], keep=True, max_rows=1)
    digit.plot_maps().save(folder / "one_digit.png", dpi=110, verbose=False)
    look.plot().save(folder / "training.png", width=7.3, height=3.6, dpi=110, verbose=False)
    if not given.quick:
        look.plot("updates").save(folder / "updates.png", dpi=110, verbose=False)

    print(lb.inspect.activations(fitted, test))  # statistics of all rows and layers; dead units, if any
    print("the digit's largest score:", int(digit["fc2"].argmax()))


if __name__ == "__main__":
    main()
