"""A step without torch's wrapper does the same as one with it, and the wrapper is used where something needs it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.optimizer import register_optimizer_step_post_hook

from lumbre.steps._bare import bare_step, take_step
from lumbre.steps._versions import unproved

_KINDS = [
    optim.SGD,
    optim.Adam,
    optim.AdamW,
    optim.NAdam,
    optim.RAdam,
    optim.RMSprop,
    optim.Adagrad,
    optim.Adadelta,
    optim.Adamax,
    optim.ASGD,
    optim.Rprop,
    optim.Adafactor,
]


def trained(kind: Callable[..., optim.Optimizer], step: Callable[[optim.Optimizer], object], **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, generator=generator))
    optimizer = kind([weight], lr=0.05, **options)
    for _ in range(5):
        weight.grad = torch.randn(4, 3, generator=generator)
        step(optimizer)
    assert torch.is_grad_enabled()
    return weight.detach()


@pytest.mark.parametrize("kind", _KINDS)
def test_the_bits_are_those_of_step(kind: Callable[..., optim.Optimizer]) -> None:
    assert torch.equal(trained(kind, take_step), trained(kind, lambda optimizer: optimizer.step()))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad])
def test_the_bits_are_those_of_step_where_it_is_fused(kind: Callable[..., optim.Optimizer]) -> None:
    fused = trained(kind, take_step, fused=True)
    assert torch.equal(fused, trained(kind, lambda optimizer: optimizer.step(), fused=True))


def made() -> optim.Optimizer:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    return optim.Adam([weight], lr=0.1, fused=True)


@pytest.mark.skipif(unproved("bare updates") is not None, reason=str(unproved("bare updates")))
def test_torch_as_it_is_here_is_known() -> None:
    made()  # torch wraps the step of a class when the first of them is made
    assert bare_step(optim.Adam.step) is not None


def test_hooks_are_called() -> None:
    optimizer, heard = made(), list[str]()
    optimizer.register_step_pre_hook(lambda *_: heard.append("before"))
    optimizer.register_step_post_hook(lambda *_: heard.append("after"))
    take_step(optimizer)
    assert heard == ["before", "after"]


def test_hooks_of_all_optimizers_are_called() -> None:
    optimizer, heard = made(), list[str]()
    handle = register_optimizer_step_post_hook(lambda *_: heard.append("after"))
    try:
        take_step(optimizer)
    finally:
        handle.remove()
    take_step(optimizer)
    assert heard == ["after"]


def test_a_profiler_sees_the_step() -> None:
    optimizer = made()
    profile: Any = torch.autograd.profiler.profile()
    with profile:
        take_step(optimizer)
    assert "Optimizer.step#Adam.step" in [event.name for event in profile.function_events]


def test_a_scheduler_sees_the_step(recwarn: pytest.WarningsRecorder) -> None:
    optimizer = made()
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    take_step(optimizer)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert not recwarn.list


def test_an_optimizer_of_ones_own_keeps_its_wrapping() -> None:
    heard: list[str] = []

    class Mine(optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            heard.append("mine")
            super().step(closure)

    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    take_step(Mine([weight], lr=0.5))
    assert heard == ["mine"]
    assert weight.tolist() == [0.5] * 3


def test_a_step_put_in_the_place_of_torchs_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, heard = made(), list[str]()
    monkeypatch.setattr(optim.Adam, "step", lambda self: heard.append("other"))
    take_step(optimizer)
    assert heard == ["other"]


def test_gradients_through_the_update_are_left_on() -> None:
    weight = nn.Parameter(torch.ones(3))
    copy = weight * 1
    optimizer = optim.SGD([weight], lr=0.1)
    optimizer.param_groups[0]["params"] = [copy]
    optimizer.defaults["differentiable"] = True
    optimizer.param_groups[0]["differentiable"] = True
    copy.grad = torch.ones(3)
    take_step(optimizer)
    assert copy.grad_fn is not None
    assert "Add" in type(copy.grad_fn).__name__
