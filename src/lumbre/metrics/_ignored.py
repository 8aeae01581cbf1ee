"""Targets that do not count, such as the padding of a text or the border of a turned mask."""

import copy
import functools
import inspect
from types import FunctionType, MethodType
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import Tensor, nn

from lumbre.base import DataError, NamedLosses, OptionError
from lumbre.metrics._metric import Metric, State
from lumbre.metrics._weights import row_weights, weighted_sum

IGNORED = -100
"""What torch's losses ignore unless they are told otherwise."""


class ClassMetric(Metric):
    """A metric of classes. Rows whose target is `ignored` do not count.

    Args:
        ignore_index: targets that do not count. Where not given: those that the run's loss ignores; -100 where it
            names none, as in torch's losses, and outside of a run.
        name: how to show it.

    Raises:
        OptionError: `ignore_index` is not a whole number.
    """

    def __init__(self, *, ignore_index: int | None = None, name: str | None = None) -> None:
        super().__init__(name=name)
        if ignore_index is not None and not _is_whole(ignore_index):
            raise OptionError(f"ignore_index={ignore_index!r}", "a whole number, or None", "ignore_index=-100")
        self.ignore_index = ignore_index
        self.checked = False  # whether the loss refuses every other target that is no class

    @property
    def ignored(self) -> int:
        """The target that does not count."""
        return IGNORED if self.ignore_index is None else self.ignore_index

    def ignoring(self, index: int, *, checked: bool = False) -> Metric:
        """This metric, where it was told what to ignore; else a copy that ignores `index`."""
        if self.ignore_index is not None:
            return self
        other = copy.copy(self)
        other.ignore_index, other.checked = index, checked
        return other


class BinaryMetric(ClassMetric):
    """A metric of two classes, 0 and 1."""

    def ignoring(self, index: int, *, checked: bool = False) -> Metric:
        """As other metrics do, but for 0 and 1: a loss that ignores these is one of other targets."""
        return self if index in (0, 1) else super().ignoring(index)


Tally: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Right rows, rows that count, and how many of these have a target that is no class; int64, of shape ().

Of rows with weights the first two are sums of these, in float64."""


class ShareOfRows(ClassMetric):
    """The share of rows that are right."""

    higher_is_better = True

    def init(self, device: torch.device) -> Tally:
        """No rows."""
        zero = torch.zeros((), dtype=torch.int64, device=device)
        return zero, zero.clone(), zero.clone()

    def compute(self, state: Tally) -> float:
        """Right over all."""
        right, rows, foreign = (count.item() for count in state)
        check_known(self, foreign)
        return right / rows if rows else float("nan")

    def unpacked(self, packed: State, device: torch.device) -> Tally:
        """The state; checkpoints of version 0.1 have a pair of right rows and all rows, in float64."""
        return packed if len(packed) == 3 else (packed[0].long(), packed[1].long(), self.init(device)[2])

    def _counted(self, state: Tally, right: Tensor, target: Tensor, last: int, weights: Tensor | None = None) -> Tally:
        """The state after more rows.

        Args:
            state: before them.
            right: which rows are right; the shape of `target`, bool.
            target: classes from 0 to `last`, or `ignored`.
            last: the last class.
            weights: of the rows, shape (rows,), or None.
        """
        target = whole(target)
        rows = target != self.ignored
        spread = None
        if weights is not None:
            spread = row_weights(self, weights, target)
            rows = rows & (spread > 0)
        foreign = state[2]
        if not self.checked:
            foreign = foreign + torch.count_nonzero((target.clamp(0, last) != target) & rows)
        if spread is not None:
            return state[0] + weighted_sum(right & rows, spread), state[1] + weighted_sum(rows, spread), foreign
        return state[0] + torch.count_nonzero(right & rows), state[1] + torch.count_nonzero(rows), foreign


def whole(target: Tensor) -> Tensor:
    """Truth values and whole numbers of few bits as int64: of eight bits 156 would be equal to -100."""
    return target if target.is_floating_point() or target.dtype == torch.int64 else target.long()


def check_known(metric: ClassMetric, foreign: float) -> None:
    """Raise for targets that are no class, and are not ignored: so many, or of so much weight."""
    if foreign:
        name = type(metric).__name__
        targets = f"{foreign:.0f} targets" if foreign == int(foreign) else f"targets of the weight {foreign:g}"
        raise DataError(
            f"{name} of {targets} that are no class",
            f"0 and 1, or {metric.ignored} for what does not count"
            if isinstance(metric, BinaryMetric)
            else f"classes from 0 to one less than there are scores, or {metric.ignored} for what does not count",
            f"{name}(ignore_index=255), where 255 stands for what does not count",
        )


def for_loss(metrics: tuple[Metric, ...], loss: Any, seen: int | None = None) -> tuple[Metric, ...]:
    """Metrics that leave out what `loss` ignores, each unless it was told itself what to leave out.

    Args:
        metrics: those of the recipe.
        loss: of the run.
        seen: the label that it was seen to ignore; asked where it does not say one. Where nobody does, metrics are left
            as they are.
    """
    said = ignored_by(loss)
    found = seen if said is None else said
    if found is None:
        return metrics
    checked = isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    return tuple(metric.ignoring(found, checked=checked) for metric in metrics)


def ignored_by(loss: Any) -> int | None:
    """The label that `loss` leaves out, as far as it says it; None where it names none, or several.

    `ignore_index` is looked for in the loss, in the modules and functions that it is made of or refers to by name, and
    in the arguments of a partial function.
    """
    found = set(_indices(loss, 2))
    if len(found) > 1:
        found.discard(IGNORED)  # as a second loss has it that was not told
    return found.pop() if len(found) == 1 else None


def _indices(part: Any, depth: int) -> list[int]:
    """Every `ignore_index` that is found in a loss or a part of one."""
    own = getattr(part, "ignore_index", None)
    if _is_whole(own):
        return [own]
    if isinstance(part, functools.partial):
        own = part.keywords.get("ignore_index")
    elif isinstance(part, FunctionType):
        option = inspect.signature(part).parameters.get("ignore_index")
        own = None if option is None else option.default
    if _is_whole(own):
        return [own]
    if isinstance(part, nn.Module):  # modules are looked through as deep as they go
        return [index for child in part.children() for index in _indices(child, depth)]
    within = [one for one in _parts(part) if isinstance(one, _LOOKED_INTO)] if depth else []
    return [index for one in within for index in _indices(one, depth - 1)]


_LOOKED_INTO = (nn.Module, functools.partial, FunctionType, MethodType)


def _parts(part: Any) -> list[Any]:
    """What a loss that is no module is made of, or refers to by name."""
    if isinstance(part, functools.partial):
        return [part.func]  # pyright: ignore[reportUnknownMemberType]
    if isinstance(part, NamedLosses):
        return list(part.parts.values())
    if isinstance(part, MethodType):
        return [part.__self__, part.__func__]
    if isinstance(part, FunctionType):
        try:
            names = inspect.getclosurevars(part)
        except ValueError:  # a name of it has no value yet
            return []
        return [*names.nonlocals.values(), *names.globals.values()]
    return list(vars(part).values()) if hasattr(part, "__dict__") else []


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
