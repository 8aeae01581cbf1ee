"""Metrics from functions and scorers: of all rows at once, with truth and prediction where the function has them."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs

CPU = torch.device("cpu")


def value(metric: lb.metrics.Metric, pred: Tensor, target: Tensor, size: int = 7) -> Any:
    state = metric.init(CPU)
    for rows in torch.arange(len(target)).split(size):
        state = metric.update(state, pred[rows], target[rows])
    return metric.compute(state)


def scores(rows: int = 40, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, classes, generator=generator).softmax(1), torch.arange(rows) % classes


def test_the_function_sees_all_rows_at_once() -> None:
    pred, target = scores()
    metric = lb.metrics.From(sk.balanced_accuracy_score, takes="classes")
    assert value(metric, pred, target) == sk.balanced_accuracy_score(target.numpy(), pred.argmax(1).numpy())
    assert metric.name == "balanced_accuracy_score"
    assert np.isnan(metric.compute(metric.init(CPU)))


def y_true_first(y_true: Any, y_pred: Any) -> float:
    return float(y_true[0] - 10 * y_pred[0])


def input_target(input: Any, target: Any) -> float:
    return float(target[0] - 10 * input[0])


@pytest.mark.parametrize(
    "function",
    [
        y_true_first,
        input_target,
        lambda pred, target: float(target[0] - 10 * pred[0]),
        lambda target, pred: float(target[0] - 10 * pred[0]),
        lambda truth, guess_of_mine: float(truth[0] - 10 * guess_of_mine[0]),
        lambda mine, y: float(y[0] - 10 * mine[0]),
        partial(lambda y_true, y_score, weight: float(weight * y_true[0] - 10 * y_score[0]), weight=1),
    ],
)
def test_names_of_parameters_say_which_is_which(function: Any) -> None:
    assert value(lb.metrics.From(function, name="f"), torch.tensor([2.0, 0]), torch.tensor([3.0, 0])) == -17


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (lambda a, b: 0.0, {}, "does not tell"),
        (lambda y_true, target: 0.0, {}, "does not tell"),
        (lambda pred: 0.0, {}, "does not tell"),
        (3, {}, "a function of predictions"),
        (nn.MSELoss, {}, "a function of predictions"),
        ("roc_auc_ovrr", {}, "roc_auc_ovr"),
        ("accuracy", {"takes": "classes"}, "beside a scorer"),
        (y_true_first, {"takes": "logits"}, "takes='logits'"),
    ],
)
def test_what_cannot_be_is_refused(function: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(lb.OptionError, match=said):
        lb.metrics.From(function, **options)


@pytest.mark.parametrize("name", ["roc_auc_ovr", "neg_log_loss", "f1_macro", "accuracy", "balanced_accuracy"])
def test_scorers_of_classes(name: str) -> None:
    pred, target = scores()
    by_hand = {
        "roc_auc_ovr": lambda: sk.roc_auc_score(target, pred.double() / pred.double().sum(1, True), multi_class="ovr"),
        "neg_log_loss": lambda: -sk.log_loss(target, pred.double() / pred.double().sum(1, True)),
        "f1_macro": lambda: sk.f1_score(target, pred.argmax(1), average="macro"),
        "accuracy": lambda: sk.accuracy_score(target, pred.argmax(1)),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(target, pred.argmax(1)),
    }[name]
    metric = lb.metrics.From(name)
    assert value(metric, pred, target) == pytest.approx(by_hand())
    assert metric.higher_is_better
    assert value(lb.metrics.From(sk.get_scorer(name)), pred, target) == pytest.approx(by_hand())


def test_scorers_of_one_score_and_of_numbers() -> None:
    pred, target = (
        torch.rand(50, 1, generator=torch.Generator().manual_seed(0)),
        (torch.arange(50) % 2)[:, None].float(),
    )
    assert value(lb.metrics.From("roc_auc"), pred, target) == pytest.approx(sk.roc_auc_score(target, pred))
    numbers = target + 3 * pred
    assert value(lb.metrics.From("r2"), 4 * pred, numbers) == pytest.approx(sk.r2_score(numbers, 4 * pred))
    error = -sk.mean_absolute_error(numbers, pred)
    assert value(lb.metrics.From("neg_mean_absolute_error"), pred, numbers) == pytest.approx(error, rel=1e-6)


def test_in_a_run_it_gets_probabilities_and_can_be_watched() -> None:
    data = blobs()
    metric = lb.metrics.From(lambda y_true, y_score: sk.log_loss(y_true, y_score), name="Log", higher_is_better=False)
    recipe = lb.setup(
        Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=[metric, lb.metrics.From("accuracy")]
    )
    keep = lb.callbacks.KeepBestModel("valid_log")
    fitted = recipe.set_hparams(d_in=4).fit(data, epochs=3, valid_data=0.3, callbacks=keep, verbose=False)
    table = fitted.history_wide
    assert table["valid_log"].to_numpy() == pytest.approx(table["valid_loss"].to_numpy(), rel=1e-5)
    found = fitted.evaluate(data).metrics
    assert found["accuracy"] == (fitted.predict_classes(data[0]) == data[1].numpy()).mean()


def test_classes_that_the_loss_ignores_do_not_count() -> None:
    x, y = blobs(60)
    marked = y.clone()
    marked[::4] = -100
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.From("accuracy"))
    fitted = recipe.set_hparams(d_in=4).fit((x, marked), epochs=1, verbose=False)
    known = marked >= 0
    right = fitted.predict(x[known]).argmax(1) == y[known]
    assert fitted.evaluate((x, marked)).metrics["accuracy"] == pytest.approx(right.float().mean().item())


def test_several_numbers_and_outputs_as_they_are() -> None:
    metric = lb.metrics.From(
        lambda pred, target: {"low": pred.min(), "high": pred.max()}, name="Range", takes="outputs"
    )
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=metric).set_hparams(d_in=4)
    fitted = recipe.fit(blobs(), epochs=1, verbose=False)
    found = fitted.evaluate(blobs()).metrics["range"]
    assert found["high"] == pytest.approx(fitted.predict(blobs()[0]).max().item())
    assert {"range_low", "range_high"} <= set(fitted.history["metric"])


def test_a_structure_is_refused() -> None:
    metric = lb.metrics.From(y_true_first)
    with pytest.raises(lb.DataError, match="a tensor each"):
        metric.update(metric.init(CPU), (torch.ones(3), torch.ones(3)), torch.ones(3))


def test_a_scorer_is_called_as_scikit_learn_calls_it() -> None:
    for name in ("roc_auc_ovo", "neg_log_loss", "balanced_accuracy"):
        assert lb.metrics.From(name).name == lb.metrics.From(sk.get_scorer(name)).name == name
    own = sk.make_scorer(sk.fbeta_score, beta=2, average="macro")
    assert lb.metrics.From(own).name == "fbeta_score"
    assert lb.metrics.From(sk.make_scorer(sk.mean_tweedie_deviance, greater_is_better=False)).name == (
        "neg_mean_tweedie_deviance"
    )
    assert lb.metrics.From(own, name="F2").name == "F2"
