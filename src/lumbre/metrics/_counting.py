"""Metrics that count right and wrong decisions: precision, recall, F1, the confusion matrix, and what follows from it.

Everything here is a function of whole numbers that add up over batches and ranks.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from lumbre.base import DataError, only_numbers
from lumbre.metrics._ignored import BinaryMetric, ClassMetric, check_known, whole
from lumbre.metrics._metric import State
from lumbre.metrics._ranking import Averaged, averaged
from lumbre.metrics._scores import check_binary, check_classes, counts, places, wide
from lumbre.metrics._weights import row_weights


class _ByClass(Averaged):
    """Counts for each class the rows that are right, that have it, and that were given it.

    The state has shape (3, classes + 1), int64, the last for targets that are no class; before the first batch, when
    the number of classes is not known, (). Of rows with weights it holds sums of these, in float64.
    """

    def init(self, device: torch.device) -> Tensor:
        """No rows."""
        return torch.zeros((), dtype=torch.int64, device=device)

    def update(self, state: Tensor, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Count the rows."""
        check_classes(self, pred, target)
        chosen, classes = pred.argmax(1), pred.shape[1]
        place, rows = places(target, classes, self.ignored)
        if weights is not None:
            rows = rows * row_weights(self, weights, target)
        right = counts(place, classes + 1, (chosen == place) * rows)
        return state + torch.stack([right, counts(place, classes + 1, rows), counts(chosen, classes + 1, rows)])

    def compute(self, state: Tensor) -> float | list[float]:
        """The values of the classes, averaged."""
        if state.ndim == 0:
            return float("nan")
        rows: list[list[float]] = state.tolist()
        check_known(self, rows[1][-1])
        right, actual, chosen = (row[:-1] for row in rows)
        if not any(actual):
            return [float("nan")] * len(actual) if self.by_class else float("nan")
        if self.average == "micro":
            return self._value(sum(right), sum(actual), sum(chosen))
        # A class that nobody has and nobody was given says nothing of the classifier.
        values = [
            self._value(*triple) if triple[1] or triple[2] else float("nan")
            for triple in zip(right, actual, chosen, strict=True)
        ]
        if self.average == "none":
            return values
        seen = [number for number, value in enumerate(values) if not math.isnan(value)]
        return averaged([values[number] for number in seen], [actual[number] for number in seen], self.average)

    @abstractmethod
    def _value(self, right: float, actual: float, chosen: float) -> float: ...


class Precision(_ByClass):
    """Share of right rows among those that were given a class.

    Takes scores of shape (rows, classes, ...), of which the largest decides, and classes of shape (rows, ...),
    counted from 0. A class that is never chosen has precision 0, one that occurs nowhere is left out (NaN with
    `average="none"`), as scikit-learn has it.

    Args:
        average: "macro" means over the classes, "weighted" by their numbers of rows, "micro" counts all rows
            together, "none" gives each class.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        OptionError: there is no such average.
        DataError: shapes do not fit; or, when it is computed, targets are no class and are not ignored.

    Example:
        >>> import torch, lumbre as lb
        >>> metric = lb.metrics.Precision(average="none")
        >>> scores, target = torch.eye(3)[[0, 0, 1, 2]], torch.tensor([0, 1, 1, 2])
        >>> metric.compute(metric.update(metric.init(torch.device("cpu")), scores, target))
        [0.5, 1.0, 1.0]
    """

    name = "Precision"

    def _value(self, right: float, actual: float, chosen: float) -> float:
        return _share(right, chosen)


class Recall(_ByClass):
    """Share of right rows among those that have a class. With `average="macro"` it is the balanced accuracy, where
    no class is chosen that has no rows.

    Takes what `Precision` takes.

    Args:
        average: as for `Precision`.
        ignore_index: as for `Precision`.
        name: how to show it.

    Raises:
        OptionError: there is no such average.
    """

    name = "Recall"

    def _value(self, right: float, actual: float, chosen: float) -> float:
        return _share(right, actual)


class F1(_ByClass):
    """Harmonic mean of precision and recall.

    Takes what `Precision` takes.

    Args:
        average: as for `Precision`; the mean is taken over the F1 of the classes.
        ignore_index: as for `Precision`.
        name: how to show it.

    Raises:
        OptionError: there is no such average.
    """

    name = "F1"

    def _value(self, right: float, actual: float, chosen: float) -> float:
        return _share(2 * right, actual + chosen)


