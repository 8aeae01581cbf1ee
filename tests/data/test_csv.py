"""CSV files become what the frame in them becomes."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn, optim

import lumbre as lb
from lumbre.base import DataError, OptionError


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": [1.5, -2.0, 3.0, 0.25, 8.0, 1.0] * 10,
            "count": [3, 1, 4, 1, 5, 9] * 10,
            "wild": [True, False, True, True, False, False] * 10,
            "colour": ["red", "green", "red", "a, b", "green", "red"] * 10,
            "kind": ["b", "a", "b", "b", "a", "a"] * 10,
        }
    )


def test_a_file_is_its_frame(tmp_path: Path) -> None:
    for name, separator in (("a.csv", ","), ("a.csv.gz", ";")):
        table().to_csv(tmp_path / name, index=False, sep=separator)
        options = {"target": "kind", "categories": "codes", "standardize": False, "unknown": "ignore"}
        found = lb.data.from_csv(tmp_path / name, separator=separator, **options)
        assert found.encoding == lb.data.from_frame(table(), **options).encoding
        made = found.encoding.encode(found.frame, need_target=True)
        expected = found.encoding.encode(table(), need_target=True)
        assert torch.equal(made.input["numbers"], expected.input["numbers"])
        assert torch.equal(made.input["codes"], expected.input["codes"])
        assert torch.equal(made.target, expected.target)


def test_columns_that_are_not_asked_for_are_not_kept(tmp_path: Path) -> None:
    table().assign(day=pd.NaT).to_csv(tmp_path / "a.csv", index=False)
    data = lb.data.from_csv(tmp_path / "a.csv", target="kind", features=["wild", "size"])
    assert list(data.frame.columns) == ["size", "wild", "kind"]
    assert [column.name for column in data.encoding.features] == ["wild", "size"]


def test_fit_and_predict(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "a.csv", index=False)
    data = lb.data.from_csv(str(tmp_path / "a.csv"), target="kind", features=["wild", "size"])
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=2, out_features=2).set_opt_hparams(lr=0.1)
    fitted = recipe.fit(data, epochs=20, ignore="LB043", verbose=False)
    assert fitted.predict_classes(table()).tolist() == fitted.predict_classes(data).tolist()
    assert fitted.evaluate(data).metrics["acc"] > 0.7


def test_what_is_not_there_or_no_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        lb.data.from_csv(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="a CSV file"):
        lb.data.from_csv(tmp_path)
    for name, content in (
        ("empty", b""),
        ("ragged", b"a,b\n1,2\n1,2,3\n"),
        ("shifted", b"a,b\n1,2,3\n"),
        ("binary", b"a,b\n\xff\xfe,2\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}, which cannot be read"):
            lb.data.from_csv(tmp_path / name)
    table().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="Did you mean 'colour'"):
        lb.data.from_csv(tmp_path / "a.csv", features=["color"])
    with pytest.raises(OptionError, match="one-hot"):
        lb.data.from_csv(tmp_path / "a.csv", categories="onehot")
    (tmp_path / "holes.csv").write_text("a,b\n1,2\n,NA\n")
    with pytest.raises(DataError, match="1 in 'a', 1 in 'b'"):
        lb.data.from_csv(tmp_path / "holes.csv")
    with pytest.raises(DataError, match=r"lumbre\.data\.from_csv\(path"):
        lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.Adam).fit(str(tmp_path / "a.csv"))


def test_a_column_without_a_name_that_counts_rows_is_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    frame.to_csv(tmp_path / "a.csv")  # with the index
    assert [one.name for one in lb.data.from_csv(tmp_path / "a.csv", target="y").encoding.features] == ["x"]
    pd.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "b.csv")  # and once more
    assert [one.name for one in lb.data.from_csv(tmp_path / "b.csv", target="y").encoding.features] == ["x"]
    assert lb.data.from_csv(tmp_path / "a.csv", target="y", features=["Unnamed: 0", "x"]).width == 2
