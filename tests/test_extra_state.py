"""What `get_extra_state()` gives, and hyper-parameters of odd types, are in the file or refused in words."""

import enum
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs

Size = namedtuple("Size", "width depth")


class Way(enum.IntEnum):
    FAST = 1


class Counted(nn.Module):
    def __init__(self, kept: Any = None) -> None:
        super().__init__()
        self.line, self.steps, self.kept = nn.Linear(4, 3), 0, kept

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return self.line(x) + self.steps * torch.arange(3)

    def get_extra_state(self) -> Any:
        return {"steps": self.steps, "more": [torch.tensor([1.5]), (1, "a")], "kept": self.kept}

    def set_extra_state(self, state: Any) -> None:
        self.steps, self.more = state["steps"], state["more"]


def trained(**hparams: Any) -> lb.Fitted:
    recipe = lb.setup(Counted, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(**hparams)
    return recipe.fit(blobs(), epochs=1, verbose=False, preflight=False)


def test_extra_state_is_in_the_file(tmp_path: Path) -> None:
    fitted = trained()
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Counted)
    assert again.model.steps == fitted.model.steps > 0
    assert torch.equal(again.model.more[0], torch.tensor([1.5]))
    assert again.model.more[1] == (1, "a")
    x = blobs()[0]
    assert torch.equal(again.predict(x), fitted.predict(x))


def test_extra_state_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lb.ArchiveError, match="get_extra_state"):
        trained(kept=object()).save(tmp_path / "net.lumbre")


@pytest.mark.parametrize(
    "value", [np.int64(3), [np.float32(0.5), (np.bool_(True), "a")], (1, [2.0, None]), {"a": (1,)}]
)
def test_plain_values_come_back(value: Any, tmp_path: Path) -> None:
    trained(kept=value).save(tmp_path / "net.lumbre")
    assert lb.load(tmp_path / "net.lumbre", Counted).model.kept == value


@pytest.mark.parametrize("value", [Way.FAST, Size(1, 2), [Size(1, 2)], Path("a"), 1j])
def test_values_that_would_come_back_as_others_are_asked_for(value: Any, tmp_path: Path) -> None:
    class Plain(nn.Linear):
        def __init__(self, kept: Any) -> None:
            super().__init__(4, 3)
            self.kept = kept

    recipe = lb.setup(Plain, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(kept=value)
    recipe.fit(blobs(), epochs=1, verbose=False).save(tmp_path / "net.lumbre")
    with pytest.raises(lb.ArchiveError, match="kept="):
        lb.load(tmp_path / "net.lumbre", Plain)
    again = lb.load(tmp_path / "net.lumbre", Plain, kept=value)
    assert again.model.kept == value
    assert type(again.model.kept) is type(value)


def test_metrics_of_ragged_values_are_printed() -> None:
    class Ragged(lb.metrics.Metric):
        name = "Ragged"

        def init(self, device: torch.device) -> Tensor:
            return torch.zeros((), device=device)

        def update(self, state: Tensor, pred: Any, target: Any) -> Tensor:
            return state

        def compute(self, state: Tensor) -> object:
            return (1, (2, 3))

    recipe = lb.setup(nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=Ragged())
    assert "2 values" in repr(recipe.fit(blobs(), epochs=1, verbose=False))
