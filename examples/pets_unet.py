"""Which pixels are the pet? A small U-Net gives each pixel of a photograph one of three classes.

The decoder gets the encoder's features at every size. Images are flipped and rotated together with their masks; a
learning rate is found first. The original's encoder was pretrained on ImageNet; this one is not.
"""

import argparse

import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.vision import Augment, ColorJitter, RandomAffine, RandomHorizontalFlip


def block(before: int, after: int) -> nn.Sequential:
    """Two convolutions of 3 x 3."""
    first = [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class UNet(nn.Module):
    """Scores of shape (rows, 3, height, width), for images whose sides are divisible by 2 ** depth."""

    def __init__(self, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.start = block(3, width)
        self.down = nn.ModuleList(block(fine, 2 * fine) for fine in widths)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * fine, fine, 2, 2) for fine in reversed(widths))
        self.up = nn.ModuleList(block(2 * fine, fine) for fine in reversed(widths))
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Down, keeping the features; up again, concatenated with them."""
        skipped = [self.start(x)]
        for down in self.down:
            skipped.append(down(nn.functional.max_pool2d(skipped[-1], 2)))
        x = skipped.pop()
        for enlarge, up in zip(self.enlarge, self.up, strict=True):
            x = up(torch.cat([enlarge(x), skipped.pop()], dim=1))
        return self.head(x)


def drawn_discs(rows: int) -> tuple[Tensor, Tensor]:
    """Bright discs on a dark ground, 32 x 32, and their masks: 0 the disc, 1 the ground, 2 the border between them."""
    across, where = torch.arange(32.0), torch.rand(rows, 2, 1, 1) * 16 + 8
    depth = torch.hypot(across - where[:, 0], across[:, None] - where[:, 1]) - torch.rand(rows, 1, 1) * 4 - 4
    masks = torch.where(depth.abs() < 1, 2, (depth > 0).long())
    light = torch.rand(rows, 3, 1, 1) * 0.4 + torch.where(masks == 1, 0.1, 0.5)[:, None]
    return (light + 0.1 * torch.randn(rows, 3, 32, 32)).clamp(0, 1), masks


def main() -> None:
    """Find a learning rate, train, and plot the history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--root", help="folder that holds (or will hold) oxford_pets/")
    parser.add_argument("--quick", action="store_true", help="find drawn discs, in seconds")
    given = parser.parse_args()
    torch.manual_seed(0)
    recipe = lb.setup(UNet, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    if given.quick:
        given.epochs, recipe = 3, recipe.set_hparams(width=8, depth=2)
        train, test = drawn_discs(256), drawn_discs(64)
    else:
        options = {"target": "trimap", "size": 160, "root": given.root}
        train, test = lb.datasets.oxford_pets(**options), lb.datasets.oxford_pets(train=False, **options)
    rates = recipe.lr_finder(train, batch_size=16, steps=40 if given.quick else 100)
    print(rates)
    moves = [RandomHorizontalFlip(), RandomAffine(15), ColorJitter(0.2, 0.2)]
    augment = Augment(moves, target="masks", mask_fill=1)  # pixels rotated in from outside are background
    recipe = recipe.set_opt_hparams(lr=rates.suggest())
    fitted = recipe.fit(train, epochs=given.epochs, valid_data=1 / 8, batch_size=16, augment=augment)
    print(f"pixels right: {fitted.evaluate(test).metrics['acc']:.3f}")
    fitted.plot().save("pets-unet.png", verbose=False)


if __name__ == "__main__":
    main()
