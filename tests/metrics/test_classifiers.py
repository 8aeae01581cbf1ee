"""AUROC, average precision, F1 and their kin, against scikit-learn; laws that hold for every metric."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import lumbre as lb
from lumbre.metrics import Metric, merge

m = lb.metrics
CPU = torch.device("cpu")
AVERAGES = ["macro", "micro", "weighted", "none"]


def value(metric: Metric, pred: Tensor, target: Tensor, cuts: tuple[int, ...] = ()):
    state = metric.init(CPU)
    for p, t in zip(torch.tensor_split(pred, cuts), torch.tensor_split(target, cuts), strict=True):
        state = metric.update(state, p, t)
    return metric.compute(state)


def draw(rows: int = 60, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (rows, classes), each row three times, and classes (rows,) that go with them a little."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows // 3, classes, generator=generator)[torch.arange(rows) * 7 % (rows // 3)]
    target = (logits + 2 * torch.randn(rows, classes, generator=generator)).argmax(1)
    target[:classes] = torch.arange(classes)  # each occurs
    return logits, target


LOGITS, CLASSES = draw()
PROBABILITIES = LOGITS.double().softmax(1)
SCORE, BINARY = LOGITS[:, 0].sigmoid(), (CLASSES == 0).float()
ONE_HOT = np.eye(4)[CLASSES]


def unaveraged(average: str) -> str | None:
    return None if average == "none" else average


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("seed", range(5))
def test_binary_areas_agree_with_scikit_learn(seed: int) -> None:
    logits, target = draw(seed=seed)
    score, binary = logits[:, 0], (target == 0).float()
    assert value(m.BinaryAUROC(), score, binary) == pytest.approx(sk.roc_auc_score(binary, score), abs=1e-12)
    assert value(m.BinaryAveragePrecision(), score, binary) == pytest.approx(
        sk.average_precision_score(binary, score), abs=1e-12
    )


def test_binary_auroc_of_luz_s_own_test_is_exact() -> None:
    # luz: thresholds on a grid that ends above 1, right-endpoint rectangles, ties worth nothing.
    score, target = torch.tensor([0.9, 0.8, 0.4, 0.5, 0.3, 0.2]), torch.tensor([1, 1, 1, 0, 0, 0])
    assert value(m.BinaryAUROC(), score, target) == 8 / 9
    assert value(m.BinaryAUROC(), torch.zeros(6), target) == 0.5, "a tie counts one half"


def test_binary_auroc_does_not_lose_the_order_of_large_logits() -> None:
    logits = torch.tensor([40.0, 30.0, 20.0])  # one and the same after a sigmoid in float32
    assert value(m.BinaryAUROC(), logits, torch.tensor([1, 1, 0])) == 1.0


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("scores", [LOGITS, PROBABILITIES, PROBABILITIES.float()], ids=["logits", "float64", "float32"])
def test_multiclass_areas_agree_with_scikit_learn(average: str, scores: Tensor) -> None:
    probabilities = PROBABILITIES if scores is LOGITS else scores
    roc = sk.roc_auc_score(CLASSES, probabilities, multi_class="ovr", average=unaveraged(average))
    ap = sk.average_precision_score(ONE_HOT, probabilities, average=unaveraged(average))
    assert value(m.AUROC(average=average), scores, CLASSES) == pytest.approx(roc, abs=1e-12)
    assert value(m.AveragePrecision(average=average), scores, CLASSES) == pytest.approx(ap, abs=1e-12)


def test_the_scale_of_scores_is_told_from_all_rows_together() -> None:
    # By the batch, the first would pass for probabilities and the second for logits.
    logits, target = draw()
    logits[0] = torch.tensor([0.7, 0.1, 0.1, 0.1])
    assert value(m.AUROC(), logits, target, cuts=(1,)) == value(m.AUROC(), logits, target)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(
    ("kind", "oracle"),
    [(m.Precision, sk.precision_score), (m.Recall, sk.recall_score), (m.F1, sk.f1_score)],
    ids=["precision", "recall", "f1"],
)
def test_precision_recall_f1_agree_with_scikit_learn(kind, oracle, average: str) -> None:
    for seed in range(3):
        logits, target = draw(seed=seed)
        expected = oracle(target, logits.argmax(1), average=unaveraged(average), zero_division=0)
        assert value(kind(average=average), logits, target) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_occurs_nowhere_is_left_out_and_one_never_chosen_counts_as_nothing() -> None:
    logits = torch.eye(4)[[0, 0, 1, 1]]
    target = torch.tensor([0, 2, 1, 1])  # 2 is never chosen, 3 occurs nowhere
    for kind, oracle in ((m.Precision, sk.precision_score), (m.Recall, sk.recall_score), (m.F1, sk.f1_score)):
        expected = oracle(target, logits.argmax(1), average="macro", zero_division=0)
        assert value(kind(), logits, target) == pytest.approx(expected)
        each = value(kind(average=None), logits, target)
        assert each[2] == 0.0
        assert math.isnan(each[3])


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_binary_decisions_agree_with_scikit_learn(threshold: float) -> None:
    decided = SCORE.gt(threshold)
    for kind, oracle in (
        (m.BinaryPrecision, sk.precision_score),
        (m.BinaryRecall, sk.recall_score),
        (m.BinaryF1, sk.f1_score),
        (m.BinaryCohenKappa, sk.cohen_kappa_score),
        (m.BinaryMatthewsCorrelation, sk.matthews_corrcoef),
        (m.BinaryConfusionMatrix, sk.confusion_matrix),
    ):
        expected = pytest.approx(np.asarray(oracle(BINARY, decided)))
        assert np.asarray(value(kind(threshold=threshold), SCORE, BINARY)) == expected
        assert np.asarray(value(kind(threshold=threshold, from_logits=True), SCORE.logit(), BINARY)) == expected


def test_tables_agree_with_scikit_learn() -> None:
    chosen = LOGITS.argmax(1)
    assert value(m.ConfusionMatrix(), LOGITS, CLASSES) == sk.confusion_matrix(CLASSES, chosen).tolist()
    assert value(m.CohenKappa(), LOGITS, CLASSES) == pytest.approx(sk.cohen_kappa_score(CLASSES, chosen))
    assert value(m.MatthewsCorrelation(), LOGITS, CLASSES) == pytest.approx(sk.matthews_corrcoef(CLASSES, chosen))


def test_top_k_agrees_with_scikit_learn() -> None:
    logits, target = draw()
    for k in (1, 2, 3):
        assert value(m.TopKAccuracy(k), logits, target) == pytest.approx(sk.top_k_accuracy_score(target, logits, k=k))


def test_r2_agrees_with_scikit_learn() -> None:
    target = LOGITS + 1000
    pred = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    assert value(m.R2(), pred[:, 0], target[:, 0]) == pytest.approx(sk.r2_score(target[:, 0], pred[:, 0]), abs=1e-6)
    assert value(m.R2(), pred[:, :1], target[:, :1]) == pytest.approx(sk.r2_score(target[:, :1], pred[:, :1]), abs=1e-6)
    assert value(m.R2(), pred, target) == pytest.approx(sk.r2_score(target, pred), abs=1e-6)
    assert math.isnan(value(m.R2(), pred[:, 0], torch.full((60,), 0.1), cuts=(7, 30)))


def test_perplexity_is_that_of_torchmetrics_and_leaves_padding_out() -> None:
    text = pytest.importorskip("torchmetrics.text")
    generator = torch.Generator().manual_seed(0)
    logits, words = torch.randn(6, 11, 9, generator=generator), torch.randint(0, 11, (6, 9), generator=generator)
    words[0, 3:] = -100
    expected = text.Perplexity(ignore_index=-100)
    expected.update(logits.transpose(1, 2), words)
    assert value(m.Perplexity(), logits, words) == pytest.approx(expected.compute().item(), rel=1e-5)


def test_pixels_count_like_rows() -> None:
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    flat = logits.movedim(1, -1).reshape(-1, 3), target.reshape(-1)
    for metric in (m.F1(), m.AUROC(), m.ConfusionMatrix(), m.TopKAccuracy(2)):
        assert value(metric, logits, target) == value(metric, *flat)


# ---------------------------------------------------------------- laws

CLASSIFIERS = [
    *(
        kind(average=average)
        for kind in (m.AUROC, m.AveragePrecision, m.Precision, m.Recall, m.F1)
        for average in AVERAGES
    ),
    m.Accuracy(),
    m.TopKAccuracy(2),
    m.Perplexity(),
    m.ConfusionMatrix(),
    m.CohenKappa(),
    m.MatthewsCorrelation(),
]
BINARIES = [
    m.BinaryAccuracy(),
    m.BinaryAccuracyWithLogits(),
    m.BinaryAUROC(),
    m.BinaryAveragePrecision(),
    m.BinaryPrecision(),
    m.BinaryRecall(),
    m.BinaryF1(),
    m.BinaryConfusionMatrix(),
    m.BinaryCohenKappa(),
    m.BinaryMatthewsCorrelation(),
]
CASES = [
    *((metric, LOGITS, CLASSES) for metric in CLASSIFIERS),
    *((metric, SCORE, BINARY) for metric in BINARIES),
    *((metric, LOGITS, LOGITS.flip(1)) for metric in (m.MAE(), m.MSE(), m.RMSE(), m.R2())),
]
IDS = [f"{type(metric).__name__}-{getattr(metric, 'average', '')}" for metric, _, _ in CASES]


@pytest.mark.parametrize(("metric", "pred", "target"), CASES, ids=IDS)
@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), max_size=5).map(sorted).map(tuple), order=st.permutations(range(60)))
def test_neither_the_order_of_rows_nor_their_batches_change_a_value(metric, pred, target, cuts, order) -> None:
    expected = np.asarray(value(metric, pred, target))
    rows = torch.tensor(order)
    assert np.asarray(value(metric, pred[rows], target[rows], cuts)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("metric", "pred", "target"), CASES, ids=IDS)
def test_states_of_two_ranks_merge(metric, pred, target) -> None:
    left = metric.update(metric.init(CPU), pred[:23], target[:23])
    right = metric.update(metric.init(CPU), pred[23:], target[23:])
    idle = metric.init(CPU)  # a rank without rows
    merged = np.asarray(metric.compute(merge(idle, merge(left, right))))
    assert merged == pytest.approx(np.asarray(value(metric, pred, target)), rel=1e-6)


@pytest.mark.parametrize(("metric", "pred", "target"), CASES, ids=IDS)
def test_update_reads_nothing_back_from_the_device(metric, pred, target) -> None:
    # Fake tensors have no values: whatever asks for one, as .item() or a boolean index does, raises.
    with FakeTensorMode() as fake:
        state = metric.init(CPU)
        metric.update(state, fake.from_tensor(pred), fake.from_tensor(target))


@pytest.mark.parametrize(("metric", "pred", "target"), CASES, ids=IDS)
def test_update_leaves_its_state_and_keeps_no_memory_of_others(metric, pred, target) -> None:
    pred, target = pred.clone(), target.clone()
    empty = metric.init(CPU)
    once = metric.update(empty, pred, target)
    expected = np.asarray(metric.compute(once))
    metric.update(once, pred.flip(0), target)
    pred.zero_()  # as an engine does that writes every prediction into the same memory
    target.zero_()
    assert np.asarray(metric.compute(once)) == pytest.approx(expected)
    repeated = metric.compute(empty)
    assert np.asarray(repeated).size == 0 or np.all(np.isnan(repeated)) or not np.any(repeated)


def test_many_batches_are_kept_in_few_parts() -> None:
    metric, rows = m.BinaryAUROC(), torch.arange(1000.0)
    state = metric.init(CPU)
    for row in rows:
        state = metric.update(state, row.reshape(1), row.reshape(1) > 300)
        assert len(state[0]) <= 10
    assert torch.equal(torch.cat(state[0]), rows)
    assert metric.compute(state) == 1.0


def test_areas_that_are_not_defined_are_nan() -> None:
    assert math.isnan(value(m.BinaryAUROC(), SCORE, torch.ones(60)))
    assert math.isnan(value(m.BinaryAveragePrecision(), SCORE, torch.zeros(60)))
    broken = SCORE.clone()
    broken[3] = float("nan")
    assert math.isnan(value(m.BinaryAUROC(), broken, BINARY))


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("metric", [m.F1(), m.AUROC(), m.ConfusionMatrix(), m.TopKAccuracy(2)])
def test_targets_of_another_form_are_refused(metric: Metric) -> None:
    with pytest.raises(lb.DataError, match=r"scores \(rows, classes, ...\) and classes \(rows, ...\)"):
        value(metric, LOGITS, CLASSES.reshape(-1, 1))
    with pytest.raises(lb.DataError, match=r"target\.long"):
        value(metric, LOGITS, CLASSES.float())


def test_logits_are_not_taken_for_probabilities() -> None:
    with pytest.raises(lb.DataError, match=r"BinaryF1\(from_logits=True\)"):
        value(m.BinaryF1(), LOGITS[:, 0], BINARY)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: m.F1(average="marco"), "Did you mean 'macro'"),
        (lambda: m.TopKAccuracy(0), "k=1, or more"),
        (lambda: m.BinaryRecall(threshold=50), "from 0 to 1"),
    ],
)
def test_impossible_options_are_refused(make, words: str) -> None:
    with pytest.raises(lb.OptionError, match=words):
        make()
    with pytest.raises(lb.DataError, match="k=3"):
        value(m.TopKAccuracy(5), LOGITS, CLASSES)


def test_each_metric_of_luz_has_a_counterpart() -> None:
    counterparts = {
        "luz_metric_accuracy": m.Accuracy,
        "luz_metric_binary_accuracy": m.BinaryAccuracy,
        "luz_metric_binary_accuracy_with_logits": m.BinaryAccuracyWithLogits,
        "luz_metric_mae": m.MAE,
        "luz_metric_mse": m.MSE,
        "luz_metric_rmse": m.RMSE,
        "luz_metric_binary_auroc": m.BinaryAUROC,
        "luz_metric_multiclass_auroc": m.AUROC,
    }
    assert all(kind().higher_is_better is not None for kind in counterparts.values())
    assert isinstance(m.Sets(), m.Sets), "luz_metric_set"
