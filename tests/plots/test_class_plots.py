"""Charts of classifiers: their values are those of scikit-learn, and they draw."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre import plots
from lumbre.plots._curves import precision_recall_points, roc_points

plotnine = pytest.importorskip("plotnine")
measures = pytest.importorskip("sklearn.metrics")

CHARTS = [plots.calibration, plots.confusion, plots.precision_recall, plots.roc]


def scores(rows: int, classes: int) -> pd.DataFrame:
    """Truth, prediction and probabilities of named classes; half of them are rounded, so that there are ties."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes))
    logits[np.arange(rows), truth] += 1
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    shares[::2] = shares[::2].round(1)
    names = [f"c{number}" for number in range(classes)]
    frame = pd.DataFrame(shares, columns=[f"probability_{name}" for name in names])
    frame["truth"] = pd.Categorical.from_codes(truth, categories=names)
    frame["predicted"] = pd.Categorical.from_codes(shares.argmax(1), categories=names)
    return frame


@pytest.fixture(scope="module")
def fitted() -> lb.Fitted:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(d_in=4)
    return recipe.set_opt_hparams(lr=1e-2).fit(blobs(), epochs=2, verbose=False)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_chart_can_be_extended_and_saved(chart, classes: int, tmp_path: Path) -> None:
    plot = chart(scores(80, classes)) + plotnine.theme_bw() + plotnine.labs(title="penguins")
    plot.save(tmp_path / "chart.png", dpi=40, verbose=False)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_a_model_with_data_is_its_frame(chart, fitted: lb.Fitted) -> None:
    data = blobs(90, seed=1)
    pd.testing.assert_frame_equal(chart(fitted, data).data, chart(fitted.compare(data)).data)


def test_confusion_counts_what_scikit_learn_counts() -> None:
    frame = scores(300, 3)
    table = plots.confusion(pl.from_pandas(frame[["truth", "predicted"]].astype(str))).data
    expected = measures.confusion_matrix(frame["truth"], frame["predicted"])
    np.testing.assert_array_equal(table["count"].to_numpy().reshape(3, 3), expected)
    by_truth = measures.confusion_matrix(frame["truth"], frame["predicted"], normalize="true")
    np.testing.assert_allclose(table["share"].to_numpy().reshape(3, 3), by_truth)
    assert list(table["predicted"].cat.categories) == ["c0", "c1", "c2"]
    assert list(table["truth"].cat.categories) == ["c2", "c1", "c0"], "the first class stands on top"


def test_confusion_keeps_the_order_of_the_classes_and_shows_those_without_rows() -> None:
    names = ["small", "large", "huge"]
    frame = pd.DataFrame({"truth": pd.Categorical(["large"], names), "predicted": pd.Categorical(["small"], names)})
    table = plots.confusion(frame).data
    assert list(table["predicted"].cat.categories) == names
    assert table["count"].sum() == 1
    assert table.query("truth == 'huge'")["share"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("classes", "texts"), [(16, True), (17, False), pytest.param(90, False, marks=pytest.mark.slow)]
)
def test_confusion_of_many_classes_has_shades_only(classes: int, texts: bool, tmp_path: Path) -> None:
    chart = plots.confusion(scores(500, classes))
    assert ("geom_text" in [type(layer.geom).__name__ for layer in chart.layers]) == texts
    chart.save(tmp_path / "chart.png", dpi=20, verbose=False)


def test_areas_in_the_legend_are_those_of_scikit_learn() -> None:
    frame = scores(300, 3)
    for chart, area in (
        (plots.roc, measures.roc_auc_score),
        (plots.precision_recall, measures.average_precision_score),
    ):
        labels = list(chart(frame).data["class"].cat.categories)
        for number, label in enumerate(labels):
            expected = area(frame["truth"] == f"c{number}", frame[f"probability_c{number}"])
            assert f"{expected:.4f}" in label
            assert label.startswith(f"c{number} ")


def test_two_classes_have_one_curve_of_the_second_or_of_the_one_asked_for() -> None:
    frame = scores(300, 2)
    assert [label[:2] for label in plots.roc(frame).data["class"].unique()] == ["c1"]
    assert [label[:2] for label in plots.roc(frame, positive="c0").data["class"].unique()] == ["c0"]


rankings = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40).filter(
    lambda rows: len({truth for truth, _ in rows}) == 2
)


@given(rankings)
def test_points_of_both_curves_are_those_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    truth, probability = np.array([row[0] for row in rows]), np.array([row[1] / 5 for row in rows])
    x, y, area = roc_points(truth, probability)
    false_rate, true_rate, _ = measures.roc_curve(truth, probability, drop_intermediate=False)
    np.testing.assert_allclose((x, y), (false_rate, true_rate))
    assert area == pytest.approx(measures.roc_auc_score(truth, probability))
    recall, precision, area = precision_recall_points(truth, probability)
    expected = measures.precision_recall_curve(truth, probability)
    np.testing.assert_allclose(precision, expected[0][::-1])
    np.testing.assert_allclose(recall, expected[1][::-1])
    assert area == pytest.approx(measures.average_precision_score(truth, probability))


