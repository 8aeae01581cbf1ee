"""The search in one process: what it tries, what it keeps, what it refuses."""

from itertools import pairwise

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.callbacks import EarlyStopping, KeepBestModel
from lumbre.tune._study import Search

SPACE = {
    "hparams": {"d_hidden": (4, 32), "dropout": (0.0, 0.5)},
    "opt_hparams": {"lr": lb.LogRange(1e-4, 1e-1)},
    "fit": {"batch_size": [16, 32]},
}
FIT = {"epochs": 2, "valid_data": 0.25, "verbose": False}


@pytest.fixture
def recipe() -> lb.Recipe:
    net = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return net.set_hparams(d_in=4)


def drawn(tuned: lb.Tuned, *names: str) -> list[tuple]:
    frame = tuned.frame()
    return list(frame[list(names or ("d_hidden", "dropout", "lr", "batch_size"))].itertuples(index=False, name=None))


def test_values_stay_in_the_space_and_the_best_run_can_be_run_again(recipe: lb.Recipe) -> None:
    tuned = lb.tune(recipe, SPACE, blobs(), trials=13, **FIT)
    frame = tuned.frame()
    assert list(frame.columns) == [
        *("number", "state", "value", "d_hidden", "dropout", "lr", "batch_size", "seconds", "epochs", "error")
    ]
    assert list(frame["number"]) == list(range(13))
    assert frame["d_hidden"].between(4, 32).all()
    assert all(isinstance(width, int) for width, *_ in drawn(tuned))
    assert frame["lr"].between(1e-4, 1e-1).all()
    assert (frame["lr"] < 1e-2).sum() > 4, "the scale is logarithmic"
    assert set(frame["batch_size"]) == {16, 32}
    complete = frame[frame["state"] == "complete"]
    assert tuned.best_value == complete["value"].min()
    fitted = tuned.best.fit(blobs(), **tuned.best_options, verbose=False)
    assert fitted.history_wide["valid_loss"].iloc[-1] == tuned.best_value
    row = complete.loc[complete["value"].idxmin()]
    assert tuned.best.hparams["d_hidden"] == row["d_hidden"]
    assert tuned.best.opt_hparams["lr"] == row["lr"]
    assert tuned.best_options["batch_size"] == row["batch_size"]
    assert f"best: trial {row['number']}, valid_loss" in repr(tuned)


def test_the_same_seed_gives_the_same_trials_also_over_a_stop(recipe: lb.Recipe, tmp_path) -> None:
    whole = lb.tune(recipe, SPACE, blobs(), trials=12, **FIT)
    for file, count in (("tune.db", 4), ("tune.journal", 12)):
        path = tmp_path / "runs" / file
        first = lb.tune(recipe, SPACE, blobs(), trials=2, study=path, **FIT)
        assert len(first.frame()) == 2
        resumed = lb.tune(recipe, SPACE, blobs(), trials=count, study=str(path), **FIT)
        assert drawn(resumed) == drawn(whole)[:count]
        assert list(resumed.frame()["value"]) == list(whole.frame()["value"][:count])
        again = lb.tune(recipe, SPACE, blobs(), trials=count, study=path, **FIT)
        assert again.frame().equals(resumed.frame()), "nothing was left to do"
    other = lb.tune(recipe, SPACE, blobs(), trials=2, seed=1, **FIT)
    assert drawn(other) != drawn(whole)[:2]


def test_it_learns_where_to_look(line: lb.Recipe) -> None:
    x = torch.linspace(-1, 1, 32).reshape(32, 1)
    space = {"opt_hparams": {"lr": lb.LogRange(1e-6, 1.0)}}
    tuned = lb.tune(line, space, (x, 3 * x), trials=25, monitor="train_loss", epochs=2, prune=False, verbose=False)
    lr = tuned.frame()["lr"]
    assert (lr[10:] > 1e-2).mean() > (lr[:10] > 1e-2).mean()
    assert tuned.best.opt_hparams["lr"] > 0.1


def test_every_combination_once(recipe: lb.Recipe) -> None:
    space = {"hparams": {"d_hidden": [4, 8]}, "opt_hparams": {"lr": [0.01, 0.1, 0.001]}, "fit": {"shuffle": [True]}}
    tuned = lb.tune(recipe, space, blobs(), trials=20, **FIT)
    assert sorted(drawn(tuned, "d_hidden", "lr")) == [(w, lr) for w in (4, 8) for lr in (0.001, 0.01, 0.1)]


