"""How many rows at a time, where nobody has said it: as many as are fast, if the numbers do not depend on it.

A net that is trained in batches of 32 spends most of a pass without gradients on the calls, not on the numbers. So the
batch is as large as lets the largest tensor of a forward pass stay near the processor. Whether that is so, and whether
a row's output has to do with the rows beside it, is seen on a few rows: two batches of the training's size, and both as
one. Where anything differs, the batches are those of the training.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lumbre.base import Batch, Nested, is_users_own, leaves, untouched
from lumbre.data import ArraySource, InMemoryDataset, LoaderFeed, Order, ParquetData, RowFeed, Taken, WindowOrder
from lumbre.devices import same_chance
from lumbre.run import Session, make_meter

_FEWEST_BATCHES = 32  # of the training's size: below, a look costs more than it gains
_LARGEST = {"cpu": 1 << 21}  # bytes of the largest tensor of a pass
_LARGEST_ELSEWHERE = 1 << 25
_ALL = 32  # times that: the bytes of all of them
_TOLERANCE = 1e-6  # of the largest output


def in_larger_batches(session: Session, rows: RowFeed | LoaderFeed, *, judged: bool) -> RowFeed | LoaderFeed:
    """The same rows in the same order, in larger batches where that changes no number by more than 1e-6 of the largest.

    A size that was given stays. Batches of loaders and data sets of the user's own stay as they are, too, and those of
    a run of several processes, and of modules with hooks, which hear of each batch. The module is called on a few
    batches of the training's size to find out; nothing of that is left in it.

    Args:
        session: the model.
        rows: in batches of the size that was given, or of the training's.
        judged: whether loss and metrics are asked for, too.
    """
    if not isinstance(rows, RowFeed) or not rows.any_size or session.world.size > 1:
        return rows
    if not _is_ours(rows) or _is_watched(session.model):
        return rows
    size, total = rows.order.batch_size, rows.order.rows
    if total < _FEWEST_BATCHES * size:
        return rows
    try:
        most = _most_rows(session, rows, size, judged=judged)
    except Exception:  # the pass will say what is wrong
        return rows
    while 2 * size <= min(most, 2 * total):
        size *= 2
    order = rows.order
    if isinstance(order, WindowOrder):
        return rows.ordered(replace(order, plain=replace(order.plain, batch_size=size)))
    return rows.ordered(replace(order, batch_size=size)) if isinstance(order, Order) else rows


def _is_ours(rows: RowFeed) -> bool:
    source = rows.source.source if isinstance(rows.source, Taken) else rows.source
    return isinstance(source, (InMemoryDataset, ArraySource, ParquetData)) and rows.in_process


def _is_watched(model: nn.Module) -> bool:
    """Whether somebody hears of each call, or each new size is compiled anew."""
    watching = ("_forward_hooks", "_forward_pre_hooks", "_orig_mod", "_compiled_call_impl")
    return any(getattr(one, name, None) for one in model.modules() for name in watching)


def _most_rows(session: Session, rows: RowFeed, size: int, *, judged: bool) -> int:
    """How many rows a batch may have; 0 where the numbers depend on it."""
    nothing_left = untouched(session.model, session.device, session.loss)
    with warnings.catch_warnings(action="ignore"), session.running(batches=1), torch.no_grad(), nothing_left:
        return _looked_up(session, rows, size, judged=judged)


def _looked_up(session: Session, rows: RowFeed, size: int, *, judged: bool) -> int:
    both, first = rows.take(range(2 * size)), rows.take(range(size))
    with _Made() as of_both:
        whole = _output(session, both)
    with _Made() as of_first:
        part = _output(session, first)
    made = [(many - few) / size for many, few in zip(of_both.bytes, of_first.bytes, strict=True) if many > few]
    made += [leaf.nbytes / (2 * size) for leaf in leaves((both.input, whole)) if isinstance(leaf, Tensor)]
    largest = _LARGEST.get(session.device.type, _LARGEST_ELSEWHERE)
    most = int(min(largest / max(made), largest * _ALL / sum(made)))
    if most < 4 * size:
        return 0
    second = rows.take(range(size, 2 * size))
    parts = [part, _output(session, second)]
    if not _alike(whole, parts) or (judged and not _judged_alike(session, both, [first, second])):
        return 0
    return most


def _output(session: Session, batch: Batch) -> Nested:
    same_chance(session.device)
    return session.predict_step(batch.input)


def _alike(whole: Nested, parts: Sequence[Nested]) -> bool:
    """Whether tensors of a row for each row hold the same numbers in one batch as in several."""
    together, columns = list(leaves(whole)), list(zip(*map(leaves, parts), strict=True))
    if len(together) != len(columns) or not together:
        return False
    for tensor, column in zip(together, columns, strict=True):
        if not isinstance(tensor, Tensor) or not all(isinstance(one, Tensor) and one.ndim for one in column):
            return False
        joined = torch.cat(column)
        if joined.shape != tensor.shape or joined.dtype != tensor.dtype:
            return False
        if torch.equal(joined, tensor):
            continue
        if not tensor.is_floating_point() or not bool((joined - tensor).abs().max() <= _TOLERANCE * tensor.abs().max()):
            return False
    return True


def _judged_alike(session: Session, whole: Batch, parts: Sequence[Batch]) -> bool:
    """Whether loss and metrics are the same. Metrics of lumbre and of torchmetrics are by their making."""
    own = tuple(one for one in session.recipe.metrics.valid if is_users_own(type(one)))
    weighted = whole.weights is not None
    values: list[list[Any]] = []
    for batches in ([whole], parts):
        meter = make_meter(session, own, session.divisor(weighted=weighted), weighted=weighted)
        for batch in batches:
            same_chance(session.device)
            meter.update(batch, *session.valid_step(batch))
        values.append([torch.as_tensor(value, dtype=torch.float64) for value in meter.compute().values()])
    return all(torch.allclose(*pair, rtol=_TOLERANCE, atol=1e-12) for pair in zip(*values, strict=True))


class _Made(TorchDispatchMode):
    """Notes the bytes of each tensor that is made, in order; views hold none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += [leaf.nbytes for leaf in leaves(result) if isinstance(leaf, Tensor)]
        return result
