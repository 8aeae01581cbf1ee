"""Tables with gaps, dates, long tails and many texts; targets that are scaled, or several."""

import datetime
import json
import zoneinfo
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn, optim

import lumbre as lb
from lumbre.base import DataError, OptionError
from lumbre.data import from_csv, from_frame, from_parquet
from lumbre.data._quantiles import quantiles

RNG = np.random.default_rng(0)
ROWS = 40
FULL = pd.DataFrame(
    {
        "size": RNG.normal(50, 9, ROWS),
        "count": RNG.integers(0, 9, ROWS),
        "wild": RNG.random(ROWS) < 0.5,
        "colour": RNG.choice(["red", "green", "blue"], ROWS),
        "when": pd.Timestamp("2023-03-01 04:30:00") + pd.to_timedelta(RNG.integers(0, 10**6, ROWS), unit="min"),
        "day": (pd.Timestamp("1969-12-30") + pd.to_timedelta(RNG.integers(0, 2000, ROWS), unit="D")),
        "y": RNG.normal(4000, 800, ROWS),
    }
)
GAPPED = ["size", "count", "wild", "colour", "when"]
LIBRARIES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}
OPTIONS: dict[str, Any] = {"target": "y", "missing": "indicate", "dates": "parts"}

# torch before 2.13 says so when it loads an exported program of its own.
READS_BUFFERS = pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")


def gapped(seed: int = 0, columns: list[str] | None = None) -> pd.DataFrame:
    rng, frame = np.random.default_rng(seed), FULL.astype({"count": "Int64", "wild": "boolean"})
    for name in GAPPED if columns is None else columns:
        frame.loc[rng.random(ROWS) < 0.25, name] = None
        frame.loc[3, name] = None
        frame.loc[4, name] = FULL.loc[4, name]
    return frame


