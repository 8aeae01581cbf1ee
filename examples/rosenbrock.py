"""Gradient descent in Rosenbrock's valley, with only tensors and autograd.

The function, after H. H. Rosenbrock, "An automatic method for finding the greatest or least value of a function"
(The Computer Journal 3, 1960), with a = 1 and b = 5, has its minimum of 0 at (1, 1).
"""

import torch
from torch import Tensor


def rosenbrock(x: Tensor, a: float = 1.0, b: float = 5.0) -> Tensor:
    """Height of the valley at `x`, a tensor of shape (2,)."""
    return (a - x[0]) ** 2 + b * (x[1] - x[0] ** 2) ** 2


def descend(iterations: int = 1000, learning_rate: float = 0.01) -> Tensor:
    """Descend from (-1, 1); print height and slope every hundred steps."""
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    for i in range(1, iterations + 1):
        value = rosenbrock(x)
        value.backward()
        assert x.grad is not None
        if i % 100 == 0:
            print(f"Iteration: {i}")
            print(f"Value is: {value.item():.7g}")
            print(f"Gradient is: {x.grad[0].item():.7g} {x.grad[1].item():.7g}")
        with torch.no_grad():
            x -= learning_rate * x.grad
            x.grad.zero_()
    return x.detach()


if __name__ == "__main__":
    x = descend()
    print(f"We end at ({x[0]:.4f}, {x[1]:.4f}).")
