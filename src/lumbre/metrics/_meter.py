"""The meter of a pass: the loss, averaged over samples, and the metrics."""

import torch
from torch import Tensor

from lumbre.base import Batch, CallbackError, LumbreError, Nested
from lumbre.metrics._metric import Metric, State, no_sums


class LossMeter:
    """Gathers loss and metrics over the batches of a pass.

    The reported loss is the mean over rows: a short last batch counts for the rows it has.

    Args:
        metrics: gathered beside the loss.
        device: where the states live.
        summed: the loss adds rows up (`reduction="sum"`) instead of averaging them.
        classes: names of the classes, for values that stand for classes; their numbers where there are none.
    """

    def __init__(
        self,
        metrics: tuple[Metric, ...],
        device: torch.device,
        *,
        summed: bool = False,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        self._metrics = metrics
        self._device = device
        self._summed = summed
        self._classes = classes
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._loss = no_sums(self._device)[0]
        self._rows = 0
        self._states: list[State] = [metric.init(self._device) for metric in self._metrics]

    def update(self, batch: Batch, pred: Nested, loss: Tensor) -> None:
        """Add a batch. Nothing is read back from the device."""
        self._loss.add_(loss, alpha=1 if self._summed else batch.size)
        self._rows += batch.size
        if self._metrics:
            with torch.no_grad():
                for index, metric in enumerate(self._metrics):
                    try:
                        self._states[index] = metric.update(self._states[index], pred, batch.target)
                    except LumbreError:
                        raise
                    except Exception as error:
                        raise _failed(metric, "update", error) from error

    def compute(self) -> dict[str, object]:
        """The loss and each metric by its name in lower case. Waits for the device."""
        values: dict[str, object] = {"loss": float(self._loss.item()) / self._rows if self._rows else float("nan")}
        for metric, state in zip(self._metrics, self._states, strict=True):
            try:
                value = metric.compute(state)
            except LumbreError:
                raise
            except Exception as error:
                raise _failed(metric, "compute", error) from error
            values[metric.name.lower()] = _named(value, self._classes) if metric.by_class else value
        return values


def _named(value: object, classes: tuple[str, ...] | None) -> object:
    """A list over the classes (or a table of them) as a dict with their names."""
    if not isinstance(value, list):
        return value
    names = classes if classes is not None and len(classes) == len(value) else map(str, range(len(value)))
    return {name: _named(part, classes) for name, part in zip(names, value, strict=True)}


def _failed(metric: Metric, where: str, error: Exception) -> CallbackError:
    return CallbackError(
        f"{type(error).__name__} in the metric {metric.name!r}, in {where}(): {error}",
        "a metric that fits the module's prediction and the target",
        "choose the metric for this task, or leave it out; the original error stands above",
    )
