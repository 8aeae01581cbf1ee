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


def test_frame_data_is_not_scaled_by_itself_for_a_model_of_arrays(tmp_path: Path) -> None:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=3, out_features=1)
    x = FRAME.to_numpy().astype(np.float32)
    fitted = recipe.fit((x, Y), epochs=1, verbose=False, preflight=False)
    data = lb.data.from_frame(FRAME.assign(y=Y), target=["y"])
    for look in (fitted.predict, fitted.evaluate, fitted.compare):
        with pytest.raises(DataError, match="trained on other data"):
            look(data)
    with pytest.raises(DataError, match="trained on other data"):
        recipe.fit((x, Y), epochs=1, valid_data=data, verbose=False, preflight=False)
    ready = lb.data.from_frame(FRAME.assign(y=Y), target=["y"], standardize=False)
    assert torch.equal(fitted.predict(ready), fitted.predict(x))


class Two(nn.Module):
    """Two inputs, with weights that tell their columns from one another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.first(a) + self.second(b)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("form", ["tuple", "dict", "split", "fraction", "valid", "array"])
def test_frames_within_a_structure_are_matched_by_names_too(library: str, form: str, tmp_path: Path) -> None:
    make = LIBRARIES[library]
    names = {"a": ["a", "b"], "b": ["c", "a"]}

    def inputs(frame: pd.DataFrame, turned: bool = False) -> Any:
        parts = {key: make(frame[name[::-1] if turned else name]) for key, name in names.items()}
        if form == "array":
            parts["b"] = frame[names["b"]].to_numpy(dtype=np.float32)
        return parts if form == "dict" else tuple(parts.values())

    options: dict[str, Any] = {}
    data: Any = (inputs(FRAME), Y)
    if form == "split":
        data, _ = lb.split(data, 0.8, 0.2)
    elif form == "fraction":
        options = {"valid_data": 0.2}
    elif form == "valid":
        options = {"valid_data": (inputs(FRAME, turned=True), Y), "ignore": "LB041"}
    recipe = lb.setup(Two, loss=nn.MSELoss(), optimizer=optim.Adam)
    fitted = recipe.fit(data, epochs=1, verbose=False, **options)
    if form == "valid":
        assert fitted.history_wide["valid_loss"][0] == fitted.evaluate((inputs(FRAME), Y)).metrics["loss"]
    expected = fitted.predict((inputs(FRAME), None))
    fitted.save(tmp_path / "a.lumbre")
    for one in (fitted, lb.load(tmp_path / "a.lumbre", recipe)):
        assert torch.equal(one.predict((inputs(FRAME, turned=True), None)), expected)
        assert one.evaluate((inputs(FRAME, turned=True), Y)).metrics == fitted.evaluate((inputs(FRAME), Y)).metrics
        renamed = inputs(FRAME)
        first = make(FRAME[["a", "b"]].rename(columns={"a": "A"}))
        given = ({**renamed, "a": first} if form == "dict" else (first, renamed[1]), Y)
        for call in (one.predict, one.evaluate):
            with pytest.raises(DataError, match="missing: a"):
                call(given)


def test_a_target_of_several_columns_is_matched_by_names() -> None:
    both = pd.DataFrame({"u": Y[:, 0], "v": -2 * Y[:, 0]})
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.Adam)
    for x in (FRAME, FRAME.to_numpy(dtype=np.float32)):
        fitted = recipe.set_hparams(in_features=3, out_features=2).fit((x, both), epochs=1, verbose=False)
        expected = fitted.evaluate((x, both)).metrics
        assert fitted.evaluate((x, both[["v", "u"]])).metrics == expected
        assert fitted.predict((x, both[["v"]])).shape == (60, 2)
        with pytest.raises(DataError, match="missing: u"):
            fitted.evaluate((x, both[["v"]]))
