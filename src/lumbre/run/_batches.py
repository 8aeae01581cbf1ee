"""Turns data of any kind into batches on a device: to train, validate, evaluate and predict."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from lumbre.base import Batches, Column, DataError, OptionError, Source, joined
from lumbre.data import (
    ArraySource,
    FrameData,
    FrameEncoding,
    InMemoryDataset,
    Loaded,
    LoaderFeed,
    Order,
    ParquetData,
    RowFeed,
    RowOrder,
    Shared,
    Stripe,
    Table,
    Taken,
    WeightedOrder,
    WeightedRows,
    WindowOrder,
    accept,
    as_pair,
    by_names,
    is_frame,
    parquet_by,
    parted,
    refuse_empty,
    that_count,
    unwrapped,
)
from lumbre.processes import World
from lumbre.run._options import BATCH_SIZE


def given_data(
    data: Any,
    encoding: FrameEncoding | None,
    seed: int,
    *,
    need_target: bool,
    weights: Any = None,
    weighed: bool = True,
) -> tuple[Source | Loaded, Tensor | None]:
    """Data to validate, evaluate or predict on, and the weights of its rows, float64 of shape (rows,), or None.

    Frames and Parquet go through the training data's encoding. Without targets nothing asks for a column of weights.

    Args:
        data: what was given.
        encoding: of the training data, or None.
        seed: of the run.
        need_target: whether the target, and a column of weights, must be there.
        weights: that were given beside the data, or None.
        weighed: whether weights are looked at.

    Raises:
        DataError: the data cannot be used as it is; or there is an encoding, and they are arrays or tensors; or there
            are no weights where the training data had a column of them.
    """
    data = unwrapped(data)
    if isinstance(data, Subset):
        found = accept(data, seed, empty=True)
        data = found if isinstance(found, WeightedRows) else data
    own = data.weights if isinstance(data, WeightedRows) else None
    data = data.source if isinstance(data, WeightedRows) else data
    rows = _given_rows(unwrapped(data), encoding, seed, need_target=need_target)
    if need_target:
        refuse_empty(rows)
    if not weighed:
        return rows, None
    column = _column_of_weights(data, encoding, needed=need_target and own is None and weights is None)
    if column is not None:
        weights = own if weights is None else weights
        own = column
    found, kept = parted(rows if own is None else WeightedRows(rows, own), weights)
    assert not isinstance(found, FrameData)
    return found, kept


def refuse_own_encoding(data: Any, encoding: FrameEncoding | None) -> None:
    """See that frame data is not encoded by what is learned of itself, for a model that was trained on other data.

    Raises:
        DataError: it would be: the model was trained on numbers as they are.
    """
    inner = unwrapped(data.source if isinstance(data, WeightedRows) else data)
    own = inner.encoding if isinstance(inner, (FrameData, ParquetData)) else None
    if encoding is None and own is not None and not (own.plain and own.plain_target):
        raise DataError(
            f"{type(inner).__name__}, with centre and scale of its own, for a model that was trained on other data",
            "numbers as in training",
            "(frame[features].to_numpy(), frame[target].to_numpy()); or lumbre.data.from_frame() for training, too",
        )


def counted_rows(rows: Source | Loaded, weights: Tensor | None) -> tuple[Source | Loaded, Tensor | None]:
    """Rows and their weights, without those of weight 0."""
    kept = None if weights is None else that_count(weights)
    if weights is None or kept is None or isinstance(rows, Loaded):
        return rows, weights
    return Taken(rows, kept), weights[kept]


def _column_of_weights(data: Any, encoding: FrameEncoding | None, *, needed: bool) -> Tensor | None:
    """The weights in a column of frame data; None for other data, and where it is not there and not needed."""
    if encoding is None or encoding.weights is None:
        return data.weights if isinstance(data, FrameData) else None
    if isinstance(data, FrameData):
        data = data.frame
    frame = as_pair(data)[0] if isinstance(data, (tuple, list, dict)) and len(data) == 2 else data
    if is_frame(frame):
        return encoding.weights_in(frame) if needed or encoding.weights in Table(frame).names else None
    if needed and isinstance(data, (str, Path, ParquetData)):
        raise DataError(
            f"Parquet data for a model trained with the weights in the column {encoding.weights!r}",
            "rows in memory, which can have weights",
            "pandas.read_parquet(path)",
        )
    return None


def _given_rows(data: Any, encoding: FrameEncoding | None, seed: int, *, need_target: bool) -> Source | Loaded:
    if encoding is not None and isinstance(data, (str, Path)):
        return parquet_by(data, encoding, need_target=need_target)
    if encoding is not None and (isinstance(data, FrameData) or is_frame(data)):
        return encoding.encode(data.table if isinstance(data, FrameData) else data, need_target=need_target)
    if encoding is not None and (rows := by_names(data, encoding, need_target=need_target)) is not None:
        return rows
    as_it_is = encoding is None or (encoding.plain and (encoding.plain_target or not need_target))
    if encoding is not None and not as_it_is and not isinstance(data, ParquetData) and not _is_ready(data):
        raise _raw(data, encoding)
    accepted = accept(data, seed, empty=True)
    assert not isinstance(accepted, WeightedRows)
    if isinstance(accepted, FrameData):
        return accepted.encoding.fitted(accepted.table).encode(accepted.table, need_target=need_target)
    if isinstance(accepted, ParquetData):
        return accepted.fitted() if encoding is None else accepted.encoded_by(encoding, need_target=need_target)
    return accepted


def _is_ready(data: Any) -> bool:
    """Whether somebody has said that these numbers are as the module takes them."""
    if isinstance(data, (DataLoader, Subset)):
        return _is_ready(data.dataset)
    return isinstance(data, (InMemoryDataset, ArraySource))


def _raw(data: Any, encoding: FrameEncoding) -> DataError:
    names = [column.name for column in encoding.features]
    few = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    return DataError(
        f"a {type(data).__name__} for a model that was trained on the columns of a frame",
        "a frame with these columns, which the model encodes as in training (centre, scale, categories)",
        f"pandas.DataFrame(x, columns=[{few}]) for values as they were measured;"
        " lumbre.data.InMemoryDataset(x), with y where it is needed, for numbers that are encoded already",
    )


def feed(
    data: Source | Loaded,
    device: torch.device,
    seed: int,
    *,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    drop_last: bool | None = None,
    num_workers: int | None = None,
    default_size: int = BATCH_SIZE,
    draws: Tensor | None = None,
    weights: Tensor | None = None,
    world: World | None = None,
) -> RowFeed | LoaderFeed:
    """`data` as batches on `device`. None stands for an option that was not given; `draws` takes shuffle's place.

    `draws` says how likely each row is drawn, `weights` how much it counts.

    Of each batch a process of `world` takes its part.

    Raises:
        OptionError: an option was given that cannot apply to a ready loader or a stream.
    """
    if isinstance(data, ParquetData):
        window = data.order(batch_size or default_size, shuffle=bool(shuffle), drop_last=bool(drop_last), seed=seed)
        # No workers: each would have to decode every row group, as its batches come from all of them.
        return RowFeed(data, _stripe(window, world), device, any_size=batch_size is None)
    if not isinstance(data, Loaded):
        size = batch_size or default_size
        order = (
            Order(len(data), size, bool(shuffle), bool(drop_last), seed)
            if draws is None
            else WeightedOrder(draws, size, drop_last=bool(drop_last), seed=seed)
        )
        workers = 0 if _gathered(data) else num_workers or 0
        return RowFeed(data, _stripe(order, world), device, workers, weights, any_size=batch_size is None)
    if world is not None and world.size > 1:
        raise OptionError(
            f"a {type(data.loader).__name__} in a run that {world.size} processes share",
            "data whose rows lumbre can share out",
            "pass the Dataset behind it, tensors, a frame, or Parquet",
        )
    beside = {
        "batch_size": batch_size,
        "shuffle": shuffle,
        "drop_last": drop_last,
        "num_workers": num_workers,
    }
    refused = [name for name, value in beside.items() if value is not None and (data.ready or name == "shuffle")]
    if refused:
        kind = type(data.loader).__name__
        raise OptionError(
            f"{', '.join(f'{name}={beside[name]!r}' for name in refused)} beside a {kind}",
            f"a {kind} alone: it decides that itself",
            f"set {', '.join(refused)} where the {kind} is made, or pass the Dataset behind it",
        )
    if data.ready:
        return LoaderFeed(data.loader, device, seed)
    if (num_workers or 0) > 1:
        raise OptionError(
            f"num_workers={num_workers} for a stream, of which each of them would give every row",
            "one process for a stream",
            "num_workers=1; or a DataLoader of it, if the stream shares itself out (torch.utils.data.get_worker_info)",
        )
    loader: DataLoader[Any] = DataLoader(
        data.loader,
        batch_size=batch_size or default_size,
        drop_last=bool(drop_last),
        num_workers=num_workers or 0,
    )
    return LoaderFeed(loader, device, seed)


def _stripe(order: Order | WeightedOrder | WindowOrder, world: World | None) -> RowOrder:
    return order if world is None or world.size == 1 else order.stripe(world.rank, world.size)


def share(batches: Batches, rows: RowFeed | LoaderFeed) -> Batches:
    """`batches` of the rows of a feed, told how much of each whole batch they are where processes share it."""
    order = rows.order if isinstance(rows, RowFeed) else None
    return Shared(batches, order) if isinstance(order, Stripe) else batches


def in_order(parts: list[list[Column]], stripe: Stripe) -> list[Column]:
    """Columns that the processes have for their stripes of some rows, by rank, in the order of the rows."""
    places: list[Tensor] = []
    for rank in range(stripe.world):
        own = Stripe(stripe.order, rank, stripe.world)
        places += [torch.as_tensor(rows) for index, rows in enumerate(own.batches(1)) if own.counts(index)[0]]
    order = torch.cat(places).argsort()
    whole = [joined(column) for column in zip(*parts, strict=True)]
    return [column[order] if isinstance(column, Tensor) else [column[row] for row in order] for column in whole]


def _gathered(data: Source) -> bool:
    """Whether a batch is one gather from memory: sending it from another process would take many times as long."""
    if isinstance(data, Taken):
        return _gathered(data.source)
    return isinstance(data, InMemoryDataset) and data.transform is None
