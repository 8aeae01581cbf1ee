"""State that a run has outside of tensors: what comes back when it is resumed, and what is said to be lost."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs


def stopped_and_resumed(make: Any, folder: Path, steps: int = 3, **options: Any) -> tuple[lb.Fitted, lb.Fitted]:
    """A run of two epochs at a stretch, and one that stops after a few updates and is resumed."""
    stretch = make().fit(blobs(48), epochs=2, batch_size=12, verbose=False, **options)

    class Stop(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            if ctx.step >= steps:
                raise KeyboardInterrupt

    keep = lb.Checkpoints(folder, steps=1, wait=True, allow_changes="callbacks")
    make().fit(blobs(48), epochs=2, batch_size=12, verbose=False, resume=keep, callbacks=Stop(), **options)
    return stretch, make().fit(blobs(48), epochs=2, batch_size=12, verbose=False, resume=keep, **options)


def same_weights(one: lb.Fitted, other: lb.Fitted) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def test_a_buffer_that_began_as_none_comes_back(tmp_path: Path) -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)
            self.register_buffer("mean", None)
            self.register_buffer("once", torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.mean = x.mean(0) if self.mean is None else 0.9 * self.mean + 0.1 * x.mean(0)
                self.once = None
            return self.linear(x - (0 if self.mean is None else self.mean))

    def make() -> lb.Recipe:
        return lb.setup(Centred, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)

    stretch, resumed = stopped_and_resumed(make, tmp_path)
    assert same_weights(stretch, resumed)
    assert torch.equal(stretch.model.mean, resumed.model.mean)
    assert resumed.model.once is None
