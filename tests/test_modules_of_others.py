"""Modules in the forms in which users bring them: compiled, scripted, with a forward of their own, with odd parts."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import lumbre as lb
from conftest import blobs
from lumbre.base import ArchiveError

OPTIONS: dict[str, Any] = {"verbose": False, "batch_size": 32, "engine": "eager"}


def recipe(net: Any, loss: Any = None) -> lb.Recipe:
    return lb.setup(net, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)


def weights(fitted: lb.Fitted) -> dict[str, Tensor]:
    return fitted.model.state_dict()


def same(one: lb.Fitted, other: lb.Fitted) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def resumed(net: Any, folder: Path, data: Any = None) -> lb.Fitted:
    data = blobs() if data is None else data
    recipe(net).fit(data, epochs=1, resume=folder, **OPTIONS)
    return recipe(net).fit(data, epochs=2, resume=folder, **OPTIONS)


def compiled() -> nn.Module:
    torch.compiler.reset()
    return torch.compile(nn.Sequential(nn.Linear(4, 3)), backend="eager")  # pyright: ignore[reportReturnType]


def on_the_instance() -> nn.Module:
    net = nn.Module()
    net.layer = nn.Linear(4, 3)
    net.forward = lambda x: net.layer(x)
    return net


def replaced() -> nn.Module:
    net = nn.Linear(4, 3)
    before = net.forward
    net.forward = lambda x: 2 * before(x)
    return net


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Linear(4, 3)))


def traced() -> nn.Module:
    return torch.jit.trace(nn.Linear(4, 3), torch.zeros(2, 4))


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 3), None])  # pyright: ignore[reportArgumentType]
        self.named = nn.ModuleDict({"none": nn.Identity()})
        self.named._modules["none"] = None
        self.absent = None
        self.register_module("norm", None)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("net", [compiled, on_the_instance, replaced, scripted, traced, Parts])
def test_a_module_trains_resumes_and_loads(net: Callable[[], nn.Module], tmp_path: Path) -> None:
    assert [one.code for one in recipe(net).check(blobs()) if one.severity != "hint"] == []
    fitted = recipe(net).fit(blobs(), epochs=2, **OPTIONS)
    losses = fitted.history.value.tolist()
    assert losses[1] < losses[0]
    assert same(fitted, resumed(net, tmp_path / "run"))
    fitted.save(tmp_path / "net.lumbre")
    loaded = lb.load(tmp_path / "net.lumbre", net)
    assert torch.equal(loaded.predict(blobs()[0]), fitted.predict(blobs()[0]))
    lb.summary(fitted, blobs()[0])


class KeepsStatistics(nn.Module):
    """Whose own `train` returns nothing."""

    def __init__(self, lazy: bool = False) -> None:
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(4), nn.LazyLinear(3) if lazy else nn.Linear(4, 3)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(x))


def test_a_train_that_returns_nothing(tmp_path: Path) -> None:
    fitted = recipe(KeepsStatistics).fit(blobs(), epochs=1, **OPTIONS)
    assert torch.equal(fitted.model.norm.running_mean, torch.zeros(4))
    fitted.save(tmp_path / "net.lumbre")
    assert torch.equal(lb.load(tmp_path / "net.lumbre", KeepsStatistics).predict(blobs()), fitted.predict(blobs()))
    fitted.export(tmp_path / "net.pt2")
    assert lb.summary(KeepsStatistics(lazy=True), blobs()[0])
    assert str(recipe(KeepsStatistics).verify_resume(blobs())).startswith("Exact")


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.layer(a + b)


class OneDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.layer(batch["a"] + batch["b"])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("wrap", [lambda net: torch.compile(net, backend="eager"), torch.jit.script])
def test_inputs_reach_a_wrapped_module_as_they_reach_the_module(wrap: Any) -> None:
    torch.compiler.reset()
    x, y = blobs()
    for net, input in (
        (TwoInputs, (x, x)),
        (TwoInputs, {"a": x, "b": x}),
        (OneDict, {"a": x, "b": x}),
    ):
        plain = recipe(net).fit((input, y), epochs=1, **OPTIONS)
        wrapped = recipe(lambda net=net: wrap(net())).fit((input, y), epochs=1, **OPTIONS)
        assert all(torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(wrapped).values(), strict=True))


class Remembering(nn.Module):
    """Changes a buffer in training."""

    def __init__(self, kind: str, classes: int = 3) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(4, classes), kind
        self.register_buffer("memory", None if kind == "none" else torch.zeros(1), persistent=kind != "hidden")

    def forward(self, x: Tensor) -> Tensor:
        memory, mean = self.memory, x.detach().mean().reshape(1)
        if self.training:
            if self.kind == "none":
                self.memory = torch.zeros(3) if memory is None else memory + mean
            elif self.kind == "shape":
                self.memory = x.detach().mean(0) if memory is None or len(memory) == 1 else torch.cat([mean, mean])
            elif self.kind == "dtype":
                self.memory = memory.double() + mean
            else:
                self.memory = torch.cat([memory, mean])
        return self.layer(x) + (0 if self.memory is None else 0.1 * self.memory.float().mean())


@pytest.mark.parametrize("kind", ["grow", "hidden", "shape", "dtype", "none"])
def test_buffers_that_change_resume_and_load(kind: str, tmp_path: Path) -> None:
    def net() -> nn.Module:
        return Remembering(kind)

    fitted = recipe(net).fit(blobs(), epochs=2, **OPTIONS)
    again = resumed(net, tmp_path / "run")
    assert same(fitted, again)
    assert torch.equal(fitted.model.memory, again.model.memory)
    fitted.save(tmp_path / "net.lumbre")
    loaded = lb.load(tmp_path / "net.lumbre", net)
    if kind != "hidden":  # which files leave out, as state_dict() does
        assert torch.equal(loaded.model.memory, fitted.model.memory.to(loaded.model.memory))
        assert torch.equal(loaded.predict(blobs()[0]), fitted.predict(blobs()[0]))


def test_weights_and_statistics_of_layers_may_not_change_their_shapes(tmp_path: Path) -> None:
    fitted = recipe(lambda: Remembering("grow")).fit(blobs(), epochs=1, **OPTIONS)
    fitted.save(tmp_path / "net.lumbre")
    with pytest.raises(lb.ArchiveError, match=r"layer\.weight"):
        lb.load(tmp_path / "net.lumbre", lambda: Remembering("grow", 5))
    fitted = recipe(lambda: nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3))).fit(
        blobs(), epochs=1, **OPTIONS
    )
    fitted.save(tmp_path / "norm.lumbre")
    with pytest.raises(lb.ArchiveError, match="running_mean"):
        lb.load(tmp_path / "norm.lumbre", lambda: nn.Sequential(nn.BatchNorm1d(5, affine=False), nn.Linear(4, 3)))


class Centre(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", None)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        if self.training:
            mean = pred.detach().mean(0, keepdim=True)
            self.seen = mean if self.seen is None else torch.cat([self.seen, mean])
        return nn.functional.cross_entropy(pred, target)


def test_a_loss_whose_buffer_grows_loads(tmp_path: Path) -> None:
    one = recipe(lambda: nn.Linear(4, 3), Centre())
    fitted = one.fit(blobs(), epochs=1, **OPTIONS)
    fitted.save(tmp_path / "net.lumbre")
    assert torch.equal(lb.load(tmp_path / "net.lumbre", one).loss.seen, fitted.loss.seen)


class Masked(nn.Module):
    """Draws in training, by a generator of the host."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.layer, self.draw = nn.Linear(4, 3), draw

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.draw()) if self.training else self.layer(x)


