"""A stop belongs to the run that made it: what goes on from a folder is not ended by what ended it before."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import EarlyStopping, KeepBestModel, On

# The functions given to `On` count batches or epochs, which a test does anew on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:checkpoints do not keep count.left")


def fit(folder: Any = None, epochs: Any = 10, callbacks: Any = (), **options: Any) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    keep = None if folder is None else lb.Checkpoints(folder, allow_changes="callbacks")
    return recipe.fit(
        blobs(40), epochs=epochs, callbacks=callbacks, resume=keep, **{"verbose": False, "ignore": ["LB089"], **options}
    )


def impatient(patience: int = 2, **options: Any) -> EarlyStopping:
    return EarlyStopping("train_loss", patience=patience, min_delta=9.0, **options)


def epochs_of(fitted: lb.Fitted) -> int:
    return int(fitted.history["epoch"].max())


def same(one: lb.Fitted, other: lb.Fitted) -> None:
    assert one._history.records == other._history.records
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def test_the_same_run_again_stays_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = fit(tmp_path, callbacks=impatient(restore_best=True))
    assert epochs_of(first) == 3
    again = fit(tmp_path, callbacks=impatient(restore_best=True), verbose=True)
    assert "stopped early: nothing is left to train" in capsys.readouterr().out
    same(first, again)


def test_more_epochs_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, callbacks=impatient())
    longer = fit(tmp_path, epochs=20, callbacks=impatient(), verbose=True)
    assert "Going on" in capsys.readouterr().out
    assert epochs_of(longer) == 5, "its patience is counted anew"
    assert epochs_of(fit(tmp_path, epochs=20, callbacks=impatient())) == 5
    assert epochs_of(fit(tmp_path, epochs=(9, 20), callbacks=impatient())) == 9, "more of the fewest epochs, too"


@settings(max_examples=8)
@given(st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_more_patience_gives_the_run_that_had_it_from_the_start(
    tmp_path_factory: pytest.TempPathFactory, patience: int, more: int, restored: bool
) -> None:
    """The law of resuming, with the patience of the run that goes on."""
    folder = tmp_path_factory.mktemp("run")
    stopped = fit(folder, callbacks=impatient(patience, restore_best=restored))
    assert epochs_of(stopped) == 1 + patience
    patient = fit(folder, callbacks=impatient(patience + more, restore_best=restored))
    same(patient, fit(callbacks=impatient(patience + more, restore_best=restored)))


def test_less_patience_is_no_reason_to_go_on(tmp_path: Path) -> None:
    fit(tmp_path, callbacks=impatient(3))
    assert epochs_of(fit(tmp_path, callbacks=impatient(1))) == 4
    assert epochs_of(fit(tmp_path, callbacks=KeepBestModel("train_loss"))) == 10, "without it nobody stops"


def after(epochs: int) -> On:
    """A limit of so many epochs in a call of fit(), as one of time."""
    left = [epochs]

    def count(ctx: lb.Context) -> None:
        left[0] -= 1
        if left[0] == 0:
            ctx.stop("time is up")

    return On(epoch_end=count)


@pytest.mark.parametrize("event", ["epoch_end", "batch_end", "train_begin", "valid_end"])
def test_a_limit_of_a_callback_is_that_of_each_run(event: str, tmp_path: Path) -> None:
    for expected in (2, 4, 5):
        if event == "epoch_end":
            stop: lb.Callback = after(2)
        else:
            name = "train_batch_end" if event == "batch_end" else event
            stop = On(**{name: lambda ctx, until=expected: ctx.epoch == until and ctx.stop("enough")})
        fitted = fit(tmp_path, epochs=5, callbacks=[stop], valid_data=0.25)
        assert epochs_of(fitted) == expected
    same(fitted, fit(epochs=5, valid_data=0.25))


def test_a_stop_within_an_epoch_does_not_outlive_its_run(tmp_path: Path) -> None:
    def stop(ctx: lb.Context) -> None:
        ctx.stop("time is up")
        if ctx.step == 3:
            raise KeyboardInterrupt

    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    keep = lb.Checkpoints(tmp_path, steps=1, wait=True, allow_changes="callbacks")
    options: dict[str, Any] = {"batch_size": 8, "epochs": 3, "verbose": False, "resume": keep}
    recipe.fit(blobs(40), callbacks=On(train_batch_end=stop), **options)
    same(recipe.fit(blobs(40), **options), recipe.fit(blobs(40), batch_size=8, epochs=3, verbose=False))


class Clock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_limit_of_time_is_that_of_each_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lumbre.callbacks import _time_limit

    monkeypatch.setattr(_time_limit, "monotonic", Clock())
    whole = fit(epochs=7)
    first = fit(tmp_path, epochs=7, max_seconds=3)
    assert epochs_of(first) == 3
    assert epochs_of(fit(tmp_path, epochs=7, max_seconds=3)) == 6, "the same call goes on"
    same(fit(tmp_path, epochs=7, max_seconds=100), whole)
    same(fit(tmp_path, epochs=7), whole)
    assert epochs_of(fit(epochs=(5, 9), max_seconds=2)) == 5, "the fewest epochs come first"
    assert first._session.record.receipt["options"]["callbacks"] == []


def test_the_epoch_in_which_time_is_over_is_validated() -> None:
    fitted = fit(epochs=9, valid_data=0.25, valid_every=5, max_seconds=1e-9)
    assert epochs_of(fitted) == 1
    assert set(fitted.history["set"]) == {"train", "valid"}


def test_more_or_less_patience_needs_no_leave(tmp_path: Path) -> None:
    """What a finished run says of going on is what can be done."""

    def strict(patience: int, **options: Any) -> lb.Fitted:
        recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        recipe = recipe.set_hparams(in_features=4, out_features=3)
        return recipe.fit(blobs(40), epochs=9, resume=tmp_path, verbose=False, callbacks=impatient(patience, **options))

    assert [epochs_of(strict(patience)) for patience in (2, 4, 1)] == [3, 5, 5]
    with pytest.raises(lb.ResumeError, match="restore_best"):
        strict(4, restore_best=True)


def test_the_rate_of_an_epoch_is_kept_where_its_last_batch_was_the_last(tmp_path: Path) -> None:
    def rates(**options: Any) -> list[float]:
        once = lb.callbacks.LRScheduler(optim.lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1, total_steps=20)
        fitted = fit(epochs=4, batch_size=10, callbacks=once, **options)
        return fitted.history_wide["train_lr"].tolist()

    rates(folder=tmp_path, max_steps=8)
    assert rates(folder=tmp_path) == rates()


def test_a_limit_of_time_leaves_the_bits_as_they_are_and_is_checked(tmp_path: Path) -> None:
    same(fit(epochs=3, max_seconds=1e6), fit(epochs=3))
    for wrong in (0, -1.0, float("nan"), True, "3600", timedelta(hours=1)):
        with pytest.raises(lb.OptionError, match="max_seconds="):
            fit(max_seconds=wrong)
    strict = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    strict = strict.set_hparams(in_features=4, out_features=3)
    strict.fit(blobs(40), epochs=2, max_seconds=1e-9, resume=tmp_path, verbose=False)
    longer = strict.fit(blobs(40), epochs=2, max_seconds=50, resume=tmp_path, verbose=False)
    assert epochs_of(longer) == 2, "another limit is no other run"


ALIKE: dict[str, Any] = {"patience": 2, "restore_best": True}
OTHERWISE: dict[str, tuple[EarlyStopping, dict[str, Any]]] = {
    "smaller min_delta": (EarlyStopping("train_loss", min_delta=9.0, patience=2), {"monitor": "train_loss", **ALIKE}),
    "another value": (EarlyStopping("valid_loss", min_delta=9.0, patience=2), {"monitor": "train_loss", **ALIKE}),
    "another mode": (EarlyStopping("train_loss", mode="max", patience=2), {"monitor": "train_loss", **ALIKE}),
    "no baseline": (
        EarlyStopping("train_loss", baseline=0.0, patience=2),
        {"monitor": "train_loss", "patience": 2, "min_delta": 0.02},
    ),
    "a later start": (
        EarlyStopping("train_loss", min_delta=9.0, patience=2),
        {"monitor": "train_loss", "min_delta": 9.0, "patience": 2, "start": 5},
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
@pytest.mark.filterwarnings("ignore:EarlyStopping.restore_best=True. watches something else")
def test_another_judgement_gives_the_run_that_had_it_from_the_start(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, options = OTHERWISE[name]
    stopped = fit(tmp_path, callbacks=before, valid_data=0.25)
    assert epochs_of(stopped) in (2, 3)
    longer = fit(tmp_path, callbacks=EarlyStopping(**options), valid_data=0.25, verbose=True)
    assert "Going on" in capsys.readouterr().out
    same(longer, fit(callbacks=EarlyStopping(**options), valid_data=0.25))
    assert epochs_of(longer) > epochs_of(stopped)


def test_a_judgement_that_would_have_stopped_leaves_a_stopped_run_stopped(tmp_path: Path) -> None:
    fit(tmp_path, callbacks=impatient())
    strict = EarlyStopping("train_loss", patience=2, min_delta=8.0)
    assert epochs_of(fit(tmp_path, callbacks=strict)) == 3


def test_the_best_of_what_came_before_is_found_anew_or_missed_aloud(tmp_path: Path) -> None:
    """By the greatest loss the first epoch was the best; by the least, one of which no weights are kept."""
    fit(tmp_path, epochs=3, callbacks=KeepBestModel("train_loss", mode="max"))
    other = KeepBestModel("train_loss")
    with pytest.warns(UserWarning, match=r"KeepBestModel watches something else.*its best epoch is 3"):
        longer = fit(tmp_path, epochs=5, callbacks=other)
    assert other.best_epoch == 5
    same(longer, fit(epochs=5, callbacks=KeepBestModel("train_loss")))

    again = tmp_path / "again"
    fit(again, epochs=3, callbacks=KeepBestModel("train_loss"))
    alike = KeepBestModel("train_loss", min_delta=1e-9)
    same(fit(again, epochs=5, callbacks=alike), fit(epochs=5, callbacks=KeepBestModel("train_loss")))


def test_files_of_the_best_are_judged_anew(tmp_path: Path) -> None:
    def keep(**options: Any) -> lb.callbacks.ModelCheckpoint:
        return lb.callbacks.ModelCheckpoint(tmp_path / "best-{epoch}.lumbre", monitor="train_loss", **options)

    fit(tmp_path / "run", epochs=3, callbacks=keep(mode="max"))
    assert {one.name for one in tmp_path.glob("*.lumbre")} == {"best-1.lumbre"}
    fit(tmp_path / "run", epochs=5, callbacks=keep())
    assert {one.name for one in tmp_path.glob("*.lumbre")} == {f"best-{epoch}.lumbre" for epoch in (1, 4, 5)}


@pytest.mark.parametrize(
    ("before", "now"),
    [({"patience": 9}, {"patience": 0, "min_delta": 9.0}), ({"patience": 0, "min_delta": 9.0}, {"patience": 9})],
    ids=["stricter", "milder"],
)
def test_a_plateau_is_lowered_by_the_options_of_now(before: Any, now: Any, tmp_path: Path) -> None:
    def plateau(options: Any) -> lb.Callback:
        return lb.schedules.plateau("train_loss", factor=0.5, **options)

    rate = fit(tmp_path, epochs=2, callbacks=plateau(before)).history_wide["train_lr"].tolist()
    longer = fit(tmp_path, epochs=5, callbacks=plateau(now)).history_wide["train_lr"].tolist()
    assert longer[:2] == rate
    lowered = [later < earlier for earlier, later in pairwise(longer[2:])]
    assert any(lowered) == (now["patience"] == 0)


def test_a_scheduler_of_torch_takes_its_new_options(tmp_path: Path) -> None:
    def falling(gamma: float) -> lb.Callback:
        return lb.callbacks.LRScheduler(optim.lr_scheduler.ExponentialLR, gamma=gamma)

    fit(tmp_path, epochs=2, callbacks=falling(0.5))
    rates = fit(tmp_path, epochs=4, callbacks=falling(0.1)).history_wide["train_lr"].tolist()
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4, 2.5e-5])
