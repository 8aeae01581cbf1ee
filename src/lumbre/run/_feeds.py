"""What the user passed as data, as batches on a device."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lumbre.base import Batch, Batches, Nested, OptionError, Source, concatenate, leaves, map_leaves, seed_host, stream
from lumbre.data import (
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
    Taken,
    WeightedOrder,
    WindowOrder,
    accept,
    held_out,
    is_frame,
    parquet_by,
    sampling_weights,
    split_rows,
)
from lumbre.processes import World
from lumbre.run._options import BATCH_SIZE
from lumbre.vision import Augment, row_seeds


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Data ready for batches.

    Attributes:
        train: rows or batches to train on.
        valid: rows or batches to validate on, or None.
        encoding: how frames become tensors, fitted on the training rows; None without frame data.
        classes: names of the target's classes, where they are known.
        weights: how likely each training row is drawn, of shape (rows,); None draws every row once an epoch.
    """

    train: Source | Loaded
    valid: Source | Loaded | None
    encoding: FrameEncoding | None
    classes: tuple[str, ...] | None
    weights: Tensor | None = None


def training_data(data: Any, valid_data: Any, seed: int, sampler: Any = None) -> TrainingData:
    """Take in both sets; a fraction is cut from the training rows before anything is learned from them.

    Raises:
        DataError: something is no data.
        OptionError: `valid_data` is an impossible fraction, or a fraction of data that cannot be cut; or `sampler`
            stands beside data whose rows cannot be drawn.
    """
    accepted = accept(data, seed)
    fraction = isinstance(valid_data, (int, float))
    train_rows = valid_rows = None
    if fraction:
        if isinstance(accepted, Loaded):
            raise OptionError(
                f"valid_data={valid_data!r} of a {type(data).__name__}, whose rows cannot be counted",
                "data to validate on",
                "make a second loader of rows held out for validation, and pass it as valid_data",
            )
        if isinstance(accepted, ParquetData):
            held_out(len(accepted), valid_data)
            accepted, valid_data = accepted.parts((1 - valid_data, valid_data), seed)
        else:
            train_rows, valid_rows = split_rows(len(accepted), valid_data, seed)
    weights = None
    if sampler is not None:
        if isinstance(accepted, Loaded):
            raise OptionError(
                f"sampler=... beside a {type(accepted.loader).__name__}",
                "data whose rows lumbre draws",
                "give the DataLoader a torch.utils.data.WeightedRandomSampler, or pass the Dataset behind it",
            )
        weights = sampling_weights(sampler, accepted, train_rows)
    encoding = None
    if isinstance(accepted, FrameData):
        encoding = accepted.encoding.fitted(accepted.frame, train_rows)
        source: Source | Loaded = encoding.encode(accepted.frame, need_target=True)
    elif isinstance(accepted, ParquetData):
        source = accepted.fitted()
        encoding = source.encoding
    else:
        source = accepted
    classes = getattr(source, "classes", None)
    if train_rows is not None and valid_rows is not None and not isinstance(source, Loaded):
        return TrainingData(Taken(source, train_rows), Taken(source, valid_rows), encoding, classes, weights)
    valid = None if valid_data is None else given_data(valid_data, encoding, seed, need_target=True)
    return TrainingData(source, valid, encoding, classes, weights)


def given_data(data: Any, encoding: FrameEncoding | None, seed: int, *, need_target: bool) -> Source | Loaded:
    """Data to validate, evaluate or predict on; frames and Parquet go through the training data's encoding."""
    if encoding is not None and isinstance(data, (str, Path)):
        return parquet_by(data, encoding, need_target=need_target)
    if encoding is not None and (isinstance(data, FrameData) or is_frame(data)):
        return encoding.encode(data.frame if isinstance(data, FrameData) else data, need_target=need_target)
    accepted = accept(data, seed)
    if isinstance(accepted, FrameData):
        return accepted.encoding.fitted(accepted.frame).encode(accepted.frame, need_target=need_target)
    if isinstance(accepted, ParquetData):
        return accepted.fitted() if encoding is None else accepted.encoded_by(encoding, need_target=need_target)
    return accepted


