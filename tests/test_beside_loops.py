"""Modules as others write them, each beside the loop that one would write by hand: the same weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs

RUN: dict[str, Any] = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": False, "seed": 3, "device": "cpu"}
RUN["ignore"] = ["LB023"]  # parts that are not used in the first step


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class BackwardInside(Net):
    """Trains a part of itself in its forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.a(x).square().mean().backward()
        return super().forward(x.clone())


class Turns(Net):
    """Has a part that is used, and another that is held still, in every other step."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.side = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        if self.training:
            self.a.requires_grad_(self.calls % 2 == 0)
        return super().forward(x) + (self.side(x) if self.calls % 3 == 2 else 0)


class WritesToInput(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.add_(1))


class Forgets(optim.SGD):
    """Keeps half of the gradients of the step before, by its own `zero_grad`."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = parameter.grad * 0.5


class Half(Net):
    """Weights of 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.bfloat16()).float()


class Configured(Half):
    def configure_optimizers(self, lr: float) -> optim.Optimizer:
        return optim.SGD(self.parameters(), lr=lr, momentum=0.9)


class CallAlone(nn.Module):
    """No `forward`, but its own `__call__`."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def __call__(self, x: Tensor, scale: Tensor | float = 2.0) -> Tensor:
        return self.a(x) * scale


class CallBefore(Net):
    """A `__call__` with other parameters than those of `forward`."""

    def __call__(self, x: Tensor, scale: Tensor | float = 2.0) -> Tensor:  # type: ignore[override]
        return super().__call__(x) * scale


class Passes(Net):
    """A `__call__` that only passes on."""

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().__call__(*args, **kwargs) * 2


def writes_to_target(pred: Tensor, target: Tensor) -> Tensor:
    loss = nn.functional.cross_entropy(pred, target.clone())
    target.add_(1).remainder_(3)
    return loss


PLAIN = nn.CrossEntropyLoss()
SGD: Callable[..., optim.Optimizer] = optim.SGD


def momentum(parameters: Any, lr: float, dampening: float = 0.0) -> optim.Optimizer:
    return optim.SGD(parameters, lr=lr, momentum=0.9, dampening=dampening)


def lbfgs(parameters: Any, lr: float) -> optim.Optimizer:
    return optim.LBFGS(parameters, lr=lr, max_iter=3)


def by_hand(make: Any, data: Any, loss: Any, optimizer: Any, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(5)
    net = make()
    if optimizer is None:
        optimizer, options = optim.SGD, {"momentum": 0.9}
    made = optimizer(net.parameters(), lr=0.1, **options)
    net.train()
    for _ in range(3):
        for at in range(0, 48, 16):
            parts = [part[at : at + 16].clone() for part in data]

            def closure(parts: list[Tensor] = parts) -> Tensor:
                made.zero_grad()
                value = loss(net(*parts[:-1]), parts[-1])
                value.backward()
                return value

            if isinstance(made, optim.LBFGS):
                made.step(closure)
            else:
                closure()
                made.step()
    return net


CASES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "backward in forward": (BackwardInside, PLAIN, SGD, {}),
    "backward in forward, momentum": (BackwardInside, PLAIN, momentum, {}),
    "backward in forward, L-BFGS": (BackwardInside, PLAIN, lbfgs, {}),
    "parts in turn": (Turns, PLAIN, SGD, {}),
    "parts in turn, momentum": (Turns, PLAIN, SGD, {"momentum": 0.9}),
    "parts in turn, dampening": (Turns, PLAIN, SGD, {"momentum": 0.9, "dampening": 0.5}),
    "parts in turn, nesterov": (Turns, PLAIN, SGD, {"momentum": 0.9, "nesterov": True}),
    "parts in turn, Adam": (Turns, PLAIN, optim.Adam, {}),
    "parts in turn, Adagrad": (Turns, PLAIN, optim.Adagrad, {}),
    "writes to its input": (WritesToInput, PLAIN, SGD, {}),
    "writes to the target": (Net, writes_to_target, SGD, {}),
    "zero_grad of its own": (Net, PLAIN, Forgets, {}),
    "16 bits": (Half, PLAIN, SGD, {}),
    "16 bits, momentum": (Half, PLAIN, SGD, {"momentum": 0.9}),
    "16 bits, configured": (Configured, PLAIN, None, {}),
    "__call__ alone": (CallAlone, PLAIN, SGD, {}),
    "__call__ before forward": (CallBefore, PLAIN, SGD, {}),
    "__call__ that passes on": (Passes, PLAIN, SGD, {}),
}


