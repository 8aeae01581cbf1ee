"""A query that finds nothing: predictions of no rows have the form of those of some; nothing is judged or learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import Subset, TensorDataset

import lumbre as lb

X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.arange(8) % 3
FRAME = pd.DataFrame({"size": np.arange(8.0), "kind": list("abababab"), "y": list("uvwuvwuv")})


class Two(nn.Module):
    """Gives a dict, and cannot flatten an input without rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.table = nn.Embedding(3, 3)

    def forward(self, x: Tensor, codes: Tensor) -> dict[str, Tensor]:
        return {"scores": self.layer(x.view(len(x), -1)) + self.table(codes), "seen": x}


def recipe(module: Any = lambda: nn.Linear(3, 3), loss: Any = None) -> Any:
    return lb.setup(module, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=1e-3)


def of_tensors() -> Any:
    return recipe().fit((X, Y), epochs=1, verbose=False)


@pytest.mark.parametrize("none", [X[:0], X[:0].numpy(), (X[:0], Y[:0]), Subset(TensorDataset(X, Y), [])])
def test_no_rows_are_predicted_in_the_form_of_some(none: Any) -> None:
    fitted = of_tensors()
    for verb in ("predict", "predict_probabilities", "predict_response", "predict_classes"):
        some, found = getattr(fitted, verb)(X), getattr(fitted, verb)(none)
        assert (type(found), found.shape, found.dtype) == (type(some), (0, *some.shape[1:]), some.dtype)


@pytest.mark.parametrize("frame", [FRAME.iloc[:0], pl.DataFrame(FRAME).head(0), pd.DataFrame(columns=["kind", "size"])])
def test_frames_without_rows(frame: Any) -> None:
    rows = lb.data.from_frame(FRAME, target="y")
    fitted = recipe().fit(rows, epochs=1, verbose=False)
    assert fitted.predict(frame).shape == (0, 3)
    assert fitted.predict_classes(frame).tolist() == []
    assert fitted.predict(rows.take(torch.arange(0))).shape == (0, 3)


def test_structures_and_files_without_rows(tmp_path: Path) -> None:
    def loss(output: dict[str, Tensor], y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output["scores"], y)

    fitted = recipe(Two, loss).fit(((X, Y), Y), epochs=1, verbose=False)
    found: Any = fitted.predict(((X[:0], Y[:0]), None))
    assert {name: tuple(part.shape) for name, part in found.items()} == {"scores": (0, 3), "seen": (0, 3)}
    of_tensors().predict(X[:0], to=tmp_path / "none.parquet")
    written = pd.read_parquet(tmp_path / "none.parquet")
    assert written.shape == (0, 3)
    assert written.dtypes.tolist() == [np.float32] * 3


def test_nothing_is_judged_or_learned_of_no_rows() -> None:
    fitted, none = of_tensors(), (X[:0], Y[:0])
    tries: list[Any] = [
        lambda: recipe().fit(none, epochs=1, verbose=False),
        lambda: recipe().fit((X, Y), valid_data=none, epochs=1, verbose=False),
        lambda: recipe().check(none),
        lambda: recipe().fit(lb.data.InMemoryDataset(*none), epochs=1, verbose=False),
        lambda: lb.split(none, 0.5, 0.5),
        lambda: fitted.evaluate(none),
        lambda: fitted.compare(none),
        lambda: fitted.export("never.pt2", X[:0]),
    ]
    for one in tries:
        with pytest.raises(lb.DataError, match="data without rows: tensor of shape"):
            one()