def test_choices_may_be_anything(recipe: lb.Recipe) -> None:
    def deep(d_in: int, activation: type[nn.Module], widths: tuple[int, ...]) -> nn.Module:
        sizes = [d_in, *widths]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 3))

    made = lb.setup(deep, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(d_in=4)
    space = {"hparams": {"activation": [nn.ReLU, nn.Tanh], "widths": [(8,), (8, 8)]}}
    tuned = lb.tune(made, space, blobs(), trials=4, **FIT)
    assert set(drawn(tuned, "activation", "widths")) == {(a, w) for a in ("ReLU", "Tanh") for w in ("(8,)", "(8, 8)")}
    assert tuned.best.hparams["activation"] in (nn.ReLU, nn.Tanh)
    assert isinstance(tuned.best.hparams["widths"], tuple)


def test_the_same_name_in_two_places(recipe: lb.Recipe) -> None:
    class Decaying(Net):
        def __init__(self, lr: float) -> None:
            super().__init__(4)

    made = lb.setup(Decaying, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    tuned = lb.tune(made, {"hparams": {"lr": (1, 5)}, "opt_hparams": {"lr": [0.1]}}, blobs(), trials=1, **FIT)
    assert {"hparams.lr", "opt_hparams.lr"} <= set(tuned.frame().columns)
    assert tuned.best.opt_hparams["lr"] == 0.1


def test_more_is_better_where_the_metric_says_so(recipe: lb.Recipe) -> None:
    tuned = lb.tune(recipe, SPACE, blobs(), trials=3, monitor="valid_acc", **FIT)
    assert tuned.mode == "max"
    assert tuned.best_value == tuned.frame()["value"].max()
    assert lb.tune(recipe, SPACE, blobs(), trials=1, monitor="valid_acc", mode="min", **FIT).mode == "min"


def test_hopeless_trials_are_given_up(recipe: lb.Recipe, capsys) -> None:
    space = {"opt_hparams": {"lr": lb.LogRange(1e-5, 1e-1)}}
    options = {**FIT, "epochs": 10, "verbose": True}
    tuned = lb.tune(recipe, space, blobs(), trials=16, **options)
    frame = tuned.frame()
    pruned, complete = frame[frame["state"] == "pruned"], frame[frame["state"] == "complete"]
    assert len(pruned) >= 2
    assert len(pruned) + len(complete) == 16, "a trial given up is no error"
    assert (pruned["epochs"] < 10).all()
    assert (pruned["epochs"] > 2).all(), "a fifth of the epochs is waited for"
    assert (complete["epochs"] == 10).all()
    assert pruned["number"].min() >= 5
    said = capsys.readouterr().out
    assert said.count("given up at epoch") == len(pruned)
    assert "Trial 0 of 16: valid_loss" in said
    assert "the best so far - lr=" in said
    kept = lb.tune(recipe, space, blobs(), trials=16, prune=False, **{**FIT, "epochs": 3})
    assert set(kept.frame()["state"]) == {"complete"}


@pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")
@pytest.mark.parametrize("callback", [KeepBestModel(), EarlyStopping(patience=1, restore_best=True)])
def test_weights_given_back_count_with_their_value(recipe: lb.Recipe, callback: lb.Callback) -> None:
    hot = recipe.set_opt_hparams(lr=0.3)
    options = {**FIT, "epochs": 8, "callbacks": [callback]}
    tuned = lb.tune(hot, {"hparams": {"d_hidden": [8, 16]}}, blobs(30), trials=2, **options)
    values = tuned.study.best_trial.intermediate_values
    assert tuned.best_value == min(values.values())
    plain = lb.tune(hot, {"hparams": {"d_hidden": [8]}}, blobs(30), trials=1, **{**FIT, "epochs": 8})
    assert plain.best_value == plain.study.best_trial.intermediate_values[8]


def test_each_trial_has_callbacks_of_its_own(recipe: lb.Recipe) -> None:
    class Once(lb.Callback):
        used = False

        def on_fit_begin(self, ctx: lb.Context) -> None:
            assert not self.used
            self.used = True

    once = Once()
    lb.tune(recipe, SPACE, blobs(), trials=2, callbacks=once, **FIT)
    assert not once.used


@pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")
def test_a_loss_that_explodes_fails_its_trial_alone(line: lb.Recipe) -> None:
    x = torch.linspace(-1, 1, 32).reshape(32, 1)
    space = {"opt_hparams": {"lr": [1e30, 0.1, 1e25]}}
    tuned = lb.tune(line, space, (x, x), trials=3, monitor="train_loss", epochs=5, verbose=False)
    frame = tuned.frame().set_index("lr")
    assert frame["state"].to_dict() == {1e30: "failed", 0.1: "complete", 1e25: "failed"}
    assert frame["error"][1e30].startswith("NonFiniteLossError: ")
    assert tuned.best.opt_hparams["lr"] == 0.1
    none = lb.tune(line, {"opt_hparams": {"lr": [1e30]}}, (x, x), trials=1, monitor="train_loss", verbose=False)
    assert "none came to its end" in repr(none)
    with pytest.raises(lb.OptionError, match="NonFiniteLossError"):
        _ = none.best


def test_bad_data_stops_the_search_at_once(recipe: lb.Recipe) -> None:
    x, target = blobs()
    with pytest.raises(lb.LumbreError) as raised:
        lb.tune(recipe, SPACE, (x[:50], target), trials=5, **FIT)
    with pytest.raises(type(raised.value)) as alone:
        recipe.fit((x[:50], target), **FIT)
    assert str(raised.value) == str(alone.value)


def test_a_module_that_never_works_stops_the_search_soon() -> None:
    tried: list[int] = []

    class Broken(Net):
        def __init__(self, d_hidden: int) -> None:
            tried.append(d_hidden)
            raise ZeroDivisionError("no such width")

    recipe = lb.setup(Broken, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    with pytest.raises(lb.RecipeError, match=r"3 trials that failed.*ZeroDivisionError: no such width"):
        lb.tune(recipe, {"hparams": {"d_hidden": (4, 32)}}, blobs(), **FIT)
    assert len(tried) == 3


def test_a_module_that_works_sometimes_goes_on(recipe: lb.Recipe) -> None:
    class Even(Net):
        def __init__(self, d_hidden: int) -> None:
            if d_hidden % 2:
                raise ValueError("an odd width")
            super().__init__(4, d_hidden=d_hidden)

    made = lb.setup(Even, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    frame = lb.tune(made, {"hparams": {"d_hidden": [2, 3, 4, 5]}}, blobs(), **FIT).frame().set_index("d_hidden")
    assert frame["state"].to_dict() == {2: "complete", 3: "failed", 4: "complete", 5: "failed"}
    assert frame["error"][3] == "ValueError: an odd width"


def test_ctrl_c_gives_back_what_is_done_and_the_trial_is_run_later(recipe: lb.Recipe, tmp_path) -> None:
    class Impatient(lb.Callback):
        def on_epoch_begin(self, ctx: lb.Context) -> None:
            runs = (tmp_path / "runs").read_text() if (tmp_path / "runs").exists() else ""
            (tmp_path / "runs").write_text(runs + "x")
            if len(runs) == 5:  # in the third trial of two epochs each
                raise KeyboardInterrupt

    options = {**FIT, "callbacks": Impatient(), "study": tmp_path / "tune.db", "trials": 4}
    stopped = lb.tune(recipe, SPACE, blobs(), **options)
    assert list(stopped.frame()["state"]) == ["complete", "complete", "failed", "waiting"]
    assert stopped.best_value > 0
    resumed = lb.tune(recipe, SPACE, blobs(), **options)
    assert list(resumed.frame()["state"]) == ["complete", "complete", "failed", "complete", "complete"]
    assert drawn(resumed)[2] == drawn(resumed)[3] == drawn(lb.tune(recipe, SPACE, blobs(), trials=4, **FIT))[2]
    assert resumed.frame()["error"][2] == "interrupted; tried again"


def test_ctrl_c_before_a_trial_is_over_is_called_an_interruption(
    recipe: lb.Recipe, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(lb.Callback):
        def on_train_begin(self, ctx: lb.Context) -> None:
            raise KeyboardInterrupt

    options = {**FIT, "trials": 4, "study": tmp_path / "tune.db"}
    in_a_trial = lb.tune(recipe, SPACE, blobs(), **options, callbacks=Impatient())
    assert list(in_a_trial.frame()["state"]) == ["failed", "waiting"]

    def at_once(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Search, "take", at_once)
        before_any = lb.tune(recipe, SPACE, blobs(), **FIT)
    assert before_any.frame().empty
    for stopped in (in_a_trial, before_any):
        assert repr(stopped).endswith("interrupted before a trial was over: see .frame()")
        for wanted in (lambda found: found.best, lambda found: found.best_value, lambda found: found.plot()):
            with pytest.raises(lb.OptionError, match="was interrupted before") as raised:
                wanted(stopped)
            assert "study=" in raised.value.fix
    assert "best" in repr(lb.tune(recipe, SPACE, blobs(), **options))


def test_a_study_is_of_one_search(recipe: lb.Recipe, tmp_path) -> None:
    path = tmp_path / "tune.db"
    lb.tune(recipe, SPACE, blobs(), trials=1, study=path, **FIT)
    with pytest.raises(lb.OptionError, match="with which it was begun"):
        lb.tune(recipe, {**SPACE, "fit": {}}, blobs(), trials=2, study=path, **FIT)
    with pytest.raises(lb.OptionError, match="monitor train_loss"):
        lb.tune(recipe, SPACE, blobs(), trials=2, study=path, monitor="train_loss", **FIT)


def test_the_callers_randomness_and_logging_are_left_alone(recipe: lb.Recipe) -> None:
    import optuna

    state, level = torch.get_rng_state(), optuna.logging.get_verbosity()
    lb.tune(recipe, SPACE, blobs(), trials=2, **FIT)
    assert torch.equal(state, torch.get_rng_state())
    assert optuna.logging.get_verbosity() == level


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "an empty space"),
        ({"hparams": {}}, "an empty space"),
        ([("lr", 1)], "a list as space"),
        ({"lr": [0.1]}, '"opt_hparams": {"lr": ...}'),
        ({"opt_hparam": {"lr": [0.1]}}, "Did you mean 'opt_hparams'?"),
        ({"hparams": ["d_hidden"]}, "that is a list"),
        ({"hparams": {"d_hiden": [4]}}, "Did you mean 'd_hidden'?"),
        ({"opt_hparams": {"learning_rate": [0.1]}}, "options that Adam takes"),
        ({"opt_hparams": {"beta": [0.1]}}, "Did you mean 'betas'?"),
        ({"fit": {"batchsize": [16]}}, "Did you mean 'batch_size'?"),
        ({"fit": {"batch_size": [16, 0]}}, "batch_size=0"),
        ({"fit": {"batch_size": (0.5, 1.5)}}, "batch_size=0.5"),
        ({"fit": {"epochs": [1, 2]}}, "one of them"),
        ({"fit": {"seed": [1, 2]}}, r"tune(..., seed=...)"),
        ({"hparams": {"d_hidden": 16}}, ".set_hparams(d_hidden=...)"),
        ({"hparams": {"d_hidden": []}}, "a list of choices"),
        ({"hparams": {"d_hidden": (32, 4)}}, "a pair (low, high)"),
        ({"hparams": {"d_hidden": (4, 8, 16)}}, "a list of choices"),
        ({"hparams": {"d_hidden": [4, 4]}}, "double"),
    ],
)
def test_mistakes_in_the_space_are_found_before_the_first_trial(recipe: lb.Recipe, space, said: str) -> None:
    with pytest.raises((lb.OptionError, lb.RecipeError)) as raised:
        lb.tune(recipe, space, None, **FIT)  # no data: nothing was run
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials=0"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"monitor": "valid_los"}, "Did you mean 'valid_loss'?"),
        ({"mode": "maximum"}, '"min", "max" or None'),
        ({"study": "tune.txt"}, "runs/tune.db"),
        ({"study": 3}, "a file ending in"),
        ({"epoch": 3}, "Did you mean 'epochs'?"),
        ({"seed": None}, "seed=None"),
    ],
)
def test_mistakes_in_the_options(recipe: lb.Recipe, options, said: str) -> None:
    with pytest.raises(lb.OptionError) as raised:
        lb.tune(recipe, SPACE, None, **{"verbose": False, **options})
    assert said in str(raised.value)