def fit(name: str, data: Any, **options: Any) -> lb.Fitted:
    make, loss, optimizer, given = CASES[name]

    def factory() -> nn.Module:
        torch.manual_seed(5)
        return make()

    recipe = lb.setup(factory, loss=loss, optimizer=optimizer).set_opt_hparams(lr=0.1, **given)
    return recipe.fit(data, **RUN, **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("preflight", [True, False])
def test_the_weights_are_those_of_a_loop_by_hand(name: str, preflight: bool) -> None:
    data, valid = (tuple(part[at] for part in blobs(64)) for at in (slice(48), slice(48, 64)))
    kept = [part.clone() for part in data]
    fitted = fit(name, data, preflight=preflight, valid_data=valid)
    make, loss, optimizer, given = CASES[name]
    torch.testing.assert_close(fitted.model.state_dict(), by_hand(make, data, loss, optimizer, given).state_dict())
    fitted.evaluate(data)
    fitted.predict(data[0])
    assert all(map(torch.equal, data, kept)), "the data are what they were"


@pytest.mark.parametrize("name", ["__call__ alone", "__call__ before forward"])
def test_several_inputs_reach_a_call_of_ones_own(name: str) -> None:
    x, y = blobs(48)
    scale = torch.rand(48, 1)
    fitted = fit(name, ((x, scale), y))
    make, loss, optimizer, given = CASES[name]
    net = by_hand(make, (x, scale, y), loss, optimizer, given)
    torch.testing.assert_close(fitted.model.state_dict(), net.state_dict())


def test_a_loader_of_one_pass_is_not_changed_by_the_checks() -> None:
    x, y = blobs(48)

    def batches() -> Any:
        yield from ((x[at : at + 16].clone(), y[at : at + 16].clone()) for at in range(0, 48, 16))

    options = {key: value for key, value in RUN.items() if key not in ("batch_size", "shuffle")} | {"epochs": 1}
    for module in (WritesToInput, Net):
        recipe = lb.setup(module, loss=writes_to_target, optimizer=optim.SGD)
        one, other = (recipe.fit(batches(), **options, preflight=preflight) for preflight in (True, False))
        assert torch.equal(one.model.a.weight, other.model.a.weight)


class Columns(NamedTuple):
    left: Tensor
    right: Tensor


class Sum(Net):
    def forward(self, both: Columns) -> Tensor:
        return super().forward(both.left + both.right)


def test_columns_in_a_named_tuple_stay_one() -> None:
    x, y = blobs(48)
    recipe = lb.setup(Sum, loss=PLAIN, optimizer=optim.SGD)
    fitted = recipe.fit((Columns(x / 2, x / 2), y), **RUN)
    assert torch.equal(
        fitted.model.a.weight, lb.setup(Net, loss=PLAIN, optimizer=SGD).fit((x, y), **RUN).model.a.weight
    )


def test_a_target_of_booleans_is_looked_at() -> None:
    x, _ = blobs(64)
    recipe = lb.setup(lambda: nn.Linear(4, 1), loss=truth, optimizer=optim.SGD)
    recipe.fit((x, x[:, :1] + x[:, 1:2] > 0), **RUN)
    with pytest.warns(UserWarning, match="which says the target exactly"):
        recipe.fit(((x > 0).float(), x[:, :1] > 0), **RUN)


def truth(pred: Tensor, target: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(pred, target.float())
