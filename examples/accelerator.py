"""A training loop in plain torch, and the same run with `fit`, which needs less code and gives the same result.

The original prepared model, optimizer and loader for a device and left the loop to you. Here is that loop, with every
line that moves something to the device; `fit(..., device=...)` does the same in one call. Both start from the same
weights and see the rows in the same order, so the results are equal up to rounding: `fit` uses the fused optimizer if
torch has one. The data is random in both modes, as in the original; `--quick` uses less of it.
"""

import argparse
import copy
import time

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb


def by_hand(model: nn.Module, x: Tensor, y: Tensor, epochs: int, batch_size: int, device: str) -> list[float]:
    """Train `model` on the device; return the mean loss of each epoch."""
    model.to(device).train()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(epochs):
        total = torch.zeros((), device=device)
        for xb, yb in zip(x.split(batch_size), y.split(batch_size), strict=True):
            xb, yb = xb.to(device), yb.to(device)
            optimizer.zero_grad()
            loss = F.mse_loss(model(xb), yb)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(xb)
        losses.append(total.item() / len(x))
    model.eval()
    return losses


def by_fit(model: nn.Module, x: Tensor, y: Tensor, epochs: int, batch_size: int, device: str) -> list[float]:
    """The same with `fit`."""
    recipe = lb.setup(model, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.05, momentum=0.9)
    options = {"epochs": epochs, "batch_size": batch_size, "shuffle": False, "device": device, "verbose": False}
    return recipe.fit((x, y), **options).history["value"].tolist()


def main() -> None:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 rows instead of 100,000")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(1_000 if given.quick else 100_000, 10)
    y = x @ torch.linspace(-1, 1, 10).unsqueeze(1) + 0.1 * torch.randn(len(x), 1)

    first = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
    second = copy.deepcopy(first)
    losses = {}
    for way, model in ((by_hand, first), (by_fit, second)):
        began = time.perf_counter()
        losses[way] = way(model, x, y, epochs=10, batch_size=64, device=given.device)
        print(f"{way.__name__}: {time.perf_counter() - began:.2f} s on {given.device}, loss by epoch", end=" ")
        print(*(f"{loss:.5f}" for loss in losses[way]))

    difference = max((a - b).abs().max().item() for a, b in zip(first.parameters(), second.parameters(), strict=True))
    print(f"largest distance between two weights: {difference:.1e}")
    for loss, same in zip(losses[by_hand], losses[by_fit], strict=True):
        torch.testing.assert_close(loss, same, rtol=1e-4, atol=1e-6)
    print("they agree")


if __name__ == "__main__":
    main()
