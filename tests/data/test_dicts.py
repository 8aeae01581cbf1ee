"""Rows and batches that are dicts, of which `from_dicts` says which part is the target."""

from collections import UserDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

import lumbre as lb

Pairs = tuple[dict[str, Tensor], Tensor]


def tokens(rows: int = 40) -> Pairs:
    ids = torch.randint(0, 20, (rows, 6), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones(rows, 6)}, ids[:, 0] % 3


def rows() -> list[dict[str, Any]]:
    """As a data set of Hugging Face gives them: Python's lists and numbers, and a text that is left over."""
    parts, labels = tokens()
    columns = {key: value.tolist() for key, value in parts.items()} | {"labels": labels.tolist()}
    return [{key: value[row] for key, value in columns.items()} | {"text": "a"} for row in range(40)]


def few() -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "text"} for row in rows()]


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.last((self.table(input_ids) * attention_mask[..., None]).mean(1))


class Rows(Dataset[Any]):
    def __init__(self, held: Sequence[Any]) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, row: int) -> Any:
        return self.held[row]


class Many(Rows):
    """Rows that come several at a time, with classes that are known by name."""

    features = {"labels": SimpleNamespace(names=["low", "middle", "high"]), "input_ids": None}  # noqa: RUF012

    def __getitems__(self, rows: list[int]) -> list[Any]:
        return [self.held[row] for row in rows]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(few())


class Encoding(UserDict[str, Any]):
    """What tokenizers give: a mapping that is no dict."""


def padded(items: list[Any]) -> Encoding:
    return Encoding({key: torch.tensor([one[key] for one in items]) for key in items[0]})


class Batches:
    def __iter__(self) -> Iterator[Any]:
        return (padded(few()[at : at + 8]) for at in range(0, 40, 8))


def columns(form: Any = torch.tensor) -> dict[str, Any]:
    return {key: form([row[key] for row in few()]) for key in few()[0]}


recipe = lb.setup(Reader, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
OPTIONS: dict[str, Any] = {"epochs": 2, "verbose": False}
IN_ROWS = {**OPTIONS, "batch_size": 8, "shuffle": False}
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a list": (few, IN_ROWS),
    "a data set": (lambda: Rows(few()), IN_ROWS),
    "many at a time": (lambda: Many(few()), IN_ROWS),
    "arrays": (lambda: Rows([{k: np.asarray(v) for k, v in row.items()} for row in few()]), IN_ROWS),
    "tensors": (lambda: Rows([{k: torch.as_tensor(v) for k, v in row.items()} for row in few()]), IN_ROWS),
    "mappings": (lambda: Rows([Encoding(row) for row in few()]), IN_ROWS),
    "a subset": (lambda: Subset(Rows(few()), range(40)), IN_ROWS),
    "joined": (lambda: ConcatDataset([Rows(few()[:10]), Rows(few()[10:])]), IN_ROWS),
    "columns": (columns, IN_ROWS),
    "lists of columns": (lambda: columns(list), IN_ROWS),
    "columns of arrays": (lambda: columns(np.asarray), IN_ROWS),
    "a loader": (lambda: DataLoader(Rows(few()), batch_size=8), OPTIONS),
    "a loader that pads": (lambda: DataLoader(Rows(few()), batch_size=8, collate_fn=padded), OPTIONS),
    "a loader with processes": (lambda: DataLoader(Rows(few()), batch_size=8, num_workers=1), OPTIONS),
    "batches": (Batches, OPTIONS),
    "a stream": (Stream, {**OPTIONS, "batch_size": 8}),
}


def fit_pairs() -> lb.Fitted:
    return recipe.fit(tokens(), **IN_ROWS)


@pytest.mark.parametrize("form", FORMS)
def test_dicts_train_as_pairs_do(form: str) -> None:
    make, options = FORMS[form]
    expected = fit_pairs()
    fitted = recipe.fit(lb.data.from_dicts(make(), target="labels"), **options)
    assert torch.equal(fitted.model.last.weight, expected.model.last.weight)
    truth, raw = expected.evaluate(tokens()).metrics, fitted.evaluate(make()).metrics
    assert raw == fitted.evaluate(lb.data.from_dicts(make(), target="labels")).metrics
    assert raw == pytest.approx(truth)
    assert torch.equal(fitted.predict(make()), expected.predict(tokens()))
    assert fitted.evaluate(tokens()).metrics == pytest.approx(truth), "pairs stay pairs"
    assert not [one for one in recipe.check(lb.data.from_dicts(make(), target="labels")) if one.severity == "error"]


