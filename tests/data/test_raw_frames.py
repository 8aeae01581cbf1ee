"""A frame that is given as the input, without from_frame: its columns are known by their names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import nn, optim

import lumbre as lb
from lumbre.base import DataError

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60), "c": RNG.random(60) < 0.5})
Y = (3 * FRAME["a"] - FRAME["b"]).to_numpy().astype(np.float32)[:, None]
LIBRARIES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


def fit(data: Any, **options: Any) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.Adam).set_hparams(in_features=3, out_features=1)
    return recipe.fit(data, epochs=1, verbose=False, **options)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("form", ["pair", "dict", "split", "fraction", "valid"])
def test_columns_are_matched_by_their_names(library: str, form: str) -> None:
    make = LIBRARIES[library]
    pair, options = (make(FRAME), Y), {}
    data: Any = {"x": make(FRAME), "y": Y} if form == "dict" else pair
    if form == "split":
        data, _ = lb.split(pair, 0.8, 0.2)
    if form == "fraction":
        options = {"valid_data": 0.2}
    if form == "valid":
        options = {"valid_data": (make(FRAME[["c", "b", "a"]]), Y)}
    fitted = fit(data, **options)
    expected = fitted.predict(make(FRAME))
    turned = make(FRAME[["c", "b", "a"]].assign(more="text"))
    assert torch.equal(fitted.predict(turned), expected)
    assert torch.equal(fitted.predict((turned, Y)), expected)
    assert fitted.evaluate((turned, Y)).metrics == fitted.evaluate((make(FRAME), Y)).metrics
    renamed = make(FRAME.rename(columns={"a": "A"}))
    for call in (lambda: fitted.predict(renamed), lambda: fitted.evaluate((renamed, Y))):
        with pytest.raises(DataError, match="missing: a"):
            call()
    # Numbers without names are those of the columns, in their order.
    torch.testing.assert_close(fitted.predict(FRAME.to_numpy(dtype=np.float32)), expected)


def test_the_names_are_in_the_file(tmp_path: Path) -> None:
    fitted = fit((FRAME, Y))
    fitted.save(tmp_path / "a.lumbre")
    again = lb.load(tmp_path / "a.lumbre", nn.Linear)
    assert torch.equal(again.predict(FRAME[["b", "c", "a"]]), fitted.predict(FRAME))
    with pytest.raises(DataError, match="missing: c"):
        again.predict(FRAME[["a", "b"]])


def test_a_target_beside_the_frame_is_read_as_that_of_the_training() -> None:
    whole = FRAME.assign(kind=np.where(Y[:, 0] > 0, "up", "down"))
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    recipe = recipe.set_hparams(in_features=3, out_features=2)
    fitted = recipe.fit(lb.data.from_frame(whole, target="kind"), epochs=1, verbose=False)
    expected = fitted.evaluate(whole).metrics
    assert fitted.evaluate((whole[["c", "a", "b"]], whole["kind"])).metrics == expected
    assert fitted.evaluate((whole[["c", "a", "b"]], whole[["kind"]])).metrics == expected
    assert fitted.evaluate((whole, (Y[:, 0] > 0).astype(int))).metrics == expected
    with pytest.raises(DataError, match="sideways"):
        fitted.evaluate((whole, pd.Series(["sideways"] * 60)))
