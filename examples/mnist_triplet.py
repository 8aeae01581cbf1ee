"""A net learns embeddings of digits from triplets: close within a class, far between classes.

For each image the data set draws one of the same class and one of another, new in each epoch: three inputs, no target.
The loss is the module's own; its `predict` returns the embedding of single images, evaluated by the nearest class.
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import Dataset

import lumbre as lb


class Triplets(Dataset):
    """((image, one of its class, one of another class), None); random draws are seeded for each row and epoch."""

    def __init__(self, images: Tensor, classes: Tensor) -> None:
        self.images, self.classes = images, classes
        self.members = [(classes == number).nonzero()[:, 0] for number in range(10)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[tuple[Tensor, ...], None]:
        same = self.members[self.classes[row]]
        other = self.members[(self.classes[row] + torch.randint(1, 10, ())) % 10]
        rows = row, same[torch.randint(len(same), ())], other[torch.randint(len(other), ())]
        return tuple(self.images[number] for number in rows), None


class Places(nn.Module):
    """Embeddings in eight dimensions."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(1, 16, 5, 2), nn.PReLU(), nn.Conv2d(16, 32, 5, 2), nn.PReLU()]
        self.embed = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(512, 8))

    def forward(self, anchor: Tensor, same: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """Three embeddings of shape (rows, dimensions)."""
        return self.embed(anchor), self.embed(same), self.embed(other)

    def loss(self, places: tuple[Tensor, ...], target: None) -> Tensor:
        """The image of another class should be farther away than that of the same class, by 1 or more."""
        return F.triplet_margin_loss(*places, margin=1.0)

    def predict(self, images: Tensor) -> Tensor:
        """Embeddings of single images."""
        return self.embed(images)


def main() -> None:
    """Learn from triplets, then classify the embeddings of single digits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--quick", action="store_true", help="learn ten patterns under noise, in seconds")
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.quick:
        classes = torch.randint(10, (1000,))
        images = F.interpolate(torch.rand(10, 1, 7, 7).round()[classes], 28) + torch.randn(1000, 1, 28, 28)
    else:
        digits = lb.datasets.mnist(root=given.root)
        images, classes = lb.datasets.to_float(digits.input), digits.target
    data, rest = Triplets(images[200:], classes[200:]), images[:200]
    fitted = lb.setup(Places, optimizer=optim.Adam).fit(data, epochs=given.epochs, batch_size=32)
    places = fitted.predict(data.images)
    middles = torch.stack([places[rows].mean(0) for rows in data.members])
    nearest = torch.cdist(fitted.predict(rest), middles).argmin(1)
    print(f"new digits nearest to their like: {(nearest == classes[:200]).float().mean():.3f}")


if __name__ == "__main__":
    main()
