"""What modules keep beside the tensors of `state_dict()`: a loaded model is the one that was saved, or it is said."""

import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.run import give_beside


class Ways(nn.Module):
    """Changes what it keeps in one of many ways while it trains; its predictions depend on it."""

    hidden: Tensor

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(4, 3), way
        self.register_buffer("hidden", torch.ones(3), persistent=False)
        self.count, self.share, self.flag, self.late = 0, np.float32(1), np.bool_(False), None
        self.list, self.pairs, self.queue, self.set = [1.0], {"a": (0, [1.0])}, deque([1.0], maxlen=2), {1}
        self.array, self.tensor, self.inner = np.ones(3), torch.ones(3), nn.Sequential(Deep())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.change(x.detach())
        return self.layer(x) * self.factor()

    def change(self, x: Tensor) -> None:
        match self.way:
            case "count":
                self.count += 1
            case "numpy":
                self.share, self.flag = self.share * np.float32(1.5), np.bool_(True)
            case "late":
                self.late = x.mean(0)[:3] + 5
            case "list":
                self.list.append(2.0)
            case "dict":
                self.pairs = {**self.pairs, "b": (1, [float(x.mean())])}
            case "deque":
                self.queue.append(self.queue[-1] + 1)
            case "set":
                self.set.add(len(self.set) + 1)
            case "array":
                self.array += 1
            case "tensor":
                self.tensor = self.tensor + 1
            case "buffer":
                self.hidden = torch.cat([self.hidden, self.hidden[-1:] + 1])
            case _:
                self.inner[0].count += 1

    def factor(self) -> Any:
        late = 0 if self.late is None else self.late
        sums = len(self.list), len(self.pairs), self.queue[-1], len(self.set), float(self.array[0])
        whole = 1 + self.count + float(self.share) + sum(sums) + self.inner[0].count
        return whole * self.tensor * self.hidden.mean() + late


class Deep(nn.Module):
    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.count = 1


WAYS = ["count", "numpy", "late", "list", "dict", "deque", "set", "array", "tensor", "buffer", "inner"]