def test_a_model_of_dicts_takes_dicts_everywhere(tmp_path: Path) -> None:
    data = lb.data.from_dicts(Many(rows()), target="labels", features=["input_ids", "attention_mask"])
    train, test = lb.split(data, 0.75, 0.25, seed=1)
    fitted = recipe.fit(train, valid_data=Many([rows()[row] for row in test.rows]), **IN_ROWS)
    fitted.save(tmp_path / "net.lumbre")
    for model in (fitted, lb.load(tmp_path / "net.lumbre", recipe)):
        assert model.evaluate(test).metrics == model.evaluate([rows()[row] for row in test.rows]).metrics
        without = [{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows()]
        assert torch.equal(model.predict(without), model.predict(tokens()[0]))
        assert torch.equal(model.predict(rows()), model.predict(tokens()[0]))
        assert set(model.predict_classes(rows())) <= {"low", "middle", "high"}
        assert len(model.compare(test)) == 10
        assert model.evaluate(lb.data.weighted(rows(), [1.0] * 20 + [0.0] * 20)).metrics == pytest.approx(
            model.evaluate(rows()[:20]).metrics
        )


def test_the_only_other_part_is_the_input_itself() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    pictures = [{"image": row.tolist(), "label": int(row[0] > 0)} for row in x]
    net = lb.setup(lambda: nn.Linear(4, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = net.fit(lb.data.from_dicts(pictures, target="label"), **IN_ROWS)
    expected = net.fit((x, (x[:, 0] > 0).long()), **IN_ROWS)
    assert torch.equal(fitted.model.weight, expected.model.weight)
    assert torch.equal(fitted.predict(pictures), expected.predict(x))
    assert torch.equal(fitted.predict([{"image": row} for row in x]), expected.predict(x))


def test_several_targets_and_floats() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    table = [{"a": row.tolist(), "up": float(row[0]), "side": float(row[1])} for row in x]
    data = lb.data.from_dicts(table, target=["up", "side"])
    input, target = next(iter(DataLoader(data, batch_size=4)))
    assert (input.dtype, target["up"].dtype) == (torch.float32, torch.float32)

    def loss(pred: Tensor, target: dict[str, Tensor]) -> Tensor:
        return (pred[:, 0] - target["up"]).square().mean() + (pred[:, 1] - target["side"]).square().mean()

    net = lb.setup(lambda: nn.Linear(4, 2), loss=loss, optimizer=optim.SGD)
    expected = net.fit((x, {"up": x[:, 0], "side": x[:, 1]}), **IN_ROWS)
    assert torch.equal(net.fit(data, **IN_ROWS).model.weight, expected.model.weight)


def test_dicts_without_a_target() -> None:
    def loss(pred: Tensor, target: None) -> Tensor:
        return pred.square().mean()

    net = lb.setup(Reader, loss=loss, optimizer=optim.SGD)
    inputs = [{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows()]
    fitted = net.fit(lb.data.from_dicts(inputs, target=None), **IN_ROWS)
    assert torch.equal(fitted.model.last.weight, net.fit((tokens()[0], None), **IN_ROWS).model.last.weight)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (rows, {"target": "labels"}, r"'text' of the class str in a row.*features=\['input_ids', 'attention_mask'\]"),
        (few, {"target": "label"}, "no 'label' in a dict of .*'labels'.*Did you mean 'labels'"),
        (few, {"target": "labels", "features": ["ids"]}, "no 'ids'"),
        (columns, {"target": "label"}, "no 'label'"),
        (lambda: [(1, 2), (3, 4)], {"target": "labels"}, "rows of the class tuple.*rows that are dicts"),
    ],
)
def test_what_is_not_there_is_said(data: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(lb.DataError, match=f"(?s){words}"):
        lb.data.from_dicts(data(), **options)


def test_a_name_that_batches_lack_is_said() -> None:
    for make in (Batches, Stream, lambda: DataLoader(Rows(few()), batch_size=8)):
        with pytest.raises(lb.DataError, match="no 'label' in a dict of"):
            recipe.fit(lb.data.from_dicts(make(), target="label"), **OPTIONS)


class Column(Sequence[Any]):
    """A column as `Dataset["column"]` of Hugging Face gives it: a sequence that is no list."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Any:
        return self.values[rows]


@pytest.mark.parametrize("form", [Column, tuple, lambda values: {"all": Column(values)}["all"]])
def test_columns_of_a_data_set(form: Any) -> None:
    parts, labels = tokens()
    ids = parts["input_ids"] / 20
    net = lb.setup(lambda: nn.Linear(6, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    expected = net.fit((ids, labels), **IN_ROWS)
    fitted = net.fit((Column(ids.tolist()), form(labels.tolist())), **IN_ROWS)
    assert torch.equal(fitted.model.weight, expected.model.weight)
    for rows in (list(ids), list(ids.numpy()), ids, ids.numpy()):  # formats in which it gives them
        other = net.fit((Column(rows), form(labels.tolist())), **IN_ROWS)
        assert torch.equal(other.model.weight, expected.model.weight)


def test_a_sequence_of_pairs_stays_rows() -> None:
    parts, labels = tokens()
    pairs = [(x, int(y)) for x, y in zip(parts["input_ids"] / 20, labels, strict=True)]
    net = lb.setup(lambda: nn.Linear(6, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    assert torch.equal(net.fit(Column(pairs), **IN_ROWS).model.weight, net.fit(pairs, **IN_ROWS).model.weight)


class RowsOfFrames:
    """As a data set of Hugging Face in the format of pandas."""

    def with_format(self, kind: str) -> Any:
        raise AssertionError(kind)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [1.0], "y": [row]})


def test_frames_in_the_place_of_rows_name_the_way_out() -> None:
    with pytest.raises(lb.DataError, match=r'DataFrame[\s\S]*data\.with_format\("torch"\)'):
        lb.data.from_dicts(RowsOfFrames(), target="y")
    with pytest.raises(lb.DataError, match=r"DataFrame[\s\S]*from_frame\(frame, target='y'\)"):
        lb.data.from_dicts(pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]}), target="y")
