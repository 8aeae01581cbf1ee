"""The adapter that lets any `torchmetrics.Metric` stand among lumbre's."""

import copy
from collections.abc import Iterable
from typing import Any

import torch

from lumbre.base import Nested, RecipeError
from lumbre.metrics._metric import Metric


class _TorchMetric(Metric):
    """A torchmetrics metric. Its state is a copy of the object, which reduces itself over ranks.

    Only its `update` is called: `forward` would compute a value for every batch.
    """

    def __init__(self, metric: Any, name: str) -> None:
        super().__init__(name=name)
        self._metric = metric
        self.higher_is_better = metric.higher_is_better

    def init(self, device: torch.device) -> Any:
        metric = copy.deepcopy(self._metric).to(device)
        metric.reset()
        return metric

    def update(self, state: Any, pred: Nested, target: Nested) -> Any:
        state.update(pred, target)
        return state

    def compute(self, state: Any) -> object:
        return _plain(state.compute())


def _plain(value: Any) -> object:
    """Tensors as numbers and lists, so that a history can be saved."""
    if isinstance(value, torch.Tensor):
        return value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value


def as_metric(metric: Any) -> Metric:
    """`metric` itself, or the adapter around a `torchmetrics.Metric`.

    Raises:
        RecipeError: it is neither.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type):
        raise RecipeError(
            f"the class {metric.__name__} among the metrics",
            "a metric object",
            f"{metric.__name__}() with parentheses",
        )
    # torchmetrics is optional: whoever holds one of its objects has imported it already.
    if any(base.__module__.startswith("torchmetrics") for base in type(metric).__mro__) and hasattr(metric, "update"):
        return _TorchMetric(metric, type(metric).__name__)
    raise RecipeError(
        f"{metric!r} among the metrics",
        "a lumbre.metrics.Metric or a torchmetrics.Metric",
        "lumbre.metrics.Accuracy()",
    )


def as_metrics(metrics: Any) -> tuple[Metric, ...]:
    """The metrics of a recipe: one, several, or a dict that names them.

    Raises:
        RecipeError: something is no metric, or two have the same name.
    """
    if isinstance(metrics, dict):
        found: list[Metric] = []
        for name, metric in metrics.items():
            renamed = copy.copy(as_metric(metric))
            renamed.name = str(name)
            found.append(renamed)
    elif isinstance(metrics, Iterable) and not hasattr(metrics, "update"):
        found = [as_metric(metric) for metric in metrics]
    else:
        found = [as_metric(metrics)]
    seen: set[str] = {"loss"}
    for metric in found:
        key = metric.name.lower()
        if key in seen:
            raise RecipeError(
                f"two values named {key!r} in the history",
                "a name of its own for each metric (the loss is always there, as 'loss')",
                f'metrics={{"first": ..., "second": ...}}, or {type(metric).__name__}(name="...")',
            )
        seen.add(key)
    return tuple(found)
