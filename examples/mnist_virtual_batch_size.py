"""A large batch when memory holds only a small one: gradients of several batches make one update.

First the net learns from the same few digits twice: in batches of 128, and in batches of 32 of which four are
accumulated. Both end with the same weights up to rounding (which would grow over thousands of updates). Then it
learns from all digits. Two faults of the original are fixed: it logged a quarter of each loss, and carried a partial
group at the end of an epoch into the next. There is no dropout, because its masks depend on the batch size.
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import Subset

import lumbre as lb


class Net(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, stride=2)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2)
        self.head = nn.Linear(16 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, 10) for images of shape (rows, 1, 28, 28)."""
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.head(x.flatten(1))


def drawn_digits(rows: int) -> tuple[Tensor, Tensor]:
    """Digits of three by five squares under much noise: images of shape (rows, 1, 28, 28), and classes."""
    font = ["75557", "22222", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717"]
    glyphs = torch.tensor([[[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in glyph] for glyph in font])
    classes = torch.randint(10, (rows,))
    images = F.interpolate(glyphs[classes, None].float(), 28)
    return images + torch.randn(images.shape), classes


def main() -> None:
    """Train in large batches, in accumulated small ones, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--quick", action="store_true", help="learn drawn digits, in seconds")
    given = parser.parse_args()
    torch.manual_seed(0)

    if given.quick:
        train, test = (lb.data.InMemoryDataset(*drawn_digits(rows)) for rows in (2000, 500))
    else:
        train, test = lb.datasets.mnist(root=given.root), lb.datasets.mnist(train=False, root=given.root)

    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_opt_hparams(lr=5e-3)
    four = lb.callbacks.Accumulate(4)

    few = Subset(train, range(1300))
    large = recipe.fit(few, epochs=1, batch_size=128, verbose=False)
    small = recipe.fit(few, epochs=1, batch_size=32, callbacks=four, verbose=False)
    pairs = zip(large.model.parameters(), small.model.parameters(), strict=True)
    print(f"largest difference between weights: {max((a - b).abs().max().item() for a, b in pairs):.1e}")

    fitted = recipe.fit(train, epochs=given.epochs, valid_data=test, batch_size=32, callbacks=four)
    print(f"accuracy: {fitted.evaluate(test).metrics['acc']:.4f}")


if __name__ == "__main__":
    main()
