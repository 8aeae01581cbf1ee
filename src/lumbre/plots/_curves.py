"""How well probabilities rank the rows, at every threshold: ROC, and precision against recall."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lumbre.base import DataError, OptionError, did_you_mean, import_extra
from lumbre.plots._comparison import truth_and_probabilities
from lumbre.plots._text import literal, literals
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

Array = np.ndarray[Any, Any]
_MOST_CURVES = 10
_MOST_POINTS = 1_000


def roc(fitted: Any, data: Any = None, *, positive: Any = None) -> "ggplot":
    """ROC curve: the share of a class's rows that is found against the share of the other rows taken for it.

    The legend gives the area under each curve (the subtitle does, where there is one): the chance that a row of the
    class gets a higher probability than another row; 0.5 is no better than a coin, the dashed line. With two classes
    there is one curve, with more one for each class against all others; of more than ten classes, the ten with the
    smallest area are drawn.

    Args:
        fitted: a `Fitted`; or a frame with the columns truth and probability_<class>.
        data: with targets, whatever `Fitted.evaluate()` takes; nothing beside a frame.
        positive: the class to draw; of two classes the second one, where not given.

    Returns:
        A plotnine `ggplot`. Its data has the columns class, false_positive_rate, true_positive_rate; long curves are
        thinned to about a thousand points each, the areas come from all rows.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there are no probabilities, or no class that some rows have and others have not.
        OptionError: there is no such class.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> shares = pd.Series([0.9, 0.2, 0.7, 0.6])
        >>> frame = pd.DataFrame(
        ...     {
        ...         "truth": ["yes", "no", "no", "yes"],
        ...         "probability_no": 1 - shares,
        ...         "probability_yes": shares,
        ...     }
        ... )
        >>> lb.plots.roc(frame).labels.subtitle
        'yes (AUC 0.7500)'
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    frame, note = _curves(fitted, data, positive, roc_points, ("false_positive_rate", "true_positive_rate"), "AUC")
    return (
        _chart(p9, look, frame, note, p9.geom_path(size=0.9))
        + p9.aes(x="false_positive_rate", y="true_positive_rate")
        + p9.geom_abline(slope=1, intercept=0, linetype="dashed", colour=look.rule)
        + p9.labs(x="false positive rate", y="true positive rate")
    )


