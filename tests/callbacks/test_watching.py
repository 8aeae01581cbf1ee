"""Early stopping, checkpoints, the best model: also each fault that luz has in them, by its name."""

import json
from pathlib import Path

import pytest
import torch
from callbacks_help import Scripted, blank_context
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net
from lumbre.callbacks import EarlyStopping, KeepBestModel, ModelCheckpoint, On
from lumbre.callbacks._monitor import Monitor


def run(recipe: lb.Recipe, data: tuple[Tensor, Tensor], values: list[float], *callbacks: lb.Callback, **options):
    options = {"epochs": len(values), **options}
    return recipe.fit(data, valid_data=0.2, callbacks=[Scripted(*values), *callbacks], verbose=False, **options)


class Weights(lb.Callback):
    """The first layer's weight after each epoch."""

    def __init__(self) -> None:
        self.kept: dict[int, Tensor] = {}

    def on_epoch_end(self, ctx: lb.Context) -> None:
        self.kept[ctx.epoch] = ctx.model.layers[0].weight.clone()


# ---- faults of luz, by name


def test_luz_early_stopping_with_patience_zero_stopped_at_the_second_epoch_whatever_happened() -> None:
    with pytest.raises(lb.OptionError, match="a whole number from 1"):
        EarlyStopping(patience=0)


def test_luz_compare_zero_never_looked_at_the_new_value() -> None:
    with pytest.raises(lb.OptionError, match="one of 'min', 'max'"):
        Monitor("valid_loss", "zero")


@settings(deadline=None)  # the first call imports what it needs
@given(
    old=st.floats(-1e6, 1e6), new=st.floats(-1e6, 1e6), min_delta=st.floats(0, 10), mode=st.sampled_from(("min", "max"))
)
def test_what_counts_as_better(old: float, new: float, min_delta: float, mode: str) -> None:
    monitor = Monitor("valid_loss", mode, min_delta)
    ctx = blank_context(("valid_loss",))
    monitor.begin(ctx)
    found: list[bool] = []
    for ctx.epoch, value in ((1, old), (2, new)):
        ctx.history.add(ctx.epoch, "valid", {"loss": value})
        found.append(monitor.improved(ctx))
    gain = old - new if mode == "min" else new - old
    assert found == [True, gain > min_delta]
    assert monitor.best == (new if gain > min_delta else old)


@pytest.mark.parametrize("make", [EarlyStopping, KeepBestModel, lambda: ModelCheckpoint("x")])
def test_luz_callbacks_that_watch_had_no_state_dict(make) -> None:
    """Patience and the best value started afresh after a resume."""
    first, second, ctx = make(), make(), blank_context(("valid_loss",))
    for callback in (first, second):
        callback.on_fit_begin(ctx)
    ctx.epoch = 1
    ctx.history.add(1, "valid", {"loss": 0.5})
    first.on_epoch_end(ctx)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert second.state_dict()["best"] == 0.5


def test_luz_early_stopping_forgot_its_count_at_a_resume(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    first = EarlyStopping(patience=3, restore_best=True)
    states: list[dict] = []
    run(recipe, data, [5, 6, 6], first, On(epoch_end=lambda ctx: states.append(first.state_dict())))
    assert states[-1]["waited"] == 2
    assert json.dumps({key: value for key, value in states[-1].items() if key != "weights"})
    second = EarlyStopping(patience=3, restore_best=True)
    fitted = run(
        recipe, data, [6, 6], On(epoch_begin=lambda ctx: ctx.epoch == 1 and second.load_state_dict(states[-1])), second
    )
    assert fitted.history["epoch"].max() == 1, "two epochs before the resume and one after it make three"
    assert torch.equal(fitted.model.layers[0].weight, states[0]["weights"]["layers.0.weight"])


def test_luz_keep_best_looked_for_a_temporary_file_that_was_gone(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor]
) -> None:
    """Its weights are part of its state."""
    first, seen = KeepBestModel(), Weights()
    states: list[dict] = []
    run(recipe, data, [5, 3, 6], first, seen, On(epoch_end=lambda ctx: states.append(first.state_dict())))
    second = KeepBestModel()
    fitted = run(
        recipe, data, [6, 6], On(epoch_begin=lambda ctx: ctx.epoch == 1 and second.load_state_dict(states[-1])), second
    )
    assert second.best_epoch == 2
    assert torch.equal(fitted.model.layers[0].weight, seen.kept[2])


