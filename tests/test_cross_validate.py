"""Cross-validation: the same as the fits one would write, whatever stops them or shares them out."""

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import TimeSeriesSplit
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.trials._intervals import t_quantile
from several import KillsOnce, blobs, forked, recipe, stopping, until_done


def frame() -> Any:
    import pandas as pd

    x, y = blobs(90)
    names = pd.Series(["red", "green", "blue"])[y.numpy()].to_numpy()
    columns = {f"x{at}": x[:, at].numpy() * 10**at for at in range(4)}
    return pd.DataFrame({**columns, "who": np.arange(90) // 3, "when": 90 - np.arange(90), "class": names})


def frame_data() -> lb.data.FrameData:
    return lb.data.from_frame(frame(), target="class", features=["x0", "x1", "x2", "x3"])


NOISY: dict[str, Any] = {"verbose": False, "ignore": ("LB080",)}
"""Of `Squares`, the noise of validation rows is intended."""


class Squares(torch.utils.data.Dataset[Any]):
    """Rows with noise of their own, drawn at each reading."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.full((4,), row / 40) + 0.1 * torch.randn(4), row % 3


@pytest.mark.parametrize("data", [blobs(), frame_data(), Squares()], ids=["tensors", "frame", "data set"])
@pytest.mark.parametrize("how", ["plain", "stratify", "group"])
def test_scores_equal_fits_by_hand(data: Any, how: str) -> None:
    rows = np.arange(len(data[1]) if isinstance(data, tuple) else len(data))
    beside = {"plain": {}, "stratify": {"stratify": rows % 3}, "group": {"group": rows // 4}}[how]
    options = {"epochs": 3} if "group" in beside else stopping()  # groups are kept together in validation, too
    found = recipe().cross_validate(data, folds=3, seed=7, **NOISY, **beside, **options)
    scores: list[tuple[int, int, str, float]] = []
    for fold, (train, held_out) in enumerate(lb.data.folds(data, 3, seed=7, **beside), 1):
        fitted = recipe().fit(train, seed=7, verbose=False, preflight=False, **options)
        scores += [(1, fold, name, value) for name, value in fitted.evaluate(held_out).metrics.items()]
        assert torch.equal(found.predictions[found.held_out[fold - 1]], fitted.predict(held_out))
        assert found.models[fold - 1].history["value"].tolist() == fitted.history["value"].tolist()
    assert list(found.scores.itertuples(index=False, name=None)) == scores
    assert len(found.predictions) == len(torch.cat(found.held_out).unique())


def test_each_row_has_the_prediction_of_a_model_that_has_not_seen_it() -> None:
    x, y = blobs(60)
    found = recipe().cross_validate((x, y), folds=4, epochs=1, verbose=False)
    for rows, model in zip(found.held_out, found.models, strict=True):
        assert torch.equal(found.predictions[rows], model.predict(x[rows]))
    assert torch.equal(found.responses, found.predictions.softmax(1))
    assert torch.cat(found.held_out).sort().values.tolist() == list(range(60))


def test_nothing_of_a_fold_is_learned_from_its_rows() -> None:
    table = frame()
    found = recipe().cross_validate(frame_data(), folds=3, epochs=1, verbose=False)
    hidden = found.held_out[0].numpy()
    table.loc[hidden, "x3"] = 1e6  # would move the mean and the spread of the column
    changed = lb.data.from_frame(table, target="class", features=["x0", "x1", "x2", "x3"])
    again = recipe().cross_validate(changed, folds=3, epochs=1, verbose=False)
    for before, after in zip(found.models[0].model.parameters(), again.models[0].model.parameters(), strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(found.predictions[hidden], again.predictions[hidden])


def test_repeats_have_folds_and_seeds_of_their_own() -> None:
    data = blobs(45)
    both = recipe().cross_validate(data, folds=3, repeats=2, epochs=1, seed=4, verbose=False)
    first, second = (recipe().cross_validate(data, folds=3, epochs=1, seed=seed, verbose=False) for seed in (4, 5))
    assert both.scores["value"].tolist() == first.scores["value"].tolist() + second.scores["value"].tolist()
    assert both.scores["repeat"].tolist() == [1] * 6 + [2] * 6
    assert torch.equal(both.predictions, torch.stack([first.predictions, second.predictions]).mean(0))
    assert torch.equal(both.responses, torch.stack([first.responses, second.responses]).mean(0))
    assert not torch.equal(first.held_out[0], second.held_out[0])


class Seen(lb.Callback):
    """Notes the first number of each row that is trained and validated on; callbacks are copied, the class is not."""

    train: ClassVar[list[set[int]]] = []
    valid: ClassVar[list[set[int]]] = []

    def on_fit_begin(self, ctx: lb.Context) -> None:
        type(self).train.append(set())
        type(self).valid.append(set())

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        type(self).train[-1] |= set(ctx.batch.input[:, 0].int().tolist())

    def on_valid_batch_end(self, ctx: lb.Context) -> None:
        type(self).valid[-1] |= set(ctx.batch.input[:, 0].int().tolist())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> type[Seen]:
    monkeypatch.setattr(Seen, "train", [])
    monkeypatch.setattr(Seen, "valid", [])
    return Seen


def line() -> lb.Recipe:
    made = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=1e-9)
    return made.set_hparams(in_features=1, out_features=1)


def test_no_group_is_in_two_parts_the_inner_validation_included(seen: type[Seen]) -> None:
    groups = torch.arange(60) // 3
    data = groups[:, None].float(), torch.zeros(60, 1)
    options: dict[str, Any] = {"epochs": 1, "valid_data": 0.3, "callbacks": [Seen()], "preflight": False}
    found = line().cross_validate(data, folds=4, group=groups, verbose=False, **options)
    for train, valid, rows in zip(seen.train, seen.valid, found.held_out, strict=True):
        held_out = set(groups[rows].tolist())
        assert train
        assert valid
        assert train | valid | held_out == set(range(20))
        assert len(train) + len(valid) + len(held_out) == 20


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("rows", [23, 24])
def test_ordered_folds_are_those_of_scikit_learn(seen: type[Seen], rows: int, gap: int) -> None:
    times = torch.randperm(rows, generator=torch.Generator().manual_seed(3))
    data = times[:, None].float(), torch.zeros(rows, 1)
    found = line().cross_validate(
        data, folds=3, ordered=times.numpy(), gap=gap, epochs=1, callbacks=[Seen()], preflight=False, verbose=False
    )
    splits = list(TimeSeriesSplit(3, gap=gap).split(np.arange(rows)))
    assert seen.train == [set(train.tolist()) for train, _ in splits]
    assert [times[one].tolist() for one in found.held_out] == [valid.tolist() for _, valid in splits]
    known = torch.isin(torch.arange(rows), torch.cat(found.held_out))
    assert torch.equal(found.predictions[:, 0].isnan(), ~known)


def test_ordered_rows_validate_on_the_last_before_the_gap(seen: type[Seen]) -> None:
    data = torch.arange(40)[:, None].float(), torch.zeros(40, 1)
    options: dict[str, Any] = {"epochs": 1, "valid_data": 0.25, "callbacks": [Seen()], "preflight": False}
    line().cross_validate(data, folds=3, ordered=True, gap=1, verbose=False, **options)
    assert seen.train[0] == set(range(6))  # of the 9 rows before the gap and the window
    assert seen.valid[0] == {7, 8}


def test_the_final_model_is_a_fit_of_all_rows_for_the_median_best_epoch() -> None:
    data = blobs()
    found = recipe().cross_validate(data, folds=3, final=True, verbose=False, **stopping())
    best = [int(one.history_wide.sort_values("valid_loss", kind="stable")["epoch"].iloc[0]) for one in found.models]
    assert found.best_epochs == best
    by_hand = recipe().fit(data, epochs=int(np.median(best)), verbose=False)
    assert found.final is not None
    assert torch.equal(found.final.predict(data[0]), by_hand.predict(data[0]))


def test_best_epochs_follow_the_metrics_direction_and_are_the_last_without_a_watch() -> None:
    options: dict[str, Any] = {"epochs": 4, "valid_data": 0.25, "verbose": False, "folds": 2}
    watched = recipe().cross_validate(blobs(), callbacks=lb.callbacks.KeepBestModel("valid_acc"), **options)
    for fitted, epoch in zip(watched.models, watched.best_epochs, strict=True):
        assert fitted.history_wide["valid_acc"].idxmax() + 1 == epoch
    assert recipe().cross_validate(blobs(), **options).best_epochs == [4, 4]


@given(st.integers(1, 60), st.floats(0.5, 0.9999))
def test_the_quantile_is_that_of_students_t(degrees: int, probability: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-8, abs=1e-9)


def test_the_interval_is_the_corrected_one() -> None:
    found = recipe().cross_validate(blobs(60), folds=5, repeats=2, epochs=1, verbose=False)
    values = found.scores.query("metric == 'loss'")["value"].to_numpy()
    half = stats.t.ppf(0.95, 9) * np.sqrt(values.var(ddof=1) * (1 / 10 + 12 / 48))
    row = found.summary(level=0.9).query("metric == 'loss'").iloc[0]
    assert [row["mean"], row["low"], row["high"]] == pytest.approx(
        [values.mean(), *(values.mean() + half * np.array([-1, 1]))]
    )
    assert "loss: " in repr(found)
    assert "5 folds of 60 rows, 2 times" in repr(found)
    assert "<table" in found._repr_html_()


def test_a_module_that_is_ready_is_copied_for_each_fold() -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    before = module.weight.clone()
    found = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).cross_validate(
        blobs(), folds=2, epochs=1, verbose=False
    )
    assert torch.equal(module.weight, before)
    first, second = (one.model.weight for one in found.models)
    assert not torch.equal(first, second)


def test_weights_of_the_sampler_are_those_of_the_rows() -> None:
    data, weights = blobs(60), torch.rand(60)
    found = recipe().cross_validate(data, folds=2, epochs=1, sampler=weights, verbose=False)
    train, held_out = next(iter(lb.data.folds(data, 2)))
    rows = torch.isin(torch.arange(60), found.held_out[0]).logical_not()
    fitted = recipe().fit(train, epochs=1, sampler=weights[rows], verbose=False)
    assert fitted.evaluate(held_out).metrics["loss"] == found.scores["value"][0]


def test_nothing_of_the_caller_changes(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    stop = lb.callbacks.KeepBestModel()
    recipe().cross_validate(blobs(), folds=2, epochs=2, valid_data=0.2, callbacks=[stop])
    assert torch.equal(torch.get_rng_state(), state)
    assert stop.best_epoch is None
    out = capsys.readouterr().out.splitlines()
    assert [one.partition(":")[0] for one in out] == ["Fold 1 of 2", "Fold 2 of 2"]


class CtrlC(lb.Callback):
    def on_epoch_end(self, ctx: lb.Context) -> None:
        if ctx.epoch == 2:
            raise KeyboardInterrupt


def test_ctrl_c_ends_all_folds() -> None:
    with pytest.raises(KeyboardInterrupt):
        recipe().cross_validate(blobs(), folds=3, epochs=3, callbacks=[CtrlC()], verbose=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 1}, "folds=1"),
        ({"folds": 100}, "from 2 to 60 folds"),
        ({"repeats": 0}, "repeats=0"),
        ({"ordered": True, "repeats": 2}, "repeats=... beside ordered"),
        ({"ordered": True, "stratify": True}, "stratify=... beside ordered"),
        ({"ordered": np.arange(3)}, "for 60 rows"),
        ({"ordered": np.full(60, np.nan)}, "60 missing values"),
        ({"ordered": True, "gap": 20}, "gap=20"),
        ({"gap": 2}, "no order"),
        ({"gap": -1, "ordered": True}, "gap=-1"),
        ({"group": np.arange(5)}, "one group for each row"),
        ({"workers": 0}, "workers=0"),
        ({"seed": None}, "seed=None"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"sampler": torch.ones(5)}, "5 values for 60 rows"),
        ({"final": True, "valid_data": 0.2, "callbacks": [lb.schedules.plateau()]}, "final=True"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises((lb.OptionError, lb.DataError), match=said.replace("(", r"\(")):
        recipe().cross_validate(blobs(60), **{"epochs": 1, "verbose": False, **options})
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*blobs(60)))
    with pytest.raises(lb.DataError, match="cannot be counted"):
        recipe().cross_validate(loader, epochs=1)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=forked)])
def test_an_error_in_a_fit_comes_through(workers: int) -> None:
    with pytest.raises(lb.LumbreError, match="d_inn"):
        recipe().set_hparams(d_inn=2).cross_validate(blobs(), workers=workers, verbose=False)


def same(found: lb.CrossValidation, other: lb.CrossValidation) -> bool:
    pairs = zip(found.models, other.models, strict=True)
    return (
        found.scores.equals(other.scores)
        and torch.equal(found.predictions, other.predictions)
        and found.best_epochs == other.best_epochs
        and all(one.history["value"].equals(two.history["value"]) for one, two in pairs)
    )


@forked
@pytest.mark.parametrize("data", [blobs(), frame_data(), Squares()], ids=["tensors", "frame", "data set"])
def test_any_number_of_workers_gives_the_same_bits(data: Any, tmp_path: Path) -> None:
    one = recipe().cross_validate(data, folds=3, **NOISY, **stopping())
    for workers, resume in ((2, None), (3, tmp_path / "runs"), (1, tmp_path / "runs")):
        found = recipe().cross_validate(data, folds=3, workers=workers, resume=resume, **NOISY, **stopping())
        assert same(found, one)


@forked
def test_a_limit_of_time_is_that_of_each_fit_whoever_trains_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"folds": 3, "epochs": 4, "max_seconds": 1e-9, "verbose": False, "preflight": False}
    one = recipe().cross_validate(blobs(), **options)
    assert one.best_epochs == [1, 1, 1]
    assert same(recipe().cross_validate(blobs(), workers=2, resume=tmp_path / "runs", **options), one)


@forked
def test_workers_compute_with_the_threads_of_this_process() -> None:
    threads = torch.get_num_threads()
    x = torch.randn(6000, 64, generator=torch.Generator().manual_seed(0))
    wide = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=64, out_features=64)
    options: dict[str, Any] = {"folds": 2, "epochs": 1, "batch_size": 3000, "verbose": False, "preflight": False}
    try:
        torch.set_num_threads(2)
        one = wide.cross_validate((x, x), **options)  # this process has had threads when it is forked
        assert same(wide.cross_validate((x, x), workers=2, **options), one)
    finally:
        torch.set_num_threads(threads)


@forked
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    options = {**stopping(), "folds": 3, "verbose": False}
    one = recipe().cross_validate(blobs(), **options)
    options["callbacks"] = [*options["callbacks"], KillsOnce(tmp_path, 3)]
    assert same(recipe().cross_validate(blobs(), workers=2, **options), one)
    assert (tmp_path / "killed").exists()


class Kills(lb.Callback):
    def on_fit_begin(self, ctx: lb.Context) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@forked
def test_a_fit_that_always_kills_is_given_up() -> None:
    with pytest.raises(lb.RecipeError, match="ended 3 times"):
        recipe().cross_validate(blobs(), folds=2, epochs=1, workers=2, callbacks=[Kills()], verbose=False)


SCRIPT = """
import sys
from pathlib import Path
import torch
from several import KillsOnce, blobs, recipe, stopping
folder, after, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
options = stopping()
options["callbacks"] += [KillsOnce(folder, after, parent=workers > 1)]
found = recipe().cross_validate(
    blobs(), folds=3, final=True, workers=workers, resume=folder / "runs", verbose=False, **options
)
torch.save([found.predictions, found.final.predict(blobs()[0])], folder / "found.pt")
"""


@forked
@pytest.mark.parametrize(
    ("after", "workers"),
    [(2, 1), *(pytest.param(*at, marks=pytest.mark.slow) for at in ((4, 2), (0, 1), (5, 1), (9, 1), (13, 1)))],
)
def test_killed_anywhere_it_goes_on_to_the_same_bits(tmp_path: Path, after: int, workers: int) -> None:
    arguments = [str(tmp_path), str(after), str(workers)]
    assert until_done(SCRIPT, arguments, tmp_path / "found.pt") == [-signal.SIGKILL, 0]
    found = recipe().cross_validate(blobs(), folds=3, final=True, verbose=False, **stopping())
    predictions, final = torch.load(tmp_path / "found.pt")
    assert torch.equal(predictions, found.predictions)
    assert found.final is not None
    assert torch.equal(final, found.final.predict(blobs()[0]))


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    recipe().cross_validate(blobs(), folds=2, epochs=1, resume=tmp_path, verbose=False)
    with pytest.raises(lb.ResumeError, match="opt_hparams"):
        recipe().set_opt_hparams(lr=0.01).cross_validate(blobs(), folds=2, epochs=1, resume=tmp_path, verbose=False)


@given(st.integers(4, 60), st.integers(0, 3))
def test_parts_of_a_split_in_order_follow_one_another(rows: int, gap: int) -> None:
    times = torch.randperm(rows)
    try:
        train, valid = lb.split((times, times), 0.7, 0.3, ordered=times, gap=gap)
    except lb.OptionError:
        assert round(0.7 * rows) <= gap
        return
    train, valid = (sorted(int(part[row][0]) for row in range(len(part))) for part in (train, valid))
    assert valid == list(range(rows - len(valid), rows))
    assert train == list(range(rows - len(valid) - gap))


def test_a_split_in_order_takes_a_column_of_times() -> None:
    data = frame_data()
    train, valid = lb.split(data, 0.8, 0.2, ordered="when")
    assert train.column("when").max() < valid.column("when").min()
    assert train.encoding == data.encoding
    with pytest.raises(lb.OptionError, match="beside ordered"):
        lb.split(data, 0.8, 0.2, ordered="when", group="who")


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_each_fold_trains_and_is_judged_by_the_weights_of_its_own_rows(place: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 3, generator=generator), torch.randn(60, 1, generator=generator)
    weights = torch.randint(0, 3, (60,), generator=generator).double()
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
    recipe = recipe.set_hparams(in_features=3, out_features=1).set_opt_hparams(lr=0.1)
    data = (x, y) if place == "beside" else lb.data.weighted((x, y), weights)
    beside = {"weights": weights} if place == "beside" else {}
    options = {"epochs": 2, "verbose": False}
    found = recipe.cross_validate(data, folds=3, seed=0, **options, **beside)
    for fitted, held, loss in zip(found.models, found.held_out, found.scores["value"], strict=True):
        rows = torch.ones(60, dtype=torch.bool)
        rows[held] = False
        alone = recipe.fit((x[rows], y[rows]), weights=weights[rows], seed=0, **options)
        assert torch.equal(fitted.model.weight, alone.model.weight)
        errors = (fitted.predict(x[held]) - y[held]).square()[:, 0].double()
        assert loss == pytest.approx(float(errors @ weights[held] / weights[held].sum()), rel=1e-5)
