"""Optimizers whose step needs a closure in truth, whatever its signature says, each beside a loop by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.base import needs_closure


class Rule(optim.Optimizer):
    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def move(self, factor: float = 1.0) -> None:
        for group in self.param_groups:
            for one in group["params"]:
                one.sub_(group["lr"] * factor * one.grad)


class Unasked(Rule):
    """Two evaluations, as SAM is often written."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        closure = torch.enable_grad()(closure)
        loss = closure()
        self.move(-0.5)
        closure()
        self.move(1.5)
        return loss


class Asserts(Rule):
    def step(self, closure: Any = None) -> Any:
        assert closure is not None, "a closure, please"
        loss = closure()
        self.move()
        return loss


class AssertsTruth(Rule):
    def step(self, closure: Any = None) -> Any:
        assert closure
        loss = closure()
        self.move()
        return loss


class Raises(Rule):
    def step(self, closure: Any = None) -> Any:
        if closure is None:
            raise ValueError("a closure, please")
        loss = closure()
        self.move()
        return loss


class RaisesUnlessCallable(Rule):
    def step(self, closure: Any = None) -> Any:
        if not callable(closure):
            raise ValueError("a closure, please")
        loss = closure()
        self.move()
        return loss


class Usual(Rule):
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.move()
        return loss


class Short(Rule):
    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure else None
        self.move()
        return loss


class Refuses(Rule):
    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            raise ValueError("no closures here")
        self.move()


class AssertsNone(Rule):
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        self.move()


class Passes(Rule):
    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, lr)
        self.inner = optim.SGD(self.param_groups, lr=lr)

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class NoClosure(Rule):
    def step(self) -> None:  # type: ignore[override]
        self.move()


NEED = [Unasked, Asserts, AssertsTruth, Raises, RaisesUnlessCallable]
DO_WITHOUT = [Usual, Short, Refuses, AssertsNone, Passes, NoClosure]


def by_hand(kind: Callable[..., Any], net: nn.Module, data: tuple[Tensor, Tensor]) -> nn.Module:
    optimizer = kind(net.parameters())
    for x, y in zip(*(part.split(20) for part in data), strict=True):

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            return loss

        if kind in NEED:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return net


@pytest.mark.parametrize("kind", [*NEED, *DO_WITHOUT])
def test_a_step_gets_the_closure_that_it_needs(kind: type[Rule]) -> None:
    net = nn.Linear(4, 3)
    assert needs_closure(kind(net.parameters())) == (kind in NEED)
    other = nn.Linear(4, 3)
    other.load_state_dict(net.state_dict())
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=kind)
    fitted = recipe.fit(blobs(), epochs=1, batch_size=20, shuffle=False, verbose=False)
    assert torch.equal(fitted.model.weight, by_hand(kind, other, blobs()).weight)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.Rprop, optim.Adagrad, optim.NAdam])
def test_those_of_torch_do_without(kind: Any) -> None:
    optimizer = kind([nn.Parameter(torch.ones(2, 2))])
    assert not needs_closure(optimizer)
    optim.lr_scheduler.StepLR(optimizer, 1)  # which puts a step of its own before the optimizer's
    assert not needs_closure(optimizer)


def test_code_that_cannot_be_read_is_believed() -> None:
    names: dict[str, Any] = {"Rule": Rule}
    exec("class Made(Rule):\n    def step(self, closure=None):\n        closure()\n        self.move()\n", names)
    assert not needs_closure(names["Made"]([nn.Parameter(torch.ones(2))]))
