"""A thousand drawn cases against scikit-learn: ties, absent classes, one class, one row, ragged batches, processes,
weights of rows.

Rows whose target is ignored, or whose weight is 0, are left out of what scikit-learn gets. Where it says something else
on purpose, the expectation says so with "Other:"; docs/reference/metrics.md lists the same with reasons.
"""

import math
import random
import warnings
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pytest
import sklearn
import torch
from sklearn import metrics as sk
from torch import Tensor

import lumbre as lb
from lumbre.metrics import Metric, merge

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
    weights: Tensor | None = None


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


def weighted(draw: random.Random, counted: Tensor) -> tuple[Tensor | None, Tensor, Any]:
    """Weights or None, which rows count, and the weights of these. Other: a row of weight 0 is no row."""
    rows, kind = len(counted), draw.choice(("none", "none", "whole", "any", "one", "tiny"))
    if kind == "none":
        return None, counted, None
    values = {
        "whole": [draw.choice((0, 1, 2, 3)) for _ in range(rows)],
        "any": [draw.choice((0, draw.random(), 5 * draw.random())) for _ in range(rows)],
        "one": [1] * rows,
        "tiny": [1e-9 * draw.random() for _ in range(rows)],
    }[kind]
    weights = torch.tensor(values, dtype=draw.choice((torch.float32, torch.float64)))
    counted = counted & (weights > 0)
    return weights, counted, weights[counted].double().numpy()


# ---------------------------------------------------------------- what scikit-learn says


def by_average(average: str, values: list[float], rows: list[float]) -> float | list[float]:
    if average == "none":
        return values
    if average == "macro":
        return float(np.mean(values))
    return sum(value * count for value, count in zip(values, rows, strict=True) if count) / sum(rows)


def areas(area: Callable[..., float], average: str, logits: Tensor, target: Tensor, w: Any) -> Any:
    """Other: scikit-learn's "ovr" wants every class to occur; so each class is a binary problem of its own here."""
    chances = logits.double().log_softmax(1)
    hits = torch.eye(logits.shape[1], dtype=torch.int64)[target]
    if average == "micro":
        each = None if w is None else np.repeat(w, logits.shape[1])
        return area(hits.reshape(-1), chances.reshape(-1), sample_weight=each)
    values = [area(hits[:, number], chances[:, number], sample_weight=w) for number in range(logits.shape[1])]
    counts = hits if w is None else hits * torch.as_tensor(w)[:, None]
    return by_average(average, values, counts.sum(0).tolist())


def average_precision(hits: Tensor, chances: Tensor, sample_weight: Any = None) -> float:
    """Other: without a row of the class scikit-learn gives 0; there is no recall, and lumbre gives NaN."""
    return sk.average_precision_score(hits, chances, sample_weight=sample_weight) if hits.any() else NAN


def top_k(logits: Tensor, target: Tensor, k: int, w: Any) -> float:
    """Other: of equal scores scikit-learn counts the last classes, lumbre the first, as argmax does."""
    classes = logits.shape[1]
    if k == classes:
        return 1.0  # of which scikit-learn warns
    turned = logits.double().flip(1)
    if classes == 2:
        return sk.accuracy_score(target, logits.argmax(1), sample_weight=w)
    return sk.top_k_accuracy_score(classes - 1 - target, turned, k=k, labels=range(classes), sample_weight=w)


def each_or_averaged(oracle: Any, average: str, target: Tensor, chosen: Tensor, classes: int, w: Any) -> Any:
    """Other: with `average=None` lumbre gives NaN, not 0, for a class that nobody has and nobody was given."""
    if average != "none":
        return oracle(target, chosen, average=average, zero_division=0, sample_weight=w)
    values = oracle(target, chosen, average=None, labels=range(classes), zero_division=0, sample_weight=w)
    return [v if ((target == c) | (chosen == c)).any() else NAN for c, v in enumerate(values)]


def r2(pred: Tensor, target: Tensor, w: Any) -> float:
    """Other: where a target does not vary scikit-learn gives 0 or 1, and lumbre NaN."""
    pred, target = pred.double().reshape(len(pred), -1), target.double().reshape(len(pred), -1)
    return sk.r2_score(target, pred, sample_weight=w) if (target != target[0]).any(0).all() else NAN


# ---------------------------------------------------------------- cases


