"""A metric from a function of all predictions and targets, and from the scorers of scikit-learn."""

import copy
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, OptionError, describe, import_extra, one_of
from lumbre.metrics._metric import Metric
from lumbre.metrics._ranking import joined_rows
from lumbre.metrics._scores import rows_of_scores

_Array: TypeAlias = "np.ndarray[Any, Any]"
_TRUTH = ("target", "targets", "truth", "true", "y", "y_true", "label", "labels", "labels_true")
_PREDICTED = (
    *("pred", "preds", "prediction", "predictions", "predicted", "y_pred", "y_score", "y_prob", "y_proba", "y_hat"),
    *("output", "outputs", "input", "score", "scores", "proba", "probabilities", "labels_pred"),
)
_TAKES = ("response", "classes", "outputs")


class From(Metric):
    """A metric from a function of all predictions and targets of a pass: of scikit-learn, of SciPy, or your own.

    They are kept until the pass ends, so that the value is that of all rows, and not a mean over batches. Functions get
    NumPy arrays, without the labels that the loss of the run ignores. Which of both comes first is seen from the names
    of its parameters: `f(y_true, y_pred)` as in scikit-learn, `f(pred, target)` as in torch; other names are refused.

    Args:
        function: takes predictions and targets, and gives a number or a dict of numbers; or a scorer of scikit-learn,
            which knows what it takes, or its name ("roc_auc_ovr"; `sklearn.metrics.get_scorer_names()`).
        name: how to show it; that of the function or scorer where not given.
        higher_is_better: which way is up; None where neither is, or nobody asks. Of scorers it is always true.
        takes: what a function gets for predictions: "response", them on the scale of the target: probabilities of
            classes, counts, numbers; "classes", the most probable class; or "outputs", what the module gives.

    Raises:
        OptionError: it is no such function, or its parameters do not tell which is which.
        MissingExtraError: scikit-learn is not installed, for a scorer's name.
        DataError: when it is computed: the module gives something else than one tensor.

    Example:
        >>> import torch, lumbre as lb
        >>> from sklearn.metrics import balanced_accuracy_score
        >>> metric = lb.metrics.From(
        ...     balanced_accuracy_score, takes="classes", higher_is_better=True
        ... )
        >>> pred, target = (
        ...     torch.tensor([[2.0, 1.0], [3.0, 1.0], [0.0, 1.0]]),
        ...     torch.tensor([0, 1, 1]),
        ... )
        >>> metric.compute(metric.update(metric.init(torch.device("cpu")), pred, target))
        0.75
    """

    def __init__(
        self,
        function: Any,
        *,
        name: str | None = None,
        higher_is_better: bool | None = None,
        takes: str = "response",
    ) -> None:
        one_of("takes", takes, _TAKES)
        scorer = _scorer(function)
        if scorer is None:
            self._truth_first = _truth_first(function)
        elif takes != "response":
            raise OptionError(
                f"takes={takes!r} beside a scorer", "a scorer alone: it knows what it takes", "leave it out"
            )
        inner = getattr(function, "func", function)  # of functools.partial
        shown = function if isinstance(function, str) else _name_of(inner)
        super().__init__(name=name or shown.strip("<>") or None)
        self.higher_is_better = True if scorer is not None else higher_is_better
        self.of_response = takes != "outputs"
        self.function = function
        self.takes = takes
        self._scorer = scorer
        self._ignored: int | None = None

    def init(self, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
        """No rows."""
        return [], []

    def update(self, state: tuple[list[Tensor], list[Tensor]], pred: Nested, target: Nested) -> Any:
        """Keep the rows."""
        for part in (pred, target):
            if not isinstance(part, Tensor) or part.ndim == 0:
                raise DataError(
                    f"{self.name} of a {describe(pred)} and a {describe(target)}"[:300],
                    "a prediction and a target that are a tensor each",
                    "a response in setup() that gives one; or a class made from lumbre.metrics.Metric",
                )
        return joined_rows(state[0], pred.detach()), joined_rows(state[1], target)

    def compute(self, state: tuple[list[Tensor], list[Tensor]]) -> object:
        """What the function gives for all rows; NaN where there are none."""
        if not state[0]:
            return float("nan")
        pred, target = (torch.cat(rows).cpu() for rows in state)
        pred = pred.float() if pred.dtype in (torch.bfloat16, torch.float16) else pred
        pred, target = self._counted(pred, target)
        if self.takes == "classes":
            pred = _classes(pred)
            if pred.shape == target.shape:  # of texts and masks every label is one, as scikit-learn wants them
                pred, target = pred.reshape(-1), target.reshape(-1)
        if self._scorer is not None:
            return float(_scored(self._scorer, pred.numpy(), target.numpy()))
        pair = (target.numpy(), pred.numpy()) if self._truth_first else (pred.numpy(), target.numpy())
        function: Any = self.function
        found = function(*pair)
        return found.item() if isinstance(found, (Tensor, np.generic)) and found.ndim == 0 else found

    def _counted(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Without the labels that the loss ignores: of shape (labels, classes) and (labels,), where there are some."""
        if self._ignored is None or target.is_floating_point():
            return pred, target
        kept = target != self._ignored
        if bool(kept.all()):
            return pred, target
        if pred.ndim == target.ndim + 1 and pred.shape[:1] + pred.shape[2:] == target.shape:
            return rows_of_scores(pred)[kept.reshape(-1)], target[kept]
        return (pred[kept], target[kept]) if pred.shape[: target.ndim] == target.shape else (pred, target)

    def ignoring(self, index: int, *, checked: bool = False) -> "From":
        """This metric without the rows whose class the loss ignores."""
        changed = copy.copy(self)
        changed._ignored = index
        return changed


def _classes(pred: Tensor) -> Tensor:
    """The most probable class, shape (rows, ...); of one score for two classes, on the scale of probabilities."""
    if not pred.is_floating_point():
        return pred
    if pred.ndim > 1 and pred.shape[1] > 1:
        return pred.argmax(1)
    return (pred > 0.5).long().reshape(len(pred), *pred.shape[2:])


def _truth_first(function: Any) -> bool:
    """Whether a function takes the truth before the prediction.

    Raises:
        OptionError: it is no function of both, or the names of its parameters do not say it.
    """
    fix = "lumbre.metrics.From(lambda pred, target: ...)"
    if not callable(function) or isinstance(function, type):
        raise OptionError(f"From({function!r})"[:200], "a function of predictions and targets", fix)
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [name for name, one in inspect.signature(function).parameters.items() if one.kind in kinds][:2]
    except (TypeError, ValueError):
        names = list[str]()
    if len(names) == 2:
        first, second = ([one.lower().strip("_") in known for one in names] for known in (_TRUTH, _PREDICTED))
        if first[0] and not first[1]:
            return True
        if (second[0] and not second[1]) or (first[1] and not first[0]):
            return False
        if second[1] and not second[0]:
            return True
    raise OptionError(
        f"a function of ({', '.join(names)}), which does not tell prediction from target",
        "parameters such as (pred, target), or (y_true, y_pred) as in scikit-learn",
        f"{fix}, which calls yours",
    )


def _name_of(function: Any) -> str:
    """The name of a function; of a scorer the one by which scikit-learn knows it, else that of its function."""
    inner = getattr(function, "_score_func", None)
    if inner is None:
        return getattr(function, "__name__", "")
    metrics = import_extra("sklearn.metrics", "sklearn", "compute its scorers")
    for name in metrics.get_scorer_names():
        if repr(metrics.get_scorer(name)) == repr(function):
            return name
    return ("neg_" if getattr(function, "_sign", 1) < 0 else "") + getattr(inner, "__name__", "")


def _scorer(function: Any) -> Any:
    """The scorer of scikit-learn that this is, or names; None for a function."""
    if isinstance(function, str):
        metrics = import_extra("sklearn.metrics", "sklearn", "compute its scorers")
        one_of("From", function, metrics.get_scorer_names(), fix='lumbre.metrics.From("roc_auc_ovr")')
        return metrics.get_scorer(function)
    return function if type(function).__module__ == "sklearn.metrics._scorer" else None


def _scored(scorer: Callable[..., Any], pred: _Array, target: _Array) -> Any:
    """What a scorer gives for an estimator whose predictions these are."""
    base = import_extra("sklearn.base", "sklearn", "compute its scorers")
    one = pred.size == len(pred)
    column = pred.reshape(len(pred)) if one else pred
    numbers = target.reshape(len(target)) if target.ndim == 2 and target.shape[1] == 1 else target
    two = bool(np.isin(numbers, (0, 1)).all())
    if not (np.issubdtype(target.dtype, np.integer) and not one) and not (one and two and _are_shares(column)):

        class Numbers(base.RegressorMixin, base.BaseEstimator):
            def __sklearn_is_fitted__(self) -> bool:
                return True

            def predict(self, rows: _Array) -> _Array:
                return rows

        return scorer(Numbers(), column, numbers)
    table = np.stack([1 - column, column], 1) if one else column

    class Classes(base.ClassifierMixin, base.BaseEstimator):
        classes_ = np.arange(table.size // len(table))

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, rows: _Array) -> _Array:
            return rows.argmax(1)

        def predict_proba(self, rows: _Array) -> _Array:
            return rows

    table = table.astype(np.float64)
    return scorer(Classes(), table / table.sum(1, keepdims=True), numbers.astype(np.int64))


def _are_shares(values: _Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