def precision_recall(fitted: Any, data: Any = None, *, positive: Any = None) -> "ggplot":
    """Precision against recall: how many of the rows taken for a class are of it, as more of them are found.

    The legend gives the average precision, the area under the steps (the subtitle does, where there is one curve); a
    coin would reach the share of the class. To be preferred to `roc` where a class is rare.

    Args:
        fitted: a `Fitted`; or a frame with the columns truth and probability_<class>.
        data: with targets, whatever `Fitted.evaluate()` takes; nothing beside a frame.
        positive: the class to draw; of two classes the second one, where not given.

    Returns:
        A plotnine `ggplot`. Its data has the columns class, recall and precision; long curves are thinned to about a
        thousand points each, the areas come from all rows.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there are no probabilities, or no class that some rows have and others have not.
        OptionError: there is no such class.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> shares = pd.Series([0.9, 0.2, 0.7, 0.6])
        >>> frame = pd.DataFrame(
        ...     {
        ...         "truth": ["yes", "no", "no", "yes"],
        ...         "probability_no": 1 - shares,
        ...         "probability_yes": shares,
        ...     }
        ... )
        >>> lb.plots.precision_recall(frame).labels.subtitle
        'yes (AP 0.8333)'
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    frame, note = _curves(fitted, data, positive, precision_recall_points, ("recall", "precision"), "AP")
    return (
        _chart(p9, look, frame, note, p9.geom_step(direction="vh", size=0.9))
        + p9.aes(x="recall", y="precision")
        + p9.labs(x="recall", y="precision")
    )


def roc_points(truth: Array, probability: Array, weights: Array | None = None) -> tuple[Array, Array, float]:
    """False and true positive rate at each distinct threshold, from (0, 0) to (1, 1), and the area under the curve.

    Args:
        truth: bool of shape (rows,), with both values.
        probability: of shape (rows,).
        weights: of the rows, shape (rows,), above 0; None counts them alike.
    """
    hits, rows = _cumulated(truth, probability, weights)
    true_rate = np.r_[0, hits / hits[-1]]
    false_rate = np.r_[0, (rows - hits) / (rows[-1] - hits[-1])]
    return false_rate, true_rate, float(np.trapezoid(true_rate, false_rate))


def precision_recall_points(
    truth: Array, probability: Array, weights: Array | None = None
) -> tuple[Array, Array, float]:
    """Recall and precision at each distinct threshold, and the average precision: the sum of (R_n - R_n-1) P_n."""
    hits, rows = _cumulated(truth, probability, weights)
    recall, precision = np.r_[0, hits / hits[-1]], np.r_[1, hits / rows]
    return recall, precision, float(np.sum(np.diff(recall) * precision[1:]))


def _cumulated(truth: Array, probability: Array, weights: Array | None) -> tuple[Array, Array]:
    """How many rows, and how many of the class among them, have at least each distinct probability, highest first."""
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order]
    last_of_value = np.r_[np.flatnonzero(np.diff(sorted_probability)), len(order) - 1]
    if weights is not None:
        each = weights[order]
        return np.cumsum(truth[order] * each)[last_of_value], np.cumsum(each)[last_of_value]
    return np.cumsum(truth[order])[last_of_value].astype(float), last_of_value + 1.0


def _curves(
    fitted: Any,
    data: Any,
    positive: Any,
    points: Callable[[Array, Array, Array | None], tuple[Array, Array, float]],
    axes: tuple[str, str],
    area_name: str,
) -> tuple[Any, str]:
    """The curves as a frame with the columns class and `axes`, and what is to be said of those left out."""
    import pandas as pd

    names, truth, shares, weights = truth_and_probabilities(fitted, data)
    if positive is not None and str(positive) not in names:
        raise OptionError(
            f"positive={positive!r}", f"one of {', '.join(names)}", f"{did_you_mean(str(positive), names)}positive=..."
        )
    chosen = [str(positive)] if positive is not None else names[1:] if len(names) == 2 else names
    counts = np.bincount(truth, minlength=len(names))
    drawable = [name for name in chosen if 0 < counts[names.index(name)] < len(truth)]
    if not drawable:
        raise DataError(
            f"{len(truth)} rows with the true classes {', '.join(names[i] for i in np.flatnonzero(counts))}",
            f"some rows of class {chosen[0]} and some of another",
            "data with both; a curve ranks one against the other",
        )
    curves = {name: points(truth == names.index(name), shares[:, names.index(name)], weights) for name in drawable}
    notes = [f"no rows of {', '.join(name for name in chosen if name not in drawable)}"]
    if len(drawable) == len(chosen):
        notes.clear()
    if len(curves) > _MOST_CURVES:
        worst = sorted(curves, key=lambda name: curves[name][2])[:_MOST_CURVES]
        notes.append(f"the {_MOST_CURVES} of {len(curves)} classes with the smallest {area_name}")
        curves = {name: curve for name, curve in curves.items() if name in worst}
    labels = {name: f"{name} ({area_name} {curve[2]:.4f})" for name, curve in curves.items()}
    parts = [
        pd.DataFrame({"class": labels[name], axes[0]: x[kept], axes[1]: y[kept]})
        for name, (x, y, _) in curves.items()
        for kept in [_thinned(x, y)]
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["class"] = pd.Categorical(frame["class"], categories=list(labels.values()))
    return frame, "; ".join(notes)


def _thinned(x: Array, y: Array) -> Array:
    """Numbers of points that are evenly spread along the curve, ends included."""
    if len(x) <= _MOST_POINTS:
        return np.arange(len(x))
    length = np.r_[0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    return np.unique(np.r_[np.searchsorted(length, np.linspace(0, length[-1], _MOST_POINTS)), 0, len(x) - 1])


def _chart(p9: Any, look: Look, frame: Any, note: str, line: Any) -> Any:
    count = frame["class"].cat.categories.size
    chart = (
        p9.ggplot(frame, p9.aes(colour="class", linetype="class"))
        + line
        + p9.scale_colour_manual(values=look.colours(count), labels=literals)
        + p9.scale_linetype_manual(values=look.linetypes(count), labels=literals)
        + p9.coord_equal(xlim=(0, 1), ylim=(0, 1))
        + p9.labs(colour="", linetype="")
        + look.theme(figure_size=(6.6, 4.4), legend_key_width=28)
    )
    if count == 1:
        alone = frame["class"].cat.categories[0]
        return chart + p9.labs(subtitle=literal(alone)) + p9.theme(figure_size=(4.8, 4.6), legend_position="none")
    return chart + p9.labs(subtitle=literal(note)) if note else chart
