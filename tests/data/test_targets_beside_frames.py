"""A target that comes beside a frame is that of the frame's column, whatever holds it: its labels, its units."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import TensorDataset

import lumbre as lb
from lumbre.base import DataError
from lumbre.data import from_frame

RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(7, 5, 40), "b": RNG.normal(size=40)})
LABELS: dict[str, list[Any]] = {
    "numbers": [3, 7, 9],
    "numbers from 1": [1, 2, 3],
    "places": [0, 1, 2],
    "fractions": [0.5, 1.5, 2.0],
    "words": ["u", "v", "w"],
    "codes": ["01", "02", "1"],
    "truth": [False, True],
}
HOLDERS: dict[str, Any] = {
    "array": np.asarray,
    "objects": lambda values: np.asarray(values).astype(object),
    "column": lambda values: np.asarray(values)[:, None],
    "list": lambda values: values.tolist(),
    "tuple": lambda values: tuple(values.tolist()),
    "index": pd.Index,
    "categorical": pd.Categorical,
    "arrow": pa.array,
    "polars": pl.Series,
    "tensor": torch.tensor,
}


def trained(frame: pd.DataFrame, loss: nn.Module, outputs: int, **options: Any) -> lb.Fitted:
    net = nn.Sequential(nn.Linear(2, outputs), *([nn.Flatten(0)] if outputs == 1 else []))
    recipe = lb.setup(net, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=1e-3)
    return recipe.fit(from_frame(frame, **options), epochs=1, verbose=False)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_those_of_the_training(kind: str) -> None:
    labels = np.array(LABELS[kind])
    values = labels[RNG.permutation(np.arange(40) % len(labels))]
    frame = X.assign(y=pd.Categorical(values))
    fitted = trained(frame, nn.CrossEntropyLoss(), len(labels), target="y")
    expected = fitted.evaluate(frame).metrics
    for name, holder in HOLDERS.items():
        if name != "tensor" or labels.dtype.kind != "U":
            assert fitted.evaluate((X, holder(values))).metrics == expected, name
    places = frame["y"].cat.codes.to_numpy()
    if kind in ("places", "words", "codes", "truth"):  # where numbers are no labels, they number the classes
        assert fitted.evaluate((X, places)).metrics == expected
    else:
        with pytest.raises(DataError, match="only the categories of the training data"):
            fitted.evaluate((X, places * 0 + 100))
    unseen = places * 0 + 100
    assert fitted.predict((X, unseen)).shape == (40, len(labels))  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_a_scaled_target_is_in_its_own_units(dtype: Any) -> None:
    frame = X.assign(y=(1000 + 50 * X["a"]).astype(dtype))
    fitted = trained(frame, nn.MSELoss(), 1, target="y", scale_target=True)
    expected = fitted.evaluate(frame).metrics["loss"]
    assert 0.01 < expected < 20  # in squared standard deviations
    for name, holder in HOLDERS.items():
        if name != "categorical":
            found = fitted.evaluate((X, holder(frame["y"].to_numpy()))).metrics["loss"]
            assert found == pytest.approx(expected, rel=1e-6), name


def test_several_targets_are_in_their_own_units_and_order() -> None:
    frame = X.assign(y=1000 + 50 * X["a"], z=X["b"] / 100)
    fitted = trained(frame, nn.MSELoss(), 2, target=["y", "z"], scale_target=True)
    expected = fitted.evaluate(frame).metrics["loss"]
    both = frame[["y", "z"]]
    forms: list[Any] = [both, both[["z", "y"]], both.to_numpy(), both.to_numpy().tolist(), Tensor(both.to_numpy())]
    for form in forms:
        assert fitted.evaluate((X, form)).metrics["loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match="1 masked values"):
        fitted.evaluate((X, np.ma.array(both.to_numpy(), mask=np.arange(80).reshape(40, 2) == 7)))


@pytest.mark.parametrize("kind", ["scaled", "labels"])
def test_arrays_alone_have_no_target_that_would_have_to_be_read(kind: str) -> None:
    """Features that are left as they are may come as an array; its target would be in other units, or other labels."""
    if kind == "scaled":
        frame = X.assign(y=1000 + 50 * X["a"])
        fitted = trained(frame, nn.MSELoss(), 1, target="y", standardize=False, scale_target=True)
    else:
        frame = X.assign(y=pd.Categorical(np.arange(40) % 3 + 1))
        fitted = trained(frame, nn.CrossEntropyLoss(), 3, target="y", standardize=False)
    values = X.to_numpy(dtype=np.float32)
    assert torch.equal(fitted.predict(values), fitted.predict(frame))  # type: ignore[arg-type]
    for data in (
        (values, frame["y"].to_numpy()),
        TensorDataset(torch.tensor(values), torch.tensor(frame["y"].tolist())),
    ):
        with pytest.raises(DataError, match="trained on the columns of a frame"):
            fitted.evaluate(data)
    raw = lb.setup(nn.Linear(2, 4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=1e-3)
    other = raw.fit((values, np.arange(40) % 3 + 1), epochs=1, verbose=False)
    with pytest.raises(DataError, match="trained on other data"):
        other.evaluate(from_frame(frame, target="y", standardize=False, scale_target=kind == "scaled"))


def test_a_model_trained_further_keeps_the_units_of_its_target() -> None:
    frame = X.assign(y=1000 + 50 * X["a"])
    fitted = trained(frame, nn.MSELoss(), 1, target="y", standardize=False, scale_target=True)
    far = frame.assign(y=frame["y"] * 1.5)
    further = fitted.fit(from_frame(far, target="y"), epochs=1, verbose=False)
    pred: Any = further.predict(far)
    errors = (pred.numpy() - far["y"].to_numpy()) / frame["y"].std(ddof=0)
    assert further.evaluate(far).metrics["loss"] == pytest.approx((errors**2).mean(), rel=1e-4)
