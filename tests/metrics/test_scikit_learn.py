"""A thousand drawn cases against scikit-learn: ties, absent classes, one class, one row, ragged batches, processes.

Rows whose target is ignored are left out of what scikit-learn gets. Where it says something else on purpose, the
expectation says so with "Other:"; docs/reference/metrics.md lists the same with reasons.
"""

import math
import random
import warnings
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import lumbre as lb
import sklearn
from lumbre.metrics import Metric, merge
from sklearn import metrics as sk

m = lb.metrics
CPU = torch.device("cpu")
NAN = float("nan")
AVERAGES = ("macro", "micro", "weighted", "none")
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


class Case(NamedTuple):
    """A metric, what it gets, and what scikit-learn says of the rows that count."""

    metric: Metric
    pred: Tensor
    target: Tensor
    expected: Any


def scores(draw: random.Random, *shape: int) -> Tensor:
    """On a grid, so that many are equal, or not."""
    seeded = torch.Generator().manual_seed(draw.randrange(2**40))
    if draw.random() < 0.5:
        return torch.randint(-2, 3, shape, generator=seeded) / 2
    return torch.randn(shape, generator=seeded)


def hidden(draw: random.Random, target: Tensor, options: tuple[int, ...]) -> tuple[Tensor, dict[str, int], Tensor]:
    """Targets of which some are ignored, the option for that, and which rows count."""
    ignored = draw.choice(options)
    if draw.random() < 0.6:
        lost = torch.tensor([draw.random() < 0.3 for _ in target])
        target = target.masked_fill(lost, ignored)
    told = {} if ignored == -100 and draw.random() < 0.5 else {"ignore_index": ignored}
    return target, told, target != ignored


# ---------------------------------------------------------------- what scikit-learn says


def by_average(average: str, values: list[float], rows: list[int]) -> float | list[float]:
    if average == "none":
        return values
    if average == "macro":
        return float(np.mean(values))
    return sum(value * count for value, count in zip(values, rows, strict=True) if count) / sum(rows)


def areas(area: Callable[[Any, Any], float], average: str, logits: Tensor, target: Tensor) -> Any:
    """Other: scikit-learn's "ovr" wants every class to occur; so each class is a binary problem of its own here."""
    chances = logits.double().log_softmax(1)
    hits = torch.eye(logits.shape[1], dtype=torch.int64)[target]
    if average == "micro":
        return area(hits.reshape(-1), chances.reshape(-1))
    values = [area(hits[:, number], chances[:, number]) for number in range(logits.shape[1])]
    return by_average(average, values, hits.sum(0).tolist())


def average_precision(hits: Tensor, chances: Tensor) -> float:
    """Other: without a row of the class scikit-learn gives 0; there is no recall, and lumbre gives NaN."""
    return sk.average_precision_score(hits, chances) if hits.any() else NAN


def top_k(logits: Tensor, target: Tensor, k: int) -> float:
    """Other: of equal scores scikit-learn counts the last classes, lumbre the first, as argmax does."""
    classes = logits.shape[1]
    if k == classes:
        return 1.0  # of which scikit-learn warns
    turned = logits.double().flip(1)
    if classes == 2:
        return sk.accuracy_score(target, logits.argmax(1))
    return sk.top_k_accuracy_score(classes - 1 - target, turned, k=k, labels=range(classes))


def each_or_averaged(oracle: Any, average: str, target: Tensor, chosen: Tensor, classes: int) -> Any:
    """Other: with `average=None` lumbre gives NaN, not 0, for a class that nobody has and nobody was given."""
    if average != "none":
        return oracle(target, chosen, average=average, zero_division=0)
    values = oracle(target, chosen, average=None, labels=range(classes), zero_division=0)
    return [v if ((target == c) | (chosen == c)).any() else NAN for c, v in enumerate(values)]


def r2(pred: Tensor, target: Tensor) -> float:
    """Other: where a target does not vary scikit-learn gives 0 or 1, and lumbre NaN."""
    pred, target = pred.double().reshape(len(pred), -1), target.double().reshape(len(pred), -1)
    return sk.r2_score(target, pred) if (target != target[0]).any(0).all() else NAN


# ---------------------------------------------------------------- cases


def of_classes(draw: random.Random) -> Case:
    classes, rows = draw.randint(2, 5), draw.choice((1, 2, 3, 5, 9, 20))
    dtype, average = draw.choice(DTYPES), draw.choice(AVERAGES)
    logits = scores(draw, rows, classes).to(dtype)
    some = draw.sample(range(classes), draw.randint(1, classes))
    target, told, counted = hidden(draw, torch.tensor([draw.choice(some) for _ in range(rows)]), (-100, 255, 0, -1))
    p, t, k = logits[counted], target[counted], draw.randint(1, classes)
    chosen = p.argmax(1)
    with_average = {
        m.Precision: lambda: each_or_averaged(sk.precision_score, average, t, chosen, classes),
        m.Recall: lambda: each_or_averaged(sk.recall_score, average, t, chosen, classes),
        m.F1: lambda: each_or_averaged(sk.f1_score, average, t, chosen, classes),
        m.AUROC: lambda: areas(sk.roc_auc_score, average, p, t),
        m.AveragePrecision: lambda: areas(average_precision, average, p, t),
    }
    others = {
        m.Accuracy: lambda: sk.accuracy_score(t, chosen),
        m.ConfusionMatrix: lambda: sk.confusion_matrix(t, chosen, labels=range(classes)),
        m.CohenKappa: lambda: sk.cohen_kappa_score(t, chosen),
        m.MatthewsCorrelation: lambda: sk.matthews_corrcoef(t, chosen),
        m.Perplexity: lambda: math.exp(sk.log_loss(t, p.double().softmax(1), labels=range(classes))),
        m.TopKAccuracy: lambda: top_k(p, t, k),
    }
    kind = draw.choice([*with_average, *others])
    options = told | ({"average": average} if kind in with_average else {"k": k} if kind is m.TopKAccuracy else {})
    metric = kind(**options)
    if len(t):
        return Case(metric, logits, target, {**with_average, **others}[kind]())
    # Other: without a row scikit-learn raises.
    nothing = [NAN] * classes if metric.by_class else NAN
    return Case(metric, logits, target, np.zeros((classes, classes)) if kind is m.ConfusionMatrix else nothing)