class _Table(ClassMetric):
    """Counts the rows by target and choice: shape (classes + 1, classes), int64; before the first batch ().

    The last row is for targets that are no class.
    """

    higher_is_better: bool | None = True

    def init(self, device: torch.device) -> Tensor:
        """No rows."""
        return torch.zeros((), dtype=torch.int64, device=device)

    def update(self, state: Tensor, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Count the rows."""
        check_classes(self, pred, target)
        classes = pred.shape[1]
        place, rows = places(target, classes, self.ignored)
        if weights is not None:
            rows = rows * row_weights(self, weights, target)
        cells = counts(place * classes + pred.argmax(1), (classes + 1) * classes, rows)
        return state + cells.reshape(classes + 1, classes)

    def compute(self, state: Tensor) -> object:
        """The value of the table, once it is sure that every target is a class."""
        if state.ndim == 0:
            return self._value(state.new_zeros(0, 0))
        check_known(self, state[-1].sum().item())
        return self._value(state[:-1])

    @abstractmethod
    def _value(self, table: Tensor) -> object: ...


class ConfusionMatrix(_Table):
    """How many rows of each class were given each class: `{class: {chosen class: rows}}`.

    Takes scores of shape (rows, classes, ...), of which the largest decides, and classes of shape (rows, ...),
    counted from 0. In evaluation and history the classes have their names, where the data has names;
    `pandas.DataFrame.from_dict(value, orient="index")` gives a frame with a row for each true class.

    Args:
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are no class and are not ignored.

    Example:
        >>> import torch, lumbre as lb
        >>> matrix = lb.metrics.ConfusionMatrix()
        >>> scores, target = torch.eye(2)[[0, 1, 1]], torch.tensor([0, 0, 1])
        >>> matrix.compute(matrix.update(matrix.init(torch.device("cpu")), scores, target))
        [[1, 1], [0, 1]]
    """

    name = "Confusion"
    higher_is_better = None
    by_class = True

    def _value(self, table: Tensor) -> list[list[int]]:
        return table.tolist()


class CohenKappa(_Table):
    """Agreement of prediction and target beyond what chance would give (Cohen 1960): 1 is perfect, 0 is chance.

    Takes scores of shape (rows, classes, ...), of which the largest decides, and classes of shape (rows, ...).

    Args:
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are no class and are not ignored.
    """

    name = "Kappa"

    def _value(self, table: Tensor) -> float:
        return kappa(table)


class MatthewsCorrelation(_Table):
    """Correlation of prediction and target (Matthews 1975; Gorodkin 2004 for several classes), from -1 to 1.

    Takes scores of shape (rows, classes, ...), of which the largest decides, and classes of shape (rows, ...).

    Args:
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        DataError: shapes do not fit; or, when it is computed, targets are no class and are not ignored.
    """

    name = "MCC"

    def _value(self, table: Tensor) -> float:
        return matthews(table)


class _BinaryTable(BinaryMetric):
    """Counts the rows on both sides of a threshold, and numbers that are no probabilities, or no targets: (6,), int64.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: a sigmoid makes probabilities of the predictions first.
        ignore_index: targets that do not count.
        name: how to show it.
    """

    higher_is_better: bool | None = True

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        from_logits: bool = False,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(ignore_index=ignore_index, name=name)
        only_numbers("a probability, from 0 to 1", 0.5, lambda value: 0 <= value <= 1, threshold=threshold)
        self.threshold = threshold
        self.from_logits = from_logits

    def init(self, device: torch.device) -> Tensor:
        """No rows."""
        return torch.zeros(6, dtype=torch.int64, device=device)

    def update(self, state: Tensor, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Count the rows."""
        check_binary(self, pred, target)
        probability, target = wide(pred), whole(target)
        probability = probability.sigmoid() if self.from_logits else probability
        rows = counted = target != self.ignored
        if weights is not None:
            counted = rows * row_weights(self, weights, target)
            rows = counted > 0
        cell = 2 * (target > 0.5).long() + (probability > self.threshold)
        outside = ((probability < 0) | (probability > 1)) & rows
        foreign = (target.clamp(0, 1) != target) & rows
        return state + torch.cat([counts(cell, 4, counted), torch.stack([outside.sum(), foreign.sum()])])

    def unpacked(self, packed: State, device: torch.device) -> Tensor:
        """The state; checkpoints of version 0.1 do not count targets that are neither 0 nor 1."""
        return functional.pad(packed, (0, 6 - len(packed)))

    def compute(self, state: Tensor) -> object:
        """The value of the table, once it is sure that it counted probabilities."""
        outside, foreign = state[4:].tolist()
        check_known(self, foreign)
        if outside:
            raise DataError(
                f"{type(self).__name__} of {outside:.0f} predictions below 0 or above 1",
                f"probabilities, of which a threshold of {self.threshold:g} makes decisions",
                f"{type(self).__name__}(from_logits=True), if the module gives logits",
            )
        table = state[:4].reshape(2, 2)
        return self._value(table) if self.by_class or table.any() else float("nan")

    @abstractmethod
    def _value(self, table: Tensor) -> object: ...


class BinaryPrecision(_BinaryTable):
    """Share of right rows among those taken for 1; 0 where none is.

    Takes probabilities and targets of 0 and 1, both of the same shape; every entry counts.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: predictions are logits: a sigmoid is applied first, in float32 at least.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.

    Raises:
        OptionError: the threshold is no probability.
        DataError: shapes do not fit; or, when it is computed, predictions are no probabilities, or targets are not
            from 0 to 1 and are not ignored.

    Example:
        >>> import torch, lumbre as lb
        >>> metric = lb.metrics.BinaryPrecision(from_logits=True)
        >>> logits, target = torch.tensor([2.0, 1.0, -1.0]), torch.tensor([1, 0, 1])
        >>> metric.compute(metric.update(metric.init(torch.device("cpu")), logits, target))
        0.5
    """

    name = "Precision"

    def _value(self, table: Tensor) -> float:
        (_, false), (_, true) = table.tolist()
        return _share(true, true + false)


class BinaryRecall(_BinaryTable):
    """Share of right rows among those that are 1; 0 where none is.

    Takes what `BinaryPrecision` takes.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: predictions are logits: a sigmoid is applied first, in float32 at least.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.
    """

    name = "Recall"

    def _value(self, table: Tensor) -> float:
        _, (missed, true) = table.tolist()
        return _share(true, true + missed)


class BinaryF1(_BinaryTable):
    """Harmonic mean of precision and recall of the rows that are 1.

    Takes what `BinaryPrecision` takes.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: predictions are logits: a sigmoid is applied first, in float32 at least.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.
    """

    name = "F1"

    def _value(self, table: Tensor) -> float:
        (_, false), (missed, true) = table.tolist()
        return _share(2 * true, 2 * true + false + missed)


class BinaryConfusionMatrix(_BinaryTable):
    """How many rows of 0 and of 1 were taken for 0 and for 1: `{class: {chosen class: rows}}`.

    Takes what `BinaryPrecision` takes.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: predictions are logits: a sigmoid is applied first, in float32 at least.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.
    """

    name = "Confusion"
    higher_is_better = None
    by_class = True

    def _value(self, table: Tensor) -> list[list[int]]:
        return table.tolist()


class BinaryCohenKappa(_BinaryTable):
    """Agreement of prediction and target beyond what chance would give (Cohen 1960): 1 is perfect, 0 is chance.

    Takes what `BinaryPrecision` takes.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: predictions are logits: a sigmoid is applied first, in float32 at least.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.
    """

    name = "Kappa"

    def _value(self, table: Tensor) -> float:
        return kappa(table)


class BinaryMatthewsCorrelation(_BinaryTable):
    """Correlation of prediction and target (Matthews 1975), from -1 to 1.

    Takes what `BinaryPrecision` takes.

    Args:
        threshold: a row is taken for 1 where its probability is greater.
        from_logits: predictions are logits: a sigmoid is applied first, in float32 at least.
        ignore_index: targets that do not count; where not given, those that the loss of the run ignores, else -100.
        name: how to show it.
    """

    name = "MCC"

    def _value(self, table: Tensor) -> float:
        return matthews(table)


def kappa(table: Tensor) -> float:
    """Cohen's kappa of a (classes, classes) table; NaN where only one class occurs on both sides."""
    right, rows, actual, chosen = _margins(table)
    expected = sum(a * c for a, c in zip(actual, chosen, strict=True))
    return (right * rows - expected) / (rows * rows - expected) if rows * rows > expected else float("nan")


def matthews(table: Tensor) -> float:
    """Matthews' correlation of a (classes, classes) table; 0 where one side has a single class, as in scikit-learn."""
    right, rows, actual, chosen = _margins(table)
    if rows == 0:
        return float("nan")
    covariance = right * rows - sum(a * c for a, c in zip(actual, chosen, strict=True))
    spread = (rows * rows - sum(a * a for a in actual)) * (rows * rows - sum(c * c for c in chosen))
    return covariance / math.sqrt(spread) if spread > 0 else 0.0


def _margins(table: Tensor) -> tuple[float, float, list[float], list[float]]:
    """Right rows, all rows, rows by target, rows by choice: whole numbers, or sums of weights.

    Python adds them up in one order: where one class has all rows, its sum is that of the table to the last bit.
    """
    cells: list[list[float]] = table.tolist()
    actual = [sum(row) for row in cells]
    right = sum(row[number] for number, row in enumerate(cells))
    return right, sum(actual), actual, [sum(column) for column in zip(*cells, strict=True)]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
