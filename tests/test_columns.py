"""A model trained on the columns of a frame knows them: arrays are refused, and its files say how they are encoded."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Subset, TensorDataset

import lumbre as lb

FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def penguins() -> pd.DataFrame:
    return lb.datasets.penguins(drop_missing=True)


@pytest.fixture(scope="module")
def fitted() -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=4, out_features=3).set_opt_hparams(lr=0.1)
    data = lb.data.from_frame(penguins(), target="species", features=FEATURES)
    return recipe.fit(data, epochs=10, verbose=False)


def raw() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor(penguins()[FEATURES].to_numpy("float32"))
    return x, torch.tensor(pd.Categorical(penguins()["species"]).codes.astype("int64"))


@pytest.mark.parametrize("loaded", [False, True])
def test_arrays_are_refused_by_a_model_of_columns(fitted: lb.Fitted, loaded: bool, tmp_path: Any) -> None:
    x, y = raw()
    if loaded:
        recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        fitted.save(tmp_path / "net.lumbre")
        fitted = lb.load(tmp_path / "net.lumbre", recipe)
    pairs = (x, y), (x.numpy(), y.numpy()), TensorDataset(x, y), DataLoader(TensorDataset(x, y)), [x, y]
    pairs = *pairs, Subset(TensorDataset(x, y), [0, 1]), [(x[0], y[0])], lb.split((x, y), 0.5, 0.5)[0]
    for data in pairs:
        for look in (fitted.predict, fitted.predict_classes, fitted.predict_probabilities, fitted.evaluate):
            with pytest.raises(lb.DataError, match="trained on the columns of a frame"):
                look(data)
        for look in (fitted.compare, fitted.examples, lambda data: fitted.report(tmp_path / "r.html", data)):
            with pytest.raises(lb.DataError, match="trained on the columns of a frame"):
                look(data)
        with pytest.raises(lb.DataError, match="trained on the columns of a frame"):
            lb.inspect.activations(fitted, data)
        with pytest.raises(lb.DataError, match="trained on the columns of a frame"):
            fitted.export(tmp_path / "net.pt2", data)
    for alone in (x, x.numpy(), x.tolist(), list(x), (x, None), {"x": x}):
        with pytest.raises(lb.DataError, match=r"pandas.DataFrame\(x, columns=\['bill_length_mm', "):
            fitted.predict(alone)


def test_arrays_are_refused_for_validation_too(fitted: lb.Fitted) -> None:
    recipe = lb.setup(nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    data = lb.data.from_frame(penguins(), target="species", features=FEATURES)
    with pytest.raises(lb.DataError, match="trained on the columns of a frame"):
        recipe.fit(data, valid_data=raw(), epochs=1, verbose=False)


def test_what_the_error_says_to_write_works(fitted: lb.Fitted) -> None:
    x, y = raw()
    expected = fitted.predict(penguins())
    torch.testing.assert_close(fitted.predict(pd.DataFrame(x.numpy(), columns=FEATURES)), expected)
    ready = torch.tensor(((x.double() - x.double().mean(0)) / x.double().std(0, unbiased=False)).numpy(), dtype=x.dtype)
    encoded = lb.data.InMemoryDataset(ready, y)
    torch.testing.assert_close(fitted.predict(encoded), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fitted.predict(DataLoader(encoded, 16)), expected, rtol=1e-4, atol=1e-4)
    assert fitted.evaluate(encoded).metrics["acc"] == fitted.evaluate(penguins()).metrics["acc"]
    assert np.mean(fitted.predict_classes(lb.data.InMemoryDataset(ready)) == penguins()["species"]) > 0.9
