"""Sound modules that the checks cannot see whole: parts taken by some rows alone, graphs made on the way back."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.checkpoint import checkpoint

import lumbre as lb
from conftest import blobs
from lumbre.preflight import CHECKS
from lumbre.preflight._registry import Check


class Experts(nn.Module):
    """Each row goes through one of three experts, by its first number."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chosen = (x[:, 0] * 1.5).round().long() % 3
        weights, out = self.gate(x).softmax(1), x.new_zeros(len(x), 3)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * weights[rows, number, None])
        return out


class ByLength(nn.Module):
    """A branch for batches with a large number in them."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.small(x) + (self.large(x) if x.max() > 2.5 else 0)


class Recomputed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Any = checkpoint(self.inner, x.requires_grad_(), use_reentrant=True)
        return self.last(hidden)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.left = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x) + self.left(x).detach()


def codes(net: type[nn.Module], data: Any) -> set[str]:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return {one.code for one in recipe.check(data, batch_size=4)}


@pytest.mark.parametrize("net", [Experts, ByLength, Recomputed])
def test_parts_that_other_rows_take_are_trained(net: type[nn.Module]) -> None:
    x, y = blobs()
    order = x[:, 0].argsort()  # so that the first rows are alike
    assert "LB023" not in codes(net, (x[order], y[order]))


def test_parts_that_no_rows_take_are_found() -> None:
    assert "LB023" in codes(Unused, blobs())


class Ragged(nn.Module):
    """Whose layers are given nested tensors, of which torch does not tell the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.nested.as_nested_tensor([row[: 1 + at % 2] for at, row in enumerate(x.unflatten(1, (2, 2)))])
        return self.last(torch.tanh(torch.nested.to_padded_tensor(self.inner(rows), 0.0)).sum(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_tensors_without_a_shape_train() -> None:
    recipe = lb.setup(Ragged, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    checked = recipe.fit(blobs(), epochs=1, verbose=False)
    assert torch.equal(
        checked.model.last.weight, recipe.fit(blobs(), epochs=1, preflight=False, verbose=False).model.last.weight
    )


@pytest.mark.parametrize("severity", ["error", "warning"])
def test_a_check_that_fails_is_said_and_ends_no_run(severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(subject: Any) -> Any:
        raise RuntimeError("no such shape\nmore")
        yield

    monkeypatch.setitem(CHECKS, "LB999", Check("LB999", severity, "Fails", fails))  # type: ignore[arg-type]
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=4, out_features=1)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    found = recipe.check((x, x[:, :1]))
    assert "LB999, which cannot look at this: RuntimeError: no such shape" in found.left_out
    recipe.fit((x, x[:, :1]), epochs=1, verbose=False)
