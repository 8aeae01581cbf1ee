"""Metrics against scikit-learn, in any partition into batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor

import lumbre as lb
from lumbre.base import Batch
from lumbre.metrics import LossMeter, as_metric, as_sets

CPU = torch.device("cpu")


def value(metric: lb.metrics.Metric, pred: Tensor, target: Tensor, cuts: list[int]) -> float:
    state = metric.init(CPU)
    for p, t in zip(torch.tensor_split(pred, cuts), torch.tensor_split(target, cuts), strict=True):
        state = metric.update(state, p, t)
    return metric.compute(state)


SCORES = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(50) % 4
PROBABILITIES = SCORES[:, 0].sigmoid()
BINARY = (torch.arange(50) % 2).float()


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 49), max_size=5).map(sorted))
@pytest.mark.parametrize(
    ("metric", "pred", "target", "expected"),
    [
        (lb.metrics.Accuracy(), SCORES, CLASSES, sk.accuracy_score(CLASSES, SCORES.argmax(1))),
        (lb.metrics.BinaryAccuracy(), PROBABILITIES, BINARY, sk.accuracy_score(BINARY, PROBABILITIES > 0.5)),
        (
            lb.metrics.BinaryAccuracy(threshold=0.7),
            PROBABILITIES,
            BINARY,
            sk.accuracy_score(BINARY, PROBABILITIES > 0.7),
        ),
        (lb.metrics.BinaryAccuracyWithLogits(), SCORES[:, 0], BINARY, sk.accuracy_score(BINARY, SCORES[:, 0] > 0)),
        (lb.metrics.MAE(), SCORES[:, 0], SCORES[:, 1], sk.mean_absolute_error(SCORES[:, 1], SCORES[:, 0])),
        (lb.metrics.MSE(), SCORES[:, 0], SCORES[:, 1], sk.mean_squared_error(SCORES[:, 1], SCORES[:, 0])),
        (lb.metrics.RMSE(), SCORES[:, 0], SCORES[:, 1], sk.root_mean_squared_error(SCORES[:, 1], SCORES[:, 0])),
    ],
    ids=["acc", "binary", "threshold", "logits", "mae", "mse", "rmse"],
)
def test_values_agree_with_scikit_learn_however_rows_are_cut(metric, pred, target, expected, cuts) -> None:
    assert value(metric, pred, target, cuts) == pytest.approx(expected, rel=1e-6)


def test_states_add_up() -> None:
    metric = lb.metrics.RMSE()
    whole = metric.update(metric.init(CPU), SCORES, SCORES * 2)
    parts = [metric.update(metric.init(CPU), part, part * 2) for part in SCORES.split(20)]
    added = tuple(sum(entries) for entries in zip(*parts, strict=True))
    assert metric.compute(added) == pytest.approx(metric.compute(whole))


def test_accuracy_of_pixels() -> None:
    pred = torch.randn(2, 3, 5, 5)
    assert value(lb.metrics.Accuracy(), pred, pred.argmax(1), []) == 1.0


@pytest.mark.parametrize("metric", [lb.metrics.MAE(), lb.metrics.BinaryAccuracy()])
def test_shapes_that_would_stretch_are_refused(metric: lb.metrics.Metric) -> None:
    with pytest.raises(lb.DataError, match=r"\(5, 1\), float32 as prediction and a tensor of shape \(5,\)"):
        value(metric, torch.zeros(5, 1), torch.zeros(5), [])


def test_sums_do_not_lose_small_rows() -> None:
    metric = lb.metrics.MAE()
    state = metric.init(CPU)
    for _ in range(300):
        state = metric.update(
            state, torch.full((1000,), 1 / 3, dtype=torch.bfloat16), torch.zeros(1000, dtype=torch.bfloat16)
        )
    assert metric.compute(state) == pytest.approx(float(torch.tensor(1 / 3).bfloat16()), rel=1e-9)


def test_the_meter_weighs_batches_by_their_rows() -> None:
    meter = LossMeter((), CPU)
    for size, loss in ((4, 1.0), (1, 6.0)):
        meter.update(Batch(None, None, size), None, torch.tensor(loss))
    assert meter.compute() == {"loss": 2.0}
    meter.reset()
    assert np.isnan(meter.compute()["loss"])
    summed = LossMeter((), CPU, summed=True)
    summed.update(Batch(None, None, 4), None, torch.tensor(8.0))
    assert summed.compute() == {"loss": 2.0}


def test_any_torchmetrics_metric_may_stand_among_them(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    kinds = torchmetrics.classification
    given = {
        "tm": kinds.MulticlassAccuracy(3, average="micro"),
        "each": kinds.MulticlassRecall(3, average=None),
        "ours": lb.metrics.Accuracy(),
    }
    fitted = lb.setup(recipe.module, loss=recipe.loss, optimizer=recipe.optimizer, metrics=given).set_hparams(d_in=4)
    fitted = fitted.fit(data, epochs=2, valid_data=0.2, verbose=False)
    last = fitted._history.last("valid")
    assert last["tm"] == pytest.approx(last["ours"])
    assert len(last["each"]) == 3
    assert given["tm"].update_count == 0, "the user's own object is left alone"


def test_names() -> None:
    named = as_sets({"one": lb.metrics.Accuracy(), "two": lb.metrics.Accuracy()})
    assert [metric.name for metric in named.valid] == ["one", "two"]
    assert as_sets(lb.metrics.Accuracy(name="Top1")).train[0].name == "Top1"
    assert as_metric(lb.metrics.MAE()).higher_is_better is False
