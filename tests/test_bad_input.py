"""Bad input is found early, and the message says what was received, what was expected, and what to write instead."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from conftest import Net, blobs

X, Y = blobs()


def recipe(**hparams: Any) -> lb.Recipe:
    return lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(**(hparams or {"d_in": 4}))


def fit(*args: Any, **kwargs: Any) -> lb.Fitted:
    return recipe().fit(*args, verbose=False, **kwargs)


def with_nan() -> Tensor:
    x = X.clone()
    x[[3, 17], 1] = float("nan")
    return x


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(X.numpy(), columns=list("abcd")).assign(**columns)


MSE = nn.MSELoss()
CASES: dict[str, tuple[Callable[[], Any], type[lb.LumbreError], str, str, str]] = {
    "no loss": (lambda: lb.setup(Net, optimizer=optim.Adam), lb.RecipeError, "no loss for Net", "loss(self, pred, target)", "loss=nn.CrossEntropyLoss()"),
    "no loss of a factory": (lambda: lb.setup(lambda: Net(4), optimizer=optim.Adam).fit((X, Y)), lb.RecipeError, "no loss", "a loss function", "loss="),
    "no optimizer": (lambda: lb.setup(Net, loss=MSE), lb.RecipeError, "no optimizer for Net", "configure_optimizers", "optimizer=torch.optim.AdamW"),
    "loss class": (lambda: lb.setup(Net, loss=nn.MSELoss, optimizer=optim.Adam), lb.RecipeError, "a class", "a loss function", "MSELoss() with parentheses"),
    "metric class": (lambda: lb.setup(Net, loss=MSE, optimizer=optim.Adam, metrics=lb.metrics.MAE), lb.RecipeError, "the class MAE", "a metric object", "MAE()"),
    "no metric": (lambda: lb.setup(Net, loss=MSE, optimizer=optim.Adam, metrics=["acc"]), lb.RecipeError, "'acc'", "Metric", "Accuracy()"),
    "two of a name": (lambda: lb.setup(Net, loss=MSE, optimizer=optim.Adam, metrics=[lb.metrics.MAE(), lb.metrics.MAE()]), lb.RecipeError, "two values named 'mae'", "a name of its own", "name="),
    "optimizer object": (lambda: lb.setup(Net, loss=MSE, optimizer=optim.Adam(Net(4).parameters())), lb.RecipeError, "parameters of its own", "an optimizer class", "optimizer=torch.optim.Adam"),
    "callback name": (lambda: fit((X, Y), callbacks="early"), lb.OptionError, "'early'", "Callback objects", "EarlyStopping()"),
    "callback function": (lambda: fit((X, Y), callbacks=[lambda ctx: None]), lb.OptionError, "lambda", "Callback objects", "lumbre.callbacks.On("),
    "callback None": (lambda: fit((X, Y), callbacks=None), lb.OptionError, "None", "Callback objects", "leave callbacks= away"),
    "scheduler class": (lambda: fit((X, Y), callbacks=optim.lr_scheduler.StepLR), lb.OptionError, "StepLR", "Callback objects", "LRScheduler(StepLR, ...)"),
    "scheduler": (lambda: fit((X, Y), callbacks=[optim.lr_scheduler.StepLR(optim.SGD([nn.Parameter(torch.ones(1))], lr=1), 1)]), lb.OptionError, "StepLR", "Callback objects", "LRScheduler(StepLR, ...)"),
    "fine-tuned parts": (lambda: recipe().fine_tune((X, Y)), lb.RecipeError, "a module of your own", "the parts of the net by their names", 'parts=["head"'),
    "fine-tuned rate": (lambda: recipe().fine_tune((X, Y), parts=["2"]), lb.RecipeError, "the learning rate None", "the learning rate of the head", "set_opt_hparams(lr=2e-3)"),
    "fine-tuned epochs": (lambda: recipe().fine_tune((X, Y), (1, 3), parts=["2"]), lb.OptionError, "epochs=(1, 3)", "a whole number of epochs", "epochs=1"),
    "further on arrays": (lambda: recipe().fit(lb.data.from_frame(frame(y=Y.numpy().astype(str)), target="y"), epochs=1, verbose=False, preflight=False).fit((X, Y)), lb.DataError, "a tuple for a model that was trained on the columns of a frame", "these columns: a, b, c, d", "pandas.DataFrame"),
    "shuffle": (lambda: fit((X, Y), shuffle="yes"), lb.OptionError, "shuffle='yes'", "True or False", "shuffle=True"),
    "length": (lambda: fit((X, Y[:-1])), lb.DataError, "different length", "the same number of rows", "x[:n], y[:n]"),
    "empty": (lambda: fit((X[:0], Y[:0])), lb.DataError, "without rows", "at least one row", "pass some data"),
    "empty dataset": (lambda: fit(TensorDataset(X[:0], Y[:0])), lb.DataError, "without rows", "at least one row", "pass some data"),
    "none": (lambda: fit(None), lb.DataError, "None as data", "tensors, arrays or frames", "penguins()"),
    "a path": (lambda: fit("mnist"), lb.DataError, "'mnist' as data", "tensors", "lumbre.data.from_parquet"),
    "three parts": (lambda: fit((X, X, Y)), lb.DataError, "3 parts", "a pair (input, target)", "((a, b), y)"),
    "no target": (lambda: fit(X), lb.DataError, "without a target for CrossEntropyLoss", "pairs", "(x, y)"),
    "valid_data=0": (lambda: fit((X, Y), valid_data=0), lb.OptionError, "valid_data=0", "between 0 and 1", "valid_data=0.2"),
    "valid_data=1.0": (lambda: fit((X, Y), valid_data=1.0), lb.OptionError, "valid_data=1.0", "between 0 and 1", "valid_data=0.2"),
    "valid_data=0.001": (lambda: fit((X[:10], Y[:10]), valid_data=0.001), lb.OptionError, "0.001 of 10 rows, which is 0 rows", "at least one row on each side", "a fraction between 0.1 and 0.9"),
    "fraction of a loader": (lambda: fit(DataLoader(TensorDataset(X, Y)), valid_data=0.2), lb.OptionError, "0.2 of a DataLoader", "data to validate on", "a second loader"),
    "label 1-based": (lambda: fit((X, Y + 1)), lb.PreflightError, "labels from 1 to 3", "from 0 to 2", "y - 1"),
    "label too high": (lambda: fit((X, Y * 2)), lb.PreflightError, "labels from 0 to 4 for a module that gives 3", "from 0 to 2", "5 outputs"),
    "label float": (lambda: fit((X, Y.float())), lb.PreflightError, "float32", "class numbers from 0 to 2 as int64", "y.long()"),
    "unknown option": (lambda: fit((X, Y), epoch=3), lb.OptionError, "fit(..., epoch=...)", "an option of fit()", "Did you mean 'epochs'?"),
    "epochs": (lambda: fit((X, Y), epochs=0), lb.OptionError, "epochs=0", "a whole number from 1", "epochs=10"),
    "epochs turned": (lambda: fit((X, Y), epochs=(9, 3)), lb.OptionError, "epochs=(9, 3)", "(fewest, most)", "epochs=(5, 50)"),
    "batch_size": (lambda: fit((X, Y), batch_size=0), lb.OptionError, "batch_size=0", "a whole number from 1", "batch_size=32"),
    "engine": (lambda: fit((X, Y), engine="eagre"), lb.OptionError, "'eagre'", "'auto', 'eager'", "Did you mean 'eager'?"),
    "device": (lambda: fit((X, Y), device="gpu"), lb.OptionError, "'gpu'", "cuda", 'device="auto"'),
    "precision": (lambda: fit((X, Y), precision="float23"), lb.OptionError, "'float23'", "float32", "Did you mean 'float32'?"),
    "callback class": (lambda: fit((X, Y), callbacks=lb.callbacks.EarlyStopping), lb.OptionError, "EarlyStopping", "Callback objects", "EarlyStopping()"),
    "batch_size beside a loader": (lambda: fit(DataLoader(TensorDataset(X, Y)), batch_size=8), lb.OptionError, "batch_size=8 beside a DataLoader", "a DataLoader alone", "where the DataLoader is made"),
    "drop_last of all": (lambda: fit((X[:5], Y[:5]), drop_last=True), lb.DataError, "5 rows, a batch_size of 32", "at least one full batch", "batch_size=5 or less"),
    "text column": (lambda: fit((frame(e="x"), Y.numpy())), lb.DataError, "'e' (String)", "columns of numbers", "from_frame"),
    "text array": (lambda: fit((np.array(["a", "b"]), Y[:2])), lb.DataError, "such as 'a'", "numbers", "encode them first"),
    "NaN in inputs": (lambda: fit((with_nan(), Y)), lb.PreflightError, "NaN or infinite values in the input, in 2 of 120 rows: 3, 17", "finite numbers", "torch.isfinite"),
    "NaN in a frame": (lambda: fit((frame(a=np.nan), Y.numpy())), lb.DataError, "120 in 'a'", "without missing values", "dropna"),
    "hparams missing": (lambda: lb.setup(Net, loss=MSE, optimizer=optim.Adam).fit((X, Y)), lb.RecipeError, "without the hyper-parameters d_in", "d_in, n_class, d_hidden", ".set_hparams(d_in=...)"),
    "hparams unknown": (lambda: recipe(d_in=4, d_hiden=3).fit((X, Y)), lb.RecipeError, "set_hparams(d_hiden=...)", "d_hidden", "Did you mean 'd_hidden'?"),
    "hparams of an instance": (lambda: lb.setup(Net(4), loss=MSE, optimizer=optim.Adam).set_hparams(d_in=4).fit((X, Y)), lb.RecipeError, "built already", "a class that fit() builds", "setup(Net, ...)"),
    "opt_hparams unknown": (lambda: recipe().set_opt_hparams(learning_rate=1).fit((X, Y)), lb.RecipeError, "learning_rate", "lr", "Leave it out"),
    "opt_hparams impossible": (lambda: recipe().set_opt_hparams(lr=-1).fit((X, Y)), lb.RecipeError, "lr=-1", "options with which Adam can be made", "set_opt_hparams"),
    "shapes": (lambda: recipe(d_in=5).fit((X, Y)), lb.PreflightError, "forward() for an input that is a tensor of shape (32, 4)", "takes a batch of this data", "mend the shapes"),
    "dtype": (lambda: fit((X.double(), Y)), lb.PreflightError, "float64", "takes a batch", "x.to(torch.float32)"),
    "broadcast": (lambda: lb.setup(lambda: nn.Linear(4, 1), loss=MSE, optimizer=optim.SGD).fit((X, X[:, 0])), lb.PreflightError, "MSELoss of a prediction (32, 1) and a target (32,)", "the same shape", "squeeze(1)"),
    "vector loss": (lambda: lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(reduction="none"), optimizer=optim.SGD).fit((X, Y)), lb.PreflightError, "tensor of shape (32,)", "a scalar", 'reduction="mean"'),
    "nothing to train": (lambda: lb.setup(nn.ReLU, loss=MSE, optimizer=lambda p: optim.SGD([torch.zeros(1)])).fit((X, X)), lb.PreflightError, "without a parameter", "requires_grad=True", "ModuleList"),
    "column name": (lambda: lb.data.from_frame(frame(), target="aa"), lb.DataError, "'aa'", "a, b, c, d", "Did you mean 'a'?"),
    "date column": (lambda: lb.data.from_frame(frame(e=pd.Timestamp("2020-01-01")), target="a"), lb.DataError, "'e' of type Datetime", "numbers, booleans, text", "days since"),
    "monitor": (lambda: fit((X, Y), callbacks=lb.callbacks.EarlyStopping("train_los")), lb.OptionError, "'train_los'", "train_loss", "Did you mean 'train_loss'?"),
    "monitor without valid": (lambda: fit((X, Y), callbacks=lb.callbacks.EarlyStopping()), lb.OptionError, "'valid_loss'", "train_loss", "valid_data=0.2"),
    "patience": (lambda: lb.callbacks.EarlyStopping(patience=0), lb.OptionError, "patience=0", "a whole number from 1", "patience=1"),
    "mode": (lambda: lb.callbacks.EarlyStopping(mode="maxx"), lb.OptionError, "'maxx'", "one of 'min', 'max'", "Did you mean 'max'?"),
    "split": (lambda: lb.split((X, Y), 0.5, 0.2), lb.OptionError, "0.5, 0.2", "add up to 1", "0.6, 0.2, 0.2"),
    "compare without truth": (lambda: fit((X, Y), epochs=1).compare(X), lb.DataError, "without targets", "the truth", "(input, target)"),
    "examples in another way": (lambda: fit((X, Y), epochs=1).examples((X, Y), choose="best"), lb.OptionError, "choose='best'", "one of 'random', 'first', 'worst'", "choose="),
    "probabilities of numbers": (lambda: lb.setup(lambda: nn.Linear(4, 1), loss=MSE, optimizer=optim.SGD).fit((X, X[:, :1].sin()), epochs=1, verbose=False).predict_probabilities(X), lb.DataError, "a loss for numbers", "a score for each class", "predict()"),
    "plot without data": (lambda: lb.plots.roc(fit((X, Y), epochs=1)), lb.OptionError, "without data", "with targets", "second argument"),
    "plot of a module": (lambda: lb.plots.confusion(Net(4), (X, Y)), lb.OptionError, "a Net", "a fitted model and data", "plots.confusion(fitted, test)"),
    "plot without truth": (lambda: lb.plots.confusion(frame(predicted=1)), lb.DataError, "the columns a, b, c, d, predicted", "missing: truth", "a fitted model and data"),
    "regions of no plane": (lambda: lb.plots.decision_regions(fit((X, Y), epochs=1), (X, Y)), lb.DataError, "shape (120, 4)", "two numbers a row", "input[:, :2]"),
    "grid of a table": (lambda: lb.plots.predictions_grid(fit((X, Y), epochs=1), (X, Y)), lb.DataError, "shape (16, 4)", "images", "most_wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_message_says_received_expected_fix(name: str) -> None:
    cause, kind, received, expected, fix = CASES[name]
    with pytest.raises(kind) as caught:
        cause()
    assert received in caught.value.received
    assert expected in caught.value.expected
    assert fix in caught.value.fix
    text = str(caught.value)
    assert text.startswith("received: ")
    assert "\n  expected: " in text
    assert "\n  instead: " in text


def test_a_non_finite_loss_stops_before_the_update_and_names_epoch_step_and_rows() -> None:
    x = X.clone()
    x[[5, 50]] = 1e38  # finite, and too much for the squares below
    model = Net(4)
    seen: list[Tensor] = []

    class Watch(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            seen.append(model.layers[0].weight.detach().clone())

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred, target) + pred.square().mean()

    recipe = lb.setup(model, loss=loss, optimizer=optim.SGD)
    with pytest.raises(lb.NonFiniteLossError) as caught:
        recipe.fit((x, Y), epochs=3, batch_size=30, shuffle=False, callbacks=Watch(), verbose=False, preflight=False)
    assert "epoch 1, step 1 of the epoch" in caught.value.received
    assert "rows 0, 1, 2" in caught.value.received
    assert "before this update" in caught.value.expected
    assert "learning rate (now 0.001)" in caught.value.fix
    assert torch.equal(model.layers[0].weight, seen[0]), "the weights were touched"


def test_a_non_finite_loss_blames_the_rows_whose_input_is_not_finite() -> None:
    with pytest.raises(lb.NonFiniteLossError, match=r"rows 3, 17; their input is not finite"):
        fit((with_nan(), Y), shuffle=False, preflight=False)


def test_options_beside_a_ready_validation_loader_reach_the_training_data_only() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=50)
    fitted = fit((X, Y), valid_data=loader, batch_size=16, epochs=1, ignore="LB041")
    assert set(fitted.history["set"]) == {"train", "valid"}


def test_an_unknown_handler_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Wrong.on_epoch_ended would never be called.*Did you mean 'on_epoch_end'\?"):

        class Wrong(lb.Callback):
            def on_epoch_ended(self, ctx: lb.Context) -> None: ...


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "mse"}, r"loss=torch.nn.MSELoss\(\)"),
        ({"loss": "binary_crossentropy"}, r"loss=torch.nn.BCEWithLogitsLoss\(\)"),
        ({"loss": 3}, "a function of prediction and target"),
        ({"optimizer": "adam"}, "optimizer=torch.optim.Adam"),
        ({"optimizer": "SGD"}, "optimizer=torch.optim.SGD"),
    ],
)
def test_names_of_losses_and_optimizers_are_answered_with_the_object(options: dict[str, Any], said: str) -> None:
    with pytest.raises(lb.RecipeError, match=said):
        lb.setup(nn.Linear, **{"loss": nn.MSELoss(), "optimizer": optim.Adam} | options)


def test_what_the_loss_cannot_take_at_evaluate_is_said_in_words() -> None:
    x, y = torch.randn(20, 3), torch.arange(20) % 2
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    fitted = recipe.set_hparams(in_features=3, out_features=2).fit((x, y), epochs=1, verbose=False)
    with pytest.raises(lb.DataError, match="data without a target"):
        fitted.evaluate(x)
    with pytest.raises(lb.DataError, match=r"Target [56] is out of bounds"):
        fitted.evaluate((x, y + 5))


def test_numbers_of_numpy_are_taken_for_options() -> None:
    options = {"epochs": np.int64(2), "batch_size": np.int32(16), "seed": np.uint8(3)}
    fitted = fit((X, Y), **options)
    assert torch.equal(fitted.predict(X), fit((X, Y), epochs=2, batch_size=16, seed=3).predict(X))
    assert fitted.history["epoch"].max() == 2


def test_a_file_without_its_class_says_what_to_pass(tmp_path: Path) -> None:
    fit((X, Y), epochs=1).save(tmp_path / "net.lumbre")
    with pytest.raises(lb.RecipeError, match=r"without a module(.|\n)*net.lumbre', Net\)"):
        lb.load(tmp_path / "net.lumbre")


def test_numbers_have_no_confusion_matrix() -> None:
    with pytest.raises(lb.DataError, match="predicted_vs_true"):
        lb.plots.confusion(pd.DataFrame({"truth": [0.5, 1.5], "predicted": [0.4, 1.2]}))


@functools.cache
def trained() -> lb.Fitted:
    return fit((X, Y), epochs=1)


@pytest.mark.parametrize(
    ("cause", "received", "fix"),
    [
        (lambda: recipe().fit(X, Y), "fit(data) with 1 more", "fit((x, y), epochs=10)"),
        (lambda: trained().evaluate(X, Y), "evaluate(data) with 1 more", "evaluate((x, y))"),
        (lambda: trained().predict(X, Y), "predict(data) with 1 more", "predict(x)"),
        (lambda: trained().predict_classes(X, Y), "predict_classes(data) with 1 more", "predict_classes((x, y))"),
        (lambda: trained().compare(X, Y), "compare(data) with 1 more", "compare((x, y))"),
        (lambda: lb.setup(Net, MSE, optim.Adam), "setup(module) with 2 more", "setup(Net, loss=..., optimizer=...)"),
        (lambda: recipe().set_hparams({"d_in": 4}), "such as a dict", "**options for a dict"),
        (lambda: recipe().set_opt_hparams(0.01), "such as a float", "set_opt_hparams(lr=0.01)"),
        (lambda: fit(TensorDataset), "the class TensorDataset", "TensorDataset(...)"),
        (lambda: fit(zip(X, Y, strict=True)), "a zip of rows", "(x, y)"),
        (lambda: lb.data.from_frame(frame(), target=frame()["a"]), "a Series as target", 'target="species"'),
        (lambda: lb.data.from_frame(frame(), target="a", features="bc"), "features='bc'", "features=['bc']"),
        (lambda: lb.data.from_frame("rows.csv", target="a"), "a str", "from_csv(path, target=...)"),
        (lambda: lb.data.from_frame(frame()["a"], target="a"), "a Series", "df.iloc[[0]] for a row"),
        (lambda: lb.setup(Net, loss=MSE, optimizer=optim.lr_scheduler.StepLR), "changes the learning", "LRScheduler(StepLR"),
        (lambda: lb.setup(Net, loss=MSE, optimizer=optim.Adam, metrics=lambda p, t: 0.0), "lambda", "metrics.From(function"),
        (lambda: fit((X, Y), callbacks=lb.schedules.cosine()), "function", "LearningRate(schedule)"),
        (lambda: lb.callbacks.EarlyStopping(patience="3"), "patience='3'", "patience=1, or more"),
        (lambda: lb.callbacks.EarlyStopping(lb.metrics.MAE()), "a MAE as monitor", 'monitor="valid_loss"'),
        (lambda: lb.plots.most_wrong(trained(), (X, Y), 2.5), "n=2.5", "n=1, or more"),
        (lambda: lb.plots.calibration(trained(), (X, Y), bins="10"), "bins='10'", "bins=10"),
        (lambda: lb.plots.decision_regions(trained(), (X, Y), resolution=50.5), "resolution=50.5", "resolution=200"),
        (lambda: lb.plots.weight_distributions(trained(), ["*"]), "a list", 'parameters="*weight"'),
        (lambda: lb.plots.plot_history(trained()), "a Fitted", "fitted.plot()"),
        (lambda: lb.plots.plot_history(trained().history), "a DataFrame", "fitted.plot()"),
        (lambda: lb.plots.plot_importance(trained()), "a Fitted", "fitted.importance(test).plot()"),
        (lambda: lb.plots.plot_baselines(trained()), "a Fitted", "fitted.baselines(train, test).plot()"),
        (lambda: lb.plots.plot_rates(trained()), "a Fitted", "recipe.plot_lr(data, epochs=10)"),
        (lambda: lb.plots.layer_histograms(trained()), "a Fitted", "inspect.activations(fitted, data).plot()"),
        (lambda: lb.plots.feature_maps(trained()), "a Fitted", "keep=True"),
        (lambda: lb.plots.update_ratios(trained()), "a Fitted", "lumbre.inspect.Inspect()"),
        (lambda: lb.plots.theme("drak"), "'drak'", "Did you mean 'dark'?"),
        (lambda: trained().save(3), "path=3", 'fitted.save("model.lumbre")'),
        (lambda: trained().report(None), "path=None", 'report("report.html", data)'),
        (lambda: fit((X, Y), device=[1]), "device=[1]", 'device="auto"'),
        (lambda: fit((X, Y), ignore=3), "ignore=3", 'ignore=("LB038",)'),
        (lambda: recipe().lr_finder((X, Y), start="1e-5"), "start='1e-5'", "without quotes"),
        (lambda: recipe().lr_finder((X, Y), steps=2.5), "steps=2.5", "steps=2, or more"),
        (lambda: recipe().fine_tune((X, Y), parts=[1]), "parts=[1]", "parts="),
        (lambda: trained().predict(X, to=3), "path=3", 'to="predictions.parquet"'),
        (lambda: trained().importance((X, Y), groups=[0, 1]), "groups=[0, 1]", "groups={"),
        (lambda: trained().importance((X, Y), seed="3"), "seed='3'", "seed=0"),
        (lambda: trained().baselines((X, Y), (X, Y), seed=2.5), "seed=2.5", "seed=0"),
        (lambda: trained().conformal((X, Y), level="0.9"), "level='0.9'", "level=0.9"),
        (lambda: lb.inspect.activations(trained(), X, layers=3), "layers=3", "leave it out"),
        (lambda: lb.inspect.activations(trained(), X, quantiles="3"), "quantiles='3'", "quantiles=("),
        (lambda: lb.data.from_frame(frame(), target="a", features=3), "features=3", "features="),
        (lambda: lb.tabular(frame(), target="a", net=3), "net=3", 'net={"width": 256}'),
        (lambda: lb.tune(recipe(), {}, (X, Y), monitor=["loss"]), "monitor=['loss']", 'monitor="valid_loss"'),
        (lambda: trained().save("."), "cannot be written", "another path"),
        (lambda: trained().report("report.pdf"), "a report as .pdf", 'report("report.html", data)'),
        (lambda: lb.callbacks.EMA("0.9"), "decay='0.9'", "without quotes"),
        (lambda: lb.callbacks.SWA(lr=math.nan), "lr=nan", "lr=0.05"),
        (lambda: lb.callbacks.Mixup([0.2]), "alpha=[0.2]", "without quotes or brackets"),
        (lambda: lb.callbacks.GradientClip("1"), "max_norm='1'", "max_norm=1.0"),
        (lambda: lb.callbacks.EarlyStopping(min_delta="1"), "min_delta='1'", "min_delta=0.001"),
        (lambda: lb.callbacks.GradualUnfreezing({"head": "1"}), "plan={'head': '1'}", "{'head': 0}"),
        (lambda: lb.schedules.cosine(warmup="3"), "warmup='3'", "warmup=0.1"),
        (lambda: lb.schedules.plateau(patience=2.5), "patience=2.5", "patience=0, or more"),
        (lambda: lb.metrics.BinaryAccuracy(threshold="0.5"), "threshold='0.5'", "threshold=0.5"),
        (lambda: lb.vision.RandomHorizontalFlip("0.5"), "p='0.5'", "p=0.5"),
        (lambda: lb.vision.Resize("224"), "size='224'", "size=(224, 224)"),
        (lambda: lb.vision.RandomCrop(8, padding=1.5), "padding=1.5", "padding=4"),
        (lambda: lb.vision.RandomRotation({"a": 1}), "degrees={'a': 1}", "degrees=("),
        (lambda: lb.load(None, Net), "path=None", 'lumbre.load("model.lumbre", Net)'),
    ],
)  # fmt: skip
def test_what_newcomers_write_is_answered_in_words(cause: Callable[[], Any], received: str, fix: str) -> None:
    with pytest.raises(lb.LumbreError) as caught:
        cause()
    assert received in caught.value.received
    assert fix in caught.value.fix


def test_a_recipe_says_that_the_model_comes_from_fit() -> None:
    for name in ("predict", "evaluate", "plot", "save"):
        with pytest.raises(AttributeError, match=r"fitted = recipe.fit\(data\)"):
            getattr(recipe(), name)
    assert not hasattr(recipe(), "nothing_of_the_kind")


def test_the_name_of_a_class_is_no_module_to_load_into(tmp_path: Path) -> None:
    trained().save(tmp_path / "net.lumbre")
    with pytest.raises(lb.RecipeError, match="'Net' as module"):
        lb.load(tmp_path / "net.lumbre", "Net")
