"""What a trained model is given: a list of rows is no pair, a single row no batch, and a loader may leave rows out."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from lumbre.base import DataError, DataRecord, at_least, describe
from lumbre.data import (
    InMemoryDataset,
    Loaded,
    LoaderFeed,
    RowFeed,
    as_pair,
    by_places,
    in_parts,
    refuse_empty,
    row_dims,
    whole_targets,
)
from lumbre.run import Session, counted_rows, feed, given_data, refuse_own_encoding

_AT_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


class DataWarning(UserWarning):
    """Data are used as they are, and something about them is probably not what was meant."""


def given_batches(
    session: Session,
    data: Any,
    batch_size: int | None = None,
    num_workers: int | None = None,
    *,
    need_target: bool,
    weights: Any = None,
    counted: bool = False,
    shared: bool = False,
    in_order: bool = False,
    empty: bool = False,
) -> RowFeed | LoaderFeed:
    """What a trained model is given, as batches on its device, encoded as in training.

    Args:
        session: the model.
        data: whatever `fit()` takes, or a frame with the columns of the training frame.
        batch_size: rows in a batch; that of the training where not given.
        num_workers: processes that fetch batches; none where not given.
        need_target: whether there must be targets.
        weights: of the rows, given beside the data, or None; without targets nothing asks for any.
        counted: whether rows count by their weights, and those of weight 0 are left out.
        shared: whether the processes of a run share the rows.
        in_order: whether the rows of the result are looked up by their number.
        empty: whether there may be no rows.

    Raises:
        DataError: the data cannot be used as it is.
        OptionError: an option cannot apply to this data.
    """
    at_least(1, batch_size=batch_size)
    at_least(0, num_workers=num_workers)
    weighed = need_target or counted
    rows, of_rows = taken_in(session, data, need_target=need_target, weights=weights, weighed=weighed)
    if not empty:
        refuse_empty(rows)
    if counted:
        rows, of_rows = counted_rows(rows, of_rows)
    refuse_single_row(session, rows.input if isinstance(rows, InMemoryDataset) else None)
    say_of_loader(rows, in_order=in_order)
    batches = feed(
        rows,
        session.device,
        session.seed,
        batch_size=batch_size,
        num_workers=num_workers,
        default_size=session.batch_size,
        weights=of_rows,
        world=session.world if shared else None,
    )
    if isinstance(batches, LoaderFeed):
        batches.looked_at = partial(refuse_single_row, session)
    return batches


def taken_in(
    session: Session, data: Any, *, need_target: bool, weights: Any = None, weighed: bool = True
) -> tuple[Any, Tensor | None]:
    """What a user gives to evaluate or predict on, as rows or batches that are as those of the training.

    With them come the weights of the rows, float64 of shape (rows,), or None.

    Raises:
        DataError: the data cannot be used as it is.
    """
    record = session.record.data.get("train")
    data = in_parts(data, None if record is None else record.parts)
    data = rows_of_list(session, data, need_target=need_target)
    if record is not None:
        data = by_places(data, record.columns, need_target=need_target)
    refuse_own_encoding(data, session.encoding)
    rows, of_rows = given_data(
        data, session.encoding, session.seed, need_target=need_target, weights=weights, weighed=weighed
    )
    kind = None if record is None else record.target
    return whole_targets(rows, wanted=isinstance(kind, str) and kind.startswith("int64 ")), of_rows


def rows_of_list(session: Session, data: Any, *, need_target: bool) -> Any:
    """`data`; a list of rows as one input. Without this a list of two rows would be a pair of input and target.

    Raises:
        DataError: it is a list of rows where targets are needed, or may be a list of rows as well as a pair.
    """
    if not isinstance(data, list) or not data or session.encoding is not None:
        return data
    if all(isinstance(one, dict) for one in data):
        item = default_collate(data)
        return item if need_target or as_pair(item)[1] is not None else (item, None)
    record = session.record.data.get("train")
    dims = None if record is None else row_dims(record.input)
    if dims is not None and all(isinstance(one, (tuple, list)) and _is_batch(one, record) for one in data):
        raise DataError(
            f"a list of {len(data)} batches: {describe(data)}"[:200],
            "rows, or batches that come one after the other",
            "iter(batches); or a DataLoader",
        )
    if dims is None:
        rows = len(data) == 2 and record is None and not need_target
    else:
        rows = all(_dims(one) == dims for one in data) and not all(isinstance(one, (int, float)) for one in data)
    if not rows:
        return data
    if need_target or dims is None:
        raise DataError(
            f"a list of {len(data)}: {describe(data)}"[:200],
            "(input, target) in a tuple; a list stands for rows"
            if need_target
            else "(input, target) in a tuple, or rows",
            "(x, y), with as many rows in y as in x"
            if need_target
            else "(x, None); or torch.stack(rows), of a list of rows",
        )
    try:
        return torch.stack([_as_row(one) for one in data]), None
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"a list of {len(data)} rows that do not fit together: {error}"[:300],
            "rows of the same shape",
            "pad them to one length, or predict them one by one: fitted.predict(row[None])",
        ) from error


def _is_batch(item: Any, record: DataRecord | None) -> bool:
    """Whether an item of a list begins with as many rows as it likes of the shape of those in training."""
    input = item[0] if item else None
    if record is None or not isinstance(input, (Tensor, np.ndarray)) or not input.ndim:
        return False
    return str(record.input).endswith(f" (rows{''.join(f', {size}' for size in input.shape[1:])})")


def _dims(value: Any) -> int | None:
    """The dimensions of a tensor, an array, or lists of numbers; None for what is none of these."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim
    if isinstance(value, (int, float)):
        return 0
    if isinstance(value, (list, tuple)) and value:
        inner = {_dims(one) for one in value}
        first = next(iter(inner))
        # A list of tensors is no row of numbers: it is a part of data with several.
        return first + 1 if len(inner) == 1 and first is not None and not isinstance(value[0], Tensor) else None
    return None


