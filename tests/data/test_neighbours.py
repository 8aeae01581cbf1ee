"""Data as scikit-learn, SciPy and torch hold it; parts of `lb.split` as torch Datasets."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

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