def of_classes(draw: random.Random) -> Case:
    classes, rows = draw.randint(2, 5), draw.choice((1, 2, 3, 5, 9, 20))
    dtype, average = draw.choice(DTYPES), draw.choice(AVERAGES)
    logits = scores(draw, rows, classes).to(dtype)
    some = draw.sample(range(classes), draw.randint(1, classes))
    target, told, counted = hidden(draw, torch.tensor([draw.choice(some) for _ in range(rows)]), (-100, 255, 0, -1))
    weights, counted, w = weighted(draw, counted)
    p, t, k = logits[counted], target[counted], draw.randint(1, classes)
    chosen = p.argmax(1)
    with_average = {
        m.Precision: lambda: each_or_averaged(sk.precision_score, average, t, chosen, classes, w),
        m.Recall: lambda: each_or_averaged(sk.recall_score, average, t, chosen, classes, w),
        m.F1: lambda: each_or_averaged(sk.f1_score, average, t, chosen, classes, w),
        m.AUROC: lambda: areas(sk.roc_auc_score, average, p, t, w),
        m.AveragePrecision: lambda: areas(average_precision, average, p, t, w),
    }
    others = {
        m.Accuracy: lambda: sk.accuracy_score(t, chosen, sample_weight=w),
        m.ConfusionMatrix: lambda: sk.confusion_matrix(t, chosen, labels=range(classes), sample_weight=w),
        m.CohenKappa: lambda: sk.cohen_kappa_score(t, chosen, sample_weight=w),
        m.MatthewsCorrelation: lambda: sk.matthews_corrcoef(t, chosen, sample_weight=w),
        m.Perplexity: lambda: math.exp(sk.log_loss(t, p.double().softmax(1), labels=range(classes), sample_weight=w)),
        m.TopKAccuracy: lambda: top_k(p, t, k, w),
    }
    kind = draw.choice([*with_average, *others])
    options = told | ({"average": average} if kind in with_average else {"k": k} if kind is m.TopKAccuracy else {})
    metric = kind(**options)
    if len(t):
        return Case(metric, logits, target, {**with_average, **others}[kind](), weights)
    # Other: without a row scikit-learn raises.
    nothing = [NAN] * classes if metric.by_class else NAN
    return Case(metric, logits, target, np.zeros((classes, classes)) if kind is m.ConfusionMatrix else nothing, weights)


def of_two(draw: random.Random) -> Case:
    rows, threshold = draw.choice((1, 2, 3, 5, 9, 20)), draw.choice((0.5, 0.3, 0.9))
    logits = scores(draw, rows).to(draw.choice(DTYPES))
    share = draw.choice((0, 0.3, 1))
    given = torch.tensor([float(draw.random() < share) for _ in range(rows)]).to(draw.choice((torch.int64, *DTYPES)))
    target, told, counted = hidden(draw, given, (-100, 255, 2, -1))
    weights, counted, w = weighted(draw, counted)
    t = target[counted].long()
    # Half precision is brought to float32 first: a sigmoid of bfloat16 has two digits.
    wide = logits.float() if logits.dtype == torch.bfloat16 else logits
    chosen = (wide[counted].sigmoid() > threshold).long()
    decided = {
        m.BinaryPrecision: lambda: sk.precision_score(t, chosen, zero_division=0, sample_weight=w),
        m.BinaryRecall: lambda: sk.recall_score(t, chosen, zero_division=0, sample_weight=w),
        m.BinaryF1: lambda: sk.f1_score(t, chosen, zero_division=0, sample_weight=w),
        m.BinaryConfusionMatrix: lambda: sk.confusion_matrix(t, chosen, labels=[0, 1], sample_weight=w),
        m.BinaryCohenKappa: lambda: sk.cohen_kappa_score(t, chosen, sample_weight=w),
        m.BinaryMatthewsCorrelation: lambda: sk.matthews_corrcoef(t, chosen, sample_weight=w),
    }
    ranked = {
        m.BinaryAUROC: lambda: sk.roc_auc_score(t, logits[counted].double(), sample_weight=w),
        m.BinaryAveragePrecision: lambda: average_precision(t, logits[counted].double(), w),
    }
    plain = {
        m.BinaryAccuracy: lambda: sk.accuracy_score(t, chosen, sample_weight=w),
        m.BinaryAccuracyWithLogits: lambda: sk.accuracy_score(t, chosen, sample_weight=w),
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
    return Case(kind(**options, **told), logits, target, expected, weights)


def of_numbers(draw: random.Random) -> Case:
    shape = (draw.choice((1, 2, 3, 5, 9, 20)), *draw.choice(((), (1,), (3,))))
    dtype = draw.choice(DTYPES)
    far = draw.choice((0, 0, 1e7, -1e9)) if dtype == torch.float64 else 0
    target = scores(draw, *shape).to(dtype) + far
    pred = target + scores(draw, *shape).to(dtype) / 4
    weights, counted, w = weighted(draw, torch.ones(shape[0], dtype=torch.bool))
    p, t = pred[counted].double(), target[counted].double()
    exact = {
        m.MAE: lambda: sk.mean_absolute_error(t, p, sample_weight=w),
        m.MSE: lambda: sk.mean_squared_error(t, p, sample_weight=w),
        m.RMSE: lambda: math.sqrt(sk.mean_squared_error(t, p, sample_weight=w)),  # Other: over all outputs at once
        m.R2: lambda: r2(p, t, w),
    }
    kind = draw.choice([m.MAE, m.MSE, m.RMSE, m.R2, m.R2])
    return Case(kind(), pred, target, exact[kind]() if len(t) else NAN, weights)


def measured(draw: random.Random, case: Case) -> Any:
    """The value, from ragged batches in one process or in several."""
    rows = len(case.target)
    cuts = sorted(draw.randrange(rows + 1) for _ in range(draw.randint(0, 4)))
    states = [case.metric.init(CPU) for _ in range(draw.randint(1, 3))]
    weights = torch.ones(rows) if case.weights is None else case.weights
    parts = (each.tensor_split(cuts) for each in (case.pred, case.target, weights))
    for p, t, w in zip(*parts, strict=True):
        rank = draw.randrange(len(states))
        given: Any = {} if case.weights is None else {"weights": w}
        states[rank] = case.metric.update(states[rank], p, t, **given)
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
            f"{type(case.metric).__name__} {vars(case.metric)} of {case[1:3]} with weights {case.weights}, seed {seed}"
        )