def test_a_method_of_a_table_is_no_obstacle_to_checkpoints(tmp_path: Path) -> None:
    """Comparing a table with something gives a table, which is neither true nor false."""
    column = pd.Series([1.0, 2.0])
    plain, kept = (recipe(lambda: Masked(column.mean)).fit(blobs(), resume=at, **OPTIONS) for at in (None, tmp_path))
    assert same(plain, kept)


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: random.choice([0.5, 1.0, 2.0])])
@pytest.mark.parametrize("rows", ["tensors", "items", "loader"])
def test_modules_that_draw_by_the_hosts_generators_resume(draw: Callable[[], float], rows: str, tmp_path: Path) -> None:
    x, y = blobs()
    items = list(zip(x, y, strict=True))
    data: Any = {"tensors": (x, y), "items": items, "loader": DataLoader(items, batch_size=32)}[rows]
    options = {**OPTIONS, "batch_size": None} if rows == "loader" else OPTIONS

    def fitted(epochs: int, **more: Any) -> lb.Fitted:
        return recipe(lambda: Masked(draw)).fit(data, epochs=epochs, **options, **more)

    first = fitted(3)
    random.seed(5)
    np.random.seed(5)
    assert same(first, fitted(3, preflight=False))

    folder = tmp_path / "run"
    fitted(1, resume=folder)
    assert same(first, fitted(3, resume=folder))
    if rows != "loader":
        assert recipe(lambda: Masked(draw)).verify_resume(data, batch_size=32)


def test_steps_whose_module_draws_nothing_seed_the_host_once() -> None:
    states: list[Any] = []

    class Watch(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            states.append(np.random.get_state()[1].copy())

    recipe(lambda: nn.Linear(4, 3)).fit(blobs(), epochs=2, callbacks=Watch(), **OPTIONS)
    assert all(np.array_equal(states[1], one) for one in states[2:4])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: PackedSequence) -> Tensor:
        return self.head(self.recurrent(x)[1][0])


