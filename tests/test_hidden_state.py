"""State that a run has outside of tensors: what comes back when it is resumed, and what is said to be lost."""

import itertools
import operator
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, Subset

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


def counter() -> Callable[[], float]:
    amount = 0.0

    def count() -> float:
        nonlocal amount
        amount += 0.1
        return amount

    return count


class Ways:
    """Keeps what it comes to in one of many ways."""

    shared = 0.0

    def __init__(self, way: str) -> None:
        self.way, self.box, self.numbers = way, Box(), itertools.count()
        self.values: Any = {
            "list": [0.0],
            "deque": deque([0.0], maxlen=1),
            "dict": {"deep": [0.0]},
            "array": np.zeros(1),
            "tensor": torch.zeros(1),
            "numpy": np.random.default_rng(0),
            "old numpy": np.random.RandomState(0),
            "python": random.Random(0),
            "torch": torch.Generator(),
            "tuple": (0.0,),
            "closure": counter(),
            "default": lambda held=[0.0]: held.append(held[-1] + 0.1) or held[-1],
            "partial": partial(operator.iadd, [0.0]),
            "cycle": itertools.cycle([0.1, 0.2, 0.3, 0.4, 0.5]),
            "iterator": iter([0.1] * 999),
            "generator": (0.1 * at for at in range(999)),
            "bytes": bytearray(1),
        }.get(way)

    def amount(self) -> float:
        way, held = self.way, self.values
        if way in ("closure", "default"):
            return held()
        if way == "partial":
            return len(held([0.0])) / 10
        if way in ("cycle", "iterator", "generator"):
            return next(held)
        if way == "bytes":
            held[0] += 1
            return held[0] / 10
        if way == "class":
            Ways.shared += 0.1
            return Ways.shared
        if way in ("list", "deque", "dict"):
            kept = held["deep"] if way == "dict" else held
            kept.append(kept[-1] + 0.1)
            return kept[-1]
        if way in ("array", "tensor"):
            held += 0.1
            return float(held[0])
        if way == "tuple":
            self.values = (held[0] + 0.1,)
            return self.values[0]
        if way == "object":
            self.box.amount += 0.1
            return self.box.amount
        if way == "count":
            return next(self.numbers) / 10
        if way == "torch":
            return float(torch.rand((), generator=held))
        return float(held.rand() if way == "old numpy" else held.random())


class Box:
    def __init__(self) -> None:
        self.amount = 0.0


