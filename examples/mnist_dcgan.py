"""Two nets against each other: a generator draws digits, a discriminator separates them from real ones (a DCGAN).

Each has an optimizer and a loss, `loss_<name of the optimizer>`. There is no `forward`: both losses get the images
unchanged. The original's generator ended in a tanh; this one ends in a sigmoid, because real images lie in [0, 1].
"""

import argparse

import torch
from torch import Tensor, nn, optim
from torch.nn.functional import softplus

import lumbre as lb


def begin_small(layer: nn.Module) -> None:
    """Initial weights as in the paper (Radford, Metz and Chintala 2016): normal, with standard deviation 0.02."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
        nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm2d)), 0.02)


class DCGAN(nn.Module):
    """Generator and discriminator of images of 28 x 28."""

    def __init__(self, noise: int = 100, width: int = 64, wide: int = 128) -> None:
        super().__init__()
        self.noise = noise
        up = [nn.ConvTranspose2d(noise, wide, 7), nn.BatchNorm2d(wide), nn.ReLU()]
        up += [nn.ConvTranspose2d(wide, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        self.generator = nn.Sequential(*up, nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Sigmoid())
        down = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, wide, 4, 2, 1)]
        self.discriminator = nn.Sequential(*down, nn.BatchNorm2d(wide), nn.LeakyReLU(0.2), nn.Conv2d(wide, 1, 7))
        self.apply(begin_small)

    def configure_optimizers(self, lr: float = 2e-4) -> dict[str, optim.Optimizer]:
        """One optimizer for each net."""
        nets = {"discriminator": self.discriminator, "generator": self.generator}
        return {name: optim.Adam(net.parameters(), lr, (0.5, 0.999)) for name, net in nets.items()}

    def draw(self, rows: int) -> Tensor:
        """Images of shape (rows, 1, 28, 28), from noise."""
        return self.generator(torch.randn(rows, self.noise, 1, 1, device=self.generator[0].weight.device))

    def loss_discriminator(self, images: Tensor, target: object) -> Tensor:
        """Cross-entropy: real images should score high, generated ones low."""
        return (softplus(-self.discriminator(images)) + softplus(self.discriminator(self.draw(len(images))))).mean()

    def loss_generator(self, images: Tensor, target: object) -> Tensor:
        """Cross-entropy: generated images should score as real ones."""
        return softplus(-self.discriminator(self.draw(len(images)))).mean()


class Gallery(lb.Callback):
    """After each epoch, draws images from the same noise into a file."""

    def on_epoch_end(self, ctx: lb.Context) -> None:
        """Draw sixty-four images side by side."""
        torch.manual_seed(0)
        lb.vision.to_pillow(lb.vision.image_grid(ctx.model.eval().draw(64))).save(f"dcgan-{ctx.epoch:02d}.png")


def main() -> None:
    """Train both nets, and compare the mean of generated images with that of real ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    parser.add_argument("--quick", action="store_true", help="learn to draw rings, in seconds")
    given = parser.parse_args()
    if given.quick:
        recipe = lb.setup(DCGAN).set_hparams(noise=8, width=8, wide=16).set_opt_hparams(lr=4e-3)
        across, where = torch.arange(28.0), torch.cartesian_prod(*2 * [torch.arange(10, 18, 0.25)])[..., None, None]
        images = ((torch.hypot(across - where[:, :1], across[:, None] - where[:, 1:]) - 6).abs() < 1.5).float()
    else:
        recipe, images = lb.setup(DCGAN), lb.datasets.to_float(lb.datasets.mnist(root=given.root).input)
    fitted = recipe.fit(images, epochs=given.epochs, batch_size=32, callbacks=Gallery())
    print(f"mean difference of a pixel: {(fitted.model.draw(256).mean(0).cpu() - images.mean(0)).abs().mean():.3f}")


if __name__ == "__main__":
    main()