def packed(batch: list[tuple[Tensor, Tensor]]) -> tuple[PackedSequence, Tensor]:
    return pack_sequence([x for x, _ in batch], enforce_sorted=False), torch.stack([y for _, y in batch])


def test_packed_sequences() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [(torch.randn(2 + i % 4, 5, generator=generator), torch.tensor(i % 3)) for i in range(42)]
    loader = DataLoader(rows, batch_size=8, collate_fn=packed)  # pyright: ignore[reportArgumentType]
    assert [one.code for one in recipe(Net).check(loader)] == []
    fitted = recipe(Net).fit(loader, epochs=2, verbose=False)
    x, y = packed(rows)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(fitted.model(x), y).item()
    assert fitted.evaluate(loader).metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert len(fitted.predict(loader)) == 42
    lb.summary(fitted, x)


class Sides(NamedTuple):
    left: Tensor
    right: Tensor


class Strict(Sides):
    """Refuses what is no tensor, as it is made."""

    def __new__(cls, left: Tensor, right: Tensor) -> "Strict":
        return super().__new__(cls, left.detach(), right.detach())


class OfSides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, sides: Sides) -> Tensor:
        return self.layer(sides.left + sides.right)


@pytest.mark.parametrize("kind", [Sides, Strict])
def test_named_tuples(kind: Any) -> None:
    x, y = blobs()
    loader = [(kind(x[at : at + 32], x[at : at + 32]), y[at : at + 32]) for at in range(0, 120, 32)]
    feed = DataLoader(loader, batch_size=None)  # pyright: ignore[reportArgumentType]
    fitted = recipe(OfSides).fit(feed, epochs=2, verbose=False)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(fitted.model(Sides(x, x)), y).item()
    assert fitted.evaluate(feed).metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_summary_of_what_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FlopCounterMode, *args: Any) -> Any:
        raise AssertionError("q, k and v of other sizes")

    monkeypatch.setattr(FlopCounterMode, "_count_flops", fail)
    with pytest.warns(UserWarning, match="operations are not counted: AssertionError: q, k"):
        found = lb.summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(2, 4))
    assert [layer.output for layer in found.layers] == ["(2, 3)"] * 3
    assert (found.flops, found.parameters) == (0, 15)
    assert len(recipe(lambda: nn.Linear(4, 3)).fit(blobs(), epochs=1, verbose=False).history) == 1


class Ordered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, right: Tensor, left: Tensor) -> Tensor:
        return self.layer(left - 2 * right)


def test_a_named_tuple_reaches_parameters_of_its_names() -> None:
    x, y = blobs()
    fitted = recipe(Ordered).fit((Sides(left=x, right=x + 1), y), epochs=1, verbose=False)
    with torch.no_grad():
        expected = fitted.model(left=x, right=x + 1)
    assert torch.allclose(fitted.predict((Sides(left=x, right=x + 1), None)), expected)


class WithExtra(nn.Module):
    """Keeps a number, a tensor and a table outside of buffers, as modules of some libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.kept: Any = {"share": 1.0, "seen": torch.zeros(2), "names": ["a"]}

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.kept["share"] *= 0.75
            self.kept["seen"] = self.kept["seen"] + x.detach()[0, :2]
        return self.layer(x) * self.kept["share"]

    def get_extra_state(self) -> Any:
        return self.kept

    def set_extra_state(self, state: Any) -> None:
        self.kept = state


@pytest.mark.parametrize(
    "callback",
    [None, lb.callbacks.EMA(0.9), lb.callbacks.KeepBestModel("train_loss")],
    ids=["alone", "averaged", "best"],
)
def test_what_a_module_keeps_beside_tensors_is_in_the_file(callback: Any, tmp_path: Path) -> None:
    x, y = blobs()
    fitted = recipe(WithExtra).fit((x, y), epochs=2, verbose=False, callbacks=[callback] if callback else [])
    fitted.save(tmp_path / "m.lumbre")
    again = lb.load(tmp_path / "m.lumbre", WithExtra)
    assert again.model.kept["share"] == fitted.model.kept["share"] < 1
    assert torch.equal(again.model.kept["seen"], fitted.model.kept["seen"])
    assert again.model.kept["names"] == ["a"]
    assert torch.equal(again.predict(x), fitted.predict(x))
    assert set(lb.load_weights(tmp_path / "m.lumbre")) == {"layer.weight", "layer.bias"}


def test_what_no_file_can_hold_is_refused_by_its_name(tmp_path: Path) -> None:
    fitted = recipe(WithExtra).fit(blobs(), epochs=1, verbose=False)
    fitted.model.kept = {"function": len}
    with pytest.raises(ArchiveError, match="_extra_state of the module"):
        fitted.save(tmp_path / "m.lumbre")
