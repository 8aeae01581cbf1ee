"""Modules that take an object with rows of tensors whole, such as a TensorDict: exported by the tensors in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.utils import _pytree

import lumbre as lb
from conftest import blobs


class Table(Mapping[str, Any]):
    """A stand-in for a TensorDict."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    @property
    def shape(self) -> torch.Size:
        return next(iter(self.parts.values())).shape[:1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> Any:
        return self.parts[at] if isinstance(at, str) else type(self)(**{k: one[at] for k, one in self.parts.items()})

    def __iter__(self) -> Iterator[Any]:
        return (self[at] for at in range(len(self)))

    def keys(self) -> Any:
        return self.parts.keys()

    def to(self, device: Any) -> "Table":
        return type(self)(**{name: part.to(device) for name, part in self.parts.items()})

    def clone(self) -> "Table":
        return type(self)(**{name: part.clone() for name, part in self.parts.items()})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return cls(**{name: func([one[name] for one in args[0]]) for name in args[0][0].keys()})  # noqa: SIM118


class Unknown(Table):
    """One that torch cannot take apart."""


def taken_apart(table: Any) -> tuple[list[Any], list[str]]:
    return list(table.parts.values()), list(table.parts)


def put_together(parts: Any, names: Any) -> Table:
    return Table(**dict(zip(names, parts, strict=True)))


_pytree.register_pytree_node(Table, taken_apart, put_together)


class Writes(nn.Module):
    """Reads two parts from what it is given, writes one to it, and gives it back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, table: Any) -> Any:
        table.parts["scores"] = self.layer(table["x"]) + table["by"][:, None]
        return table


def fitted(kind: Any) -> tuple[lb.Fitted, Any]:
    x, y = blobs()
    table = kind(x=x, by=x[:, 0].clone())
    recipe = lb.setup(Writes, loss=lambda pred, y: nn.functional.cross_entropy(pred["scores"], y), optimizer=optim.SGD)
    options: dict[str, Any] = {"epochs": 1, "verbose": False, "preflight": False}
    return recipe.set_opt_hparams(lr=0.1).fit((table, y), **options), table


def test_a_program_takes_the_parts_and_gives_a_dict(tmp_path: Path) -> None:
    model, table = fitted(Table)
    model.export(tmp_path / "net.pt2", (table[:3], None))
    program = torch.export.load(tmp_path / "net.pt2").module()
    found: Any = program(table["x"], table["by"])
    net: Any = model.model
    expected = net.layer(table["x"]) + table["x"][:, :1]
    assert type(found) is dict
    assert list(found) == ["x", "by", "scores"]
    assert torch.allclose(found["scores"], expected, atol=1e-6)
    assert list(table.keys()) == ["x", "by"]


def test_what_torch_cannot_take_apart_is_refused(tmp_path: Path) -> None:
    model, table = fitted(Unknown)
    with pytest.raises(lb.ArchiveError, match=r"no tensors are seen[\s\S]*a dict of tensors"):
        model.export(tmp_path / "net.pt2", (table[:3], None))
    assert not (tmp_path / "net.pt2").exists()
