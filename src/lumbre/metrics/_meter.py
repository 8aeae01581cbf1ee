"""The meter of a pass: the loss, averaged over samples, and the metrics."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lumbre.base import (
    Batch,
    CallbackError,
    Divisor,
    Losses,
    LumbreError,
    Nested,
    RecipeError,
    Response,
    ResumeError,
    Weighted,
    brief,
    describe,
    is_users_own,
    leaves,
    map_leaves,
    total_loss,
)
from lumbre.metrics._metric import Metric, State, merge, no_sums, widest


class LossMeter:
    """Gathers loss and metrics over the batches of a pass.

    The reported loss is that of all rows in one batch: a batch counts by what its own loss was divided by, which is its
    rows, or the labels that are not ignored, or the sum of weights, of classes and of rows. Of several losses by name
    each is reported as "loss_<name>" beside their sum.

    Args:
        metrics: gathered beside the loss.
        device: where the states live.
        summed: the loss adds rows up (`reduction="sum"`) instead of averaging them.
        divisor: what the loss divides by, where that is not the number of rows.
        weighted: rows have weights, by which they count in loss and metrics.
        classes: names of the classes, for values that stand for classes; their numbers where there are none.
        response: brings predictions to the scale of the target, for metrics that want them so.
        units: brings predictions and targets to the units of the target, where training sees it scaled.
        gather: gives what each process that shares the data has gathered, or None where there is but one.
    """

    def __init__(
        self,
        metrics: tuple[Metric, ...],
        device: torch.device,
        *,
        summed: bool = False,
        divisor: Divisor | None = None,
        weighted: bool = False,
        classes: tuple[str, ...] | None = None,
        gather: Callable[[Any], list[Any]] | None = None,
        response: Response | None = None,
        units: Response | None = None,
    ) -> None:
        self._metrics = metrics
        self._device = device
        self._summed = summed
        self._divisor = None if summed and not weighted else divisor
        self._weighted = weighted
        self._classes = classes
        self._gather = gather
        self._response = response
        self._units = units
        self._in_place = False
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._rows = 0
        states: list[State] = [self._start(metric) for metric in self._metrics]
        if self._in_place:
            self._loss.zero_()
            self._divided.zero_()
            for pair in zip(states, self._states, strict=True):
                _empty(*pair)
            return
        self._loss, self._divided = no_sums(self._device)[0], no_sums(self._device)[0]
        self._parts: dict[str, Tensor] = {}
        self._states = states

    def _start(self, metric: Metric) -> State:
        """The state before the first batch; counts of rows are sums of their weights, where they have any."""
        state = metric.init(self._device)
        return map_leaves(_as_sum, state) if self._weighted else state

    def update(self, batch: Batch, pred: Nested, losses: Losses, *, added: bool = False) -> None:
        """Add a batch, or only its number of rows where the rest is `added`. Nothing is read back from the device."""
        if not batch.size:
            return  # all its rows are with other processes
        if added:
            self._rows += batch.size
            return
        weight = 1 if self._summed else batch.size
        if isinstance(losses, dict):
            for name, loss in losses.items():
                self._parts.setdefault(name, no_sums(self._device)[0]).add_(loss, alpha=weight)
            self._loss.add_(total_loss(losses), alpha=weight)
        else:
            self._add_loss(losses, batch.weighted_target, weight)
        self._rows += batch.size
        if self._metrics:
            if pred is None:
                raise CallbackError(
                    f"the metrics {', '.join(metric.name for metric in self._metrics)} and no prediction",
                    "a prediction for each batch, which metrics compare with its target",
                    "return (prediction, loss) from step(ctx); or leave the metrics out",
                )
            if self._gather is not None and self._rows == batch.size:
                self._refuse_what_does_not_add_up(batch, pred)
            with torch.no_grad():
                for index, metric in enumerate(self._metrics):
                    try:
                        state = self._updated(metric, self._states[index], pred, batch.weighted_target)
                        if self._in_place:
                            _copy(state, self._states[index])
                        else:
                            self._states[index] = state
                    except LumbreError:
                        raise
                    except Exception as error:
                        raise _failed(metric, "update", error) from error

    def not_added(self, batch: Batch, pred: Nested) -> Metric | None:
        """The first metric of the user's own whose states do not add up, as of a maximum; None where there is none.

        It takes the batch twice: the state after both is to be that after one, merged with itself.
        """
        for metric in self._metrics:
            if not metric.merges or not is_users_own(type(metric)):
                continue
            try:
                with torch.no_grad():
                    one = self._updated(metric, self._start(metric), pred, batch.weighted_target)
                    kept = map_leaves(_copied, one)  # which the next update may change in place
                    both = self._updated(metric, one, pred, batch.weighted_target)
            except Exception:  # the pass will say what is wrong
                continue
            try:
                added = _alike(both, merge(kept, kept))
            except Exception:  # it is nothing that can be added
                added = False
            if not added:
                return metric
        return None

    def _refuse_what_does_not_add_up(self, batch: Batch, pred: Nested) -> None:
        metric = self.not_added(batch, pred)
        if metric is not None:
            raise RecipeError(
                f"the metric {metric.name} in several processes, whose states do not add up: that after two batches is "
                "not the sum of both",
                "a state whose tensors are sums, or lists of tensors, which are put end to end",
                "a list for a maximum or the like: init() gives [], update() [*state, value], and compute() takes the "
                "maximum of all; or merges = False, where compute() itself asks the other processes",
            )

    def _updated(self, metric: Metric, state: State, pred: Nested, target: Nested) -> State:
        pred = self._seen_by(metric, pred)
        if not isinstance(target, Weighted):
            return metric.update(state, pred, self._target(target))
        weighing: Any = metric  # of which `check_weighing` has found that it takes weights
        return weighing.update(state, pred, self._target(target.target), weights=target.weights)

    def _seen_by(self, metric: Metric, pred: Nested) -> Nested:
        """The prediction on the scale that a metric wants."""
        pred = self._response(pred) if metric.of_response and self._response is not None else pred
        return pred if self._units is None else self._units(pred)

    def _target(self, target: Nested) -> Nested:
        return target if self._units is None else self._units(target)

    def _add_loss(self, loss: Tensor, target: Nested, weight: int) -> None:
        if self._divisor is None:
            self._loss.add_(loss, alpha=weight)
            return
        divided_by = self._divisor(target).to(self._loss)
        self._loss.add_(loss if self._summed else loss * divided_by)
        self._divided.add_(divided_by)

    def adder(self, rows: int) -> Callable[[Nested, Nested, Tensor], None] | None:
        """For a graph: adds prediction, target and loss of a batch of `rows` to `tensors`, which stay where they are.

        None where a metric keeps more than sums.
        """
        if not all(_adds_up(self._start(metric)) for metric in self._metrics):
            return None
        self._in_place = True
        weight = 1 if self._summed else rows

        def add(pred: Nested, target: Nested, loss: Tensor) -> None:
            self._add_loss(loss, target, weight)
            for metric, state in zip(self._metrics, self._states, strict=True):
                _copy(self._updated(metric, state, pred, target), state)

        return add

    def tensors(self) -> list[Tensor]:
        """What is gathered in sums."""
        sums = [self._loss] if self._divisor is None else [self._loss, self._divided]
        return [*sums, *(leaf for leaf in leaves(self._states) if isinstance(leaf, Tensor))]

    def release(self) -> None:
        """No graph adds to `tensors` any more: they need not stay where they are."""
        self._in_place = False

    def state_dict(self) -> dict[str, Any]:
        """What was gathered since `reset`."""
        return {
            "loss": self._loss,
            "parts": self._parts,
            "rows": self._rows,
            "divided": self._divided,
            "states": [metric.packed(state) for metric, state in zip(self._metrics, self._states, strict=True)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._in_place = False
        self._loss, self._parts, self._rows = state["loss"], dict(state["parts"]), state["rows"]
        self._divided = _divided(state)
        self._states = self._unpacked(state)

    def merged(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """What `state_dict` gave in several processes, as one state.

        Raises:
            ResumeError: a metric's states are its own affair.
        """
        first, *others = states
        if not others:
            return first
        own = [metric.name for metric in self._metrics if not metric.merges]
        if own:
            raise ResumeError(
                f"the metric {own[0]} of an epoch that {len(states)} processes or more had begun for each of now",
                "as many processes as before, or more, to go on within an epoch with a metric of torchmetrics",
                "start as many processes as wrote the checkpoint; or train without this metric",
            )
        total: dict[str, Any] = {
            "loss": first["loss"],
            "divided": _divided(first),
            "rows": first["rows"],
            "parts": dict(first["parts"]),
        }
        gathered = self._unpacked(first)
        for one in others:
            total["loss"] = total["loss"] + one["loss"]
            total["divided"] = total["divided"] + _divided(one)
            total["rows"] += one["rows"]
            total["parts"] = _joined(total["parts"], one["parts"])
            gathered = [merge(*pair) for pair in zip(gathered, self._unpacked(one), strict=True)]
        packed = [metric.packed(state) for metric, state in zip(self._metrics, gathered, strict=True)]
        return {**total, "states": packed}

    def _unpacked(self, state: dict[str, Any]) -> list[State]:
        return [
            metric.unpacked(part, self._device) for metric, part in zip(self._metrics, state["states"], strict=True)
        ]

    def compute(self) -> dict[str, object]:
        """The loss and each metric by its name in lower case. Waits for the device."""
        total, divided, parts, count, states = self._merged()
        rows = (count if self._divisor is None else divided.item()) or float("nan")
        values: dict[str, object] = {"loss": total.item() / rows}
        values |= {f"loss_{name}": part.item() / rows for name, part in parts.items()}
        for metric, state in zip(self._metrics, states, strict=True):
            try:
                value = metric.compute(state)
            except LumbreError:
                raise
            except Exception as error:
                raise _failed(metric, "compute", error) from error
            values[metric.name.lower()] = _named(value, self._classes) if metric.by_class else value
        return values

    def _merged(self) -> tuple[Tensor, Tensor, dict[str, Tensor], int, list[State]]:
        """What all processes have gathered together."""
        if self._gather is None:
            return self._loss, self._divided, self._parts, self._rows, self._states
        sent = [state if metric.merges else None for metric, state in zip(self._metrics, self._states, strict=True)]
        first, *others = self._gather(map_leaves(_on_host, (self._loss, self._divided, self._parts, self._rows, sent)))
        total, divided, parts, count, states = first
        for loss, by, named, rows, further in others:
            total, divided, count = total + loss, divided + by, count + rows
            parts = _joined(parts, named)
            states = [None if one is None else merge(one, other) for one, other in zip(states, further, strict=True)]
        return (
            total,
            divided,
            parts,
            count,
            [mine if one is None else one for mine, one in zip(self._states, states, strict=True)],
        )


def _joined(parts: dict[str, Tensor], others: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums by name of two processes, one of which may have had no rows, and so no names."""
    joined = dict(parts)
    for name, part in others.items():
        joined[name] = joined[name] + part if name in joined else part
    return joined