def of_two(draw: random.Random) -> Case:
    rows, threshold = draw.choice((1, 2, 3, 5, 9, 20)), draw.choice((0.5, 0.3, 0.9))
    logits = scores(draw, rows).to(draw.choice(DTYPES))
    share = draw.choice((0, 0.3, 1))
    given = torch.tensor([float(draw.random() < share) for _ in range(rows)]).to(draw.choice((torch.int64, *DTYPES)))
    target, told, counted = hidden(draw, given, (-100, 255, 2, -1))
    t = target[counted].long()
    # Half precision is brought to float32 first: a sigmoid of bfloat16 has two digits.
    wide = logits.float() if logits.dtype == torch.bfloat16 else logits
    chosen = (wide[counted].sigmoid() > threshold).long()
    decided = {
        m.BinaryPrecision: lambda: sk.precision_score(t, chosen, zero_division=0),
        m.BinaryRecall: lambda: sk.recall_score(t, chosen, zero_division=0),
        m.BinaryF1: lambda: sk.f1_score(t, chosen, zero_division=0),
        m.BinaryConfusionMatrix: lambda: sk.confusion_matrix(t, chosen, labels=[0, 1]),
        m.BinaryCohenKappa: lambda: sk.cohen_kappa_score(t, chosen),
        m.BinaryMatthewsCorrelation: lambda: sk.matthews_corrcoef(t, chosen),
    }
    ranked = {
        m.BinaryAUROC: lambda: sk.roc_auc_score(t, logits[counted].double()),
        m.BinaryAveragePrecision: lambda: average_precision(t, logits[counted].double()),
    }
    plain = {
        m.BinaryAccuracy: lambda: sk.accuracy_score(t, chosen),
        m.BinaryAccuracyWithLogits: lambda: sk.accuracy_score(t, chosen),
    }
    kind = draw.choice([*decided, *ranked, *plain])
    options = {} if kind in ranked else {"threshold": threshold}
    if kind in decided and draw.random() < 0.5:
        options["from_logits"] = True
    elif kind in decided or kind is m.BinaryAccuracy:
        logits = wide.sigmoid()
    expected = {**decided, **ranked, **plain}[kind]() if len(t) else NAN
    if kind is m.BinaryConfusionMatrix and not len(t):
        expected = np.zeros((2, 2))
    return Case(kind(**options, **told), logits, target, expected)


def of_numbers(draw: random.Random) -> Case:
    shape = (draw.choice((1, 2, 3, 5, 9, 20)), *draw.choice(((), (1,), (3,))))
    dtype = draw.choice(DTYPES)
    far = draw.choice((0, 0, 1e7, -1e9)) if dtype == torch.float64 else 0
    target = scores(draw, *shape).to(dtype) + far
    pred = target + scores(draw, *shape).to(dtype) / 4
    p, t = pred.double(), target.double()
    exact = {
        m.MAE: lambda: sk.mean_absolute_error(t, p),
        m.MSE: lambda: sk.mean_squared_error(t, p),
        m.RMSE: lambda: math.sqrt(sk.mean_squared_error(t, p)),  # Other: over all outputs at once
        m.R2: lambda: r2(p, t),
    }
    kind = draw.choice([m.MAE, m.MSE, m.RMSE, m.R2, m.R2])
    return Case(kind(), pred, target, exact[kind]())


def measured(draw: random.Random, case: Case) -> Any:
    """The value, from ragged batches in one process or in several."""
    rows = len(case.target)
    cuts = sorted(draw.randrange(rows + 1) for _ in range(draw.randint(0, 4)))
    states = [case.metric.init(CPU) for _ in range(draw.randint(1, 3))]
    for p, t in zip(case.pred.tensor_split(cuts), case.target.tensor_split(cuts), strict=True):
        rank = draw.randrange(len(states))
        states[rank] = case.metric.update(states[rank], p, t)
    return case.metric.compute(reduce(merge, states))


@pytest.mark.parametrize(("kind", "number"), [(of_classes, 500), (of_two, 300), (of_numbers, 200)])
def test_drawn_cases_agree_with_scikit_learn(kind: Callable[[random.Random], Case], number: int) -> None:
    for seed in range(number):
        draw = random.Random(f"{kind.__name__} {seed}")
        with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True):
            warnings.simplefilter("ignore")  # scikit-learn warns of what is not defined
            case = kind(draw)
        found = np.asarray(measured(draw, case), dtype=float)
        # Cross-entropies and errors of float32 have its digits.
        near = 1e-5 if case.pred.dtype != torch.float64 else 1e-9
        assert found == pytest.approx(np.asarray(case.expected), rel=near, abs=1e-9, nan_ok=True), (
            f"{type(case.metric).__name__} {vars(case.metric)} of {case.pred}, {case.target}, seed {seed}"
        )