# ---- early stopping


def test_the_count_starts_anew_before_the_fewest_epochs(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    fitted = run(recipe, data, [5, 6, 6, 4, 3, 2, 6, 6], EarlyStopping(patience=2), epochs=(4, 8))
    assert fitted.history["epoch"].max() == 8, "patience ran out at epoch 3, but epoch 4 was better"
    fitted = run(recipe, data, [5, 6, 6, 6, 6, 6], EarlyStopping(patience=2), epochs=(4, 6))
    assert fitted.history["epoch"].max() == 4


def test_weights_stay_where_nothing_beat_the_baseline(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    seen = Weights()
    fitted = run(recipe, data, [5, 4, 3], EarlyStopping(patience=2, baseline=1.0, restore_best=True), seen)
    assert torch.equal(fitted.model.layers[0].weight, seen.kept[2])


# ---- the best model


def test_the_best_model_comes_back(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    keep, seen = KeepBestModel(), Weights()
    fitted = run(recipe, data, [5, 3, 4, 6], keep, seen)
    assert keep.best_epoch == 2
    assert torch.equal(fitted.model.layers[0].weight, seen.kept[2])
    assert not torch.equal(seen.kept[2], seen.kept[4])


def test_the_best_model_comes_back_after_ctrl_c(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    def interrupt(ctx: lb.Context) -> None:
        if ctx.epoch == 4:
            raise KeyboardInterrupt

    seen = Weights()
    fitted = run(recipe, data, [5, 3, 4, 6], KeepBestModel(), seen, On(train_batch_end=interrupt))
    assert torch.equal(fitted.model.layers[0].weight, seen.kept[2])


def test_buffers_come_back_too(data: tuple[Tensor, Tensor]) -> None:
    means: list[Tensor] = []
    recipe = lb.setup(
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD
    ).set_opt_hparams(lr=0.1)
    fitted = run(
        recipe,
        data,
        [3, 4, 5],
        KeepBestModel(),
        On(epoch_end=lambda ctx: means.append(ctx.model[0].running_mean.clone())),
    )
    assert torch.equal(fitted.model[0].running_mean, means[0])
    assert not torch.equal(means[0], means[2])


def test_an_unknown_value_is_named(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(lb.OptionError, match="Did you mean 'valid_acc'"):
        run(recipe, data, [1], KeepBestModel("valid_ac"))


# ---- checkpoints


def test_names_hold_epoch_and_values(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    run(recipe, data, [5, 3, 4, 2], ModelCheckpoint(tmp_path / "{epoch:02d}-{valid_loss:.3f}.lumbre"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-5.000.lumbre", "02-3.000.lumbre", "04-2.000.lumbre"]


def test_a_folder_gets_files_with_names_of_their_own(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    run(recipe, data, [5, 3], ModelCheckpoint(f"{tmp_path}/models/"))
    names = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert names == ["epoch-01-valid_loss-5.000.lumbre", "epoch-02-valid_loss-3.000.lumbre"]


@pytest.mark.parametrize("best_only", [True, False])
def test_only_own_files_are_removed(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path, best_only: bool
) -> None:
    stranger = tmp_path / "99.lumbre"
    stranger.write_text("mine")
    keep = ModelCheckpoint(tmp_path / "{epoch:02d}.lumbre", best_only=best_only, keep=2)
    run(recipe, data, [5, 4, 3, 6], keep)
    kept = ["02", "03"] if best_only else ["03", "04"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == [*kept, "99"]
    assert stranger.read_text() == "mine"
    run(recipe, data, [5], keep)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["01", *kept, "99"], "the last run's files stay"


def test_files_of_a_run_that_goes_on_are_removed_and_nothing_else(tmp_path: Path) -> None:
    ctx = blank_context(("valid_loss",), save=lambda path: path.write_text("model"))
    keep = ModelCheckpoint(tmp_path / "{epoch}-{valid_loss:.1f}", best_only=False, keep=1)
    other = tmp_path / "other"
    other.write_text("mine")
    keep.on_fit_begin(ctx)
    ctx.epoch = 1
    ctx.history.add(1, "valid", {"loss": 0.5})
    keep.on_epoch_end(ctx)
    state = json.loads(json.dumps(keep.state_dict()))
    assert str(tmp_path) not in json.dumps(state), "a state cannot name a file outside the template"
    again = ModelCheckpoint(tmp_path / "{epoch}-{valid_loss:.1f}", best_only=False, keep=1)
    again.on_fit_begin(ctx)
    again.load_state_dict(state)
    ctx.epoch = 2
    ctx.history.add(2, "valid", {"loss": 0.25})
    again.on_epoch_end(ctx)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2-0.2", "other"]


def test_the_last_model_needs_no_validation(recipe: lb.Recipe, data: tuple[Tensor, Tensor], in_tmp: Path) -> None:
    recipe.fit(data, epochs=2, callbacks=ModelCheckpoint("last.lumbre", best_only=False), verbose=False)
    assert lb.load("last.lumbre", Net).history["epoch"].max() == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "{epoch}.lumbre", "keep": 0}, "a whole number from 1"),
        ({"path": "best.lumbre", "keep": 2}, "differs from epoch to epoch"),
        ({"path": "{epoch.lumbre"}, "cannot be filled in"),
        ({"path": "{}.lumbre"}, "cannot be filled in"),
        ({"path": "{epoch.__class__}.lumbre"}, "cannot be filled in"),
    ],
)
def test_impossible_paths_are_refused_at_once(options: dict, words: str) -> None:
    with pytest.raises(lb.OptionError, match=words):
        ModelCheckpoint(**options)


@pytest.mark.parametrize(
    ("path", "words"), [("{valid_los}", "Did you mean 'valid_loss'"), ("{valid_loss:d}", "cannot be filled in")]
)
def test_wrong_names_are_refused_when_the_run_starts(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], in_tmp: Path, path: str, words: str
) -> None:
    with pytest.raises(lb.OptionError, match=words):
        run(recipe, data, [1], ModelCheckpoint(path))


class Worse(lb.Callback):
    """Writes an accuracy that falls from epoch to epoch."""

    def on_valid_end(self, ctx: lb.Context) -> None:
        records = ctx.history.records
        records[:] = [record for record in records if record[:3] != ("valid", "acc", ctx.epoch)]
        ctx.log("acc", 1 - ctx.epoch / 10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lb.callbacks.KeepBestModel("valid_acc"),
        lambda: lb.callbacks.EarlyStopping("valid_acc", patience=9, restore_best=True),
    ],
)
def test_the_metric_says_which_way_is_better(recipe: lb.Recipe, data, make) -> None:
    options = {"valid_data": 0.2, "verbose": False}
    first = recipe.fit(data, epochs=1, **options)
    kept = recipe.fit(data, epochs=4, callbacks=[Worse(), make()], **options)
    for one, other in zip(first.model.parameters(), kept.model.parameters(), strict=True):
        assert torch.equal(one, other)  # the best accuracy was that of the first epoch


def test_a_plateau_of_accuracy_is_one_of_its_maximum(recipe: lb.Recipe, data) -> None:
    callbacks = [Worse(), lb.schedules.plateau("valid_acc", patience=1)]
    fitted = recipe.fit(data, epochs=5, valid_data=0.2, callbacks=callbacks, verbose=False)
    rates = fitted.history.query("metric == 'lr'")["value"]
    assert rates.iloc[-1] < rates.iloc[0]


def test_a_metric_that_does_not_say_so_is_asked_for(data) -> None:
    class Size(lb.metrics.MAE):
        higher_is_better = None

    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=Size(name="size"))
    recipe = recipe.set_hparams(in_features=4, out_features=1)
    pair = data[0], data[1].float()[:, None]
    with pytest.raises(lb.OptionError, match="does not say whether more or less"):
        recipe.fit(pair, valid_data=0.2, callbacks=lb.callbacks.KeepBestModel("valid_size"), verbose=False)
    keep = lb.callbacks.KeepBestModel("valid_size", mode="min")
    assert recipe.fit(pair, epochs=1, valid_data=0.2, callbacks=keep, verbose=False)


def test_a_cyclic_schedule_keeps_its_own_mode(recipe: lb.Recipe, data) -> None:
    cyclic = lb.callbacks.LRScheduler(optim.lr_scheduler.CyclicLR, base_lr=1e-3, max_lr=1e-2, cycle_momentum=False)
    fitted = recipe.fit(data, epochs=2, callbacks=cyclic, ignore="LB035", verbose=False)
    assert fitted.history.query("metric == 'lr'")["value"].iloc[0] == pytest.approx(1e-3)
