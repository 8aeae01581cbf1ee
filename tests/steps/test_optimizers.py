"""Optimizers of others: without a rate, with two steps in one, with curvature, as wrappers, with sparse gradients."""

from collections import deque
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

RUN: dict[str, Any] = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": False, "seed": 2, "device": "cpu"}


def rows() -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True)


def recipe(optimizer: Any, **options: Any) -> lb.Recipe:
    made = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optimizer).set_hparams(in_features=4, out_features=1)
    return made.set_opt_hparams(**options)


def by_hand(make: Any, step: Any) -> nn.Linear:
    """The run in torch alone, from the weights that the recipe's seed gives."""
    begun = recipe(optim.SGD, lr=0.0).fit(rows(), **RUN | {"epochs": 1})
    net = nn.Linear(4, 1)
    net.load_state_dict(begun.model.state_dict())
    optimizer = make(net.parameters())
    x, y = rows()
    for _ in range(3):
        for one, other in zip(x.split(16), y.split(16), strict=True):
            optimizer.zero_grad()
            step(optimizer, lambda a=one, b=other: nn.functional.mse_loss(net(a), b))
    return net


class Kind(Enum):
    SIGN = "sign"


class SignDescent(optim.Optimizer):
    """Has no learning rate, an Enum among its options, and a queue in its state."""

    def __init__(self, params: Any, size: float = 1e-2) -> None:
        super().__init__(params, {"size": size, "kind": Kind.SIGN, "call": len})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            assert group["kind"] is Kind.SIGN
            for one in group["params"]:
                queue = self.state[one].setdefault("queue", deque(maxlen=2))
                queue.append(one.grad.clone())
                self.state[one]["note"] = b"seen"
                one.sub_(sum(queue).sign(), alpha=group["size"])


class SAM(optim.Optimizer):
    """Sharpness-aware minimisation over a base optimizer (Foret et al. 2021); its closure looks optional."""

    def __init__(self, params: Any, lr: float = 0.05, rho: float = 0.05) -> None:
        super().__init__(params, {"lr": lr, "rho": rho})
        self.base = optim.SGD(self.param_groups, lr=lr, momentum=0.9)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        parameters = [one for group in self.param_groups for one in group["params"]]
        norm = torch.stack([one.grad.norm() for one in parameters]).norm()
        for one in parameters:
            self.state[one]["moved"] = one.grad * (0.05 / norm)
            one.add_(self.state[one]["moved"])

    @torch.no_grad()
    def second_step(self) -> None:
        for group in self.param_groups:
            for one in group["params"]:
                one.sub_(self.state[one]["moved"])
        self.base.step()

    def step(self, closure: Any = None) -> None:
        assert closure is not None
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.base.param_groups = self.param_groups


