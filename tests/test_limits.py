"""Limits of a run and of what is watched: updates, epochs between validations, the first epoch that counts, ties."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import Accumulate, CSVLog, EarlyStopping, KeepBestModel, ModelCheckpoint, On
from lumbre.callbacks._screens import Row, Terminal


def fit(folder: Any = None, epochs: Any = 4, **options: Any) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    given: dict[str, Any] = {"batch_size": 8, "verbose": False, "preflight": False, "resume": folder}
    return recipe.fit(blobs(40), epochs=epochs, **given | options)  # five batches an epoch


def same(one: lb.Fitted, other: lb.Fitted) -> None:
    assert one._history.records == other._history.records
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def steps_of(**options: Any) -> tuple[int, int, lb.Fitted]:
    """Updates, epochs begun, and the model of a run."""
    seen = [0]
    fitted = fit(callbacks=[On(fit_end=lambda ctx: seen.__setitem__(0, ctx.step)), *options.pop("also", ())], **options)
    return seen[0], int(fitted.history["epoch"].max()), fitted


@pytest.mark.parametrize(("limit", "epochs"), [(1, 1), (5, 1), (7, 2), (15, 3), (20, 4), (99, 4)])
def test_a_run_ends_after_its_most_updates(limit: int, epochs: int) -> None:
    steps, begun, fitted = steps_of(max_steps=limit, valid_data=0.5, batch_size=4)
    assert (steps, begun) == (min(limit, 20), epochs)
    assert len(fitted.history_wide["valid_loss"].dropna()) == epochs, "an epoch that is cut short is validated, too"


def test_updates_count_and_not_batches() -> None:
    assert steps_of(max_steps=3, also=[Accumulate(2)])[:2] == (3, 1)  # the third is that of the last batch alone
    assert steps_of(max_steps=4, also=[Accumulate(2)])[:2] == (4, 2)
    assert steps_of(max_steps=3, epochs=(3, 9))[:2] == (3, 1), "the fewest epochs do not count"


@pytest.mark.parametrize("limits", [(7, 12, None), (5, 20, None), (5, 6, 7), (3, 10, 11)])
def test_a_run_with_a_limit_goes_on_to_the_bits_of_one_without(limits: tuple[Any, ...], tmp_path: Path) -> None:
    """Within an epoch and at its end; what the end of a cut epoch came to leaves no trace."""
    watched = EarlyStopping("valid_loss", patience=9, restore_best=True)
    for limit in limits:
        fitted = fit(tmp_path, max_steps=limit, valid_data=0.25, callbacks=watched, batch_size=6)
        again = fit(tmp_path, max_steps=limit, valid_data=0.25, callbacks=watched, batch_size=6)
        same(fitted, again)
    last = limits[-1]
    same(fitted, fit(max_steps=last, valid_data=0.25, callbacks=watched, batch_size=6))


def test_a_limit_of_updates_is_part_of_the_receipt(tmp_path: Path) -> None:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    options: dict[str, Any] = {"max_steps": 7, "valid_data": 0.25, "valid_every": 2, "batch_size": 6, "epochs": 5}
    recipe.fit(blobs(40), **options, verbose=False).save(tmp_path / "cut.lumbre")
    assert lb.replay(tmp_path / "cut.lumbre", recipe, blobs(40)).same


def test_validation_every_few_epochs_and_at_the_end(tmp_path: Path) -> None:
    rare, often = (fit(epochs=7, valid_data=0.25, valid_every=every) for every in (3, 1))
    assert rare.history_wide["epoch"][rare.history_wide["valid_loss"].notna()].tolist() == [3, 6, 7]
    of_rare = {row[:3]: row[3] for row in rare._history.records}
    assert of_rare.items() <= {row[:3]: row[3] for row in often._history.records}.items(), "the rest is the same"
    stop = On(train_end=lambda ctx: ctx.epoch == 4 and ctx.stop("enough"))
    stopped = fit(epochs=7, valid_data=0.25, valid_every=3, callbacks=stop)
    assert stopped.history_wide["valid_loss"].notna().tolist() == [False, False, True, True]
    run: dict[str, Any] = {"valid_data": 0.25, "valid_every": 3, "epochs": 7}
    fit(tmp_path, **run, max_steps=12)
    same(fit(tmp_path, **run), rare)
    with pytest.raises(lb.ResumeError, match="every 3 epochs"):
        fit(tmp_path, **run | {"valid_every": 2})


def test_what_watches_validation_waits_for_it(tmp_path: Path) -> None:
    stop = EarlyStopping(patience=2, min_delta=9.0)
    callbacks = [
        stop,
        lb.schedules.plateau("valid_loss", patience=1),
        KeepBestModel("valid_acc"),
        ModelCheckpoint(tmp_path / "{epoch}-{valid_loss:.2f}.lumbre", best_only=False),
        CSVLog(tmp_path / "log.csv"),
    ]
    fitted = fit(epochs=20, valid_data=0.25, valid_every=3, callbacks=callbacks)
    assert int(fitted.history["epoch"].max()) == 9, "two validations without improvement after the first"
    assert sorted(path.name[0] for path in tmp_path.glob("*.lumbre")) == ["3", "6", "9"]


@pytest.mark.parametrize("wrong", [{"max_steps": 0}, {"max_steps": 2.5}, {"max_steps": True}])
def test_impossible_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(lb.OptionError, match="max_steps="):
        fit(**wrong)


def test_impossible_pauses_are_refused() -> None:
    for wrong in (0, 1.5, "2"):
        with pytest.raises(lb.OptionError, match="valid_every="):
            fit(valid_every=wrong, valid_data=0.2)
    with pytest.raises(lb.OptionError, match=r"valid_every=2 without valid_data"):
        fit(valid_every=2)
    for watcher in (EarlyStopping, KeepBestModel):
        with pytest.raises(lb.OptionError, match="start=0"):
            watcher(start=0)
    with pytest.raises(lb.OptionError, match='"last"'):
        KeepBestModel(ties="latest")


class Told(lb.Callback):
    """Logs given values, so that it is known which epoch is the best."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_train_end(self, ctx: lb.Context) -> None:
        ctx.log("told", self.values[ctx.epoch - 1])


