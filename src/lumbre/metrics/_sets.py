"""Which metrics a run gathers, on which of its data."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lumbre.base import RecipeError
from lumbre.metrics._metric import Metric
from lumbre.metrics._torchmetrics import as_metric, members


@dataclass(frozen=True, slots=True, init=False)
class Sets:
    """Metrics of both passes, and metrics of the training or the validation pass alone.

    Where training targets are not what one wants to measure, under mixup for example, or a metric is costly, it can
    be left to the validation pass. `evaluate()` takes the metrics of the validation pass.

    Args:
        both: metrics gathered on training and validation data: one, several, or a dict that names them.
        train: metrics gathered on training data alone.
        valid: metrics gathered on validation data alone, and by `evaluate()`.

    Attributes:
        train: every metric of the training pass.
        valid: every metric of the validation pass.

    Raises:
        RecipeError: something is no metric, or two of one pass have the same name.

    Example:
        >>> import lumbre as lb
        >>> sets = lb.metrics.Sets(
        ...     lb.metrics.Accuracy(), valid=[lb.metrics.AUROC(), lb.metrics.ConfusionMatrix()]
        ... )
        >>> [metric.name for metric in sets.valid]
        ['Acc', 'AUROC', 'Confusion']
    """

    train: tuple[Metric, ...]
    valid: tuple[Metric, ...]

    def __init__(self, both: Any = (), *, train: Any = (), valid: Any = ()) -> None:
        common = _listed(both)
        object.__setattr__(self, "train", _distinct([*common, *_listed(train)]))
        object.__setattr__(self, "valid", _distinct([*common, *_listed(valid)]))

    def __bool__(self) -> bool:
        return bool(self.train or self.valid)

    def __str__(self) -> str:
        if self.train == self.valid:
            return _names(self.train)
        return f"train: {_names(self.train) or 'none'}; valid: {_names(self.valid) or 'none'}"


def as_sets(metrics: Any) -> Sets:
    """`metrics` themselves where they are sets already, else the same ones for both passes.

    Raises:
        RecipeError: something is no metric, or two have the same name.
    """
    return metrics if isinstance(metrics, Sets) else Sets(metrics)


def _names(metrics: tuple[Metric, ...]) -> str:
    return ", ".join(metric.name for metric in metrics)


def _listed(metrics: Any) -> list[Metric]:
    """One metric, several, or a dict that names them, as a list."""
    metrics = members(metrics)
    if isinstance(metrics, dict):
        named: list[Metric] = []
        for name, metric in metrics.items():
            renamed = copy.copy(as_metric(metric))
            renamed.name = str(name)
            named.append(renamed)
        return named
    if isinstance(metrics, Iterable) and not isinstance(metrics, str):
        return [found for metric in metrics for found in _parts(metric)]
    return [as_metric(metrics)]


def _parts(metric: Any) -> list[Metric]:
    """A metric, or the several of a collection."""
    inner = members(metric)
    return [as_metric(metric)] if inner is metric else _listed(inner)


def _distinct(metrics: list[Metric]) -> tuple[Metric, ...]:
    seen: set[str] = {"loss"}
    for metric in metrics:
        key = metric.name.lower()
        if key in seen:
            raise RecipeError(
                f"two values named {key!r} in the history",
                "a name of its own for each metric (the loss is always there, as 'loss')",
                f'metrics={{"first": ..., "second": ...}}, or {type(metric).__name__}(name="...")',
            )
        seen.add(key)
    return tuple(metrics)
