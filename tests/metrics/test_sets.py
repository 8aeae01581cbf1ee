"""Metrics in a run: which pass gathers which, what they are called, and values with several numbers."""

import io
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net
from lumbre.callbacks import EarlyStopping, Progress
from lumbre.metrics import as_sets

m = lb.metrics


def fit(metrics: object, data: object, **options: object) -> lb.Fitted:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=metrics).set_hparams(d_in=4)
    return recipe.fit(data, **{"epochs": 2, "valid_data": 0.2, "verbose": False, **options})


@pytest.fixture
def flowers() -> object:
    """Numbers of three named kinds."""
    torch.manual_seed(0)
    frame = pd.DataFrame(torch.randn(60, 4).numpy(), columns=list("abcd"))
    frame["kind"] = [["setosa", "versicolor", "virginica"][row % 3] for row in range(60)]
    return lb.data.from_frame(frame, target="kind")


def test_a_pass_gathers_its_own_metrics(data: tuple[Tensor, Tensor]) -> None:
    sets = m.Sets(m.Accuracy(), train=[m.F1()], valid={"area": m.AUROC(), "f1": m.F1(average="micro")})
    fitted = fit(sets, data)
    names = fitted.history.groupby("set")["metric"].unique()
    assert list(names["train"]) == ["loss", "acc", "f1"]
    assert list(names["valid"]) == ["loss", "acc", "area", "f1"]
    assert list(fitted.evaluate(data).metrics) == ["loss", "acc", "area", "f1"]


def test_only_what_is_gathered_can_be_monitored(data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(lb.OptionError, match="valid_auroc"):
        fit(m.Sets(valid=m.AUROC()), data, callbacks=EarlyStopping("train_auroc"))
    fit(m.Sets(valid=m.AUROC()), data, callbacks=EarlyStopping("valid_auroc", mode="max"))
    with pytest.raises(lb.OptionError, match="valid_loss, train_loss"):  # a table is no number to follow
        fit(m.ConfusionMatrix(), data, callbacks=EarlyStopping("valid_confusion"))


def test_a_name_may_stand_once_in_each_pass() -> None:
    assert m.Sets(train=m.Accuracy(), valid=m.Accuracy())
    with pytest.raises(lb.RecipeError, match="two values named 'acc'"):
        m.Sets(m.Accuracy(), valid=m.Accuracy())
    with pytest.raises(lb.RecipeError, match="two values named 'loss'"):
        m.Sets({"Loss": m.Accuracy()})
    with pytest.raises(lb.RecipeError, match="with parentheses"):
        m.Sets(valid=[m.Accuracy])
    with pytest.raises(lb.RecipeError, match="'accuracy' among the metrics"):
        m.Sets("accuracy")


def test_a_recipe_shows_its_sets() -> None:
    def shown(metrics: object) -> str:
        recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD, metrics=metrics)
        return repr(recipe).partition("metrics: ")[2]

    assert shown([m.MAE(), m.R2()]) == "MAE, R2"
    assert shown(m.Sets(m.MAE(), valid=m.R2())) == "train: MAE; valid: MAE, R2"
    assert shown(()) == ""


def test_values_by_class_have_the_names_of_the_classes(flowers: object) -> None:
    fitted = fit([m.F1(average="none"), m.ConfusionMatrix()], flowers)
    kinds = ["setosa", "versicolor", "virginica"]
    metrics = fitted.evaluate(flowers).metrics
    assert list(metrics["f1"]) == list(metrics["confusion"]) == list(metrics["confusion"]["setosa"]) == kinds
    assert sum(sum(row.values()) for row in metrics["confusion"].values()) == 60
    chosen = fitted.predict_classes(flowers)
    assert metrics["confusion"]["virginica"]["setosa"] == sum(
        row % 3 == 2 and name == "setosa" for row, name in enumerate(chosen)
    )


def test_without_names_the_classes_have_their_numbers(data: tuple[Tensor, Tensor]) -> None:
    assert list(fit(m.F1(average="none"), data).evaluate(data).metrics["f1"]) == ["0", "1", "2"]