class Line(nn.Module):
    """A linear layer; with one output its predictions are of shape (rows,)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.line = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x).squeeze(1)


def fit(data: Any, outputs: int = 1, **options: Any) -> lb.Fitted:
    recipe = lb.setup(Line, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=[lb.metrics.MAE(), lb.metrics.RMSE()])
    recipe = recipe.set_hparams(in_features=data.width, out_features=outputs).set_opt_hparams(lr=0.05)
    return recipe.fit(data, verbose=False, preflight=False, **{"epochs": 3, **options})


def test_a_gap_is_the_median_and_a_column_that_says_so() -> None:
    frame = pd.DataFrame({"a": [1.0, None, 5.0, 2.0], "b": [True, False, None, True], "c": ["u", None, "v", "u"]})
    data = from_frame(frame, missing="indicate", standardize=False)
    encoding = data.encoding.fitted(frame)
    assert encoding.encoded == ("a", "a missing", "b", "b missing", "c = u", "c = v", "c missing")
    assert data.width == 7
    assert encoding.encode(frame, need_target=False).input.tolist() == [
        [1, 0, 1, 0, 1, 0, 0],
        [2, 1, 0, 0, 0, 0, 1],
        [5, 0, 1, 1, 0, 1, 0],
        [2, 0, 1, 0, 1, 0, 0],
    ]
    codes = from_frame(frame, missing="indicate", categories="codes")
    made = codes.encoding.fitted(frame).encode(frame, need_target=False).input
    assert made["codes"].tolist() == [[0], [2], [1], [0]]
    assert made["numbers"].shape == (4, 4)
    assert codes.encoding.categories == {"c": 3}
    # Mean and spread are those of the values that are there.
    scaled = from_frame(frame, missing="indicate").encoding.fitted(frame)
    assert scaled.center == (pytest.approx(8 / 3),)
    with pytest.raises(DataError, match='missing="indicate"'):
        from_frame(frame)


@pytest.mark.parametrize("unknown", ["error", "ignore"])
def test_gaps_that_training_never_had(unknown: str) -> None:
    plain = FULL[["size", "colour", "y"]]
    encoding = from_frame(plain, target="y", missing="indicate", unknown=unknown).encoding.fitted(plain)
    for column in ("size", "colour"):
        holes = plain.copy()
        holes.loc[2, column] = None
        if unknown == "error":
            with pytest.raises(DataError, match=f"missing values in '{column}'"):
                encoding.encode(holes, need_target=False)
            continue
        row = encoding.encode(holes, need_target=False).input[2]
        if column == "colour":
            assert row[1:].tolist() == [0, 0, 0]
        else:
            expected = (plain["size"].median() - plain["size"].mean()) / plain["size"].std(ddof=0)
            assert row[0].item() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match="infinite"):
        from_frame(plain.assign(size=np.inf), missing="indicate")
    with pytest.raises(DataError, match="without a value"):
        from_frame(plain.assign(size=np.nan), missing="indicate")
    with pytest.raises(DataError, match="2 in 'y'"):
        from_frame(plain.assign(y=[None, None, *plain["y"][2:]]), target="y", missing="indicate")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 99),
    library=st.sampled_from(sorted(LIBRARIES)),
    turned=st.permutations(list(FULL.columns)),
    standardize=st.sampled_from([True, False, "robust"]),
    group=st.integers(1, ROWS),
)
def test_library_order_of_columns_and_chunks_do_not_matter(
    tmp_path: Path, seed: int, library: str, turned: list[str], standardize: Any, group: int
) -> None:
    frame = gapped(seed)
    features = [name for name in FULL.columns if name != "y"]
    expected = from_frame(frame, features=features, standardize=standardize, **OPTIONS)
    encoding = expected.encoding.fitted(frame)
    made = encoding.encode(frame, need_target=True)
    other = LIBRARIES[library](frame[turned])
    found = from_frame(other, features=features, standardize=standardize, **OPTIONS).encoding.fitted(other)
    assert found == encoding
    again = found.encode(other, need_target=True)
    assert again.input.numpy().tobytes() == made.input.numpy().tobytes()
    assert torch.equal(again.target, made.target)
    if library == "polars":
        parts = pl.concat([other[:7], other[7:]], rechunk=False)
        assert torch.equal(found.encode(parts, need_target=True).input, made.input)
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=group, index=False)
    levels = {"colour": encoding.features[3].levels}
    rows = from_parquet(tmp_path / "a.parquet", features=features, levels=levels, standardize=standardize, **OPTIONS)
    rows = rows.fitted()
    assert rows.encoding == encoding
    assert rows.fetch(range(ROWS), 1)[0].numpy().tobytes() == made.input.numpy().tobytes()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    standardize=st.sampled_from([True, "robust"]),
    column=st.sampled_from(["size", "count", "when", "day", "y", "wild"]),
)
def test_no_row_of_validation_moves_a_number_of_the_encoding(seed: int, standardize: Any, column: str) -> None:
    frame = gapped(seed)
    options = {**OPTIONS, "standardize": standardize, "scale_target": True}
    rows = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(ROWS)[:30]))
    outside = np.setdiff1d(np.arange(ROWS), rows.numpy())
    changed = frame.copy()
    changed.loc[outside, column] = {"when": pd.Timestamp("1999-01-01 01:00"), "day": pd.Timestamp("1960-01-01")}.get(
        column, {"wild": False, "count": 0}.get(column, 1e6)
    )
    data = from_frame(frame, **options)
    encoding = data.encoding.fitted(frame, rows)
    assert data.encoding.fitted(changed, rows) == encoding
    before, after = (encoding.encode(one, need_target=True) for one in (frame, changed))
    assert torch.equal(before.input[rows], after.input[rows])
    assert torch.equal(before.target[rows], after.target[rows])


def test_a_split_learns_from_its_training_rows_and_the_file_keeps_it(tmp_path: Path) -> None:
    frame = gapped()
    data = from_frame(frame, **OPTIONS)
    train, valid = lb.split(data, 0.75, 0.25, seed=3)
    by_parts = fit(train, valid_data=valid)
    assert by_parts._session.encoding == data.encoding.fitted(train.frame)
    by_share = fit(data, valid_data=0.25)
    assert by_share._session.encoding.fill != data.encoding.fitted(frame).fill
    for fitted in (by_parts, by_share):
        fitted.save(tmp_path / "a.lumbre")
        again = lb.load(tmp_path / "a.lumbre", Line)
        assert again._session.encoding == fitted._session.encoding
        assert torch.equal(again.predict(frame), fitted.predict(frame))
        frame.to_parquet(tmp_path / "a.parquet")
        assert torch.equal(again.predict(tmp_path / "a.parquet"), fitted.predict(frame))


@READS_BUFFERS
def test_the_penguins_go_in_with_their_incomplete_rows(tmp_path: Path) -> None:
    penguins = lb.datasets.penguins()
    assert (len(penguins), int(penguins.isna().any(axis=1).sum())) == (344, 11)
    data = from_frame(penguins, target="species", missing="indicate")
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=data.width, out_features=3).set_opt_hparams(lr=0.05)
    fitted = recipe.fit(data, epochs=20, valid_data=0.2, seed=1, verbose=False)
    assert fitted.evaluate(penguins).metrics["acc"] > 0.97
    assert len(fitted.predict(penguins)) == 344
    fitted.export(tmp_path / "a.pt2", penguins)
    found: dict[str, str] = {"lumbre.json": ""}
    torch.export.load(tmp_path / "a.pt2", extra_files=found)
    document = json.loads(found["lumbre.json"])
    assert document["takes"] == "encoded"
    assert len(document["encoded"]) == data.width
    of = {feature["name"]: feature for feature in document["features"]}
    assert of["sex"]["gaps"]
    assert of["body_mass_g"]["fill"] > 3000
    assert not of["year"]["gaps"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_dates_become_their_parts(library: str) -> None:
    frame = LIBRARIES[library](FULL[["when", "day"]])
    data = from_frame(frame, dates="parts", standardize=False)
    encoding = data.encoding.fitted(frame)
    made = dict(zip(encoding.encoded, encoding.encode(frame, need_target=False).input.double().T, strict=True))
    assert [column.kind for column in encoding.features] == ["datetime", "date"]
    for name in ("when", "day"):
        parts = FULL[name].dt
        circles = {"month": (parts.month - 1) / 12, "weekday": parts.day_of_week / 7}
        if name == "when":
            circles["hour"] = (parts.hour + parts.minute / 60) / 24
        assert made[f"{name} year"].tolist() == parts.year.tolist()
        days = (FULL[name] - FULL[name].min()) / pd.Timedelta(days=1)
        np.testing.assert_allclose(made[f"{name} days"], days, rtol=1e-6)
        for part, place in circles.items():
            np.testing.assert_allclose(made[f"{name} {part} sine"], np.sin(2 * np.pi * place), atol=1e-6)
            np.testing.assert_allclose(made[f"{name} {part} cosine"], np.cos(2 * np.pi * place), atol=1e-6)
    assert "day hour sine" not in made
    assert data.width == 14


def test_dates_of_other_types_and_zones(tmp_path: Path) -> None:
    days = [datetime.date(2024, 2, 29), datetime.date(1950, 1, 1), datetime.date(2024, 12, 31)]
    plain = pd.DataFrame({"x": [1.0, 2.0, 3.0], "d": pd.to_datetime(days)})
    encoding = from_frame(plain, dates="parts").encoding.fitted(plain)
    expected = encoding.encode(plain, need_target=False).input
    forms = {
        "objects": plain.assign(d=pd.Series(days, dtype=object)),
        "seconds": plain.assign(d=plain["d"].astype("datetime64[s]")),
        "polars": pl.DataFrame({"x": [1.0, 2.0, 3.0], "d": days}),
        "date32": pa.table({"x": [1.0, 2.0, 3.0], "d": pa.array(days, pa.date32())}),
        "date64": pa.table({"x": [1.0, 2.0, 3.0], "d": pa.array(days, pa.date64())}),
        "arrow in pandas": plain.assign(d=pd.array(days, dtype=pd.ArrowDtype(pa.date32()))),
    }
    for form in forms.values():
        assert from_frame(form, dates="parts").encoding.fitted(form) == encoding
        assert torch.equal(encoding.encode(form, need_target=False).input, expected)
    plain.to_csv(tmp_path / "a.csv", index=False)
    file = from_csv(tmp_path / "a.csv", dates="parts")
    assert file.encoding.fitted(file.frame) == encoding
    zoned = plain.assign(d=plain["d"].dt.tz_localize("Europe/Vienna") + pd.Timedelta(hours=5))
    local = from_frame(zoned, dates="parts").encoding.fitted(zoned)
    for make in LIBRARIES.values():
        assert from_frame(make(zoned), dates="parts").encoding.fitted(make(zoned)) == local
    assert local.features[1].kind == "datetime"
    for other in (plain, zoned.assign(d=zoned["d"].dt.tz_convert("UTC"))):
        with pytest.raises(DataError, match="zone"):
            local.encode(other, need_target=False)
    with pytest.raises(DataError, match="holds no dates"):
        encoding.encode(plain.assign(d="2024-01-01"), need_target=False)
    with pytest.raises(DataError, match='dates="parts"'):
        from_frame(plain)
    for wrong in (pd.to_timedelta([1, 2, 3], unit="D"), pd.Series([datetime.time(3)] * 3)):
        with pytest.raises(DataError, match="column 'd'"):
            from_frame(plain.assign(d=wrong), dates="parts")


def test_robust_scaling_is_that_of_realmlp() -> None:
    values = np.array([0.0, 1.0, 2.0, 4.0, 1e6])
    frame = pd.DataFrame({"a": values, "often": [0, 0, 0, 0, 8], "same": 7.0, "b": values > 1})
    made = from_frame(frame, standardize="robust").encoding.fitted(frame).encode(frame, need_target=False).input.numpy()

    def clipped(scaled: Any) -> Any:
        return scaled / np.sqrt(1 + (scaled / 3) ** 2)

    np.testing.assert_allclose(made[:, 0], clipped((values - 2) / 3), rtol=1e-6)
    np.testing.assert_allclose(made[:, 1], clipped(np.array([0, 0, 0, 0, 8]) / 4), rtol=1e-6)
    assert made[:, 2].tolist() == [0] * 5
    assert made[:, 3].tolist() == [0, 0, 1, 1, 1]
    assert abs(made).max() <= 3
    for wrong in ("robsut", "plain", 2, None):
        with pytest.raises(OptionError, match="standardize"):
            from_frame(frame, standardize=wrong)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    shares=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=5),
    cut=st.integers(0, 60),
)
def test_quantiles_are_exact_in_pieces_and_whole(values: list[float], shares: list[float], cut: int) -> None:
    array = np.array(values)
    blocks = [[array[:cut], -array[:cut]], [array[cut:], -array[cut:]]]
    held = quantiles(lambda: iter(blocks), 2, shares, held=True)
    pieces = quantiles(lambda: iter(blocks), 2, shares, held=False)
    assert np.array(held).tobytes() == np.array(pieces).tobytes()
    ordered = np.sort(array)
    for share, found in zip(shares, held[0], strict=True):
        place = (len(array) - 1) * share
        assert ordered[int(np.floor(place))] <= found <= ordered[int(np.ceil(place))]
        if place == int(place):
            assert found == ordered[int(place)]


@READS_BUFFERS
def test_a_scaled_target_comes_back_in_its_units(tmp_path: Path) -> None:
    x = RNG.normal(size=(200, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.round(4000 + 800 * x[:, 0] - 300 * x[:, 1])})
    data = from_frame(frame, target="y", scale_target=True)
    fitted = fit(data, epochs=150, valid_data=0.2)
    pred = fitted.predict(frame)
    assert (pred - torch.tensor(frame["y"].to_numpy())).abs().mean() < 30
    values = fitted.evaluate(frame).metrics
    assert values["mae"] == pytest.approx(float(np.abs(pred.numpy() - frame["y"]).mean()), rel=1e-4)
    spread = fitted._session.encoding.target_scale[0]
    assert values["loss"] == pytest.approx((values["rmse"] / spread) ** 2, rel=1e-3)
    wide = fitted.history_wide
    assert wide["train_mae"].iloc[0] > 400
    assert wide["valid_mae"].iloc[-1] < 30
    compared = fitted.compare(frame)
    np.testing.assert_allclose(compared["truth"], frame["y"], rtol=1e-6)
    np.testing.assert_allclose(compared["predicted"], pred)
    np.testing.assert_allclose(compared["loss"].mean(), values["loss"], rtol=1e-4)
    assert fitted.examples(frame, 3, choose="worst").frame["residual"].abs().is_monotonic_decreasing
    assert torch.equal(fitted.predict_response(frame), fitted.predict(frame))
    fitted.export(tmp_path / "a.pt2")
    found = torch.export.load(tmp_path / "a.pt2").module()(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(found.detach().numpy(), pred.numpy(), rtol=1e-4)
    fitted.save(tmp_path / "a.lumbre")
    again = lb.load(tmp_path / "a.lumbre", Line)
    assert torch.equal(again.predict(frame), fitted.predict(frame))
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=50)
    rows = from_parquet(tmp_path / "a.parquet", target="y", scale_target=True)
    assert rows.fitted().encoding == data.encoding.fitted(frame)
    assert fitted.evaluate(tmp_path / "a.parquet").metrics == pytest.approx(values)
    with pytest.raises(OptionError, match="scale_target"):
        from_frame(frame.assign(y="a"), target="y", scale_target=True)
    with pytest.raises(OptionError, match="scale_target"):
        from_frame(frame, scale_target=True)
    recipe = lb.setup(nn.Linear, loss=nn.PoissonNLLLoss(), optimizer=optim.Adam)
    with pytest.raises(OptionError, match="scale_target"):
        recipe.set_hparams(in_features=2, out_features=1).fit(data, epochs=1, verbose=False)


class Pair(nn.Module):
    """Gives two tensors, which have no one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.line(x)[:, 0], self.line(x)[:, 0]


