"""Modules whose insides are awkward to look at."""

from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import stream


class Plain(nn.Module):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.relu, self.fc2 = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(x)))


class Twice(nn.Module):
    """One layer called twice, one that stands in two places, one never called, and shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)
        self.again = self.fc
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.fc.weight
        self.idle = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.act(self.again(self.act(self.fc(x)))))


class Parts(nn.Module):
    """Takes and gives dicts, with a recurrent layer between."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.lstm = nn.LSTM(3, 5, num_layers=2, batch_first=batch_first)
        self.head = Head()

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        out, _ = self.lstm(x if self.batch_first else x.transpose(0, 1))
        last = out[:, -1] if self.batch_first else out[-1]
        return self.head(last, scale=scale)


class Head(nn.Module):
    """Two results by name, from an input by place and one by name."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        scores = self.fc(x)
        return {"logits": scores, "scaled": scores * scale}


class Noisy(nn.Module):
    """BatchNorm, dropout, and random numbers in every mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.drop(self.norm(x))
        return self.fc(x + torch.randn_like(x))


def state(module: nn.Module) -> dict[str, Any]:
    """All that a look must leave as it was."""
    return {
        "values": {name: value.clone() for name, value in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "hooks": [
            len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._forward_hooks_always_called)
            for part in module.modules()
        ],
        "gradients": [None if value.grad is None else value.grad.clone() for value in module.parameters()],
        "frozen": [value.requires_grad for value in module.parameters()],
        "random": torch.get_rng_state(),
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two such states are the same."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return one == other


def rows(count: int, *shape: int) -> Tensor:
    """Numbers that are the same every time."""
    generator = torch.Generator().manual_seed(stream(0, "rows", count, *shape))
    return torch.randn(count, *shape, generator=generator)
