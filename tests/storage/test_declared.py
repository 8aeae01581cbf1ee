"""Tensors of classes of others, such as states of optimizers of few bits: kept where the program trusts the class."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.base import ResumeError
from lumbre.storage import pack, unpack


class Coarse(Tensor):
    """Numbers by codes of eight bits; as those of torchao it can do nothing but to be taken apart."""

    codes: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls: Any, codes: Tensor, scale: Tensor, signed: bool) -> "Coarse":
        return Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)  # pyright: ignore

    def __init__(self, codes: Tensor, scale: Tensor, signed: bool) -> None:
        self.codes, self.scale, self.signed = codes, scale, signed

    def __tensor_flatten__(self) -> tuple[list[str], list[bool]]:
        return ["codes", "scale"], [self.signed]

    @classmethod
    def __tensor_unflatten__(cls, parts: dict[str, Tensor], told: list[bool], size: Any, stride: Any) -> "Coarse":
        return cls(parts["codes"], parts["scale"], *told)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(str(func))


@pytest.fixture
def declared() -> Iterator[None]:
    with torch.serialization.safe_globals([Coarse]):
        yield


def coarse(value: Tensor) -> Coarse:
    scale = value.abs().max() / 127 + 1e-12
    return Coarse((value / scale).round().to(torch.int8), scale, signed=True)


def there(value: Any) -> tuple[Any, dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    return json.loads(json.dumps(pack(value, tensors))), tensors


def test_it_comes_back_as_it_was(declared: None) -> None:
    value = coarse(torch.tensor([[1.0, -2.0, 0.5]]))
    again = unpack(*there({"state": value}), torch.device("cpu"))["state"]
    assert type(again) is Coarse
    assert again.signed is True
    assert torch.equal(again.codes, torch.tensor([[64, -127, 32]], dtype=torch.int8))
    assert torch.equal(again.scale, value.scale)


def test_a_class_that_nobody_declared_is_neither_written_nor_made() -> None:
    value = coarse(torch.ones(3))
    with pytest.raises(ResumeError, match="Coarse"):
        pack({"state": value}, {})
    with torch.serialization.safe_globals([Coarse]):
        written = there({"state": value})
    with pytest.raises(ResumeError, match="not among torch"):
        unpack(*written, torch.device("cpu"))


class Sluggish(optim.Optimizer):
    """Momentum of eight bits."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for one in group["params"]:
                kept = self.state[one].get("speed")
                speed = one.grad if kept is None else 0.9 * kept.scale * kept.codes + one.grad
                self.state[one]["speed"] = coarse(speed)
                one.sub_(speed, alpha=group["lr"])


def test_a_run_with_such_an_optimizer_resumes_to_the_same_bits(declared: None, tmp_path: Path) -> None:
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    recipe = lb.setup(lambda: nn.Linear(4, 1), loss=nn.MSELoss(), optimizer=Sluggish).set_opt_hparams(lr=0.01)
    options: dict[str, Any] = {"batch_size": 8, "verbose": False, "device": "cpu"}
    data = (x, x.sum(1, keepdim=True))
    whole = recipe.fit(data, epochs=3, **options)
    recipe.fit(data, epochs=1, resume=tmp_path, **options)
    again = recipe.fit(data, epochs=3, resume=tmp_path, **options)
    assert torch.equal(whole.model.state_dict()["weight"], again.model.state_dict()["weight"])
