"""Data as scikit-learn, SciPy and torch hold it; parts of `lb.split` as torch Datasets."""

from collections import OrderedDict, UserDict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import lumbre as lb
from conftest import blobs
from lumbre.data import _accept


class Squares(Dataset[Any]):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.tensor([float(row), float(row) ** 2]), row % 3


@pytest.mark.parametrize("data", [TensorDataset(*blobs(20)), blobs(20), Squares(), blobs(20)[0].numpy()])
def test_parts_are_datasets(data: Any) -> None:
    part, rest = lb.split(data, 0.7, 0.3)
    assert isinstance(part, Dataset)
    assert (len(part), len(rest), len(list(part))) == (14, 6, 14)
    first = part[0] if isinstance(part[0], tuple) else (part[0],)
    batch = next(iter(DataLoader(part, batch_size=5)))
    batch = batch if isinstance(batch, list) else [batch]
    assert all(torch.equal(torch.as_tensor(one), many[0]) for one, many in zip(first, batch, strict=True))
    two = next(iter(DataLoader(Subset(part, [0, 1]), batch_size=2)))
    assert len(two[0] if isinstance(two, list) else two) == 2
    assert len(part + rest) == len(ConcatDataset([part, rest])) == 20
    assert str(part[-1]) == str(part[13])
    with pytest.raises(IndexError):
        part[14]
    assert repr(part).startswith("14 of 20 rows of ")


@pytest.mark.parametrize("data", [blobs(20), Squares(), (torch.arange(20.0).numpy()[:, None], None)])
@pytest.mark.parametrize(
    "several",
    [[1, 2], [-1, 0], slice(2, 4), slice(None, None, -3), (3, 3), np.array([5, 0]), torch.tensor([7]), range(4), []],
)
def test_several_rows_of_a_part_are_a_batch(data: Any, several: Any) -> None:
    part, _ = lb.split(data, 0.7, 0.3)
    numbers = range(14)[several] if isinstance(several, slice) else [int(one) for one in several]
    if not len(numbers) and isinstance(data, Squares):
        return
    given = part[several]
    for one, place in zip([part[number] for number in numbers], range(len(numbers)), strict=True):
        pairs = zip(one, given, strict=True) if isinstance(one, tuple) else [(one, given)]
        assert all(torch.equal(torch.as_tensor(row), rows[place]) for row, rows in pairs)
    first = given[0] if isinstance(given, tuple) else given
    assert len(first) == len(numbers)


def test_what_is_no_index_of_rows_is_refused() -> None:
    part, _ = lb.split(blobs(20), 0.7, 0.3)
    mask = torch.arange(14) % 2 == 0
    assert torch.equal(part[mask][0], part[::2][0])
    assert torch.equal(part[mask.tolist()][1], part[mask.numpy()][1])
    for wrong in ("x", 1.5, None, torch.ones(3, dtype=torch.bool), [0.5], [[1, 2]], {"a": 1}):
        with pytest.raises(lb.DataError, match="as an index of rows"):
            part[wrong]
    for wrong in ([14], [-15], 14, -15, torch.tensor(14)):
        with pytest.raises(IndexError):
            part[wrong]


def penguins() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    kinds = np.array(["a", "b", "c", "a"] * 10)
    mass = generator.normal(50, 9, 40)
    return pd.DataFrame({"mass": mass, "sea": kinds, "y": np.where(mass > 50, "high", "low")})


