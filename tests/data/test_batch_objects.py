"""Objects that hold rows of tensors and are indexed, moved and joined as one: they reach the module whole."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

import lumbre as lb
from conftest import blobs


class Table(Mapping[str, Tensor]):
    """A stand-in for a TensorDict: its length is the number of its rows."""

    def __init__(self, parts: Any, shape: torch.Size) -> None:
        self.parts, self.shape = dict(parts), shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> Any:
        return self.parts[at] if isinstance(at, str) else self.of(lambda part: part[at])

    def __setitem__(self, name: str, part: Tensor) -> None:
        self.parts[name] = part

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("it goes through rows")

    def keys(self) -> Any:
        return self.parts.keys()

    def of(self, change: Callable[[Tensor], Tensor]) -> "Table":
        parts = {name: change(part) for name, part in self.parts.items()}
        return Table(parts, next(iter(parts.values())).shape[:1])

    def to(self, device: Any) -> "Table":
        return self.of(lambda part: part.to(device))

    def clone(self) -> "Table":
        return self.of(torch.clone)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func in (torch.stack, torch.cat)
        parts = {name: func([one[name] for one in args[0]]) for name in args[0][0].keys()}  # noqa: SIM118
        return Table(parts, next(iter(parts.values())).shape[:1])


def tensordict(**parts: Tensor) -> Any:
    kind = pytest.importorskip("tensordict").TensorDict
    return kind(parts, batch_size=[len(next(iter(parts.values())))])


KINDS: dict[str, Callable[..., Any]] = {
    "own": lambda **parts: Table(parts, next(iter(parts.values())).shape[:1]),
    "tensordict": tensordict,
}


class Writes(nn.Module):
    """As a TensorDictModule: reads from what it is given, writes to it, and gives it back."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        (table,) = args
        table["scores"] = self.net(table["x"])
        return table


class Whole(Writes):
    def forward(self, table: Any) -> Tensor:
        return self.net(table["x"])


class Named(Writes):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def scores_loss(pred: Any, target: Any) -> Tensor:
    return nn.functional.cross_entropy(pred["scores"], pred["label"] if target is None else target)


def trained(module: Any, loss: Any, data: Any, **options: Any) -> Any:
    recipe = lb.setup(module, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    return recipe.fit(data, epochs=2, seed=0, verbose=False, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_object_reaches_the_module_whole(kind: str) -> None:
    x, y = blobs(30)
    known = trained(Named, nn.CrossEntropyLoss(), (x, y), batch_size=8, shuffle=True).model.net.weight
    made = KINDS[kind]
    cases = [
        (Writes, scores_loss, (made(x=x), y)),
        (Writes, scores_loss, made(x=x, label=y)),
        (Whole, nn.CrossEntropyLoss(), (made(x=x), y)),
        (Whole, nn.CrossEntropyLoss(), lb.data.InMemoryDataset(made(x=x), y)),
        (Named, nn.CrossEntropyLoss(), (made(x=x), y)),  # whose parameter has the name of a part
        (Named, nn.CrossEntropyLoss(), made(x=x, y=y)),  # names of a pair
    ]
    for module, loss, data in cases:
        fitted = trained(module, loss, data, batch_size=8, shuffle=True)
        assert torch.equal(fitted.model.net.weight, known)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", ["beside", "inside"])
def test_the_batches_of_a_loader_may_be_such_objects(kind: str, target: str) -> None:
    x, y = blobs(30)
    pairs = [(x[at : at + 8], y[at : at + 8]) for at in range(0, 30, 8)]
    known = trained(Named, nn.CrossEntropyLoss(), DataLoader(pairs, batch_size=None)).model.net.weight  # pyright: ignore[reportArgumentType]
    made: Any = KINDS[kind]
    batches: Any = [(made(x=a), b) if target == "beside" else made(x=a, label=b) for a, b in pairs]
    loader: Any = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
    fitted = trained(Writes, scores_loss, loader)
    assert torch.equal(fitted.model.net.weight, known)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 30])
def test_predictions_have_a_row_for_each(kind: str, size: int) -> None:
    x, y = blobs(30)
    data = KINDS[kind](x=x)
    fitted = trained(Whole, nn.CrossEntropyLoss(), (data, y), valid_data=(data, y))
    found = fitted.predict(data, batch_size=size)
    assert torch.allclose(found, fitted.model(data))
    writes = trained(Writes, scores_loss, (data, y))
    found = writes.predict(data, batch_size=size)
    assert tuple(found.shape) == (30,)
    assert torch.allclose(found["scores"], writes.model.net(x))
    assert list(data.keys()) == ["x"], "a module writes to rows that were copied"


@pytest.mark.parametrize("kind", KINDS)
def test_their_parts_and_what_is_said_of_them(kind: str) -> None:
    x, y = blobs(30)
    data = KINDS[kind](x=x)
    part, rest = lb.split((data, y), 0.7, 0.3)
    assert torch.equal(part[:3][0]["x"], x[part.rows[:3]])
    assert f"input: {type(data).__name__}" in repr(part)
    assert not list(lb.setup(Whole, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).check(part))
    assert trained(Whole, nn.CrossEntropyLoss(), part, valid_data=rest).predict(rest).shape == (9, 3)
    with pytest.raises(lb.DataError, match=rf"different length: {type(data).__name__} of shape \(30,\), tensor"):
        trained(Whole, nn.CrossEntropyLoss(), (data, y[:3]))
