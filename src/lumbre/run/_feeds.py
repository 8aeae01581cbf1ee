"""Prepares the data once: batches to train and validate on, and the facts about them that are needed later."""

from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler

from lumbre.base import Batch, Batches, DataRecord, OptionError, Source, seed_host, stream
from lumbre.data import (
    Augmented,
    FrameData,
    FrameEncoding,
    InMemoryDataset,
    Loaded,
    LoaderFeed,
    Order,
    ParquetData,
    RowFeed,
    Stripe,
    Taken,
    accept,
    by_places,
    class_names,
    columns_encoding,
    data_record,
    held_out,
    in_parts,
    parted,
    parts_of,
    sampling_weights,
    split_rows,
    taken,
    that_count,
    whole_targets,
)
from lumbre.run._batches import counted_rows, feed, given_data, share
from lumbre.run._options import Options
from lumbre.run._setting import Setting
from lumbre.vision import Augment, row_seeds


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The rows of a run, encoded.

    Attributes:
        train: rows or batches to train on.
        valid: rows or batches to validate on, or None.
        encoding: how frames become tensors, fitted on the training rows; None without frame data.
        classes: names of the target's classes, where they are known.
        draws: how likely each training row is drawn, of shape (rows,); None draws every row once an epoch.
        weights: of the training rows, float64 of shape (rows,), or None.
        valid_weights: of the validation rows, or None.
    """

    train: Source | Loaded
    valid: Source | Loaded | None
    encoding: FrameEncoding | None
    classes: tuple[str, ...] | None
    draws: Tensor | None = None
    weights: Tensor | None = None
    valid_weights: Tensor | None = None


def training_data(data: Any, valid_data: Any, seed: int, sampler: Any = None, weights: Any = None) -> TrainingData:
    """Take in both sets; a fraction is cut from the training rows before anything is learned from them.

    Rows of weight 0 are left out before all else, so that the run is that of the others.

    Raises:
        DataError: something is no data, or there is not a weight for each row.
        OptionError: `valid_data` is an impossible fraction, or a fraction of data that cannot be cut; or `sampler`
            stands beside data whose rows cannot be drawn.
    """
    accepted, row_weights = parted(accept(data, seed), weights)
    drawn, kept = accepted, None if row_weights is None else that_count(row_weights)
    if row_weights is not None and kept is not None:
        accepted, row_weights = taken(accepted, kept), row_weights[kept]
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
    draws = None
    if sampler is not None:
        if isinstance(drawn, Loaded):
            raise OptionError(
                f"sampler=... beside a {type(drawn.loader).__name__}",
                "data whose rows lumbre draws",
                "give the DataLoader a torch.utils.data.WeightedRandomSampler, or pass the Dataset behind it",
            )
        of_them = train_rows if kept is None else kept if train_rows is None else kept[train_rows]
        draws = sampling_weights(sampler, drawn, of_them)
    encoding = None
    if isinstance(accepted, FrameData):
        encoding = accepted.encoding.fitted(accepted.table, train_rows, row_weights)
        source: Source | Loaded = encoding.encode(accepted.table, need_target=True)
    elif isinstance(accepted, ParquetData):
        source = accepted.fitted()
        encoding = source.encoding
    else:
        source, encoding = accepted, columns_encoding(accepted)
    classes = class_names(source)
    if train_rows is not None and valid_rows is not None and not isinstance(source, Loaded):
        parts = (None, None) if row_weights is None else (row_weights[train_rows], row_weights[valid_rows])
        return TrainingData(Taken(source, train_rows), Taken(source, valid_rows), encoding, classes, draws, *parts)
    valid = valid_weights = None
    if valid_data is not None:
        inner = accepted
        while isinstance(inner, Taken):
            inner = inner.source
        parts = parts_of(inner.loader if isinstance(inner, Loaded) else inner)
        valid_data = by_places(in_parts(valid_data, parts), getattr(inner, "names", None), need_target=True)
        whole = getattr(getattr(inner, "target", None), "dtype", None) == torch.int64
        valid, valid_weights = given_data(valid_data, encoding, seed, need_target=True)
        valid, valid_weights = counted_rows(whole_targets(valid, wanted=whole), valid_weights)
    return TrainingData(source, valid, encoding, classes, draws, row_weights, valid_weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    """The batches of a run. Data are read here and nowhere else: what follows takes its facts from this object.

    Attributes:
        data: the rows behind the batches, with the encoding of frames and the names of classes.
        train: training batches, augmented; of each batch a process has its part.
        valid: validation batches, or None.
        first: the first training batch, as the module will see it.
        batch_size: rows of a batch, in all processes that share it.
        fewest_rows: rows of the smallest part of a batch that any process computes; None where only a loader knows.
        processes: how many share a batch.
        shuffled: whether each epoch has an order of its own; None where a loader decides.
        records: what a report says of the sets, by name.
        augmented: whether inputs, and targets with them, are changed on their way.
    """

    data: TrainingData
    train: Batches
    valid: Batches | None
    first: Batch
    batch_size: int
    fewest_rows: int | None
    processes: int
    shuffled: bool | None
    records: dict[str, DataRecord]
    augmented: bool

    @property
    def weighted(self) -> bool:
        """Whether rows to train or to validate on have weights."""
        return self.data.weights is not None or self.data.valid_weights is not None

    def may_hold(self, label: int | None) -> bool:
        """Whether a target may be `label`; true where that cannot be seen without reading all the data."""
        if label is None:
            return False
        sets = [self.data.train] if self.data.valid is None else [self.data.train, self.data.valid]
        return self.augmented or any(_may_hold(one, label) for one in sets)


def make_feeds(data: Any, options: Options, setting: Setting) -> Feeds:
    """Take in the data, hold out what is for validation, encode, cut into batches, augment.

    Raises:
        DataError: something is no data.
        OptionError: an option cannot apply to this data.
    """
    given = training_data(data, options.valid_data, setting.seed, options.sampler, options.weights)
    train, valid = _both(given, options, setting)
    first = train.first()
    records = {"train": data_record(train, first)} | ({} if valid is None else {"valid": data_record(valid)})
    batches: Batches = train
    if options.augment is not None:
        change = augmenter(options.augment, setting.seed, setting.seed_step, repeated=given.draws is not None)
        first, batches = change(first, 1, 0), Augmented(train, change)
    rows = isinstance(train, RowFeed)
    return Feeds(
        data=given,
        train=share(batches, train),
        valid=None if valid is None else share(valid, valid),
        first=first,
        batch_size=_whole_batch(train) or first.size,
        fewest_rows=_fewest_rows(train, first.size),
        processes=train.order.world if rows and isinstance(train.order, Stripe) else 1,
        shuffled=options.sampler is not None or options.shuffle is not False if rows else None,
        records=records,
        augmented=options.augment is not None,
    )


def _both(
    given: TrainingData, options: Options, setting: Setting
) -> tuple[RowFeed | LoaderFeed, RowFeed | LoaderFeed | None]:
    """Training and validation batches. A ready validation loader is left as it is."""
    rows = not hasattr(given.train, "loader")
    shuffle = True if rows and options.shuffle is None else options.shuffle
    common: dict[str, Any] = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    train = feed(
        given.train,
        setting.device,
        setting.seed,
        shuffle=shuffle,
        drop_last=options.drop_last,
        draws=given.draws,
        weights=given.weights,
        world=setting.world,
        **common,
    )
    if given.valid is None:
        return train, None
    ready = hasattr(given.valid, "loader")
    weights = given.valid_weights
    options_of_feed: dict[str, Any] = {} if ready else common
    return train, feed(
        given.valid, setting.device, setting.seed, weights=weights, world=setting.world, **options_of_feed
    )


def _fewest_rows(train: RowFeed | LoaderFeed, first: int) -> int | None:
    """Rows of the smallest part of a batch that any process computes; None where only a loader knows."""
    if not isinstance(train, RowFeed):
        sampler = getattr(train.loader, "batch_sampler", None)
        if type(sampler) is not BatchSampler or not isinstance(sampler.sampler, Sized):
            return None
        order = Order(len(sampler.sampler), sampler.batch_size, False, sampler.drop_last, 0)
        return order.fewest_rows if first == min(order.rows, order.batch_size) else None  # it may make more of a row
    order = train.order
    return order.order.fewest_rows // order.world if isinstance(order, Stripe) else order.fewest_rows


def _whole_batch(train: RowFeed | LoaderFeed) -> int | None:
    """Rows of a batch, in all processes that share it; None where the loader decides."""
    if not isinstance(train, RowFeed):
        return None
    return train.order.order.batch_size if isinstance(train.order, Stripe) else train.order.batch_size


def _may_hold(source: Source | Loaded, label: int) -> bool:
    inner = source.source if isinstance(source, Taken) else source
    target = inner.target if isinstance(inner, InMemoryDataset) and inner.transform is None else None
    return not isinstance(target, Tensor) or target.numel() > _AT_HAND or bool((target == label).any())


_AT_HAND = 50_000_000


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