def test_predictions_that_cannot_be_brought_back_are_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0], "y": [1.0, 9.0]})
    recipe = lb.setup(Pair, loss=lambda pred, target: ((pred[0] - target) ** 2).mean(), optimizer=optim.Adam)
    fitted = recipe.fit(from_frame(frame, target="y", scale_target=True), epochs=1, verbose=False, preflight=False)
    with pytest.raises(DataError, match="scaled for training"):
        fitted.predict(frame)


def test_several_targets_are_a_matrix(tmp_path: Path) -> None:
    frame = FULL[["size", "count", "y"]].assign(tall=FULL["size"] > 50, kind="a")
    for target in (["y", "count"], ["y"]):
        data = from_frame(frame, target=target, features=["size"])
        made = data.encoding.fitted(frame).encode(frame, need_target=True)
        assert made.target.dtype == torch.float32
        assert made.target.tolist() == frame[target].to_numpy(dtype=np.float32).tolist()
    data = from_frame(frame, target=["y", "count"], features=["size"], scale_target=True)
    fitted = fit(data, 2, valid_data=0.25)
    assert fitted.predict(frame[["size"]]).shape == (ROWS, 2)
    assert fitted.predict(frame).mean(0)[0] > 100
    expected = fitted.evaluate(frame).metrics
    assert fitted.evaluate((frame[["size"]], frame[["count", "y"]])).metrics == expected
    compared = fitted.compare(frame)
    np.testing.assert_allclose(compared["truth"].to_numpy().reshape(ROWS, 2)[:, 1], frame["count"], atol=1e-6)
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=7)
    rows = from_parquet(tmp_path / "a.parquet", target=["y", "count"], features=["size"], scale_target=True)
    assert rows.fitted().encoding == data.encoding.fitted(frame)
    assert torch.equal(
        rows.fitted().fetch(torch.arange(ROWS), 1)[1],
        data.encoding.fitted(frame).encode(frame, need_target=True).target,
    )
    fitted.save(tmp_path / "a.lumbre")
    assert torch.equal(lb.load(tmp_path / "a.lumbre", Line).predict(frame), fitted.predict(frame))
    labels = from_frame(frame.assign(other=True), target=["tall", "other"], features=["size"])
    assert labels.encoding.encode(frame.assign(other=True), need_target=True).target.tolist()[0] == [
        FULL["size"][0] > 50,
        1,
    ]
    for wrong in (["y", "kind"], ["y", "tall"], ["kind"]):
        with pytest.raises(DataError, match="several targets"):
            from_frame(frame, target=wrong, features=["size"])
    with pytest.raises(DataError, match="as feature and target"):
        from_frame(frame, target=["y", "size"], features=["size"])
    with pytest.raises(DataError, match="twice"):
        from_frame(frame, target=["y", "y"], features=["size"])
    with pytest.raises(DataError, match=r"target=\[\]"):
        from_frame(frame, target=[], features=["size"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_many_texts_are_hashed_alike_everywhere(library: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(30)] + [None], "few": list("ab") * 15 + ["a"]})
    made = LIBRARIES[library](frame)
    data = from_frame(made, hash=4, missing="indicate")
    assert data.width == 4 + 1 + 2
    rows = data.encoding.encode(made, need_target=False).input
    # blake2b of 8 bytes, modulo 4: the same on every machine.
    assert rows[:6, :4].argmax(1).tolist() == [2, 1, 2, 1, 0, 0]
    assert rows[30, :5].tolist() == [0, 0, 0, 0, 1]
    new = data.encoding.encode(LIBRARIES[library](frame.assign(name="never seen")), need_target=False).input
    assert (new[:, :4].sum(1) == 1).all()
    assert from_frame(made, hash={"few": 2}, missing="indicate", categories="codes").encoding.categories == {
        "name": 31,
        "few": 2,
    }
    frame.to_parquet(tmp_path / "a.parquet")
    rows_of_file = from_parquet(tmp_path / "a.parquet", hash=4, levels={"few": ["a", "b"]}, missing="indicate")
    assert torch.equal(rows_of_file.fetch(range(31), 1)[0], rows)
    for wrong in (1, True, 2.5, {"few": 0}):
        with pytest.raises(OptionError, match="hash="):
            from_frame(made, hash=wrong, missing="indicate")
    with pytest.raises(DataError, match="Did you mean 'few'"):
        from_frame(made, hash={"fewe": 3}, missing="indicate")