class AdaHessian(optim.Optimizer):
    """Divides by the size of the Hessian's diagonal, estimated by Hutchinson's method with a sign for each number."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:
        parameters = [one for group in self.param_groups for one in group["params"]]
        signs = [torch.ones_like(one) for one in parameters]
        curvature = torch.autograd.grad([one.grad for one in parameters], parameters, signs)
        with torch.no_grad():
            for one, curved in zip(parameters, curvature, strict=True):
                one.sub_(self.param_groups[0]["lr"] * one.grad / (curved.abs() + 1))


class Wrapped(optim.Optimizer):
    """A wrapper with a state of its own form, as Lookahead has it in several packages."""

    def __init__(self, params: Any) -> None:
        self.inner = optim.SGD(params, lr=0.05, momentum=0.9)
        self.calls = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.inner.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad()

    def step(self, closure: Any = None) -> None:
        self.calls += 1
        if self.calls % 3:
            self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.calls = state_dict["calls"]


def plain(optimizer: Any, loss: Any) -> None:
    loss().backward()
    optimizer.step()


def twice(optimizer: Any, loss: Any) -> None:
    def closure() -> None:
        optimizer.zero_grad()
        loss().backward()

    closure()
    optimizer.step(closure)


def curved(optimizer: Any, loss: Any) -> None:
    loss().backward(create_graph=True)
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.filterwarnings("ignore:Using backward")  # of the loop by hand
@pytest.mark.parametrize(
    ("optimizer", "step"), [(SignDescent, plain), (SAM, twice), (AdaHessian, curved), (Wrapped, plain)]
)
def test_it_trains_and_goes_on_as_its_author_means_it(optimizer: Any, step: Any, tmp_path: Path) -> None:
    one = recipe(optimizer)
    one.check(rows())
    fitted = one.fit(rows(), **RUN)
    torch.testing.assert_close(fitted.model.weight, by_hand(optimizer, step).weight)
    one.fit(rows(), **RUN | {"epochs": 2}, resume=tmp_path)
    assert torch.equal(one.fit(rows(), **RUN, resume=tmp_path).model.weight, fitted.model.weight)
    assert str(one.verify_resume(rows(), batch_size=16)).startswith("Exact")


def test_what_needs_a_rate_says_so() -> None:
    for schedule in (lb.callbacks.LearningRate(lb.schedules.cosine()),):
        with pytest.raises(lb.OptionError, match='SignDescent, whose groups have no "lr"'):
            recipe(SignDescent).fit(rows(), **RUN, callbacks=schedule)
    with pytest.raises(lb.OptionError, match='groups have no "lr"'):
        recipe(SignDescent).lr_finder(rows(), batch_size=16)


def test_an_optimizer_that_cannot_be_made_is_an_error_in_words() -> None:
    class TakesModule(optim.SGD):
        def __init__(self, model: Any, lr: float = 0.1) -> None:
            super().__init__(model.parameters(), lr=lr)

    with pytest.raises(lb.RecipeError, match="it takes the module: def configure_optimizers"):
        recipe(TakesModule).fit(rows(), **RUN)
    with pytest.raises(lb.RecipeError, match="matrices_and_rest"):
        recipe(optim.Muon, lr=0.1).fit(rows(), **RUN)


class Bag(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(30, 4, sparse=sparse), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.table(x).mean(1))


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, optim.RMSprop])
@pytest.mark.parametrize("callback", [None, lb.callbacks.GradientClip(0.1), lb.callbacks.Accumulate(2)])
def test_sparse_gradients_train_to_the_weights_of_dense_ones(optimizer: Any, callback: Any) -> None:
    data = torch.randint(0, 30, (64, 3), generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
    found: list[Tensor] = []
    for sparse in (False, True):
        one = lb.setup(Bag, loss=nn.CrossEntropyLoss(), optimizer=optimizer).set_hparams(sparse=sparse)
        fitted = one.set_opt_hparams(lr=0.05).fit(data, **RUN, callbacks=[] if callback is None else callback)
        found.append(fitted.model.table.weight.detach())
        assert not fitted.ledger.change.isna().any()
    torch.testing.assert_close(found[1], found[0])


def test_sparse_adam_takes_tables_alone() -> None:
    data = torch.randint(0, 30, (64, 3)), torch.arange(64) % 2
    one = lb.setup(Bag, loss=nn.CrossEntropyLoss(), optimizer=optim.SparseAdam).set_hparams(sparse=True)
    with pytest.raises(lb.RecipeError, match=r"SparseAdam for out\.weight, out\.bias, whose gradients are dense"):
        one.fit(data, **RUN)

    class Split(Bag):
        def configure_optimizers(self) -> dict[str, optim.Optimizer]:
            return {
                "tables": optim.SparseAdam([self.table.weight], lr=0.05),
                "rest": optim.Adam(self.out.parameters(), lr=0.05),
            }

    fitted = lb.setup(lambda: Split(True), loss=nn.CrossEntropyLoss()).fit(data, **RUN)
    assert fitted.ledger.changed.all()
    with pytest.raises(lb.OptionError, match="GradientClip beside SparseAdam"):
        lb.setup(lambda: Split(True), loss=nn.CrossEntropyLoss()).fit(
            data, **RUN, callbacks=lb.callbacks.GradientClip(1)
        )


def test_matrices_are_sorted_from_the_rest() -> None:
    class Net(Bag):
        def configure_optimizers(self, lr: float = 0.02) -> dict[str, optim.Optimizer]:
            matrices, rest = lb.matrices_and_rest(self)
            return {"muon": optim.Muon(matrices, lr=lr), "adamw": optim.AdamW(rest, lr=lr)}

    matrices, rest = lb.matrices_and_rest(Net(False))
    assert [tuple(one.shape) for one in matrices] == [(2, 4)]
    assert [tuple(one.shape) for one in rest] == [(30, 4), (2,)]
    data = torch.randint(0, 30, (64, 3)), torch.arange(64) % 2
    fitted = lb.setup(lambda: Net(False), loss=nn.CrossEntropyLoss()).fit(data, **RUN)
    assert fitted.ledger.changed.all()


def test_a_recipe_says_that_it_does_not_change() -> None:
    with pytest.raises(AttributeError, match="note"):
        recipe(optim.SGD).note = 1  # type: ignore[attr-defined]


class Around(Wrapped):
    """Passes modes on to an optimizer that has none, as heavyball's SAMWrapper."""

    def train(self, mode: bool = True) -> None:
        self.inner.train(mode)  # pyright: ignore[reportAttributeAccessIssue]

    def eval(self) -> None:
        self.train(False)


def test_modes_that_the_optimizer_inside_lacks_are_left_out() -> None:
    around, wrapped = recipe(Around).fit(rows(), **RUN), recipe(Wrapped).fit(rows(), **RUN)
    assert torch.equal(around.model.weight, wrapped.model.weight)


class Old(Wrapped):
    """Written for another torch, as torch_optimizer's Lookahead: its own base class fails."""

    def state_dict(self) -> dict[str, Any]:
        return super(Wrapped, self).state_dict()


def test_a_state_that_cannot_be_taken_is_said_before_the_first_step(tmp_path: Path) -> None:
    recipe(Old).fit(rows(), **RUN)
    with pytest.raises(lb.ResumeError, match=r"Old.state_dict\(\), which failed"):
        recipe(Old).fit(rows(), resume=tmp_path, **RUN)