def test_a_table_breaks_neither_frame_nor_plot_nor_progress_nor_file(flowers: object, tmp_path: Path) -> None:
    text = io.StringIO()
    progress = Progress(Console(file=text, width=200))
    metrics = [m.ConfusionMatrix(), m.F1(average="none"), m.AUROC()]
    fitted = fit(metrics, flowers, callbacks=progress)
    history = fitted.history
    assert history["value"].dtype == float
    assert {"confusion_setosa_virginica", "f1_setosa", "auroc"} <= set(history["metric"])
    wide = fitted.history_wide
    assert list(wide["epoch"]) == [1, 2]
    assert wide["valid_auroc"].dtype == float
    assert pd.DataFrame.from_dict(wide["valid_confusion"].iloc[-1], orient="index").shape == (3, 3)
    assert "Confusion: 3 x 3 table - F1: setosa: 0" in text.getvalue()
    assert " - AUROC: 0." in text.getvalue()
    assert "3 x 3 table" in repr(fitted)
    evaluation = fitted.evaluate(flowers)
    assert "confusion (true class by row)" in repr(evaluation)
    assert "<th>virginica</th>" in evaluation._repr_html_()
    assert len(evaluation.frame()) == 4
    fitted.plot()
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Net)
    pd.testing.assert_frame_equal(again.history, history)
    assert again.history_wide["valid_confusion"].iloc[0] == wide["valid_confusion"].iloc[0]


def test_an_epoch_without_a_value_has_nan_in_the_wide_history(line: lb.Recipe) -> None:
    class Once(lb.Callback):
        def on_train_end(self, ctx: lb.Context) -> None:
            if ctx.epoch == 2:
                ctx.log("note", 1.5)

    fitted = line.fit((torch.ones(4, 1), torch.ones(4, 1)), epochs=3, callbacks=Once(), verbose=False)
    assert fitted.history_wide["train_note"].isna().tolist() == [True, False, True]
    assert fitted.history_wide.columns.tolist() == ["epoch", "train_loss", "train_note"]


# ---------------------------------------------------------------- torchmetrics


def test_a_collection_is_taken_apart_so_that_no_value_is_another_s() -> None:
    kinds = pytest.importorskip("torchmetrics")
    binary = kinds.classification.BinaryAccuracy
    collection = kinds.MetricCollection({"low": binary(threshold=0.5), "high": binary(threshold=0.9)}, prefix="acc_")
    high, low = as_sets([collection]).valid  # a collection sorts by name
    assert (low.name, high.name) == ("acc_low", "acc_high")
    states = [metric.init(torch.device("cpu")) for metric in (low, high)]
    # Both thresholds agree on the first batch, which makes the collection take them for one.
    for pred in (torch.tensor([0.99, 0.01]), torch.tensor([0.7, 0.01])):
        target = torch.tensor([1, 0])
        states = [metric.update(state, pred, target) for metric, state in zip((low, high), states, strict=True)]
    assert [metric.compute(state) for metric, state in zip((low, high), states, strict=True)] == [1.0, 0.75]


def test_torchmetrics_checks_its_arguments_at_the_first_batch_only() -> None:
    kinds = pytest.importorskip("torchmetrics.classification")
    given = kinds.MulticlassAccuracy(3)
    (metric,) = as_sets(given).valid
    state = metric.init(torch.device("cpu"))
    with pytest.raises(ValueError, match="equal to number of classes"):
        metric.update(state, torch.zeros(2, 4), torch.tensor([0, 1]))
    state = metric.update(metric.init(torch.device("cpu")), torch.zeros(2, 3), torch.tensor([0, 1]))
    assert not state.validate_args
    assert given.validate_args, "the user's own object is left alone"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("Acc", "'Acc': Did you mean 'acc'? There are loss, acc"),
        ("LOSS", "'LOSS': Did you mean 'loss'? There are loss, acc"),
        ("area", "'area': There are loss, acc"),
    ],
)
def test_a_value_that_is_not_there_names_those_that_are(flowers: object, wrong: str, hint: str) -> None:
    values = fit(m.Accuracy(), flowers, epochs=1).evaluate(flowers).metrics
    with pytest.raises(KeyError) as error:
        values[wrong]
    assert error.value.args == (hint,)
    assert values.get(wrong) is None
    assert wrong not in values
