"""Compress an image into sixteen numbers and draw it again: a convolutional autoencoder.

Input and target are the same images. `fit` trains the output of `forward`, the drawing; `fitted.predict` returns the
output of the module's own `predict`, the sixteen numbers. A picture shows images above and their drawings below. The
original made its target by inheriting from the data set; here the data is the same tensor twice.
`--quick` uses digits that the program draws.
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb


class Autoencoder(nn.Module):
    """An encoder of images to codes, and a decoder back."""

    def __init__(self, d_code: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(16 * 7 * 7, d_code)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(d_code, 16 * 7 * 7), nn.ReLU(), nn.Unflatten(1, (16, 7, 7))),
            *(nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Drawings of the images `x`, both of shape (rows, 1, 28, 28)."""
        return self.decoder(self.encoder(x))

    def predict(self, x: Tensor) -> Tensor:
        """Codes of the images, of shape (rows, d_code)."""
        return self.encoder(x)


def drawn_digits(rows: int) -> Tensor:
    """Digits of 3 x 5 squares, turned and moved about: shape (rows, 1, 28, 28)."""
    font = [0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71244, 0o75757, 0o75717]  # 5 x 3 bits
    squares = torch.tensor(font)[torch.arange(rows) % 10, None] >> torch.arange(14, -1, -1) & 1
    images = F.pad(F.interpolate(squares.reshape(rows, 1, 5, 3).float(), scale_factor=4), (8, 8, 4, 4))
    move = lb.vision.RandomAffine(5, translate=(0.05, 0.05), interpolation="bilinear")
    return move(images, lb.vision.row_seeds(range(rows)))


def main() -> None:
    """Train, encode, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few digits that are drawn: seconds")
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--picture", default="autoencoder.png")
    given = parser.parse_args()
    x = drawn_digits(510) if given.quick else lb.datasets.to_float(lb.datasets.mnist(root=given.root).input)
    train, test = x[:-10], x[-10:]

    recipe = lb.setup(Autoencoder, loss=nn.MSELoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.003)
    fitted = recipe.fit((train, train), epochs=10 if given.quick else 5)
    blank = (test - train.mean(0)).square().mean()
    print(f"error: {fitted.evaluate((test, test)).metrics['loss']:.4f}, of the mean image: {blank:.4f}")
    codes = fitted.predict(test)
    print("codes:", tuple(codes.shape))
    with torch.no_grad():
        drawings = fitted.model.decoder(codes.to(next(fitted.model.parameters()).device)).cpu()
    lb.vision.to_pillow(lb.vision.image_grid(torch.cat([test, drawings]), columns=10)).save(given.picture)


if __name__ == "__main__":
    main()