def test_long_curves_are_thinned_and_keep_their_ends_and_area() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(200_000) < 0.3
    shares = np.clip(generator.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    frame = pd.DataFrame({"truth": truth.astype(int), "probability_0": 1 - shares, "probability_1": shares})
    curve = plots.roc(frame).data
    assert len(curve) < 1_100
    points = curve[["false_positive_rate", "true_positive_rate"]].to_numpy()
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert area == pytest.approx(measures.roc_auc_score(truth, shares), abs=1e-4)


def test_of_many_classes_the_ten_that_are_ranked_worst_are_drawn() -> None:
    frame = scores(500, 12)
    chart = plots.roc(frame)
    areas = {n: measures.roc_auc_score(frame["truth"] == f"c{n}", frame[f"probability_c{n}"]) for n in range(12)}
    drawn = {int(label.split()[0][1:]) for label in chart.data["class"].cat.categories}
    assert drawn == set(sorted(areas, key=areas.__getitem__)[:10])
    assert "10 of 12 classes" in chart.labels.subtitle


def test_a_class_without_rows_is_left_out_and_named() -> None:
    frame = scores(200, 3).query("truth != 'c1'")
    chart = plots.precision_recall(frame)
    assert [label[:2] for label in chart.data["class"].cat.categories] == ["c0", "c2"]
    assert chart.labels.subtitle == "no rows of c1"


def test_calibration_of_two_classes_is_that_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    frame = scores(400, 2)
    # A rounded probability lies on the edge between two bins, where implementations differ.
    frame = frame.iloc[1::2]
    table = plots.calibration(frame, bins=8).data
    share, mean = calibration_curve(frame["truth"] == "c1", frame["probability_c1"], n_bins=8)
    np.testing.assert_allclose(table["share"], share)
    np.testing.assert_allclose(table["probability"], mean)
    assert table["rows"].sum() == len(frame)
    assert (table["low"] <= table["share"] + 1e-12).all()
    assert (table["high"] >= table["share"] - 1e-12).all()


def test_calibration_of_more_classes_is_of_the_predicted_one() -> None:
    frame = scores(400, 3)
    shares = frame.filter(like="probability").to_numpy()
    chart = plots.calibration(frame, bins=5)
    right = shares.argmax(1) == frame["truth"].cat.codes
    confident = shares.max(1) >= 0.8
    last = chart.data.iloc[-1]
    assert last["rows"] == confident.sum()
    assert last["share"] == pytest.approx(right[confident].mean())
    bins = np.minimum((shares.max(1) * 5).astype(int), 4)
    gaps = [(bins == b).mean() * abs(right[bins == b].mean() - shares.max(1)[bins == b].mean()) for b in set(bins)]
    assert f"error {sum(gaps):.3f}" in chart.labels.subtitle


@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_counts_a_row_of_weight_2_like_two_rows(classes: int) -> None:
    frame = scores(200, classes)
    often = np.arange(200) % 3 + 1
    weighted = plots.calibration(frame.assign(weight=often.astype(float)))
    twice = plots.calibration(frame.iloc[np.repeat(np.arange(200), often)])
    pd.testing.assert_frame_equal(weighted.data, twice.data, check_dtype=False)
    assert weighted.labels.subtitle == twice.labels.subtitle.replace(f"{often.sum():,} rows", "200 rows")
    light = plots.calibration(frame.assign(weight=0.01)).data
    pd.testing.assert_frame_equal(light, plots.calibration(frame).data, check_dtype=False)


def test_probabilities_that_are_right_about_themselves_have_no_calibration_error() -> None:
    generator = np.random.default_rng(0)
    share = generator.random(1_000_000)
    truth = (generator.random(1_000_000) < share).astype(int)
    chart = plots.calibration(pd.DataFrame({"truth": truth, "probability_0": 1 - share, "probability_1": share}))
    assert float(chart.labels.subtitle.split()[3].rstrip(",")) <= 0.002


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda fitted, frame: plots.confusion(fitted), "without data"),
        (lambda fitted, frame: plots.confusion(frame, blobs()), "leave the data out"),
        (lambda fitted, frame: plots.confusion(torch.ones(3)), "a Tensor"),
        (lambda fitted, frame: plots.confusion(frame.rename(columns={"truth": "thruth"})), "Did you mean 'thruth'"),
        (lambda fitted, frame: plots.confusion(frame.head(0)), "without rows"),
        (lambda fitted, frame: plots.roc(frame[["truth", "predicted"]]), "probability_<class>"),
        (lambda fitted, frame: plots.roc(frame, positive="c7"), "one of c0, c1, c2"),
        (lambda fitted, frame: plots.roc(frame.drop(columns="probability_c2")), "true class 'c2'"),
        (lambda fitted, frame: plots.roc(frame.query("truth == 'c1'")), "one against the other"),
        (lambda fitted, frame: plots.calibration(frame, bins=1), "bins=1"),
        (lambda fitted, frame: plots.predicted_vs_true(frame), r"plots.confusion\(\) for classes"),
    ],
)
def test_bad_input_is_refused(fitted: lb.Fitted, call, says: str) -> None:
    with pytest.raises((lb.DataError, lb.OptionError), match=says):
        call(fitted, scores(60, 3))