def test_what_hash_names_is_hashed_or_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0], "on": [True, False, True], "name": list("abc"), "y": list("aba")})
    frame.to_parquet(tmp_path / "a.parquet")
    for name, said in (("size", "kind number"), ("on", "kind boolean"), ("y", "no feature"), ("name", "no feature")):
        features = ["size", "on"] if name == "name" else None
        with pytest.raises(DataError, match=said):
            from_frame(frame, target="y", features=features, hash={name: 4})
        with pytest.raises(DataError, match=said):
            from_parquet(
                tmp_path / "a.parquet",
                target="y",
                features=features or ["size", "on", "name"],
                hash={name: 4},
                levels={"y": ["a", "b"], "name": ["a", "b", "c"]},
            )
    with pytest.raises(DataError, match="text with levels"):
        from_parquet(tmp_path / "a.parquet", features=["name"], hash={"name": 4}, levels={"name": ["a", "b", "c"]})
    assert from_frame(frame, target="y", hash={"name": np.int64(4)}).width == 6
    assert from_frame(frame.rename(columns={"name": 0}), target="y", hash={0: 4}).width == 6
    with pytest.raises(DataError, match="the column '7'"):
        from_frame(frame, target="y", hash={7: 4})
    for wrong in ("yes", 1, None):
        with pytest.raises(OptionError, match="scale_target="):
            from_frame(frame, target="size", scale_target=wrong)
        with pytest.raises(OptionError, match="scale_target="):
            from_parquet(tmp_path / "a.parquet", target="size", features=["on"], scale_target=wrong)


