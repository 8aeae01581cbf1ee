"""CSV log and timings."""

from pathlib import Path

import pandas as pd
import pytest
from callbacks_help import blank_context
from torch import Tensor

import lumbre as lb
from lumbre.callbacks import CSVLog, On


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def test_the_log_is_the_history(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.csv"
    fitted = recipe.fit(data, epochs=3, valid_data=0.2, callbacks=CSVLog(path), verbose=False)
    found = pd.read_csv(path, dtype=str)
    assert list(found.columns) == ["epoch", "set", "loss", "acc"]
    assert list(found["set"]) == ["train", "valid"] * 3
    long = found.melt(id_vars=["epoch", "set"], var_name="metric")
    order = ["set", "metric", "epoch"]
    expected = fitted.history.sort_values(order)["value"].astype(float).to_list()
    assert [float(text) for text in long.sort_values(order)["value"]] == expected, "the same bits"
    assert sorted(file.name for file in path.parent.iterdir()) == ["log.csv"]


def test_luz_csv_logger_broke_when_train_and_valid_metrics_differed(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    only_valid = On(valid_end=lambda ctx: ctx.log("depth", ctx.epoch + 0.5))
    recipe.fit(data, epochs=2, valid_data=0.2, callbacks=[only_valid, CSVLog(path)], verbose=False)
    found = read(path)
    assert list(found.columns) == ["epoch", "set", "loss", "acc", "depth"]
    assert found["depth"].isna().to_list() == [True, False, True, False]


def test_a_metric_that_comes_up_midway_gets_its_column(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    late = On(train_end=lambda ctx: ctx.log("late, or not", 7.0) if ctx.epoch == 2 else None)
    recipe.fit(data, epochs=3, callbacks=[late, CSVLog(path)], verbose=False)
    found = read(path)
    assert found["epoch"].to_list() == [1, 2, 3]
    assert found["late, or not"].isna().to_list() == [True, False, True]


def test_a_second_run_replaces_or_goes_on_below(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = CSVLog(path)
    for epochs in (3, 2):
        recipe.fit(data, epochs=epochs, callbacks=log, verbose=False)
    assert read(path)["epoch"].to_list() == [1, 2]
    recipe.fit(data, epochs=1, valid_data=0.2, callbacks=CSVLog(path, append=True), verbose=False)
    assert read(path)["epoch"].to_list() == [1, 2, 1, 1]


def test_appending_to_something_else_is_refused(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "money.csv"
    path.write_text("date,sum\n2020-01-01,3\n")
    with pytest.raises(lb.OptionError, match="date, sum"):
        recipe.fit(data, epochs=1, callbacks=CSVLog(path, append=True), verbose=False)
    assert path.read_text() == "date,sum\n2020-01-01,3\n"


@pytest.mark.parametrize("append", [True, False])
def test_a_run_that_goes_on_keeps_the_rows_of_its_epochs(tmp_path: Path, append: bool) -> None:
    path, ctx = tmp_path / "log.csv", blank_context(("train_loss",))
    path.write_text("epoch,set,loss\r\n9,train,9.0\r\n")
    log = CSVLog(path, append=append)
    log.on_fit_begin(ctx)
    states: list[dict] = []
    for ctx.epoch in (1, 2, 3):
        ctx.history.add(ctx.epoch, "train", {"loss": float(ctx.epoch)})
        log.on_epoch_end(ctx)
        states.append(log.state_dict())
    again = CSVLog(path, append=append)
    again.on_fit_begin(ctx)
    again.load_state_dict(states[1])  # killed in epoch 3 after a row of it was written
    ctx.history.records[-1] = ("train", "loss", 3, 33.0)
    again.on_epoch_end(ctx)
    assert read(path)["loss"].to_list() == [9.0] * append + [1.0, 2.0, 33.0]
