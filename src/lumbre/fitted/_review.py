"""What a trained model shows of itself that should not be: the checks after training.

Each check is a function of plain numbers, which says what it found or nothing. It speaks only where a test and a size
agree: a test alone finds trifles in many rows, a size alone finds chance in few. `make judge` measures how often each
is wrong.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lumbre.base import DataError, leaves
from lumbre.core import History, format_value
from lumbre.data import RowFeed
from lumbre.fitted._compare import compared
from lumbre.fitted._features import Feature, features_of
from lumbre.fitted._importance import Importance
from lumbre.fitted._response import best_constant, estimated, refuse_gaps, response_scale
from lumbre.fitted._review_classes import of_classes, useless_features
from lumbre.preflight import Finding, Findings, found_after
from lumbre.run import Session

_Array = np.ndarray[Any, Any]
_KEEPERS = ("EarlyStopping", "KeepBestModel")
_FEW_EPOCHS = 8
_FEW_ROWS, _ENOUGH_ROWS = 50, 100
_MOST_FEATURES, _MOST_ROWS, _BINS = 200, 5_000, 20


class Scores(NamedTuple):
    """Errors of rows: of the net, and of the best prediction that is the same for all of them; shape (rows,)."""

    net: _Array
    constant: _Array
    weights: _Array
    name: str


def review(session: Session, history: History, batches: Any, importances: Sequence[Importance]) -> Findings:
    """All checks of a model on rows that it was not trained on.

    Args:
        session: of the model.
        history: of its run.
        batches: of these rows.
        importances: those that were computed before.
    """
    found, left_out = [*_of_history(session, history), *_of_importance(importances)], list[str]()
    if not losses(history, "valid"):
        left_out.append("LB131, which needs valid_data in fit()")
    if not importances:
        left_out.append("LB135, which needs importance(data) before")
    try:
        frame = compared(session, batches)
        _refuse_gaps(frame)
    except DataError as error:
        return Findings(found, [*left_out, f"LB132, LB134, LB137, LB138: {error.received}"])
    scores = scores_of(session, frame)
    if scores is None:
        left_out.append("LB132 and LB134: the loss does not say which constant prediction is best")
    elif len(scores.net) < _FEW_ROWS:
        of_rows = "LB132, LB134, LB137 and LB138" if "correct" in frame else "LB132 and LB134"
        left_out.append(f"{of_rows}, for which {len(scores.net)} rows are too few")
    else:
        found += _of_scores(session, frame, scores, batches)
    return Findings(found, left_out)


def _refuse_gaps(frame: Any) -> None:
    """Refuse predictions and targets that are NaN; classes that the loss leaves out are none of them."""
    names = ["probability"] if "probability" in frame else [] if "correct" in frame else ["truth", "predicted"]
    rows = frame["row"].nunique()
    refuse_gaps(**{name: torch.tensor(frame[name].to_numpy(float).reshape(rows, -1)) for name in names if rows})


def _of_importance(importances: Sequence[Importance]) -> Iterator[Finding]:
    """Columns that are useless in the newest importance; steps and patches at the edge often are, and may well be."""
    newest = importances[-1] if importances else None
    if newest is None or not newest.columns:
        return
    useless = useless_features(newest.values)
    if useless:
        names = ", ".join(map(repr, useless[:5])) + (f" and {len(useless) - 5} more" if len(useless) > 5 else "")
        yield found_after(
            "LB135",
            f"features whose importance, how much worse {newest.metric} gets, covers 0 and is small: {names}",
            "features that the model needs",
            'leave them out, and see whether the model is as good; first importance(data, groups="correlated"), as '
            "features that go together hide one another",
        )


def losses(history: History, name: str) -> list[float]:
    """The losses of a set by epoch."""
    return [value for part, metric, _, value in history.scalars() if (part, metric) == (name, "loss")]


def _of_history(session: Session, history: History) -> Iterator[Finding]:
    if any(name in session.record.options.get("callbacks", "") for name in _KEEPERS):
        return  # the model is that of an earlier epoch, or ended soon after it
    seen = over_fit(losses(history, "train"), losses(history, "valid"))
    if seen is not None:
        epoch, best, last = seen
        yield found_after(
            "LB131",
            f"a validation loss that was {format_value(best)} around epoch {epoch} and is {format_value(last)} at the "
            "end, while the training loss falls",
            "the weights of the epoch in which validation is best",
            "fit(..., callbacks=lb.callbacks.EarlyStopping(patience=5, restore_best=True)); or weight decay, dropout, "
            "fewer parameters, more rows",
        )


def over_fit(train: Sequence[float], valid: Sequence[float]) -> tuple[int, float, float] | None:
    """Whether validation has risen while training fell: the best epoch, the loss around it, and that at the end.

    Means over a tenth of the epochs are compared. The rise must be 5 times its standard error from epoch to epoch, a
    fifth of what was gained before, and 5 % of the loss.
    """
    count = len(valid)
    if count < _FEW_EPOCHS or len(train) != count or not np.isfinite([*train, *valid]).all():
        return None
    window = max(3, count // 10)
    means, of_train = (np.convolve(one, np.full(window, 1 / window), "valid") for one in (valid, train))
    best = int(means.argmin())
    rise, gained = means[-1] - means[best], means[0] - means[best]
    jitter = np.std(np.diff(valid), ddof=1) / math.sqrt(window)  # of a difference of two means
    clear = rise > max(5 * jitter, 0.2 * gained, 0.05 * abs(means[best]))
    if len(means) - 1 - best < window or not clear or not of_train[-1] < of_train[best]:
        return None
    return best + 1 + window // 2, float(means[best]), float(means[-1])


def scores_of(session: Session, frame: Any) -> Scores | None:
    """How wrong each row is: Brier's score of classes; squares of numbers, or absolute errors where the loss is one."""
    if "correct" in frame:
        frame = frame[frame["truth"].notna()]
        if "probability" not in frame:  # the module's own predict() has chosen the classes
            by, truth = _weights(frame, len(frame)), frame["truth"].cat.codes.to_numpy()
            usual = np.bincount(truth, by).argmax() if len(truth) else 0
            wrong = ~frame["correct"].to_numpy(bool)
            return Scores(wrong.astype(float), (truth != usual).astype(float), by, "a share of wrong rows")
        shares = frame[[name for name in frame.columns if str(name).startswith("probability_")]].to_numpy(float)
        hot = np.eye(shares.shape[1])[frame["truth"].cat.codes.to_numpy()] if len(frame) else shares
        by = _weights(frame, len(frame))
        base = np.average(hot, axis=0, weights=by) if len(frame) else hot
        return Scores(((shares - hot) ** 2).sum(1), ((base - hot) ** 2).sum(1), by, "a Brier score")
    if response_scale(session).kind != "numbers" or estimated(session.loss) is None:
        return None
    rows = frame["row"].nunique()
    truth, pred = (frame[name].to_numpy(float).reshape(rows, -1) for name in ("truth", "predicted"))
    by = _weights(frame, rows)
    constant = best_constant(truth, by, session.loss) if rows else np.zeros(truth.shape[1])
    own, other, name = np.abs(truth - pred), np.abs(truth - constant), "an absolute error"
    if estimated(session.loss) == "mean":
        own, other, name = own**2, other**2, "a squared error"
    if rows and truth.shape[1] > 1:  # each output counts alike
        size = np.maximum(np.average(other, axis=0, weights=by), 1e-300)
        own, other, name = own / size, other / size, f"{name}, as a share of that of a constant"
    return Scores(own.mean(1), other.mean(1), by, name)