UTC_PLUS_2 = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    ("zone", "others"),
    [
        ("UTC", [datetime.UTC, "Etc/UTC", "+00:00", zoneinfo.ZoneInfo("UTC")]),
        (UTC_PLUS_2, ["+02:00", "Etc/GMT-2", "UTC+02:00"]),
        ("Europe/Vienna", [zoneinfo.ZoneInfo("Europe/Vienna")]),
    ],
    ids=["UTC", "UTC+2", "Vienna"],
)
def test_a_zone_is_the_same_however_a_library_calls_it(zone: Any, others: list[Any]) -> None:
    days = pd.to_datetime(["2024-01-13 22:30", "2024-07-02 23:30"]).tz_localize("UTC").tz_convert(zone)
    frame = pd.DataFrame({"d": days})
    encoding = from_frame(frame, dates="parts").encoding.fitted(frame)
    expected = encoding.encode(frame, need_target=False).input
    for other in others:
        text = str(other)
        objects = pd.DataFrame({"d": pd.Series([day.tz_convert(other) for day in days], dtype=object)})
        forms = [pd.DataFrame({"d": days.tz_convert(other)}), objects]
        if text != "UTC+02:00":  # which is Python's name, not Arrow's
            plain = pa.array(days.tz_convert("UTC").tz_localize(None).to_numpy(), pa.timestamp("us"))
            forms.append(pa.table({"d": plain.cast(pa.int64()).cast(pa.timestamp("us", text))}))
        for form in forms:
            assert from_frame(form, dates="parts").encoding.fitted(form) == encoding
            assert torch.equal(encoding.encode(form, need_target=False).input, expected)
    # An encoding of before may hold the name of another library.
    older = replace(encoding, features=(replace(encoding.features[0], levels=(str(others[0]),)),))
    assert torch.equal(older.encode(frame, need_target=False).input, expected)
    with pytest.raises(DataError, match="zone"):
        encoding.encode(pd.DataFrame({"d": days.tz_convert("Asia/Tokyo")}), need_target=False)
