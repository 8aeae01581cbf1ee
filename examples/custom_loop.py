"""Two optimizers with a loss each, then the same training as a step written in the module.

For noisy measurements the net predicts their mean and their spread. Each of its two parts has an optimizer;
`loss_middle` and `loss_spread` have the optimizers' names, so `fit` updates both for every batch. The second class does
by hand in `step(ctx)` what `fit` did, and reaches the same bits. The original had abstract data and losses without a
meaning; `--quick` uses fewer measurements.
"""

import argparse

import torch
from torch import Tensor, nn, optim

import lumbre as lb


class MiddleAndSpread(nn.Module):
    """For each x the mean of y, and the logarithm of its standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.spread = (nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both of shape (rows, 1), for x of shape (rows, 1)."""
        return self.middle(x), self.spread(x)

    def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer]:
        """An optimizer for each part, by name."""
        return {"middle": optim.Adam(self.middle.parameters(), lr), "spread": optim.Adam(self.spread.parameters(), lr)}

    def loss_middle(self, pred: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        """Squared distance from the measurements."""
        return (y - pred[0]).square().mean()

    def loss_spread(self, pred: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        """Negative log-likelihood under a normal distribution around that mean, up to a constant."""
        return (pred[1] + 0.5 * (y - pred[0]).square() * torch.exp(-2 * pred[1])).mean()


class OwnStep(MiddleAndSpread):
    """The same, by hand."""

    def step(self, ctx: lb.Context) -> dict[str, Tensor]:
        """One batch: for each part a prediction, a loss and an update of only its parameters."""
        losses = {}
        for name, loss in (("middle", self.loss_middle), ("spread", self.loss_spread)):
            losses[name] = loss(self(ctx.batch.input), ctx.batch.target)
            ctx.minimize(losses[name], name)
        return losses


def main() -> None:
    """Train both classes on the same measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 measurements instead of 20,000")
    rows = 2_000 if parser.parse_args().quick else 20_000
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(rows, 1, generator=generator) - 2
    spread = 0.1 + 0.2 * x.abs()
    y = torch.sin(2 * x) + spread * torch.randn(x.shape, generator=generator)

    runs = [
        lb.setup(module).set_opt_hparams(lr=0.01).fit((x, y), epochs=20, batch_size=64, verbose=False)
        for module in (MiddleAndSpread, OwnStep)
    ]
    for fitted in runs:
        print(fitted.history_wide.tail(1).to_string(index=False))
        middle, log_spread = fitted.predict(x)
        print(f"distance from the true middle: {(middle - torch.sin(2 * x)).abs().mean():.3f}")
        print(f"distance from the true spread: {(log_spread.exp() - spread).abs().mean():.3f}")
    print("the same bits:", torch.equal(*(fitted.predict(x)[1] for fitted in runs)))


if __name__ == "__main__":
    main()