def recipe(net: Any, loss: Any = None, **hparams: Any) -> lb.Recipe:
    made = lb.setup(net, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    return made.set_hparams(**hparams)


def trained(net: Any, loss: Any = None, **hparams: Any) -> lb.Fitted:
    return recipe(net, loss, **hparams).fit(blobs(20), epochs=2, verbose=False, preflight=False)


def saved(fitted: lb.Fitted, path: Path, module: Any) -> lb.Fitted:
    """The model that its file gives back, without a warning."""
    with warnings.catch_warnings(action="error"):
        fitted.save(path)
        return lb.load(path, module)


@pytest.mark.parametrize("way", WAYS)
def test_what_training_changed_is_in_the_file(way: str, tmp_path: Path) -> None:
    fitted, x = trained(Ways, way=way), blobs(20)[0]
    assert not torch.equal(fitted.model.factor(), Ways(way).factor())
    expected = fitted.predict(x)
    again = saved(fitted, tmp_path / "a.lumbre", Ways)
    assert torch.equal(again.predict(x), expected)
    twice = saved(again, tmp_path / "b.lumbre", Ways)
    assert torch.equal(twice.predict(x), expected)
    for name in ("count", "share", "flag", "list", "pairs", "queue", "set"):
        assert getattr(twice.model, name) == getattr(fitted.model, name)
        assert type(getattr(twice.model, name)) is type(getattr(fitted.model, name))
    assert set(lb.load_weights(tmp_path / "a.lumbre")) == {"layer.weight", "layer.bias"}


def test_a_ready_module_and_an_ensemble_keep_it_too(tmp_path: Path) -> None:
    x = blobs(20)[0]
    fitted = recipe(Ways("tensor")).fit(blobs(20), epochs=2, verbose=False, preflight=False)
    assert torch.equal(saved(fitted, tmp_path / "a.lumbre", Ways("tensor")).predict(x), fitted.predict(x))
    several = recipe(Ways, way="list").ensemble(blobs(20), n=2, epochs=2, verbose=False, preflight=False)
    several.save(tmp_path / "two.lumbre")
    assert torch.equal(lb.load_ensemble(tmp_path / "two.lumbre", Ways).predict(x), several.predict(x))


def test_checkpoints_of_models_hold_it_too(tmp_path: Path) -> None:
    keep = lb.callbacks.ModelCheckpoint(tmp_path / "last.lumbre", best_only=False)
    fitted = recipe(Ways, way="count").fit(blobs(20), epochs=2, verbose=False, preflight=False, callbacks=keep)
    assert torch.equal(lb.load(tmp_path / "last.lumbre", Ways).predict(blobs(20)[0]), fitted.predict(blobs(20)[0]))


class Drawn(nn.Module):
    """Directions of chance that its author has forgotten to register, or keeps out of `state_dict()`."""

    def __init__(self, buffer: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        ways = torch.randn(4, 6)
        if buffer:
            self.register_buffer("ways", ways, persistent=False)
        else:
            self.ways = ways

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x @ self.ways)


@pytest.mark.parametrize("buffer", [True, False], ids=["buffer", "attribute"])
def test_tensors_drawn_when_a_module_is_built(buffer: bool, tmp_path: Path) -> None:
    fitted, x = trained(Drawn, buffer=buffer), blobs(20)[0]
    assert torch.equal(saved(fitted, tmp_path / "a.lumbre", Drawn).predict(x), fitted.predict(x))


class Bag:
    def __init__(self) -> None:
        self.value = 1.0


class InObject(nn.Linear):
    def __init__(self, used: bool) -> None:
        super().__init__(4, 3)
        self.bag, self.draws, self.used = Bag(), np.random.default_rng(0), used

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.bag.value += self.draws.random()
        return super().forward(x) * (self.bag.value if self.used else 1.0)


def test_what_no_file_can_hold_is_said_once(tmp_path: Path) -> None:
    fitted = trained(InObject, used=True)
    with pytest.warns(lb.CheckpointWarning, match=r"does not hold InObject\.bag, InObject\.draws.*get_extra") as caught:
        fitted.save(tmp_path / "a.lumbre")
    assert len(caught) == 1
    saved(fitted, tmp_path / "b.lumbre", InObject)  # it was said
    saved(trained(InObject, used=False), tmp_path / "c.lumbre", InObject)  # predictions do not depend on it


class Caches(nn.Module):
    """Keeps what it saw, as many modules do for pictures or for speed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen, self.table, self.graph = nn.Linear(4, 3), None, {}, None
        self.register_buffer("positions", torch.arange(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.seen, self.graph = x.detach().clone(), (x * 2).requires_grad_()
        self.table[len(self.table)] = x.detach().mean(0)
        if len(x) > len(self.positions):
            self.positions = torch.arange(float(len(x)))
        return self.layer(x + 0.1 * self.positions[:4])


def test_caches_are_neither_kept_nor_said(tmp_path: Path) -> None:
    fitted, x = trained(Caches), blobs(20)[0]
    again = saved(fitted, tmp_path / "a.lumbre", Caches)
    assert (again.model.seen, again.model.table, len(again.model.positions)) == (None, {}, 4)
    fitted.predict(x)
    rows = fitted.model.seen
    assert torch.equal(saved(fitted, tmp_path / "a.lumbre", Caches).predict(x), fitted.predict(x))
    assert torch.equal(fitted.model.seen, x[-len(rows) :]), "a look leaves no trace"
    assert "values" not in lb.inspect_file(tmp_path / "a.lumbre").document


class Cools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heat, self.weight = 2.0, nn.Parameter(torch.ones(()))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        self.heat *= 0.9 if self.training else 1
        return nn.functional.cross_entropy(pred / self.heat, target) + 0 * self.weight


def test_numbers_of_a_loss(tmp_path: Path) -> None:
    declared = recipe(lambda: nn.Linear(4, 3), Cools())
    fitted = declared.fit(blobs(20), epochs=2, verbose=False, preflight=False)
    again = saved(fitted, tmp_path / "a.lumbre", declared)
    assert again.loss.heat == fitted.loss.heat < 2
    assert again.evaluate(blobs(20)).metrics == fitted.evaluate(blobs(20)).metrics
    assert lb.load(tmp_path / "a.lumbre", lambda: nn.Linear(4, 3)).loss is None


def test_a_file_gives_no_method_another_meaning(tmp_path: Path) -> None:
    fitted = trained(Ways, way="count")
    fitted.model.forward_count = 1
    fitted.save(tmp_path / "a.lumbre")

    class Other(Ways):
        def forward_count(self) -> int:
            return 0

    with pytest.raises(lb.ArchiveError, match="forward_count"):
        lb.load(tmp_path / "a.lumbre", Other)


@pytest.mark.parametrize("name", ["_forward_hooks", "training", "weight", "forward", "__class__"])
def test_a_file_changes_nothing_of_torchs(name: str) -> None:
    with pytest.raises(lb.ArchiveError, match=name):
        give_beside(nn.Linear(4, 3), None, {"": {name: {}}})


def attention() -> nn.Module:
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1, enable_nested_tensor=False)
    return nn.Sequential(nn.Unflatten(1, (1, 4)), layers, nn.Flatten(), nn.Linear(4, 3))


ORDINARY: dict[str, Callable[[], nn.Module]] = {
    "norms": lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3)),
    "spectral": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)), nn.Linear(8, 3)),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.Linear(8, 3)),
    "attention": attention,
    "lazy": lambda: nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.LazyLinear(3)),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_modules_have_nothing_more_in_their_files(name: str, tmp_path: Path) -> None:
    net = ORDINARY[name]
    fitted = trained(net)
    again = saved(fitted, tmp_path / "a.lumbre", net)
    assert torch.equal(again.predict(blobs(20)[0]), fitted.predict(blobs(20)[0]))
    assert name == "lazy" or "values" not in lb.inspect_file(tmp_path / "a.lumbre").document
