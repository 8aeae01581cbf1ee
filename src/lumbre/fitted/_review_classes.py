"""Checks after training of classifiers: classes that are never predicted, probabilities that are not what they say."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lumbre.core import format_value
from lumbre.preflight import Finding, found_after

_Array = np.ndarray[Any, Any]
_ROWS_OF_CLASS = 20
_BINS, _DRAWS, _CHANCE, _MARGIN = 15, 1_000, 0.002, 0.03
_MOST_ROWS = 50_000


class Calibrated(NamedTuple):
    """An expected calibration error, that which chance alone gives on average, and mean probability beside accuracy."""

    error: float
    by_chance: float
    said: float
    right: float


def of_classes(frame: Any, *, scores: bool) -> Iterator[Finding]:
    """What truth and prediction of classes show, row by row.

    Args:
        frame: as `Fitted.compare()` gives it.
        scores: whether the module gives scores, for which `calibrate()` can find a temperature.
    """
    frame = frame[frame["truth"].notna()]
    names = list(frame["truth"].cat.categories)
    unseen = never_predicted(frame["truth"].cat.codes.to_numpy(), frame["predicted"].cat.codes.to_numpy(), len(names))
    if unseen:
        listed = ", ".join(f"{str(names[number])!r} ({rows:,} rows)" for number, rows in unseen[:3])
        more = f" and {len(unseen) - 3} more" if len(unseen) > 3 else ""
        yield found_after(
            "LB137",
            f"classes that are in the data and never predicted: {listed}{more}",
            "each class of the data predicted for some rows",
            "loss=nn.CrossEntropyLoss(weight=...) or more rows of rare classes; predict_probabilities() and a "
            "threshold of your own; and look whether the target's names are right",
        )
    if "probability" not in frame:
        return
    weights = frame["weight"].to_numpy(float) if "weight" in frame else np.ones(len(frame))
    seen = miscalibrated(frame["probability"].to_numpy(float), frame["correct"].to_numpy(bool), weights)
    if seen is not None:
        yield found_after(
            "LB138",
            f"probabilities of the predicted class that are {seen.said:.1%} on average, of which {seen.right:.1%} are "
            f"right: an expected calibration error of {format_value(seen.error)}, where chance gives "
            f"{format_value(seen.by_chance)}",
            "of rows with a probability of 0.8 about 80 % that are right",
            ("fitted.calibrate(valid), with rows that are neither these nor those of the training; " if scores else "")
            + "fewer epochs, or more weight decay, where the net is too sure",
        )


def never_predicted(truth: _Array, predicted: _Array, count: int) -> list[tuple[int, int]]:
    """Classes of 20 rows or more that no row is taken for, with their rows; the most frequent first.

    Args:
        truth: numbers of classes, shape (rows,).
        predicted: the same.
        count: of the classes.
    """
    rows, taken = (np.bincount(one, minlength=count) for one in (truth, predicted))
    unseen = [number for number in range(count) if rows[number] >= _ROWS_OF_CLASS and not taken[number]]
    return sorted(((number, int(rows[number])) for number in unseen), key=lambda pair: -pair[1])


def miscalibrated(probability: _Array, correct: _Array, weights: _Array) -> Calibrated | None:
    """Whether probabilities of the predicted class are not what they say: the calibration error, beside that of chance.

    Of rows that are right exactly as often as their probabilities say, the error is above 0, too. So they are drawn
    1,000 times (Bröcker & Smith, 2007): the error must be reached once in 500 times or less by chance, and be 0.03
    above the mean of chance, since in many rows a test finds what does not matter.

    Args:
        probability: of the predicted class, shape (rows,).
        correct: whether it is the true one.
        weights: of the rows.
    """
    if len(probability) > _MOST_ROWS:
        some = np.linspace(0, len(probability) - 1, _MOST_ROWS).astype(int)
        probability, correct, weights = probability[some], correct[some], weights[some]
    share = weights / weights.sum()
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    said = np.bincount(bins, share * probability, _BINS)

    def error(right: _Array) -> float:
        return float(np.abs(said - np.bincount(bins, share * right, _BINS)).sum())

    found = error(correct)
    if found < _MARGIN:
        return None
    random = np.random.default_rng(0)
    by_chance = np.array([error(random.random(len(probability)) < probability) for _ in range(_DRAWS)])
    mean = float(by_chance.mean())
    as_large = (int((by_chance >= found).sum()) + 1) / (_DRAWS + 1)
    if as_large > _CHANCE or found - mean < _MARGIN:
        return None
    return Calibrated(found, mean, float(share @ probability), float(share @ correct))


def useless_features(values: Sequence[tuple[Any, float, float, float]]) -> list[Any]:
    """Features whose importance covers 0 and is small: at most 5 % of that of the most important one.

    Args:
        values: feature, importance, low and high of each.
    """
    most = max((value for _, value, low, _ in values if low > 0), default=0.0)
    return [name for name, _, low, high in values if low <= 0 and high < 0.05 * most]