_AT_HAND = 50_000_000


def columns_of(source: Source | Loaded | None) -> tuple[Nested, Nested] | None:
    """Input and target of every row, where they lie in memory; of chosen rows only where there are not too many."""
    if isinstance(source, InMemoryDataset) and source.transform is None:
        return source.input, source.target
    if isinstance(source, Taken):
        inner = columns_of(source.source) if isinstance(source.source, InMemoryDataset) else None
        numbers = sum(leaf.numel() for leaf in leaves(inner) if isinstance(leaf, Tensor))
        if inner is not None and numbers <= _AT_HAND:
            rows = source.rows

            def take(leaf: Any) -> Any:
                return leaf[rows.to(leaf.device)] if isinstance(leaf, Tensor) else leaf

            return map_leaves(take, inner[0]), map_leaves(take, inner[1])
    return None


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
    weights: Tensor | None = None,
    world: World | None = None,
) -> RowFeed | LoaderFeed:
    """`data` as batches on `device`. None stands for an option that was not given; `weights` takes shuffle's place.

    Of each batch a process of `world` takes its part.

    Raises:
        OptionError: an option was given that cannot apply to a ready loader or a stream.
    """
    if isinstance(data, ParquetData):
        window = data.order(batch_size or default_size, shuffle=bool(shuffle), drop_last=bool(drop_last), seed=seed)
        # No workers: each would have to decode every row group, as its batches come from all of them.
        return RowFeed(data, _stripe(window, world), device)
    if not isinstance(data, Loaded):
        size = batch_size or default_size
        order = (
            Order(len(data), size, bool(shuffle), bool(drop_last), seed)
            if weights is None
            else WeightedOrder(weights, size, drop_last=bool(drop_last), seed=seed)
        )
        return RowFeed(data, _stripe(order, world), device, 0 if _gathered(data) else num_workers or 0)
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


def in_order(parts: list[Nested], stripe: Stripe) -> Nested:
    """What the processes have for their stripes of some rows, by rank, in the order of the rows."""
    places: list[Tensor] = []
    for rank in range(stripe.world):
        own = Stripe(stripe.order, rank, stripe.world)
        places += [torch.as_tensor(rows) for index, rows in enumerate(own.batches(1)) if own.counts(index)[0]]
    order = torch.cat(places).argsort()
    return map_leaves(lambda leaf: leaf[order], concatenate(parts))


def _gathered(data: Source) -> bool:
    """Whether a batch is one gather from memory: sending it from another process would take many times as long."""
    if isinstance(data, Taken):
        return _gathered(data.source)
    return isinstance(data, InMemoryDataset) and data.transform is None


def augmenter(
    augment: Callable[..., Any], seed: int, seed_step: Callable[[str, int, int], None], *, repeated: bool = False
) -> Callable[[Batch, int, int], Batch]:
    """A function of (batch, epoch, index in the epoch) that augments a batch; chance is a row's and an epoch's own.

    Where a row may be `repeated` in an epoch, chance is that of its place in it. A function that draws from the
    generators, and not from the seeds it is given, has the chance of the batch.
    """

    def change(batch: Batch, epoch: int, index: int) -> Batch:
        seed_host(stream(seed, "augment", epoch, index))
        seed_step("augment", epoch, index)
        # A loader does not number its rows: there too the place in the epoch stands for the row.
        rows = batch.rows
        if rows is None or repeated:
            rows = range(index << 32, (index << 32) + batch.size)
        seeds = row_seeds(rows, seed=seed, epoch=epoch)
        if isinstance(augment, Augment):
            input, target = augment.batch(batch.input, batch.target, seeds)
            return replace(batch, input=input, target=target)
        return replace(batch, input=augment(batch.input, seeds))

    return change