def _weights(frame: Any, rows: int) -> _Array:
    return frame["weight"].to_numpy(float).reshape(rows, -1)[:, 0] if "weight" in frame else np.ones(rows)


def _of_scores(session: Session, frame: Any, scores: Scores, batches: Any) -> Iterator[Finding]:
    seen = no_better(scores.net, scores.constant, scores.weights)
    if seen is not None:
        gain, low, high = seen
        constant = float(np.average(scores.constant, weights=scores.weights))
        yield found_after(
            "LB132",
            f"on {len(scores.net):,} rows {scores.name} {abs(gain):.2g} {'lower' if gain > 0 else 'higher'} than the "
            f"{format_value(constant)} of the best constant prediction (95 % interval of the gain {low:.2g} to "
            f"{high:.2g})",
            "a prediction that knows something of the input",
            "recipe.check(data), which looks for the reasons; another lr (recipe.lr_finder), longer training, or other "
            "inputs",
        )
        if "correct" in frame and _is_right_more_often(frame):  # it knows something, and is too sure of it
            yield from (one for one in of_classes(frame, scores=session.scale.kind == "logits") if one.code == "LB138")
        return
    if "correct" in frame:
        yield from of_classes(frame, scores=session.scale.kind == "logits")
    golden = [] if not isinstance(batches, RowFeed) else _golden_features(session, frame, scores, batches)
    if golden:
        names = ", ".join(f"{name!r} ({share:.0%})" for name, share in golden[:3])
        yield found_after(
            "LB134",
            f"features that alone explain nearly all that the net does: {names}",
            "inputs that are known when the target is not",
            "leave out what is measured after the target, or made of it; else something simpler will do",
        )


