"""The adapter that lets any `torchmetrics.Metric` stand among lumbre's."""

import copy
from typing import Any

import torch

from lumbre.base import Nested, RecipeError
from lumbre.metrics._metric import Metric


class _TorchMetric(Metric):
    """A torchmetrics metric. Its state is a copy of the object, which reduces itself over ranks when it computes.

    Only its `update` is called: `forward` would compute a value for every batch. And it checks its arguments at the
    first batch of a pass only, since its checks read values back from the device.
    """

    merges = False  # torchmetrics joins the states of all processes by itself, in compute()

    def __init__(self, metric: Any, name: str) -> None:
        super().__init__(name=name)
        self._metric = metric
        self.higher_is_better = getattr(metric, "higher_is_better", None)
        self.of_response = type(metric).__module__.startswith("torchmetrics.regression.")

    def init(self, device: torch.device) -> Any:
        metric = copy.deepcopy(self._metric).to(device)
        metric.reset()
        return metric

    def update(self, state: Any, pred: Nested, target: Nested) -> Any:
        state.update(pred, target)
        if getattr(state, "validate_args", False):
            state.validate_args = False
        return state

    def compute(self, state: Any) -> object:
        return _plain(state.compute())

    def packed(self, state: Any) -> Any:
        return {"states": dict(state.metric_state), "updates": state.update_count, "mode": _mode(state)}

    def unpacked(self, packed: Any, device: torch.device) -> Any:
        metric = self.init(device)
        for name, value in packed["states"].items():
            setattr(metric, name, value)
        metric._update_count = packed["updates"]
        if packed["updates"] and hasattr(metric, "validate_args"):
            metric.validate_args = False
        if packed["mode"] is not None:
            metric.mode = packed["mode"]
        return metric


def _mode(metric: Any) -> Any:
    """What some metrics learn from their first batch."""
    mode = getattr(metric, "mode", None)
    return mode if isinstance(mode, str) else None


def _plain(value: Any) -> object:
    """Tensors as numbers and lists, so that a history can be saved."""
    if isinstance(value, torch.Tensor):
        return value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value


def _is_from_torchmetrics(thing: object, kind: str) -> bool:
    """Whether `thing` is a `torchmetrics.<kind>`: whoever holds one has imported that optional package already."""
    return any(base.__module__.startswith("torchmetrics.") and base.__name__ == kind for base in type(thing).__mro__)


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
    if _is_from_torchmetrics(metric, "Metric"):
        return _TorchMetric(metric, type(metric).__name__)
    raise RecipeError(
        f"{metric!r} among the metrics",
        "a lumbre.metrics.Metric or a torchmetrics.Metric",
        "lumbre.metrics.From(function, ...) for a function" if callable(metric) else "lumbre.metrics.Accuracy()",
    )


def members(metrics: Any) -> Any:
    """A `torchmetrics.MetricCollection` as a dict of its metrics; anything else as it is.

    A collection that groups its metrics, as it does by itself, was seen to report one metric's value for another
    (torchmetrics 1.9, two thresholds that agree on the first batch); each metric for itself cannot.
    """
    return dict(metrics.items()) if _is_from_torchmetrics(metrics, "MetricCollection") else metrics