LIBRARIES = {
    "pandas": lambda frame: frame.set_index(np.arange(40)[::-1]),
    "polars": lambda frame: pytest.importorskip("polars").from_pandas(frame),
    "pyarrow": lambda frame: pytest.importorskip("pyarrow").Table.from_pandas(frame),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_parts_of_frame_data_are_datasets(library: str) -> None:
    data = lb.data.from_frame(LIBRARIES[library](penguins()), target="y")
    part, rest = lb.split(data, 0.75, 0.25)
    x, y = part[3]
    assert (tuple(x.shape), y.dtype) == ((4,), torch.int64)
    assert x[0] == torch.tensor(part.column("mass")[3], dtype=torch.float32), "as it was measured"
    assert torch.equal(part[[3, 1]][0][0], x)
    batch = next(iter(DataLoader(part, batch_size=5)))
    assert torch.equal(batch[0], part[:5][0])
    assert torch.equal(batch[1], part[:5][1])
    assert torch.equal(next(iter(DataLoader(Subset(part, [3, 4]))))[0][0], x)
    assert torch.equal((part + rest)[30][0], rest[0][0])
    assert len(list(part)) == 30
    with pytest.raises(IndexError):
        part[30]


def frame_fit(data: Any, **options: Any) -> lb.Fitted:
    recipe = lb.setup(lambda: nn.Linear(4, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    return recipe.fit(data, epochs=2, verbose=False, **options)


@pytest.mark.parametrize("library", LIBRARIES)
def test_chosen_and_joined_frame_data_are_encoded_as_frame_data(library: str) -> None:
    data = lb.data.from_frame(LIBRARIES[library](penguins()), target="y")
    part, rest = lb.split(data, 0.75, 0.25)
    whole = frame_fit(part)
    for one in (Subset(part, range(30)), Subset(Subset(data, range(40)), part_rows(data, part)), ConcatDataset([part])):
        fitted = frame_fit(one, valid_data=Subset(rest, range(10)))
        assert torch.equal(fitted.model.weight, whole.model.weight)
        assert fitted.evaluate(Subset(rest, range(10))).metrics == whole.evaluate(rest).metrics
        assert torch.equal(fitted.predict(rest + rest)[:10], whole.predict(rest))
    rejoined = frame_fit(ConcatDataset([Subset(part, range(10)), Subset(part, range(10, 30))]))
    assert torch.equal(rejoined.model.weight, whole.model.weight)


def part_rows(data: Any, part: Any) -> list[int]:
    places = {value: row for row, value in enumerate(data.column("mass"))}
    return [places[value] for value in part.column("mass")]


def test_other_wrappers_of_frame_data_are_refused() -> None:
    part, rest = lb.split(lb.data.from_frame(penguins(), target="y"), 0.75, 0.25)
    other = lb.data.from_frame(penguins(), target="y", features=["mass"])
    fitted = frame_fit(part)
    for wrong in (
        DataLoader(part),
        DataLoader(Subset(part, [0, 1])),
        ConcatDataset([part, TensorDataset(*part[:3])]),
        ConcatDataset([part, other]),
        Subset(ConcatDataset([part, other]), [0, 1]),
    ):
        with pytest.raises(lb.DataError, match="of frame data, whose numbers come as they were measured"):
            frame_fit(wrong)
        with pytest.raises(lb.DataError, match="as they were measured"):
            fitted.evaluate(wrong)
    assert len(fitted.predict(rest)) == 10


def loss(data: Any) -> float:
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    return recipe.fit(data, epochs=2, verbose=False).history.value.iloc[-1]


def test_a_bunch_of_scikit_learn() -> None:
    iris = pytest.importorskip("sklearn.datasets").load_iris
    expected = loss((iris().data, iris().target))
    assert loss(iris()) == loss(iris(as_frame=True)) == expected
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = recipe.fit(iris(), epochs=1, verbose=False)
    assert set(fitted.predict_classes(iris().data)) <= {"setosa", "versicolor", "virginica"}


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "coo_array", "lil_matrix"])
@pytest.mark.parametrize("large", [False, True])
def test_a_sparse_matrix(form: str, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    if large:
        monkeypatch.setattr(_accept, "_MOST_DENSE", 0)
    x, y = blobs()
    x = x * (x > 0)
    assert loss((getattr(sparse, form)(x.numpy()), y)) == pytest.approx(loss((x, y)), rel=1e-6)


def test_rows_that_are_dicts() -> None:
    x, y = blobs()
    assert loss([{"x": a, "y": int(b)} for a, b in zip(x, y, strict=True)]) == loss((x, y))
    assert loss([{"input": a, "target": int(b)} for a, b in zip(x, y, strict=True)]) == loss((x, y))


class Graph:
    """A batch of graphs as torch_geometric has it: one object, whose target is inside."""

    def __init__(self, x: Tensor, y: Tensor | None, **parts: Any) -> None:
        self.x, self.y = x, y
        vars(self).update(parts)

    def to(self, device: Any) -> "Graph":
        return self


class Graphs:
    """A loader of such batches."""

    def __init__(self, data: tuple[Tensor, Tensor], form: Any = Graph) -> None:
        self.batches = list(zip(*(part.split(16) for part in data), strict=True))
        self.form = form

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return (self.form(x, y) for x, y in self.batches)


class WebLoader(IterableDataset[Any]):
    """As webdataset has it: a stream by its class, of ready batches."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


def test_the_loader_of_webdataset_gives_batches() -> None:
    x, y = blobs()
    batches = list(zip(x.split(16), y.split(16), strict=True))
    assert loss(WebLoader(batches)) == loss(DataLoader(TensorDataset(x, y), batch_size=16))


class Layer(nn.Linear):
    def forward(self, input: Any) -> Tensor:
        return super().forward(input if isinstance(input, Tensor) else input.x)


def own_loss(pred: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(pred, target)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), own_loss])
def test_the_target_inside_a_batch_of_graphs_is_taken(loss: Any) -> None:
    data = blobs(70)
    recipe = lb.setup(lambda: Layer(4, 3), loss=loss, optimizer=optim.SGD, metrics=lb.metrics.Accuracy())
    options: dict[str, Any] = {"epochs": 2, "verbose": False, "callbacks": lb.callbacks.Accumulate(2)}
    graphs = recipe.fit(Graphs(data), **options)
    tensors = recipe.fit(DataLoader(TensorDataset(*data), batch_size=16), **options)
    assert torch.equal(graphs.model.weight, tensors.model.weight)
    assert [*graphs.history.value] == pytest.approx([*tensors.history.value])
    assert graphs.evaluate(Graphs(data)).metrics == pytest.approx(tensors.evaluate(data).metrics)
    assert torch.equal(graphs.predict(Graphs(data)), tensors.predict(data))
    assert torch.equal(graphs.predict(Graphs(data, lambda x, _: Graph(x, None))), tensors.predict(data))


@pytest.mark.parametrize("mask", ["train_mask", "input_id"])
def test_graphs_of_which_some_nodes_count_are_refused(mask: str) -> None:
    recipe = lb.setup(lambda: Layer(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    with pytest.raises(lb.DataError, match=f"a Graph with y and {mask}, so that not all of its nodes count"):
        recipe.fit(Graphs(blobs(70), lambda x, y: Graph(x, y, **{mask: y > 0})), epochs=1, verbose=False)


def test_graphs_that_are_no_batches_are_refused_in_words() -> None:
    rows = [Graph(x, y) for x, y in zip(*blobs(20), strict=True)]
    recipe = lb.setup(lambda: Layer(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    with pytest.raises(lb.DataError, match="rows of the class Graph"):
        recipe.fit(rows, epochs=1, verbose=False)


class Out(OrderedDict[str, Tensor]):
    """An output as transformers has it: a dict with attributes."""

    def __setitem__(self, key: str, value: Tensor) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Out:
        out = Out()
        logits = self.last((self.table(input_ids) * attention_mask[..., None]).mean(1))
        if labels is not None:
            out["loss"] = nn.functional.cross_entropy(logits, labels)
        out["logits"] = logits
        return out


def texts() -> list[dict[str, Tensor]]:
    tokens = torch.randint(0, 20, (40, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": one, "attention_mask": torch.ones(6), "labels": one[0] % 3} for one in tokens]


class Rows(Dataset[Any]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return texts()[row]


class Encoding(UserDict[str, Tensor]):
    """What tokenizers give: a mapping that is no dict."""


class Batches:
    """A loader of batches that are made already."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


def encoded(form: Any) -> Batches:
    rows = texts()
    stacked = [{key: torch.stack([row[key] for row in rows[at : at + 8]]) for key in rows[0]} for at in (0, 8)]
    return Batches([form(batch) for batch in stacked])


@pytest.mark.parametrize("data", [Rows(), texts(), DataLoader(Rows(), batch_size=8)])
def test_a_module_that_computes_its_loss(data: Any) -> None:
    seen: list[type] = []

    class Look(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            seen.append(type(ctx.pred))
            assert not ctx.pred.logits.requires_grad

    recipe = lb.setup(Reader, loss=lambda pred, target: pred.loss, optimizer=optim.SGD)
    options = {} if isinstance(data, DataLoader) else {"batch_size": 8, "shuffle": False}
    fitted = recipe.fit(data, epochs=1, verbose=False, callbacks=Look(), **options)
    net = Reader()
    net.load_state_dict(recipe.set_opt_hparams(lr=0.0).fit(data, epochs=1, verbose=False, **options).model.state_dict())
    optimizer = optim.SGD(net.parameters())
    for at in range(0, 40, 8):
        optimizer.zero_grad()
        net(**{key: torch.stack([row[key] for row in texts()[at : at + 8]]) for key in texts()[0]}).loss.backward()
        optimizer.step()
    torch.testing.assert_close(fitted.model.state_dict(), net.state_dict())
    assert set(seen) == {Out}


def test_mappings_that_are_no_dicts_are_dicts() -> None:
    recipe = lb.setup(Reader, loss=lambda pred, target: pred["loss"], optimizer=optim.SGD)
    one = recipe.fit(encoded(Encoding), epochs=1, verbose=False)
    other = recipe.fit(encoded(dict), epochs=1, verbose=False)
    assert torch.equal(one.model.last.weight, other.model.last.weight)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.functional.cross_entropy])
def test_labels_inside_a_row_are_said(loss: Any) -> None:
    with pytest.raises(lb.LumbreError, match=r"from_dicts\(.*labels.\).*; or loss=lambda pred, target: pred"):
        lb.setup(Reader, loss=loss, optimizer=optim.SGD).fit(Rows(), epochs=1, verbose=False)
    pictures = [{"image": x, "label": int(y)} for x, y in zip(*blobs(20), strict=True)]
    with pytest.raises(lb.LumbreError, match=r"from_dicts\(data, target='label'\)"):
        lb.setup(lambda: nn.Linear(4, 3), loss=loss, optimizer=optim.SGD).fit(pictures, epochs=1, verbose=False)
    pairs = [({key: row[key] for key in row if key != "labels"}, row["labels"]) for row in texts()]
    with pytest.raises(
        lb.LumbreError, match=r"returns its scores: forward\(\.\.\.\): return self.net\(\.\.\.\)\['logits'\]"
    ):
        lb.setup(Reader, loss=loss, optimizer=optim.SGD).fit(pairs, epochs=1, verbose=False)
    with pytest.raises(lb.RecipeError, match=r"for a module that computes its own"):
        lb.setup(Reader, optimizer=optim.SGD)


class Pair(NamedTuple):
    y: Tensor
    x: Tensor


def test_named_tuples_are_read_by_their_names() -> None:
    x, y = blobs()
    assert loss([Pair(b, a) for a, b in zip(x, y, strict=True)]) == loss((x, y))
    batches = list(zip(x.split(16), y.split(16), strict=True))
    assert loss(Batches([Pair(b, a) for a, b in batches])) == loss(Batches(batches))
