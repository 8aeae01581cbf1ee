"""Mixup: a net for digits learns from mixtures of two images, each of which counts for both its digits.

The loss of a mixture is the mean of the losses of both digits, weighted by their shares; any loss works, and needs no
unreduced form. A training accuracy would compare a mixture with only one of its two digits, so accuracy is computed in
validation only. The original validated on the test images; here a sixth of the training images is held out for that.
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb


class Net(nn.Module):
    """Two convolutions and two linear layers, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(32 * 5 * 5, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, 10) for images of shape (rows, 1, 28, 28)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))


def drawn_digits(rows: int) -> tuple[Tensor, Tensor]:
    """Digits of three by five squares under much noise: images of shape (rows, 1, 28, 28), and classes."""
    font = ["75557", "22222", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717"]
    glyphs = torch.tensor([[[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in glyph] for glyph in font])
    classes = torch.randint(10, (rows,))
    images = F.interpolate(glyphs[classes, None].float(), 28)
    return images + torch.randn(images.shape), classes


def main() -> None:
    """Train on mixtures, evaluate on single digits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=0.4, help="strength: 1 blends evenly, 0.1 hardly")
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--quick", action="store_true", help="learn drawn digits, in seconds")
    given = parser.parse_args()
    torch.manual_seed(0)

    if given.quick:
        given.epochs, train, test = 4, drawn_digits(1800), drawn_digits(500)
    else:
        train, test = lb.datasets.mnist(root=given.root), lb.datasets.mnist(train=False, root=given.root)

    recipe = lb.setup(
        Net,
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam,
        metrics=lb.metrics.Sets(valid=lb.metrics.Accuracy()),
    ).set_opt_hparams(lr=2e-3)
    mixup = lb.callbacks.Mixup(alpha=given.alpha)
    fitted = recipe.fit(train, epochs=given.epochs, valid_data=1 / 6, batch_size=64, callbacks=mixup)
    print(fitted.history_wide)
    print(f"test accuracy: {fitted.evaluate(test).metrics['acc']:.4f}")


if __name__ == "__main__":
    main()