def _divided(state: dict[str, Any]) -> Tensor:
    """What the losses of a state were divided by; files of lumbre 0.1.0 and before counted rows."""
    divided = state.get("divided")
    return state["loss"].new_full((), state["rows"]) if divided is None else divided


def check_weighing(metrics: tuple[Metric, ...]) -> None:
    """See that metrics take weights of rows.

    Raises:
        RecipeError: one does not.
    """
    for metric in metrics:
        options = inspect.signature(metric.update).parameters
        if "weights" in options or any(option.kind is option.VAR_KEYWORD for option in options.values()):
            continue
        own = type(metric).__module__.startswith("lumbre.")  # the adapter of torchmetrics
        raise RecipeError(
            f"weights of rows for the metric {metric.name}, whose update() takes none",
            "metrics that count rows by their weights, as all of lumbre.metrics but From do",
            "the metric of lumbre.metrics of that kind; or no weights"
            if own
            else "def update(self, state, pred, target, weights=None), with weights of shape (rows,) or None; or leave "
            "the metric out",
        )


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _alike(one: State, other: State) -> bool:
    """Whether two states are the same up to rounding."""
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_alike, one, other))
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-3, equal_nan=True)


def _as_sum(leaf: Any) -> Any:
    """A count as a sum of weights."""
    whole = isinstance(leaf, Tensor) and not leaf.is_floating_point() and not leaf.is_complex()
    return leaf.to(widest(leaf.device)) if whole else leaf


