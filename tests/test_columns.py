"""A model trained on the columns of a frame knows them: arrays are refused, and its files say how they are encoded."""

import json
from pathlib import Path
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


def exported(fitted: lb.Fitted, path: Path) -> tuple[Any, dict[str, Any]]:
    fitted.export(path)
    files = {"lumbre.json": ""}
    return torch.export.load(path, extra_files=files).module(), json.loads(files["lumbre.json"])


def test_a_file_of_numbers_takes_the_columns(
    fitted: lb.Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, told = exported(fitted, tmp_path / "net.pt2")
    assert "takes the columns bill_length_mm, bill_depth_mm" in capsys.readouterr().out
    for rows in (1, 2, 333):
        frame = penguins().iloc[:rows]
        torch.testing.assert_close(program(raw()[0][:rows]), fitted.predict(frame), rtol=1e-4, atol=1e-4)
    assert told["takes"] == "columns"
    assert told["classes"] == list(fitted.classes or ())
    assert [one["name"] for one in told["features"]] == FEATURES
    np.testing.assert_allclose([one["center"] for one in told["features"]], penguins()[FEATURES].mean())
    fitted.export(tmp_path / "again.pt2", penguins())
    torch.testing.assert_close(torch.export.load(tmp_path / "again.pt2").module()(raw()[0]), program(raw()[0]))


def test_numbers_far_from_zero_and_booleans_keep_their_digits(tmp_path: Path) -> None:
    frame = pd.DataFrame({"far": np.arange(50.0) + 4_000_000, "yes": np.arange(50) % 3 == 0, "same": 7.0})
    frame["y"] = np.sin(np.arange(50.0))
    recipe = lb.setup(nn.Linear(3, 1), loss=lambda pred, y: (pred[:, 0] - y).square().mean(), optimizer=optim.SGD)
    for standardize in (True, False):
        data = lb.data.from_frame(frame, target="y", standardize=standardize)
        fitted = recipe.fit(data, epochs=1, preflight=False, verbose=False)
        program, _ = exported(fitted, tmp_path / "net.pt2")
        columns = torch.tensor(frame[["far", "yes", "same"]].to_numpy("float32"))
        torch.testing.assert_close(program(columns), fitted.predict(frame), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("categories", ["one-hot", "codes"])
def test_a_file_of_categories_says_how_to_encode_them(
    categories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.islands, self.scores = nn.Embedding(3, 3), nn.Linear(2, 3)

        def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            return self.scores(numbers) + self.islands(codes[:, 0])

    frame, features = penguins(), ["bill_length_mm", "island", "body_mass_g"]
    data = lb.data.from_frame(frame, target="species", features=features, categories=categories)
    module = nn.Linear(5, 3) if categories == "one-hot" else Net()
    recipe = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    fitted = recipe.fit(data, epochs=1, preflight=False, verbose=False)
    program, told = exported(fitted, tmp_path / "net.pt2")
    assert "takes encoded columns" in capsys.readouterr().out
    assert (told["takes"], told["categories"]) == ("encoded", categories)
    numbers, codes = [], []
    for one in told["features"]:  # as a program without lumbre would
        if one["kind"] == "category":
            codes.append(torch.tensor([one["levels"].index(value) for value in frame[one["name"]]]))
        else:
            numbers.append(torch.tensor(((frame[one["name"]] - one["center"]) / one["scale"]).to_numpy("float32")))
    if categories == "codes":
        found = program(torch.stack(numbers, 1), torch.stack(codes, 1))
    else:
        island = nn.functional.one_hot(codes[0], 3).float()
        found = program(torch.cat([numbers[0][:, None], island, numbers[1][:, None]], 1))
    torch.testing.assert_close(found, fitted.predict(frame), rtol=1e-4, atol=1e-5)


def test_onnx_takes_the_columns_too(fitted: lb.Fitted, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    fitted.export(tmp_path / "net.onnx")
    running = runtime.InferenceSession(tmp_path / "net.onnx")
    found = running.run(None, {"input": raw()[0].numpy()})[0]
    np.testing.assert_allclose(found, fitted.predict(penguins()), rtol=1e-4, atol=1e-4)
    metadata = {one.key: one.value for one in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert json.loads(metadata["lumbre.json"])["takes"] == "columns"