def test_without_validation_data_the_monitor_is_missed_at_once(recipe: lb.Recipe) -> None:
    with pytest.raises(lb.OptionError, match=r"valid_data=0\.2"):
        lb.tune(recipe, SPACE, blobs(), epochs=1, verbose=False)


def test_a_module_that_is_built_cannot_be_tuned() -> None:
    with pytest.raises(lb.RecipeError, match="with the class"):
        lb.tune(
            lb.setup(Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam),
            {"opt_hparams": {"lr": [0.1]}},
            blobs(),
        )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 1), (-1, 1), ("a", "b"), (1.0, float("inf"))])
def test_a_logarithmic_range_needs_two_numbers_above_zero(low, high) -> None:
    with pytest.raises(lb.OptionError, match="0 < low < high"):
        lb.LogRange(low, high)


def test_pictures(recipe: lb.Recipe, tmp_path) -> None:
    space = {**SPACE, "hparams": {"d_hidden": lb.LogRange(4, 64), "dropout": [0, 0.5]}, "fit": {"shuffle": [True]}}
    tuned = lb.tune(recipe, space, blobs(), trials=8, **{**FIT, "epochs": 4})
    tuned.plot().save(tmp_path / "all.png", verbose=False)
    chart = tuned.plot("lr")
    chart.save(tmp_path / "lr.png", verbose=False)
    assert chart.labels.x == "lr"
    assert {"complete", "pruned"} == set(chart.data["state"].cat.categories)
    assert len(chart.data) == 8
    assert list(tuned.plot("dropout").data["drawn"].cat.categories) == ["0", "0.5"]
    with pytest.raises(lb.OptionError, match="Did you mean 'dropout'"):
        tuned.plot("dropuot")