class Hides(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.linear, self.ways = nn.Linear(4, 3), Ways(way)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (1 + (self.ways.amount() if self.training else 0))


class HidingLoss(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.ways = Ways(way)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred * (1 + self.ways.amount()), target)


class HidingRows(Dataset):
    def __init__(self, way: str) -> None:
        self.ways, (self.x, self.y) = Ways(way), blobs(48)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.x[row] * self.ways.amount(), self.y[row]


class Drifts(lb.Callback):
    def __init__(self) -> None:
        self.amounts, self.count = [0.0], 0

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        self.count += 1
        self.amounts.append(self.amounts[-1] + 0.1)
        ctx.optimizer.param_groups[0]["lr"] *= 1 - self.amounts[-1] / 100


class Remembers(Drifts):
    def state_dict(self) -> dict[str, Any]:
        return {"amounts": self.amounts, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.amounts, self.count = state["amounts"], state["count"]


def recipe_of(module: Any, loss: Any = None) -> lb.Recipe:
    return lb.setup(module, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD)


def fit(recipe: lb.Recipe, folder: Path, data: Any = None, **options: Any) -> lb.Fitted:
    keep = lb.Checkpoints(folder, **{"steps": 1, "wait": True})
    data = blobs(48) if data is None else data
    return recipe.fit(data, epochs=2, batch_size=12, verbose=False, preflight=False, resume=keep, **options)


WAYS = ["list", "deque", "dict", "array", "tensor", "numpy", "old numpy", "python", "torch", "tuple", "object", "count"]
WAYS += ["closure", "default", "partial", "cycle", "iterator", "generator", "bytes", "class"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["Sequential.0", "HidingLoss", "HidingRows", "valid_data"])
def test_what_a_checkpoint_does_not_keep_is_said_once(way: str, place: str, tmp_path: Path) -> None:
    module: Any = (lambda: nn.Sequential(Hides(way))) if place == "Sequential.0" else (lambda: nn.Linear(4, 3))
    loss = HidingLoss(way) if place == "HidingLoss" else None
    data = HidingRows(way) if place == "HidingRows" else None
    options = {"valid_data": HidingRows(way)} if place == "valid_data" else {}
    with pytest.warns(lb.CheckpointWarning) as caught:
        fit(recipe_of(module, loss), tmp_path, data, **options)
    assert len(caught) == 1
    assert f"do not keep {'HidingRows' if place == 'valid_data' else place}.ways, changed" in str(caught[0].message)


def test_a_callback_says_what_it_keeps(tmp_path: Path) -> None:
    linear = recipe_of(lambda: nn.Linear(4, 3))
    with pytest.warns(lb.CheckpointWarning, match=r"keep Drifts\.amounts, Drifts\.count, Drifts \(2\)\.amounts"):
        fit(linear, tmp_path / "a", callbacks=[Drifts(), Drifts()])
    fit(linear, tmp_path / "b", callbacks=Remembers())


def test_functions_and_wrapped_data_sets_are_looked_into(tmp_path: Path) -> None:
    calls = [0]

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        calls[0] += 1
        return nn.functional.cross_entropy(pred, target)

    draws = np.random.default_rng(0)
    linear = recipe_of(lambda: nn.Linear(4, 3))
    for at, (recipe, data, options, name) in enumerate(
        [
            (recipe_of(lambda: nn.Linear(4, 3), loss), None, {}, "loss.calls"),
            (linear, None, {"augment": lambda x, seeds: x * draws.random()}, "augment.draws"),
            (linear, Subset(HidingRows("list"), range(40)), {}, r"Subset.dataset, HidingRows\.ways"),
        ]
    ):
        with pytest.warns(lb.CheckpointWarning, match=f"do not keep {name}"):
            fit(recipe, tmp_path / str(at), data, **options)
    loader = DataLoader(HidingRows("deque"), 12)
    with pytest.warns(lb.CheckpointWarning, match=r"do not keep HidingRows\.ways"):
        linear.fit(loader, epochs=1, verbose=False, preflight=False, resume=tmp_path / "loader")


def test_what_set_epoch_reads_is_hidden_and_what_it_sets_is_not(tmp_path: Path) -> None:
    class Turned(HidingRows):
        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch if self.ways else 0

    with pytest.warns(lb.CheckpointWarning) as caught:
        recipe_of(lambda: nn.Linear(4, 3)).fit(
            DataLoader(Turned("deque"), 12), epochs=1, verbose=False, preflight=False, resume=tmp_path
        )
    assert ["do not keep Turned.ways, changed" in str(one.message) for one in caught] == [True]


def test_what_is_kept_or_needs_no_keeping_is_not_named(tmp_path: Path) -> None:
    class Sound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 8))
            self.recurrent, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)
            self.calls, self.size, self.table = 0, np.int64(3), {"a": [1, 2]}
            self.draws = np.random.default_rng(0)
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.last = self.linear(x)  # has a graph: of no use to the next step
            return self.head(self.recurrent(self.last[:, None])[0][:, 0])

    class Rows(Dataset):
        def __len__(self) -> int:
            return 48

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            return torch.randn(4) + random.random(), row % 3

    options = {"callbacks": [lb.callbacks.EMA(0.9), lb.callbacks.LearningRate(lb.schedules.cosine())]}
    fit(recipe_of(Sound), tmp_path / "a", Rows(), **options)
    loader = DataLoader(Rows(), 12, shuffle=True, generator=torch.Generator())
    recipe_of(Sound).fit(loader, epochs=2, verbose=False, preflight=False, resume=tmp_path / "b")