def _as_row(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    row = torch.as_tensor(np.asarray(value))
    return row.to(torch.get_default_dtype()) if row.dtype in (torch.float32, torch.float64) else row


def refuse_single_row(session: Session, input: Any) -> None:
    """See that an input, all of it or that of a batch, is not a single row of the shape of those in training.

    Raises:
        DataError: it is.
    """
    record = session.record.data.get("train")
    if record is None or not isinstance(input, Tensor) or not row_dims(record.input):
        return
    if record.input.endswith(f" (rows, {', '.join(map(str, input.shape))})"):
        raise DataError(
            f"a {describe(input)}, which has the shape of a single row",
            f"rows: {record.input}",
            "x[None], a batch of one row; list(rows), or a DataLoader that makes batches, for rows one after the other",
        )


def say_of_loader(source: Any, *, in_order: bool) -> None:
    """Warn of a loader that leaves out its last rows, or, where the order matters, that shuffles.

    Args:
        source: the data, taken in.
        in_order: whether the rows of the result are looked up by their number.
    """
    loader = source.loader if isinstance(source, Loaded) else None
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return
    batches = loader.batch_sampler
    sampler = batches.sampler if isinstance(batches, BatchSampler) else loader.sampler
    said: list[str] = []
    if in_order and (isinstance(sampler, _AT_RANDOM)):
        said.append("shuffles: its rows come in an order of their own")
    rows, used = _counted(loader.dataset), _counted(sampler)
    dropped = loader.drop_last or getattr(batches, "drop_last", False)
    size = loader.batch_size or getattr(batches, "batch_size", None)
    if used is not None and dropped and isinstance(size, int) and used % size:
        used -= used % size
    if rows is not None and used is not None and used < rows:
        said.append(f"leaves out {rows - used} of {rows} rows")
    if said:
        warnings.warn(
            f"This DataLoader {', and '.join(said)}. DataLoader(..., shuffle=False, drop_last=False), or the Dataset"
            " itself, gives each row in its place.",
            DataWarning,
            stacklevel=5,
        )


def _counted(value: Any) -> int | None:
    try:
        return len(value)
    except (TypeError, NotImplementedError):
        return None
