"""Arrays that stay in their files: the same bits as in memory, and never read whole."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.base import DataError
from lumbre.data import ArraySource, accept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", blobs(300)[0].numpy())
    return tmp_path / "x.npy"


def mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


def bits(fitted: lb.Fitted) -> tuple[list[float], list[list[float]]]:
    return list(fitted.history["value"]), [weight.flatten().tolist() for weight in fitted.model.parameters()]


@pytest.mark.parametrize("options", [{}, {"valid_data": 0.2}, {"shuffle": False}, {"num_workers": 2}], ids=str)
def test_a_memory_map_gives_the_bits_of_the_array(recipe: lb.Recipe, file: Path, options: dict[str, Any]) -> None:
    x, y = blobs(300)
    fits = [recipe.fit((part, y), epochs=2, verbose=False, device="cpu", **options) for part in (x, mapped(file))]
    assert bits(fits[0]) == bits(fits[1])
    assert torch.equal(fits[0].predict(x), fits[1].predict(mapped(file)))
    assert fits[0].evaluate((x, y)).metrics == fits[1].evaluate((mapped(file), y)).metrics


def test_only_the_rows_of_a_batch_are_read(recipe: lb.Recipe, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    read = np.memmap.__getitem__

    def spy(self: Any, rows: Any) -> Any:
        found = read(self, rows)
        lengths.append(len(found))
        return found

    monkeypatch.setattr(np.memmap, "__getitem__", spy)
    x = mapped(file)
    assert isinstance(accept((x, blobs(300)[1]), 0), ArraySource)
    recipe.fit((x, blobs(300)[1]), epochs=2, batch_size=16, valid_data=0.2, verbose=False)
    # Beside batches of 16, each set's fingerprint is taken once, of a bounded sample of its rows; the checks read some
    # rows in pieces of 32.
    assert sum(length > 32 for length in lengths) <= 2
    assert lengths.count(16) >= 2 * (240 // 16)


@pytest.mark.parametrize("kind", ["float64", "float32", "int32", "uint8", "bool", ">f4"])
def test_types_are_those_of_arrays_in_memory(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (30, 2, 3)).astype(kind)
    np.save(tmp_path / "a.npy", values)
    rows = torch.tensor([7, 0, 29, 7])
    inside, outside = accept(values, 0), accept(mapped(tmp_path / "a.npy"), 0)
    for chosen in (rows, range(3, 9)):
        a, b = inside.fetch(chosen, 1)[0], outside.fetch(chosen, 1)[0]  # type: ignore[union-attr]
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_structures_targets_and_splits_may_hold_memory_maps(tmp_path: Path, file: Path) -> None:
    x, y = blobs(300)
    np.save(tmp_path / "y.npy", y.numpy())
    both = ({"a": mapped(file), "b": x}, mapped(tmp_path / "y.npy"))
    train, test = lb.split(both, 0.5, 0.5)
    input, target = train.fetch(torch.arange(150), 1)
    assert torch.equal(input["a"], input["b"])
    assert len(test) == 150
    assert target.dtype == torch.int64

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.scores(a + b)

    made = lb.setup(Sum, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = made.set_opt_hparams(lr=0.05).fit(train, epochs=10, verbose=False)
    assert fitted.evaluate(test).metrics["acc"] > 0.9


def test_parts_of_different_length_and_text_are_refused(recipe: lb.Recipe, tmp_path: Path, file: Path) -> None:
    with pytest.raises(DataError, match="different length"):
        recipe.fit((mapped(file), torch.zeros(7, dtype=torch.int64)))
    np.save(tmp_path / "t.npy", np.array([["a"], ["b"]]))
    with pytest.raises(DataError, match="numbers"):
        recipe.fit((mapped(tmp_path / "t.npy"), torch.tensor([0, 1])))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_worker_is_sent_the_file_and_not_its_bytes(tmp_path: Path, order: str) -> None:
    values = np.asarray(np.random.default_rng(0).normal(size=(20_000, 3)), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", values)
    whole, view = mapped(tmp_path / "a.npy"), mapped(tmp_path / "a.npy")[5:25]
    source = ArraySource((whole, whole), torch.arange(20_000))
    sent = ForkingPickler.dumps(ArraySource(whole))
    assert len(sent) < 2_000
    rows = torch.tensor([19_999, 0, 7])
    for made in (ArraySource(whole), ArraySource(view)):
        again = ForkingPickler.loads(ForkingPickler.dumps(made))
        chosen = rows if len(made) > 20 else torch.tensor([19, 0])
        assert torch.equal(again.fetch(chosen, 1)[0], made.fetch(chosen, 1)[0])
    assert torch.equal(ForkingPickler.loads(ForkingPickler.dumps(source)).fetch(rows, 1)[1], rows)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64], ids=["uint16", "uint32", "uint64"])
def test_tensors_of_long_unsigned_numbers_are_rows_of_int64(dtype: torch.dtype) -> None:
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 2, 1])
    recipe = lb.setup(nn.Linear(1, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = recipe.fit((x, y.to(dtype)), epochs=1, verbose=False, preflight=False)
    assert fitted.evaluate((x, y.to(dtype))).metrics == fitted.evaluate((x, y)).metrics
    assert lb.data.InMemoryDataset(x, y.to(dtype))[1][1].item() == 2
    if dtype == torch.uint64:
        with pytest.raises(lb.DataError, match="whole numbers beyond int64"):
            recipe.fit((x, torch.tensor([0, 2, 2**63 + 1], dtype=dtype)), epochs=1, verbose=False)