def test_numbers_of_numpy_come_back_as_they_were(tmp_path: Path) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)
            self.whole, self.part, self.flag = np.int64(0), np.float32(0), np.bool_(False)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.whole, self.part, self.flag = self.whole + 1, self.part + np.float32(0.1), ~self.flag
            return self.linear(x) * (1 + float(self.part) + int(self.whole) + bool(self.flag))

    stretch, resumed = stopped_and_resumed(lambda: recipe_of(Counts), tmp_path, preflight=False)
    assert same_weights(stretch, resumed)
    for name in ("whole", "part", "flag"):
        assert getattr(stretch.model, name) == getattr(resumed.model, name)
        assert type(getattr(stretch.model, name)) is type(getattr(resumed.model, name))


CALLS = {"number": 0}
NUMBER = 0


def counted() -> int:
    global NUMBER
    NUMBER += 1
    return NUMBER


class ByGlobal(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        CALLS["number"] += 1
        return super().forward(x) * (1 + CALLS["number"] / 10)


class ByClass(nn.Linear):
    calls = 0

    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return super().forward(x) * (1 + self.calls / 10)


class Slows(optim.SGD):
    def __init__(self, parameters: Any, lr: float = 0.1) -> None:
        super().__init__(parameters, lr=lr)
        self.calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        self.param_groups[0]["lr"] = 0.1 / self.calls
        return super().step(closure)


class WithinRows(HidingRows):
    def __init__(self) -> None:
        super().__init__("none")
        self.move = nn.Module()
        self.move.register_buffer("by", torch.zeros(1))

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        self.move.by += 0.1
        return self.x[row] * self.move.by, self.y[row]


def hooked() -> nn.Module:
    module, count = nn.Linear(4, 3), counter()
    module.register_forward_hook(lambda part, given, scores: scores * (1 + count()))
    return module


def test_what_stands_elsewhere_is_found(tmp_path: Path) -> None:
    def by_function(pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred * counted(), target)

    def slower(ctx: lb.Context, count: Callable[[], float] = counter()) -> None:  # noqa: B008
        ctx.optimizer.param_groups[0]["lr"] = 0.1 / (1 + count())

    def linear() -> nn.Module:
        return nn.Linear(4, 3)

    cases: dict[str, tuple[lb.Recipe, Any, dict[str, Any]]] = {
        r"test_hidden_state\.CALLS": (recipe_of(ByGlobal), None, {}),
        r"test_hidden_state\.NUMBER": (recipe_of(linear, by_function), None, {}),
        r"ByClass\.calls": (recipe_of(ByClass), None, {}),
        r"Linear\.forward_hooks": (recipe_of(hooked), None, {}),
        r"Slows\.calls": (lb.setup(linear, loss=nn.CrossEntropyLoss(), optimizer=Slows), None, {}),
        r"WithinRows\.move": (recipe_of(linear), WithinRows(), {}),
        r"slower\.defaults": (recipe_of(linear), None, {"callbacks": lb.callbacks.On(train_batch_end=slower)}),
    }
    for at, (name, (recipe, data, options)) in enumerate(cases.items()):
        with pytest.warns(lb.CheckpointWarning, match=f"do not keep {name}"):
            fit(recipe, tmp_path / str(at), data, **options)


def test_hooks_and_functions_that_stay_are_not_named(tmp_path: Path) -> None:
    def watched() -> nn.Module:
        module = nn.Linear(4, 3)
        module.register_forward_hook(lambda part, given, scores: scores * 2)
        return module

    class Hooks(lb.Callback):
        def on_fit_begin(self, ctx: lb.Context) -> None:
            ctx.model.register_forward_hook(lambda part, given, scores: scores)

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    fit(recipe_of(watched), tmp_path, callbacks=Hooks())