def best_of(values: tuple[float, ...], **options: Any) -> int | None:
    keep = KeepBestModel("train_told", mode="min", **options)
    fit(epochs=len(values), callbacks=[Told(*values), keep])
    return keep.best_epoch


def test_what_is_watched_begins_at_start_and_ties_may_go_to_the_last() -> None:
    values = (0.0, 3.0, 2.0, 2.0, 4.0)
    assert best_of(values) == 1
    assert best_of(values, start=2) == 3
    assert best_of(values, start=2, ties="last") == 4
    assert best_of(values, start=5) == 5
    assert best_of((1.0, 1.0), ties="last", min_delta=0.5) == 2


def test_early_stopping_counts_from_start_on() -> None:
    values = (0.0, 3.0, 2.0, 2.5, 2.5, 2.5)
    stop = EarlyStopping("train_told", mode="min", patience=2, start=2)
    fitted = fit(epochs=6, callbacks=[Told(*values), stop])
    assert int(fitted.history["epoch"].max()) == 5, "epoch 3 was the best of those from 2 on"


def test_cross_validation_takes_the_same_epoch_for_the_best() -> None:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    keep = KeepBestModel("valid_loss", start=2, ties="last")
    options: dict[str, Any] = {"verbose": False, "preflight": False, "valid_data": 0.25, "epochs": 4}
    found = recipe.cross_validate(blobs(40), folds=2, callbacks=keep, **options)
    assert found.best_epochs == [4, 4], "with a rate of 0 all epochs are equal"
    keep = KeepBestModel("valid_loss", start=2)
    found = recipe.cross_validate(blobs(40), folds=2, callbacks=keep, valid_every=2, final=True, **options)
    assert found.best_epochs == [2, 2]


def test_a_table_in_a_terminal_keeps_its_columns_where_validation_is_left_out() -> None:
    out = io.StringIO()
    screen = Terminal(out, 100)
    for epoch in range(1, 6):
        values = {"train": {"loss": 0.5}} | ({} if epoch % 2 else {"valid": {"loss": 0.25}})
        screen.row(Row(epoch, values, 1.0, False))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "1", "epoch", "2", "3", "4", "5"]
    assert len({len(line) for line in lines[2:]}) == 1