def _adds_up(start: State) -> bool:
    """Whether a state that begins so stays of this form. A list that is empty at first is one that grows."""
    if isinstance(start, (tuple, list)):
        return bool(start) and all(map(_adds_up, start))
    return isinstance(start, Tensor)


def _copy(state: State, kept: State) -> None:
    """Bring `state` to where `kept` is."""
    if isinstance(kept, (tuple, list)):
        for pair in zip(state, kept, strict=True):
            _copy(*pair)
    elif state.shape != kept.shape or state.dtype != kept.dtype:
        raise ValueError(f"its state became a {describe(state)} after a {describe(kept)}")
    else:
        kept.copy_(state)


def _empty(start: State, kept: State) -> None:
    """Bring `kept` back to where it began. A state that took its form from the first batch has begun with zeros."""
    if isinstance(kept, (tuple, list)):
        starts = start if isinstance(start, (tuple, list)) and len(start) == len(kept) else (start,) * len(kept)
        for pair in zip(starts, kept, strict=True):
            _empty(*pair)
    elif isinstance(start, Tensor) and start.shape == kept.shape:
        kept.copy_(start)
    else:
        kept.zero_()


def _on_host(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def _named(value: object, classes: tuple[str, ...] | None) -> object:
    """A list over the classes (or a table of them) as a dict with their names."""
    if not isinstance(value, list):
        return value
    names = classes if classes is not None and len(classes) == len(value) else map(str, range(len(value)))
    return {name: _named(part, classes) for name, part in zip(names, value, strict=True)}


def _failed(metric: Metric, where: str, error: Exception) -> CallbackError:
    return CallbackError(
        f"{type(error).__name__} in the metric {metric.name!r}, in {where}(): {brief(error)}",
        "a metric that fits the module's prediction and the target",
        "choose the metric for this task, or leave it out; the original error stands above",
    )
