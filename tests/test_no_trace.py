"""What looks at a model without training it leaves module, loss and data set as they were, whatever they count in."""

import copy
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.nn.utils import parametrizations

import lumbre as lb
from conftest import blobs
from lumbre.base import noted_once, preserved_randomness, unchanged, untouched


class Tally:
    """State in an object of its own, as in a helper of a module."""

    def __init__(self) -> None:
        self.count = 0
        self.by_size: Counter[int] = Counter()

    def add(self, x: Tensor) -> None:
        self.count += 1
        self.by_size[len(x)] += 1


class Slotted:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Remembers(nn.Module):
    """Changes something of every kind at each call, in both modes."""

    shared: list[int] = []  # noqa: RUF012 - the fault is the point
    calls_of_all = 0

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = inner or nn.Linear(4, 3)
        self.calls, self.scale, self.numbers = 0, np.float32(1), itertools.count()
        self.seen, self.recent, self.names = [], deque(maxlen=2), set[str]()
        self.by_name: dict[str, Any] = {"deep": [0], "last": None}
        self.array = np.zeros(3)
        self.draws, self.old_draws = np.random.default_rng(0), np.random.RandomState(0)
        self.chance, self.torch_chance = random.Random(0), torch.Generator()
        self.tally, self.slotted = Tally(), Slotted()
        self.plain = torch.zeros(3)
        self.register_buffer("mean", None)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("strange", torch.tensor([float("nan"), 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.note(x)
        return self.inner(x)

    def note(self, x: Tensor) -> None:
        self.calls += 1
        type(self).calls_of_all += 1
        self.scale = np.float32(self.scale * 2)
        self.shared.append(1)
        self.seen.append(len(x))
        self.recent.append(len(x))
        self.names.add(f"call {next(self.numbers)}")
        self.by_name["deep"][0] += 1
        self.by_name["last"] = self.calls
        self.array += 1
        self.draws.random(), self.old_draws.rand(), self.chance.random(), torch.rand(2, generator=self.torch_chance)
        self.tally.add(x)
        self.slotted.count += 1
        self.plain += 1
        self.mean = x.detach().mean(0) if self.mean is None else self.mean
        self.count += 1
        self.strange = self.strange + 1
        self.extra = self.calls


class RemembersLoss(Remembers):
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        self.note(pred)
        return nn.functional.cross_entropy(pred, target)


def told(value: Any) -> Any:
    """Everything in a module that can change, as something that can be compared."""
    if isinstance(value, nn.Module):
        return told({**vars(value), "shared": getattr(value, "shared", 0), "all": getattr(value, "calls_of_all", 0)})
    if isinstance(value, Tensor):
        return str(value.tolist()), value.data_ptr()
    if isinstance(value, dict):
        return [(str(key), told(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [told(part) for part in value]
    if isinstance(value, (Tally, Slotted)):
        return [str(getattr(value, name)) for name in ("count", "by_size") if hasattr(value, name)]
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, (random.Random, np.random.RandomState, torch.Generator)):
        return str(copy.deepcopy(value).random() if isinstance(value, random.Random) else state_of(value))
    return str(value)


def state_of(value: Any) -> Any:
    return value.get_state().tolist() if isinstance(value, torch.Generator) else value.get_state()[1:3]


LOOKS: dict[str, Callable[[lb.Recipe, Any], Any]] = {
    "check": lambda recipe, data: recipe.check(data, valid_data=0.2),
    "lr_finder": lambda recipe, data: recipe.lr_finder(data, steps=3, end=1e-3),
    "batch_size_finder": lambda recipe, data: recipe.batch_size_finder(data, sizes=[16], seconds=0.01),
    "overfit_one_batch": lambda recipe, data: recipe.overfit_one_batch(data, steps=2),
    "plot_lr": lambda recipe, data: recipe.plot_lr(data, 1),
}


def recipe_of(module: Any, loss: Any = None) -> lb.Recipe:
    return lb.setup(module, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.Adam)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_leaves_no_trace(look: str) -> None:
    module = nn.Sequential(Remembers(parametrizations.spectral_norm(nn.Linear(4, 4))), Remembers(nn.Linear(4, 3)))
    loss = RemembersLoss()
    before = told(module), told(loss)
    held = module[0].seen, module[1].by_name["deep"], loss.recent
    LOOKS[look](recipe_of(module, loss), blobs())
    assert (told(module), told(loss)) == before
    now = module[0].seen, module[1].by_name["deep"], loss.recent
    assert all(one is other for one, other in zip(held, now, strict=True))


def test_a_summary_leaves_no_trace() -> None:
    module = Remembers()
    before = told(module)
    lb.summary(module, torch.zeros(2, 4))
    assert told(module) == before


def test_functions_and_data_sets_are_put_back() -> None:
    calls = [0]

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        calls[0] += 1
        loss.calls = calls[0]  # type: ignore[attr-defined]
        return nn.functional.cross_entropy(pred, target)

    class Rows(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.reads = 0

        def __len__(self) -> int:
            return 40

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            self.reads += 1
            return torch.randn(4), row % 3

    rows = Rows()
    recipe_of(lambda: nn.Linear(4, 3), loss).check(rows)
    assert (calls, rows.reads, hasattr(loss, "calls")) == ([0], 0, False)


def test_a_lazy_module_stays_lazy() -> None:
    module = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    recipe_of(module).check(blobs())
    assert isinstance(module[0], nn.LazyLinear)
    assert isinstance(module[1], nn.LazyBatchNorm1d)
    assert recipe_of(module).fit(blobs(), epochs=1, verbose=False).model[0].weight.shape == (3, 4)


def test_weights_that_a_pass_changes_are_put_back() -> None:
    class Bounded(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data = self.weight.data.clamp(-0.1, 0.1)
            self.bias.data.mul_(0.5)
            return super().forward(x)

    module = Bounded(4, 3)
    before = told(module)
    module.weight.grad = torch.ones(3, 4)
    recipe_of(module).check(blobs())
    assert torch.equal(module.weight.grad, torch.ones(3, 4))
    module.weight.grad = None
    assert told(module) == before


class Counts(nn.Module):
    """Its output depends on how often it was called, by each of several ways of counting."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.linear, self.way = nn.Linear(4, 3), way
        self.calls, self.seen, self.recent = 0, [0], deque([0])
        self.draws, self.chance = np.random.default_rng(0), random.Random(0)
        self.register_buffer("first", None)

    def amount(self, x: Tensor) -> Any:
        if self.way == "number":
            self.calls += 1
            return self.calls
        if self.way in ("list", "deque"):
            kept = self.seen if self.way == "list" else self.recent
            kept.append(kept[-1] + 1)
            return kept[-1]
        if self.way == "buffer":
            self.first = x.detach().mean() if self.first is None else self.first * 1.5
            return self.first
        return self.draws.random() if self.way == "numpy" else self.chance.random()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (1 + 0.1 * self.amount(x))


@settings(max_examples=25)
@given(
    st.sampled_from(["number", "list", "deque", "buffer", "numpy", "python"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_run_has_the_same_bits_with_and_without_checks(way: str, norm: bool, whole: bool, stateful: bool) -> None:
    """The law: preflight changes nothing."""

    def net() -> nn.Module:
        first = parametrizations.spectral_norm(nn.Linear(4, 4)) if norm else nn.Linear(4, 4)
        return nn.Sequential(first, nn.Dropout(0.1), nn.BatchNorm1d(4), Counts(way))

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.counts = Counts(way)

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(pred * (1 + 0.1 * self.counts.amount(pred)), target)

    def weights(preflight: bool) -> list[Tensor]:
        recipe = recipe_of(net, Loss() if stateful else None)
        if whole and preflight:
            recipe.check(blobs(24), batch_size=8)
        fitted = recipe.fit(
            blobs(24),
            epochs=1,
            batch_size=8,
            verbose=False,
            preflight=preflight,
            ignore=("LB020", "LB024", "LB037", "LB078"),
        )
        return [*fitted.model.parameters(), *fitted.model.buffers()]

    with_checks, without = weights(True), weights(False)
    assert len(with_checks) == len(without)
    assert all(torch.equal(one, other) for one, other in zip(with_checks, without, strict=True))


class Many(nn.Module):
    """Changes whatever it holds in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.turns, self.seen = nn.Linear(4, 3), itertools.count(), [0]
        self.register_buffer("mean", torch.zeros(4))
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(next(self.turns))
        self.mean.add_(x.mean(0))
        self.state = x
        with torch.no_grad():
            self.layer.weight.add_(1.0)
        return self.layer(x)


def test_many_looks_from_what_was_noted_once_leave_no_trace() -> None:
    model = Many()
    weight = model.layer.weight.detach().clone()
    with noted_once(model):
        for _ in range(3):
            with unchanged(model):
                model(torch.ones(2, 4))
                assert model.seen == [0, 0]
                assert float(model.mean[0]) == 1
    assert next(model.turns) == 0
    assert model.seen == [0]
    assert model.state is None
    assert not model.mean.any()
    assert torch.equal(model.layer.weight, weight)


def test_what_was_not_noted_is_looked_through_inside_too() -> None:
    model, other = Many(), Many()
    with noted_once(model), unchanged(other):
        other(torch.ones(2, 4))
    assert other.seen == [0]


def test_numbers_that_numpy_and_python_draw_in_a_look_are_put_back() -> None:
    layer, cpu = nn.Linear(2, 2), torch.device("cpu")

    def draw() -> list[float]:
        return [np.random.random(), np.random.standard_normal(), random.random(), float(torch.rand(()))]

    with preserved_randomness(cpu):
        for ahead in (0, 1):  # of normal numbers NumPy draws two, and keeps one
            np.random.seed(0)
            [np.random.standard_normal() for _ in range(ahead)]
            random.seed(0)
            torch.manual_seed(0)
            with noted_once(layer, device=cpu):
                drawn = []
                for _ in range(3):
                    with untouched(layer, cpu):
                        drawn.append(draw())
                with untouched(layer, cpu):
                    np.random.seed(5)
            assert drawn[0] == drawn[1] == drawn[2] == draw()


class _Odd:
    """A collection that will not be counted, as those of e3nn will not."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Any:
        raise NotImplementedError


class OddTuple(_Odd, tuple[Any, ...]):
    pass


class OddList(_Odd, list[Any]):
    pass


class OddSet(_Odd, set[Any]):
    pass


class OddDeque(_Odd, deque[Any]):
    pass


class OddDict(_Odd, dict[Any, Any]):
    def values(self) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [OddTuple, OddList, OddSet, OddDeque, OddDict])
def test_collections_that_will_not_be_counted(kind: type, tmp_path: Any) -> None:
    class Holds(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.held = kind([(1, 2), (3, 4)])

        def forward(self, input: Tensor) -> Tensor:
            if isinstance(self.held, list):
                list.append(self.held, (5, 6))
            return super().forward(input)

    recipe = lb.setup(Holds, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    recipe.check(blobs())
    options: dict[str, Any] = {"epochs": 1, "verbose": False}
    looked = recipe.fit(blobs(), **options)
    assert torch.equal(looked.model.weight, recipe.fit(blobs(), preflight=False, **options).model.weight)
    net = Holds()
    with unchanged(net):
        net(blobs()[0])
    assert not isinstance(net.held, list) or list.__len__(net.held) == 2
    if kind is not OddList:  # whose changes are said, as those of any list are
        recipe.fit(blobs(), resume=tmp_path / "run", **options)


COUNTED: dict[str, int] = {"calls": 0}
CALLS = 0


def count_up() -> int:
    global CALLS
    CALLS += 1
    COUNTED["calls"] += 1
    return CALLS


class CountsGlobally(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + count_up() / 100)


def test_global_variables_are_what_they_were() -> None:
    recipe = lb.setup(CountsGlobally, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    before = CALLS, dict(COUNTED)
    recipe.check(blobs())
    assert before == (CALLS, COUNTED)
    weights: list[Tensor] = []
    for preflight in (True, False):
        globals()["CALLS"] = 0
        fitted = recipe.fit(blobs(), epochs=1, verbose=False, preflight=preflight, ignore=("LB078",) * preflight)
        weights.append(fitted.model.weight)
    assert torch.equal(*weights)