def _is_right_more_often(frame: Any) -> bool:
    """Whether a classifier is right more often than the most frequent class, clear of 0 by 2 standard errors."""
    frame = frame[frame["truth"].notna()]
    usual = frame["truth"] == frame["truth"].value_counts().index[0]
    gains = frame["correct"].to_numpy(float) - usual.to_numpy(float)
    return float(gains.mean()) > 2 * float(gains.std()) / math.sqrt(len(gains))


def no_better(net: _Array, constant: _Array, weights: _Array) -> tuple[float, float, float] | None:
    """The gain against a constant with its paired 95 % interval, where there is none; None where there is one.

    There is none where the mean gain is not above 0, or its interval covers 0 and ends below 5 % of the constant's.
    """
    gains = constant - net
    share = weights / weights.sum()
    gain = float(share @ gains)
    half = 1.96 * math.sqrt(float(share**2 @ (gains - gain) ** 2))
    small = gain - half <= 0 and gain + half < 0.05 * float(share @ constant)
    return (gain, gain - half, gain + half) if gain <= 0 or small else None


def _golden_features(session: Session, frame: Any, scores: Scores, batches: RowFeed) -> list[tuple[Any, float]]:
    """Features of a table that alone reach nearly the whole score, with their shares."""
    net = 1 - float(
        np.average(scores.net, weights=scores.weights) / np.average(scores.constant, weights=scores.weights)
    )
    count = len(batches.source)
    if len(scores.net) < _ENOUGH_ROWS or net < 0.9 or "output" in frame or not len(scores.net) == len(frame) == count:
        return []
    rows = np.linspace(0, count - 1, min(count, _MOST_ROWS)).astype(int)
    input = batches.take(torch.from_numpy(rows)).input
    if sum(leaf[0].numel() for leaf in leaves(input)) > _MOST_FEATURES or any(leaf.ndim > 2 for leaf in leaves(input)):
        return []
    features: list[Feature] = features_of(session.encoding, input)
    truth = frame["truth"].cat.codes.to_numpy() if "correct" in frame else frame["truth"].to_numpy(float)
    if len(features) < 2:
        return []
    alone = {one.name: explained_alone(_column(one, input), truth[rows]) for one in features}
    return sorted(((name, one) for name, one in alone.items() if is_golden(one, net)), key=lambda pair: -pair[1])


def is_golden(alone: float, net: float) -> bool:
    """Whether a feature alone explains too much: 90 % in itself, and 95 % of what the net explains."""
    return alone >= max(0.9, 0.95 * net)


def _column(feature: Feature, input: Any) -> _Array:
    values = feature.values(input).cpu().double().numpy().reshape(len(next(leaves(input))), -1)
    return values.argmax(1).astype(float) if values.shape[1] > 1 else values[:, 0]


def explained_alone(values: _Array, truth: _Array) -> float:
    """The share of the truth that one feature explains: by means of bins, each half of the rows judged by the other.

    Args:
        values: of the feature, shape (rows,).
        truth: numbers, or numbers of classes as integers.
    """
    target = np.eye(int(truth.max()) + 1)[truth] if truth.dtype.kind == "i" else truth[:, None]
    levels = np.unique(values)
    if len(levels) <= _BINS:
        bins = np.searchsorted(levels, values)
    else:
        edges = np.quantile(values, np.linspace(0, 1, min(_BINS, len(values) // 10) + 1)[1:-1])
        bins = np.searchsorted(edges, values)
    half = np.random.default_rng(0).permutation(len(values)) % 2
    wrong = base = 0.0
    for side in (0, 1):
        known, asked = half != side, half == side
        middle = target[known].mean(0)
        means = np.tile(middle, (_BINS + 1, 1))
        for number in np.unique(bins[known]):
            means[number] = target[known & (bins == number)].mean(0)
        wrong += ((target[asked] - means[bins[asked]]) ** 2).sum()
        base += ((target[asked] - middle) ** 2).sum()
    return 1 - wrong / base if base else 0.0
